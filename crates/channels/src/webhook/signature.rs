//! Signatures of calls, both ways, by the Standard Webhooks specification (version 1, symmetric): HMAC-SHA256 over the call's id,
//! its time and its body. Libraries for it exist in most languages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use crate::WebhookCall;

pub(super) const ID: &str = "webhook-id";
pub(super) const TIMESTAMP: &str = "webhook-timestamp";
pub(super) const SIGNATURE: &str = "webhook-signature";

/// What a secret begins with in its written form.
const PREFIX: &str = "whsec_";
/// How long a secret is, in bytes (the specification's limits).
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// How old or how far in the future a call may be, in seconds.
const MAX_AGE_SECONDS: u64 = 300;
/// The longest id that is taken, in bytes.
const MAX_ID_BYTES: usize = 256;
/// Signatures that one call may carry: more are not looked at.
const MAX_SIGNATURES: usize = 8;

/// The secrets that the two sides share: one, or two while it is changed.
#[derive(Debug)]
pub(super) struct Keys(Vec<hmac::Key>);

impl Keys {
    /// The keys of these secrets, the present one first; `None` where one isn't `whsec_` and base64 of 24 to 64 bytes.
    pub(super) fn read(secrets: &[&str]) -> Option<Self> {
        let key = |secret: &&str| {
            let bytes = STANDARD.decode(secret.strip_prefix(PREFIX)?).ok()?;
            SECRET_BYTES
                .contains(&bytes.len())
                .then(|| hmac::Key::new(hmac::HMAC_SHA256, &bytes))
        };
        secrets.iter().map(key).collect::<Option<_>>().map(Self)
    }

    /// The header `webhook-signature` of a call: a signature by each key.
    pub(super) fn sign(&self, id: &str, unix_seconds: i64, body: &[u8]) -> String {
        let content = content(id, &unix_seconds.to_string(), body);
        let signatures: Vec<_> = self
            .0
            .iter()
            .map(|key| format!("v1,{}", STANDARD.encode(hmac::sign(key, &content))))
            .collect();
        signatures.join(" ")
    }

    /// When a call was signed by one of the keys, in Unix seconds; `None` where it wasn't, or longer ago than 300 s.
    pub(super) fn signed_at(&self, call: &WebhookCall, now_unix_seconds: i64) -> Option<i64> {
        let (id, timestamp) = (call.header(ID)?, call.header(TIMESTAMP)?);
        // No sign and no white space: what is signed and what is judged must be the same text.
        let is_plain = (1..=12).contains(&timestamp.len()) && timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let signed_at: i64 = timestamp.parse().ok().filter(|_| is_plain)?;
        let fresh = now_unix_seconds.abs_diff(signed_at) <= MAX_AGE_SECONDS;
        if id.len() > MAX_ID_BYTES || !fresh {
            return None;
        }
        let content = content(id, timestamp, &call.body);
        let mut signatures = call.header(SIGNATURE)?.split(' ').take(MAX_SIGNATURES);
        let genuine = signatures.any(|signature| {
            let signature = signature
                .strip_prefix("v1,")
                .and_then(|text| STANDARD.decode(text).ok());
            // Compared in constant time.
            signature.is_some_and(|signature| self.0.iter().any(|key| hmac::verify(key, &content, &signature).is_ok()))
        });
        genuine.then_some(signed_at)
    }
}

fn content(id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000;

    fn secret(byte: u8, length: usize) -> String {
        format!("{PREFIX}{}", STANDARD.encode(vec![byte; length]))
    }

    fn keys(secrets: &[String]) -> Keys {
        let secrets: Vec<_> = secrets.iter().map(String::as_str).collect();
        Keys::read(&secrets).unwrap()
    }

    fn call(signature: &str, timestamp: &str) -> WebhookCall {
        let headers = [(ID, "a1"), (TIMESTAMP, timestamp), (SIGNATURE, signature)];
        WebhookCall {
            headers: headers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
            body: b"{}".to_vec(),
            ..WebhookCall::default()
        }
    }

    #[test]
    fn a_call_counts_with_one_good_signature_among_others() {
        let (old, new) = (secret(1, 32), secret(2, 32));
        let both = keys(&[new.clone(), old.clone()]);
        let time = NOW.to_string();
        for signing in [&old, &new] {
            let signature = keys(std::slice::from_ref(signing)).sign("a1", NOW, b"{}");
            assert_eq!(both.signed_at(&call(&signature, &time), NOW), Some(NOW));
            let among = format!("v1a,eA== v1,!! {signature}");
            assert_eq!(both.signed_at(&call(&among, &time), NOW), Some(NOW));
        }
        // Whoever knows only one of the two secrets believes us, too.
        let signature = both.sign("a1", NOW, b"{}");
        assert_eq!(keys(&[old]).signed_at(&call(&signature, &time), NOW), Some(NOW));
    }

    #[test]
    fn what_was_changed_is_old_or_signed_by_another_counts_for_nothing() {
        let keys = keys(&[secret(1, 32)]);
        let time = NOW.to_string();
        let signature = keys.sign("a1", NOW, b"{}");
        let mut other_body = call(&signature, &time);
        other_body.body = b"{ }".to_vec();
        let mut other_id = call(&signature, &time);
        other_id.headers[0].1 = "a2".to_owned();
        for bad in [
            other_body,
            other_id,
            call(&signature, &(NOW + 1).to_string()),
            call(&signature, &format!("+{NOW}")),
            call(&signature.replace("v1,", "v2,"), &time),
            call("", &time),
        ] {
            assert_eq!(keys.signed_at(&bad, NOW), None, "{bad:?}");
        }
        assert_eq!(keys.signed_at(&call(&signature, &time), NOW + 301), None);
        assert_eq!(keys.signed_at(&call(&signature, &time), NOW - 301), None);
    }

    #[test]
    fn a_secret_is_written_with_its_prefix_and_long_enough() {
        let good = secret(1, 24);
        assert!(Keys::read(&[&good]).is_some());
        for bad in [
            "",
            "whsec_",
            &secret(1, 23),
            &secret(1, 65),
            &good[6..],
            "whsec_not base64!",
        ] {
            assert!(Keys::read(&[bad]).is_none(), "{bad}");
        }
    }
}
