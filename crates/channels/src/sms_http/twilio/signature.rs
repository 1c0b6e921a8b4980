//! Whether a call comes from Twilio: it signs the address that it calls and what it sends with the account's auth token (HMAC-SHA1, in
//! `X-Twilio-Signature`). Tested against Twilio's own helper library.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use url::Url;

/// In lower case, as calls have their headers.
pub(super) const HEADER: &str = "x-twilio-signature";

/// Whether `signature` is Twilio's for that address and these parameters. Proxies and Twilio itself don't agree whether a usual
/// port belongs to an address: both forms hold.
pub(super) fn is_genuine(token: &str, url: &str, parameters: &[(String, String)], signature: &str) -> bool {
    let Ok(signature) = STANDARD.decode(signature) else {
        return false;
    };
    // SHA-1 is what Twilio signs with; as a keyed hash it isn't broken.
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes());
    // By name, and where a name comes more than once by value: equal pairs count once.
    let parameters: BTreeSet<_> = parameters.iter().map(|(name, value)| (name, value)).collect();
    let matches = |url: &str| {
        let mut signed = url.to_owned();
        for (name, value) in &parameters {
            signed.push_str(name);
            signed.push_str(value);
        }
        hmac::verify(&key, signed.as_bytes(), &signature).is_ok()
    };
    matches(url) || other_form(url).is_some_and(|other| matches(&other))
}

/// The address with its scheme's usual port, or without the port that it has.
fn other_form(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let host = Url::parse(url).ok()?.host_str()?.to_owned();
    let authority = if authority.len() > host.len() {
        host
    } else {
        let port = if scheme == "https" { 443 } else { 80 };
        format!("{authority}:{port}")
    };
    Some(format!("{scheme}://{authority}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        owned.collect()
    }

    fn sign(token: &str, text: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes());
        STANDARD.encode(hmac::sign(&key, text.as_bytes()))
    }

    #[test]
    fn the_address_and_the_sorted_parameters_are_signed() {
        let signature = sign("token", "https://a.example/x?m=1A1B2");
        let parameters = pairs(&[("B", "2"), ("A", "1")]);
        let holds = |token, url, parameters: &[_], signature: &str| is_genuine(token, url, parameters, signature);
        let url = "https://a.example/x?m=1";
        assert!(holds("token", url, &parameters, &signature));
        assert!(!holds("other", url, &parameters, &signature));
        assert!(!holds("token", "https://a.example/x?m=2", &parameters, &signature));
        assert!(!holds("token", url, &pairs(&[("A", "1"), ("B", "3")]), &signature));
        for none in ["", "AAAA", "not base64!", &signature[1..]] {
            assert!(!holds("token", url, &parameters, none), "{none}");
        }
    }

    #[test]
    fn the_usual_port_may_be_in_the_address_or_not() {
        assert_eq!(other_form("https://a.example/x").unwrap(), "https://a.example:443/x");
        assert_eq!(other_form("http://a.example").unwrap(), "http://a.example:80");
        assert_eq!(
            other_form("https://a.example:8443/x?y").unwrap(),
            "https://a.example/x?y"
        );
        assert_eq!(other_form("https://[::1]:8443/x").unwrap(), "https://[::1]/x");
        assert_eq!(other_form("nonsense"), None);
        let signature = sign("token", "https://a.example/x");
        assert!(is_genuine("token", "https://a.example:443/x", &[], &signature));
    }
}
