//! The token in every form that says that the form was ours: a keyed hash of what the browser's cookie holds. Another site
//! can make a browser send the cookie, but can't read it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

/// The hidden field's name.
pub(crate) const FIELD: &str = "csrf";

/// The token of one session or visit.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Csrf(String);

impl Csrf {
    /// The token that belongs to a cookie's 32 random bytes.
    pub(crate) fn of(secret: &[u8; 32]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let tag = hmac::sign(&key, b"countersign form");
        Self(URL_SAFE_NO_PAD.encode(tag.as_ref()))
    }

    /// The token as it stands in a form.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a form carries it, in constant time.
    pub(crate) fn matches(&self, presented: &str) -> bool {
        use subtle::ConstantTimeEq as _;
        self.0.as_bytes().ct_eq(presented.as_bytes()).into()
    }
}

/// Reads a cookie's 32 bytes.
pub(crate) fn secret(cookie: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let length = URL_SAFE_NO_PAD.decode_slice(cookie, &mut bytes).ok()?;
    (length == bytes.len()).then_some(bytes)
}

/// Writes a cookie's 32 bytes.
pub(crate) fn written(secret: &[u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(secret)
}
