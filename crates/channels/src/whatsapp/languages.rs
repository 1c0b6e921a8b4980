//! In which languages the template was approved, and which of them a recipient gets. Meta writes `pt_BR` where others write `pt-BR`.

use countersign_core::{Locale, PhoneNumber};
use icu_locale_core::LanguageIdentifier;

use crate::Texts;
use crate::texts::{language_of, maximal, nearest};

/// More than WhatsApp has.
const MAX_LANGUAGES: usize = 100;
/// The longest code of a language, in bytes: Meta's have 7 at most.
const MAX_CODE_BYTES: usize = 15;

/// The template's languages, the one for everybody else first.
#[derive(Debug)]
pub(super) struct Languages(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    /// As Meta writes it.
    code: String,
    tag: LanguageIdentifier,
    /// The tag with what is likely of the rest.
    maximal: LanguageIdentifier,
}

impl Languages {
    /// Reads codes as Meta writes them; the error says what is wrong.
    pub(super) fn read(codes: &[String]) -> Result<Self, String> {
        if codes.is_empty() || codes.len() > MAX_LANGUAGES {
            return Err(format!("expected 1 to {MAX_LANGUAGES} codes of languages"));
        }
        let mut entries = Vec::with_capacity(codes.len());
        for code in codes {
            let plain =
                code.len() <= MAX_CODE_BYTES && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            let tag = LanguageIdentifier::try_from_str(&code.replace('_', "-")).ok();
            let Some(tag) = tag.filter(|tag| plain && !tag.language.is_unknown()) else {
                return Err(format!(
                    "{code:?} is no code of a language, such as \"en\", \"en_US\" or \"pt_BR\""
                ));
            };
            entries.push(Entry {
                code: code.clone(),
                maximal: maximal(&tag),
                tag,
            });
        }
        Ok(Self(entries))
    }

    /// Those that there are texts in: for whoever has the template in all of them. English is for everybody else.
    pub(super) fn of_texts(texts: &Texts) -> Vec<String> {
        let mut tags: Vec<_> = texts
            .languages()
            .iter()
            .map(|language| language.tag().to_string())
            .collect();
        tags.sort_by_key(|tag| tag != "en");
        tags.into_iter()
            .map(|tag| match tag.as_str() {
                // WhatsApp has no Portuguese and no Chinese without a country.
                "pt" => "pt_BR".to_owned(),
                "zh" => "zh_CN".to_owned(),
                _ => tag.replace('-', "_"),
            })
            .collect()
    }

    /// What a recipient gets: the language that was asked for, else the one of their number's country, as far as the template
    /// has it; else the first.
    pub(super) fn code_for(&self, asked: Option<&Locale>, phone: PhoneNumber) -> &str {
        let nearest = asked
            .and_then(|asked| self.nearest(asked.tag()))
            .or_else(|| self.nearest(&language_of(phone)?));
        nearest.or_else(|| self.0.first()).map_or("", |entry| &entry.code)
    }

    /// All codes, the one for everybody else first.
    pub(super) fn codes(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|entry| entry.code.as_str())
    }

    fn nearest(&self, wanted: &LanguageIdentifier) -> Option<&Entry> {
        nearest(&self.0, |entry| (&entry.tag, &entry.maximal), wanted)
    }
}

#[cfg(test)]
mod tests {
    use countersign_core::SandboxNumbers;

    use super::*;

    fn chosen(codes: &[&str], asked: Option<&str>, phone: &str) -> String {
        let codes: Vec<_> = codes.iter().map(|code| (*code).to_owned()).collect();
        let languages = Languages::read(&codes).unwrap();
        let phone = PhoneNumber::parse(phone, SandboxNumbers::Refused).unwrap();
        let asked = asked.map(|asked| Locale::parse(asked).unwrap());
        languages.code_for(asked.as_ref(), phone).to_owned()
    }

    #[test]
    fn a_recipient_gets_the_nearest_language_that_the_template_has() {
        let codes = ["en_US", "en_GB", "pt_BR", "pt_PT", "de", "zh_TW"];
        for (asked, phone, code) in [
            (Some("de-AT"), "+391234567890", "de"),
            (Some("en-GB"), "+391234567890", "en_GB"),
            (Some("en"), "+391234567890", "en_US"),
            (Some("pt"), "+391234567890", "pt_BR"),
            (Some("pt-PT"), "+391234567890", "pt_PT"),
            (Some("zh-Hant"), "+391234567890", "zh_TW"),
            (Some("zh"), "+391234567890", "en_US"),
            (Some("fr"), "+4915123456789", "de"),
            (None, "+351912345678", "pt_PT"),
            (None, "+5511912345678", "pt_BR"),
            (None, "+391234567890", "en_US"),
        ] {
            assert_eq!(chosen(&codes, asked, phone), code, "{asked:?} {phone}");
        }
    }

    #[test]
    fn without_settings_the_template_is_expected_in_the_languages_of_the_texts() {
        let texts = Texts::built_in().unwrap();
        let codes = Languages::of_texts(&texts);
        assert_eq!(codes, ["en", "ar", "de", "es", "pt_BR", "ru"]);
        assert!(Languages::read(&codes).is_ok());
    }

    #[test]
    fn what_is_no_language_is_refused() {
        for codes in [
            &[][..],
            &["english please"],
            &["en-US"],
            &["und"],
            &[""],
            &["en_US_and_much_more"],
        ] {
            let codes: Vec<_> = codes.iter().map(|code| (*code).to_owned()).collect();
            assert!(Languages::read(&codes).is_err(), "{codes:?}");
        }
    }
}
