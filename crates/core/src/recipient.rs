//! What a send may say of its recipient besides the number: the language that they read, and an e-mail address.

use std::fmt;

use email_address::{EmailAddress as Parsed, Options};
use icu_locale_core::{LanguageIdentifier, langid};

/// The longest language tag that is taken, in bytes.
const MAX_LOCALE_BYTES: usize = 35;
/// The longest address that can stand in SMTP's `<path>` (RFC 5321, 4.5.3.1.3, without its brackets), in bytes.
const MAX_EMAIL_BYTES: usize = 254;

/// A language, and perhaps its script and country: a tag of BCP 47 without extensions, such as `de` or `pt-BR`. At most
/// 35 bytes; an underscore is read as a hyphen.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Locale(
    /// Boxed, since most messages have none, and every message in memory has room for it.
    Box<LanguageIdentifier>,
);

impl Locale {
    /// `en`.
    pub const ENGLISH: LanguageIdentifier = langid!("en");

    /// Reads a tag; `None` where it is none, or names no language (`und`).
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_LOCALE_BYTES {
            return None;
        }
        let tag = LanguageIdentifier::try_from_str(&text.replace('_', "-")).ok()?;
        (!tag.language.is_unknown()).then(|| Self(Box::new(tag)))
    }

    /// The tag, taken apart.
    pub fn tag(&self) -> &LanguageIdentifier {
        &self.0
    }
}

impl From<LanguageIdentifier> for Locale {
    fn from(tag: LanguageIdentifier) -> Self {
        Self(Box::new(tag))
    }
}

/// In canonical letters: `pt-BR`.
impl fmt::Display for Locale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Locale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// An e-mail address: `local@domain`, at most 254 bytes, without a display name and without an address of a machine in brackets.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EmailAddress(Box<str>);

impl EmailAddress {
    /// Reads an address (RFC 5321, and RFC 6531 for letters beyond ASCII).
    pub fn parse(text: &str) -> Option<Self> {
        let options = Options::default()
            .without_display_text()
            .without_domain_literal()
            .with_required_tld();
        let control = text.chars().any(char::is_control);
        let well_formed =
            text.len() <= MAX_EMAIL_BYTES && !control && Parsed::parse_with_options(text, options).is_ok();
        well_formed.then(|| Self(text.into()))
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Masked, as in logs: `i…@example.com`.
impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (local, domain) = self.0.rsplit_once('@').unwrap_or(("", &self.0));
        let first = local.chars().next().unwrap_or('…');
        write!(f, "{first}…@{domain}")
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locale_is_a_language_tag_however_it_is_written() {
        for (text, canonical) in [
            ("de", "de"),
            ("PT_br", "pt-BR"),
            ("zh-hant-tw", "zh-Hant-TW"),
            ("es-419", "es-419"),
        ] {
            assert_eq!(Locale::parse(text).unwrap().to_string(), canonical);
        }
        for bad in [
            "",
            "und",
            "english",
            "e",
            "de-",
            "de-u-ca-buddhist",
            "x",
            "de DE",
            "12",
            &"a-".repeat(40),
        ] {
            assert!(Locale::parse(bad).is_none(), "{bad:?} passed");
        }
    }

    #[test]
    fn an_email_address_is_a_plain_one_and_prints_masked() {
        for good in [
            "ida@example.com",
            "ida.b+codes@mail.example.com",
            "o'neill@example.co.uk",
            "dörte@example.de",
        ] {
            assert_eq!(EmailAddress::parse(good).unwrap().as_str(), good);
        }
        let long = format!("{}@example.com", "a".repeat(260));
        for bad in [
            "",
            "ida",
            "ida@",
            "@example.com",
            "ida@example",
            "ida@example.com\r\nBcc: x@example.com",
            "Ida <ida@example.com>",
            "ida@[127.0.0.1]",
            "a@b@example.com",
            "ida example.com",
            "ida@example.com ",
            long.as_str(),
        ] {
            assert!(EmailAddress::parse(bad).is_none(), "{bad:?} passed");
        }
        let address = EmailAddress::parse("ida@example.com").unwrap();
        assert_eq!(format!("{address:?} {address}"), "i…@example.com i…@example.com");
    }
}
