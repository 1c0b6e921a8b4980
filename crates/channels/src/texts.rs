//! What recipients read, in their languages: one Fluent file a language (`texts/TAG.ftl`), built in or brought by the operator.
//! Channels ask for a [`Language`] and fill its texts; docs/texts.md lists the ids.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use countersign_core::{Country, Locale, PhoneNumber};
use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource, FluentValue};
use icu_locale::{LocaleDirectionality, LocaleExpander};
use icu_locale_core::LanguageIdentifier;
use icu_locale_core::subtags::Region;

/// The built-in languages: tag and file.
static BUILT_IN: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/texts.rs"));
/// Spoken where nothing else is known or written.
const DEFAULT: &str = "en";

/// Why texts can't be read. A sentence for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct TextsError {
    file: String,
    problem: String,
}

/// All languages that there are texts in.
pub struct Texts {
    languages: Vec<Language>,
    /// The place of the one that is spoken where nothing else is known or written.
    default: usize,
}

/// The texts of one language.
pub struct Language {
    tag: LanguageIdentifier,
    maximal: LanguageIdentifier,
    right_to_left: bool,
    bundle: FluentBundle<FluentResource>,
}

/// What stands in a text's place `{ $name }`.
#[derive(Debug, Clone, Copy)]
pub enum Argument<'a> {
    /// As it is.
    Text(&'a str),
    /// A count, by which a language may choose its words.
    Number(u32),
}

impl Texts {
    /// The languages that come with the program.
    pub fn built_in() -> Result<Arc<Self>, TextsError> {
        let directions = LocaleDirectionality::new_common();
        let mut languages = Vec::with_capacity(BUILT_IN.len());
        for (tag, text) in BUILT_IN {
            languages.push(Language::read(tag, (*text).to_owned(), &directions)?);
        }
        let default = languages
            .iter()
            .position(|language| language.tag.to_string() == DEFAULT);
        let default = default.ok_or_else(|| TextsError {
            file: format!("{DEFAULT}.ftl"),
            problem: "missing".to_owned(),
        })?;
        Ok(Arc::new(Self { languages, default }))
    }

    /// The language of a recipient: the one that was asked for, else the one of their number's country, as far as there are
    /// texts in it; else the default.
    pub fn language(&self, asked: Option<&Locale>, phone: PhoneNumber) -> &Language {
        asked
            .and_then(|asked| self.nearest(asked.tag()))
            .or_else(|| self.nearest(&language_of(phone)?))
            .unwrap_or(&self.languages[self.default])
    }

    /// All of them, by tag.
    pub fn languages(&self) -> &[Language] {
        &self.languages
    }

    /// The language whose tag agrees most with that one, once what is likely was added to both; the language and its script
    /// must agree.
    fn nearest(&self, wanted: &LanguageIdentifier) -> Option<&Language> {
        let wanted = maximal(wanted);
        let fitting = self.languages.iter().filter_map(|language| {
            let tag = &language.maximal;
            let fits = tag.language == wanted.language && tag.script == wanted.script;
            fits.then_some((tag.region == wanted.region, language))
        });
        fitting
            .max_by_key(|(same_region, _)| *same_region)
            .map(|(_, language)| language)
    }
}

/// A tag with what is likely of the rest: `pt` is `pt-Latn-BR`. What it asks is compiled in.
pub(crate) fn maximal(tag: &LanguageIdentifier) -> LanguageIdentifier {
    let mut tag = tag.clone();
    LocaleExpander::new_extended().maximize(&mut tag);
    tag
}

/// `und-IT` of an Italian number: the language is what is most spoken there.
pub(crate) fn language_of(phone: PhoneNumber) -> Option<LanguageIdentifier> {
    let region = Region::try_from_str(&Country::of(phone).to_string()).ok()?;
    Some(LanguageIdentifier {
        region: Some(region),
        ..LanguageIdentifier::UNKNOWN
    })
}

impl Language {
    fn read(tag: &str, text: String, directions: &LocaleDirectionality) -> Result<Self, TextsError> {
        let error = |problem: String| TextsError {
            file: format!("{tag}.ftl"),
            problem,
        };
        let parsed =
            LanguageIdentifier::try_from_str(tag).map_err(|_| error("its name is no language tag".to_owned()))?;
        let fluent_tag = tag
            .parse()
            .map_err(|_| error("its name is no language tag".to_owned()))?;
        let resource = FluentResource::try_new(text)
            .map_err(|(_, errors)| error(errors.first().map(ToString::to_string).unwrap_or_default()))?;
        let mut bundle = FluentBundle::new_concurrent(vec![fluent_tag]);
        // Marks around what is filled in would cost a short message its alphabet, and break autofill.
        bundle.set_use_isolating(false);
        bundle
            .add_resource(resource)
            .map_err(|errors| error(errors.first().map(ToString::to_string).unwrap_or_default()))?;
        Ok(Self {
            right_to_left: directions.is_right_to_left(&parsed),
            maximal: maximal(&parsed),
            tag: parsed,
            bundle,
        })
    }

    /// Its tag.
    pub const fn tag(&self) -> &LanguageIdentifier {
        &self.tag
    }

    /// Whether it is written from right to left.
    pub const fn is_right_to_left(&self) -> bool {
        self.right_to_left
    }

    /// A text; its id where there is none, which a test of all languages rules out.
    pub fn text(&self, id: &str, arguments: &[(&str, Argument<'_>)]) -> String {
        let Some(pattern) = self.bundle.get_message(id).and_then(|message| message.value()) else {
            return id.to_owned();
        };
        let mut named = FluentArgs::with_capacity(arguments.len());
        for (name, value) in arguments {
            named.set(
                *name,
                match value {
                    Argument::Text(text) => FluentValue::String(Cow::Borrowed(*text)),
                    Argument::Number(number) => FluentValue::from(*number),
                },
            );
        }
        self.bundle
            .format_pattern(pattern, Some(&named), &mut Vec::new())
            .into_owned()
    }
}

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.languages.iter().map(|language| language.tag.to_string()))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use countersign_core::SandboxNumbers;

    use super::*;

    fn chosen(asked: Option<&str>, phone: &str) -> String {
        let texts = Texts::built_in().unwrap();
        let phone = PhoneNumber::parse(phone, SandboxNumbers::Accepted).unwrap();
        let asked = asked.map(|asked| Locale::parse(asked).unwrap());
        texts.language(asked.as_ref(), phone).tag().to_string()
    }

    #[test]
    fn the_language_asked_for_comes_before_the_countrys() {
        assert_eq!(chosen(Some("de"), "+34600000001"), "de");
        assert_eq!(chosen(Some("pt-BR"), "+34600000001"), "pt");
        assert_eq!(chosen(Some("ar-EG"), "+34600000001"), "ar");
        assert_eq!(chosen(Some("ja"), "+34600000001"), "es");
    }

    #[test]
    fn the_numbers_country_says_its_language() {
        for (phone, tag) in [
            ("+4915112345678", "de"),
            ("+41791234567", "de"),
            ("+5511912345678", "pt"),
            ("+525512345678", "es"),
            ("+79161234567", "ru"),
            ("+966512345678", "ar"),
            ("+12025550123", "en"),
            ("+393331234567", "en"),
        ] {
            assert_eq!(chosen(None, phone), tag, "{phone}");
        }
    }

    #[test]
    fn counts_choose_their_words() {
        let texts = Texts::built_in().unwrap();
        let russian = texts
            .languages()
            .iter()
            .find(|language| language.tag().to_string() == "ru")
            .unwrap();
        let life = |minutes| russian.text("email-life", &[("minutes", Argument::Number(minutes))]);
        assert_eq!(life(1), "Он действует 1 минуту.");
        assert_eq!(life(3), "Он действует 3 минуты.");
        assert_eq!(life(5), "Он действует 5 минут.");
    }
}
