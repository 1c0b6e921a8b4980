//! What an account wants at the end of its short messages, so that phones fill the code in: the website that the code belongs
//! to, and the Android app that waits for it. Its owner sets them; channels write them.

use std::fmt;

use url::Host;

/// The longest website's name that is taken, in characters: a short message has 160.
const MAX_DOMAIN_CHARS: usize = 100;
/// The length of what the SMS Retriever looks for: the first 11 characters of a hash in base64.
const ANDROID_HASH_CHARS: usize = 11;

/// The host name of a website, as browsers compare it: ASCII (`xn--…`), in lower case, with a dot, without port.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct WebsiteHost(Box<str>);

impl WebsiteHost {
    /// Reads a host name of at most 100 characters, in whichever letters it is written: `münchen.example` becomes
    /// `xn--mnchen-3ya.example`. `None` for addresses of machines, names without a dot, and whatever else stands in URLs.
    pub fn parse(text: &str) -> Option<Self> {
        let Ok(Host::Domain(host)) = Host::parse(text.trim()) else {
            return None;
        };
        let is_name = |label: &str| {
            let inner = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            (1..=63).contains(&label.len()) && inner && !label.starts_with('-') && !label.ends_with('-')
        };
        let fits = host.len() <= MAX_DOMAIN_CHARS && host.contains('.') && host.split('.').all(is_name);
        fits.then(|| Self(host.into_boxed_str()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for WebsiteHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The hash of an Android app's package name and signing certificate, 11 characters, by which Google's SMS Retriever tells
/// whose a message is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct AndroidAppHash(Box<str>);

impl AndroidAppHash {
    /// Reads exactly 11 characters of base64; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let base64 = text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'));
        (text.len() == ANDROID_HASH_CHARS && base64).then(|| Self(text.into()))
    }

    /// The characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AndroidAppHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an account's short messages end with. Nothing, unless its owner set it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Autofill {
    /// The website on which the code is entered: browsers offer it there and nowhere else.
    pub domain: Option<WebsiteHost>,
    /// The Android app that reads the message by itself.
    pub android_hash: Option<AndroidAppHash>,
}

/// What is wrong with what was set. A sentence for whoever set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AutofillError {
    /// The website.
    #[error(
        "the website is a host name like example.com, of at most {MAX_DOMAIN_CHARS} characters, without https://, port and path"
    )]
    Domain,
    /// The app's hash.
    #[error(
        "the Android app's hash is {ANDROID_HASH_CHARS} letters, digits, + and /, as Google's SMS Retriever computes it, like \
         FA+9qCX9VSu"
    )]
    AndroidHash,
}

impl Autofill {
    /// Reads both as people write them; what is empty isn't set.
    pub fn parse(domain: &str, android_hash: &str) -> Result<Self, AutofillError> {
        Ok(Self {
            domain: filled(domain)
                .map(|text| WebsiteHost::parse(text).ok_or(AutofillError::Domain))
                .transpose()?,
            android_hash: filled(android_hash)
                .map(|text| AndroidAppHash::parse(text).ok_or(AutofillError::AndroidHash))
                .transpose()?,
        })
    }

    /// Whether nothing is set.
    pub const fn is_empty(&self) -> bool {
        self.domain.is_none() && self.android_hash.is_none()
    }
}

fn filled(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_websites_name_is_kept_as_browsers_compare_it() {
        for (text, host) in [
            ("example.com", "example.com"),
            (" Shop.Example.COM ", "shop.example.com"),
            ("münchen.example", "xn--mnchen-3ya.example"),
            ("xn--mnchen-3ya.example", "xn--mnchen-3ya.example"),
            ("مثال.إختبار", "xn--mgbh0fb.xn--kgbechtv"),
        ] {
            assert_eq!(WebsiteHost::parse(text).unwrap().as_str(), host, "{text}");
        }
    }

    #[test]
    fn whatever_else_stands_in_urls_is_no_websites_name() {
        let long = format!("{}.example.com", "a.".repeat(50));
        for bad in [
            "",
            "localhost",
            "example.com.",
            ".example.com",
            "example..com",
            "https://example.com",
            "example.com/login",
            "example.com:8443",
            "ida@example.com",
            "127.0.0.1",
            "0x7f.1",
            "[::1]",
            "exam ple.com",
            "example.com\n#1",
            "-a.example",
            "a_b.example",
            "*.example.com",
            long.as_str(),
        ] {
            assert!(WebsiteHost::parse(bad).is_none(), "{bad:?} passed");
        }
    }

    #[test]
    fn an_apps_hash_has_eleven_characters_of_base64() {
        assert_eq!(AndroidAppHash::parse(" FA+9qCX9VSu ").unwrap().as_str(), "FA+9qCX9VSu");
        for bad in [
            "",
            "FA+9qCX9VS",
            "FA+9qCX9VSuu",
            "FA-9qCX9VSu",
            "FA+9qCX9VS=",
            "FÄ+9qCX9VS",
        ] {
            assert!(AndroidAppHash::parse(bad).is_none(), "{bad:?} passed");
        }
    }

    #[test]
    fn each_may_be_left_empty_and_what_is_wrong_is_said() {
        assert!(Autofill::parse(" ", "").unwrap().is_empty());
        let both = Autofill::parse("example.com", "FA+9qCX9VSu").unwrap();
        assert_eq!(
            format!("{both:?}"),
            "Autofill { domain: Some(example.com), android_hash: Some(FA+9qCX9VSu) }"
        );
        assert_eq!(Autofill::parse("https://example.com", ""), Err(AutofillError::Domain));
        assert_eq!(Autofill::parse("", "short"), Err(AutofillError::AndroidHash));
    }
}
