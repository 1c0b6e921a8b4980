//! The texts of one language: filled with arguments, and read from files.

use std::borrow::Cow;
use std::sync::Arc;

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentError, FluentResource, FluentValue};
use icu_locale::LocaleDirectionality;
use icu_locale_core::LanguageIdentifier;

use super::{Source, TextsError, maximal};

/// What stands in a text's place `{ $name }`.
#[derive(Debug, Clone, Copy)]
pub enum Argument<'a> {
    /// As it is.
    Text(&'a str),
    /// A count, by which a language may choose its words.
    Number(u32),
}

/// The texts of one language.
pub struct Language {
    tag: LanguageIdentifier,
    maximal: LanguageIdentifier,
    right_to_left: bool,
    bundle: FluentBundle<FluentResource>,
    /// Has what this one lacks.
    fallback: Option<Arc<Language>>,
    /// The file that was read last, for errors.
    place: String,
}

impl Language {
    /// Reads files of one language, each over the one before.
    pub(super) fn read(
        sources: &[&Source],
        fallback: Option<Arc<Self>>,
        directions: &LocaleDirectionality,
    ) -> Result<Self, TextsError> {
        let Some(last) = sources.last() else {
            return Err(TextsError::new("texts", "a language has no file"));
        };
        let fluent_tag = last.tag.to_string().parse();
        let fluent_tag = fluent_tag.map_err(|_| TextsError::new(&last.place, "its name is no language tag"))?;
        let mut bundle = FluentBundle::new_concurrent(vec![fluent_tag]);
        // Marks around what is filled in would cost a short message its alphabet, and break autofill.
        bundle.set_use_isolating(false);
        for source in sources {
            let resource = FluentResource::try_new(source.text.clone()).map_err(|(_, errors)| {
                let problem = errors.first().map(ToString::to_string).unwrap_or_default();
                TextsError::new(&source.place, problem)
            })?;
            bundle.add_resource_overriding(resource);
        }
        Ok(Self {
            right_to_left: directions.is_right_to_left(&last.tag),
            maximal: maximal(&last.tag),
            tag: last.tag.clone(),
            bundle,
            fallback,
            place: last.place.clone(),
        })
    }

    /// Its tag.
    pub const fn tag(&self) -> &LanguageIdentifier {
        &self.tag
    }

    pub(super) const fn maximal(&self) -> &LanguageIdentifier {
        &self.maximal
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Whether it is written from right to left.
    pub const fn is_right_to_left(&self) -> bool {
        self.right_to_left
    }

    /// A text; its id where there is none, which a test of all languages rules out.
    pub fn text(&self, id: &str, arguments: &[(&str, Argument<'_>)]) -> String {
        self.format(id, arguments, &mut Vec::new())
    }

    /// A text, and what went wrong with it.
    pub(super) fn format(&self, id: &str, arguments: &[(&str, Argument<'_>)], errors: &mut Vec<FluentError>) -> String {
        let Some(pattern) = self.bundle.get_message(id).and_then(|message| message.value()) else {
            return match &self.fallback {
                Some(fallback) => fallback.format(id, arguments, errors),
                None => id.to_owned(),
            };
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
        self.bundle.format_pattern(pattern, Some(&named), errors).into_owned()
    }
}
