//! The smaller parameters of a send, parsed once at the edge: lifetime, payload, callback URL, sender, idempotency key.

use std::fmt;

use url::Url;

/// Shortest life of a message, in seconds (docs/api.md, `ttl`).
pub const MIN_TTL_SECONDS: u32 = 30;
/// Longest life of a message, and its life where no `ttl` is given.
pub const MAX_TTL_SECONDS: u32 = 3600;

/// How long a message lives, in seconds: 30 to 3600.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ttl(u32);

impl Ttl {
    /// A lifetime from 30 to 3600 seconds, or `None`.
    pub fn new(seconds: i64) -> Option<Self> {
        u32::try_from(seconds)
            .ok()
            .filter(|n| (MIN_TTL_SECONDS..=MAX_TTL_SECONDS).contains(n))
            .map(Self)
    }

    /// The lifetime in milliseconds.
    pub fn millis(self) -> i64 {
        i64::from(self.0) * 1000
    }
}

impl Default for Ttl {
    fn default() -> Self {
        Self(MAX_TTL_SECONDS)
    }
}

/// Text that comes back with every answer and report: at most 128 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload(String);

impl Payload {
    /// Takes at most 128 bytes, none of them NUL: PostgreSQL's texts hold none.
    pub fn new(text: String) -> Option<Self> {
        (text.len() <= 128 && !text.contains('\0')).then_some(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a callback may be plain `http://`: only in the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainHttp {
    /// `http://` and `https://` pass.
    Accepted,
    /// Only `https://` passes.
    Refused,
}

/// Where delivery reports go. Only its form is judged here; its address is judged at each attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallbackUrl(String);

impl CallbackUrl {
    /// Takes an absolute URL of at most 256 bytes with a host and without user name or password.
    pub fn parse(text: &str, plain_http: PlainHttp) -> Option<Self> {
        if text.len() > 256 || text.contains('\0') {
            return None;
        }
        let url = Url::parse(text).ok()?;
        let scheme_allowed = match url.scheme() {
            "https" => true,
            "http" => plain_http == PlainHttp::Accepted,
            _ => false,
        };
        let no_credentials = url.username().is_empty() && url.password().is_none();
        (scheme_allowed && url.has_host() && no_credentials).then(|| Self(text.to_owned()))
    }

    /// A URL out of our own books.
    pub const fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The URL as the caller wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whom it leads to, however it is written: the host in lower case, and the port where it isn't the scheme's own. Empty
    /// for what is no URL.
    pub fn destination(&self) -> String {
        let url = Url::parse(&self.0).ok();
        let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
        match url.as_ref().and_then(Url::port) {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }
}

/// The name that a recipient sees as the message's origin: 5 to 32 of `a-z`, `0-9` and `_`, a letter first. Compared
/// without case, kept in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SenderUsername(String);

impl SenderUsername {
    /// Reads a name with or without its leading `@`.
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.strip_prefix('@').unwrap_or(text).to_ascii_lowercase();
        let well_formed = (5..=32).contains(&name.len())
            && name.starts_with(|first: char| first.is_ascii_lowercase())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        well_formed.then_some(Self(name))
    }

    /// The name without `@`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SenderUsername {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.0)
    }
}

/// An `Idempotency-Key`: 1 to 64 bytes, per account, kept for 24 hours.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Takes 1 to 64 bytes.
    pub fn new(text: &str) -> Option<Self> {
        (1..=64).contains(&text.len()).then(|| Self(text.to_owned()))
    }

    /// The key as a test-mode token uses it: what live calls do under the same one is another matter. No header can hold the
    /// character that it begins with.
    #[must_use]
    pub fn of_test_mode(self) -> Self {
        Self(format!("\u{1}{}", self.0))
    }

    /// The key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_without_nul_passes() {
        assert!(Payload::new("order 4711".to_owned()).is_some());
        assert!(Payload::new("order\0".to_owned()).is_none());
    }

    #[test]
    fn a_callback_url_is_https_and_at_most_256_bytes() {
        let parse = |text: &str| CallbackUrl::parse(text, PlainHttp::Refused);
        assert!(parse("https://example.com/reports?x=1").is_some());
        assert!(parse("https://127.0.0.1:8443/").is_some());
        let path = "a".repeat(256 - "https://example.com/".len());
        assert!(parse(&format!("https://example.com/{path}")).is_some());
        for bad in [
            "http://example.com",
            "ftp://example.com",
            "example.com",
            "https://",
            "https://u:p@example.com",
            "//x",
            "https://example.com/\0",
        ] {
            assert!(parse(bad).is_none(), "{bad:?} passed");
        }
        assert!(parse(&format!("https://example.com/{path}a")).is_none());
        assert!(CallbackUrl::parse("http://127.0.0.1:9/", PlainHttp::Accepted).is_some());
    }

    #[test]
    fn a_sender_is_known_with_or_without_its_at_sign() {
        assert_eq!(SenderUsername::parse("@Acme_Shop"), SenderUsername::parse("acme_shop"));
        for bad in ["acme", "@", "1acme", "acme shop", "a".repeat(33).as_str(), "acmé_shop"] {
            assert!(SenderUsername::parse(bad).is_none(), "{bad:?} passed");
        }
    }
}
