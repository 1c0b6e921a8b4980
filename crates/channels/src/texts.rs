//! What recipients read, in their languages: one Fluent file a language, built in (`texts/TAG.ftl`) or brought by the operator
//! (`folder` reads those). Channels ask for a [`Language`] and fill its texts; docs/texts.md lists the ids and how a language is
//! chosen.
//!
//! The English file says which ids there are and which arguments each is given: `check` holds every other file to it.

mod check;
mod folder;
mod language;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use countersign_core::{Country, LegName, Locale, PhoneNumber};
use icu_locale::fallback::{LocaleFallbackConfig, LocaleFallbacker};
use icu_locale::{LocaleDirectionality, LocaleExpander};
use icu_locale_core::subtags::Region;
use icu_locale_core::{DataLocale, LanguageIdentifier};

use check::Shapes;
pub use folder::OwnTexts;
pub use language::{Argument, Language};

/// The built-in languages: tag and file.
static BUILT_IN: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/texts.rs"));

/// Why texts can't be read. A sentence for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct TextsError {
    /// The file, and its line where the problem has one; or the setting.
    place: String,
    problem: String,
}

impl TextsError {
    fn new(place: impl fmt::Display, problem: impl Into<String>) -> Self {
        Self {
            place: place.to_string(),
            problem: problem.into(),
        }
    }
}

/// All languages that there are texts in.
pub struct Texts {
    /// By tag.
    languages: Vec<Arc<Language>>,
    /// Spoken where nothing else is known or written.
    default: Arc<Language>,
    /// The channels for which the operator wrote texts of their own.
    of_channels: BTreeMap<LegName, Arc<Texts>>,
}

/// A file of texts, before it is read.
#[derive(Clone)]
struct Source {
    /// As errors name it.
    place: String,
    tag: LanguageIdentifier,
    text: String,
}

impl Texts {
    /// The languages that come with the program.
    pub fn built_in() -> Result<Arc<Self>, TextsError> {
        Self::of_sources(&[&built_in_sources()?], &Locale::ENGLISH).map(Arc::new)
    }

    /// Those, and the operator's own over them. `channels`: the names for which there may be texts.
    ///
    /// Reads files, so it is called when a server starts. Every file must be right as a whole.
    pub fn with_own(own: &OwnTexts, channels: &[LegName]) -> Result<Arc<Self>, TextsError> {
        let built_in = built_in_sources()?;
        let found = match &own.folder {
            Some(folder) => folder::read(folder, channels)?,
            None => folder::Found::default(),
        };
        let shapes = Shapes::of_english(&built_in)?;
        for source in found.for_all.iter().chain(found.of_channels.values().flatten()) {
            check::check(source, &shapes)?;
        }
        let default = own.default_language.tag();
        let mut all = Self::of_sources(&[&built_in, &found.for_all], default)?;
        for (channel, sources) in &found.of_channels {
            let texts = Self::of_sources(&[&built_in, &found.for_all, sources], default)?;
            all.of_channels.insert(channel.clone(), Arc::new(texts));
        }
        for texts in std::iter::once(&all).chain(all.of_channels.values().map(|texts| &**texts)) {
            for language in &texts.languages {
                check::try_out(language, &shapes)?;
            }
        }
        Ok(Arc::new(all))
    }

    /// Layers of files, each over the one before.
    fn of_sources(layers: &[&[Source]], default: &LanguageIdentifier) -> Result<Self, TextsError> {
        let mut by_tag: BTreeMap<String, Vec<&Source>> = BTreeMap::new();
        for source in layers.iter().copied().flatten() {
            by_tag.entry(source.tag.to_string()).or_default().push(source);
        }
        let directions = LocaleDirectionality::new_common();
        // Those that others fall back to are made before them: English has everything, then the other built-in ones, the default.
        let mut order: Vec<&Vec<&Source>> = by_tag.values().collect();
        let is_built_in = |tag: &LanguageIdentifier| BUILT_IN.iter().any(|(built_in, _)| *built_in == tag.to_string());
        order.sort_by_key(|sources| {
            let tag = sources.first().map(|source| &source.tag);
            let is_english = tag.is_some_and(|tag| *tag == Locale::ENGLISH);
            (!is_english, !tag.is_some_and(is_built_in), tag != Some(default))
        });
        let mut texts: Option<Self> = None;
        for sources in order {
            let Some(first) = sources.first() else { continue };
            let fallback = texts.as_ref().map(|texts| texts.fallback(&first.tag));
            let language = Arc::new(Language::read(sources, fallback, &directions)?);
            let texts = texts.get_or_insert_with(|| Self {
                languages: Vec::new(),
                default: Arc::clone(&language),
                of_channels: BTreeMap::new(),
            });
            texts.languages.push(language);
            // What comes after may fall back to it.
            if let Some(nearest) = texts.nearest(default) {
                texts.default = Arc::clone(nearest);
            }
        }
        let mut texts = texts.ok_or_else(|| TextsError::new("texts", "there are none"))?;
        if texts.nearest(default).is_none() {
            return Err(no_default(default));
        }
        texts.languages.sort_by_key(|language| language.tag().to_string());
        Ok(texts)
    }

    /// Where a language finds what it lacks: in the one that is most like it, else in the default one.
    fn fallback(&self, tag: &LanguageIdentifier) -> Arc<Language> {
        Arc::clone(self.nearest(tag).unwrap_or(&self.default))
    }

    /// The texts of a channel: the operator may have written some for it alone.
    pub fn of_channel(self: &Arc<Self>, channel: &LegName) -> Arc<Self> {
        Arc::clone(self.of_channels.get(channel).unwrap_or(self))
    }

    /// The language of a recipient: the one that was asked for, else the one of their number's country, as far as there are
    /// texts in it; else the default. Where no number is known yet, give `None` for it.
    pub fn language(&self, asked: Option<&Locale>, phone: impl Into<Option<PhoneNumber>>) -> &Language {
        let of_phone = || self.nearest(&language_of(phone.into()?)?);
        let nearest = asked.and_then(|asked| self.nearest(asked.tag())).or_else(of_phone);
        nearest.unwrap_or(&self.default)
    }

    /// All of them, by tag.
    pub fn languages(&self) -> &[Arc<Language>] {
        &self.languages
    }

    fn nearest(&self, wanted: &LanguageIdentifier) -> Option<&Arc<Language>> {
        nearest(&self.languages, |language| (language.tag(), language.maximal()), wanted)
    }
}

/// The language that CLDR would take for that tag: the first that there is on the way from the tag to its parents (`pt-AO`,
/// `pt-PT`, `pt`), else one that is written in the same script. `tags` gives a language's own tag, and that with what is likely.
pub(crate) fn nearest<'a, T>(
    languages: &'a [T],
    tags: impl Fn(&T) -> (&LanguageIdentifier, &LanguageIdentifier),
    wanted: &LanguageIdentifier,
) -> Option<&'a T> {
    let wanted = maximal(wanted);
    let mut parents = LocaleFallbacker::new()
        .for_config(LocaleFallbackConfig::default())
        .fallback_for(DataLocale::from(&wanted));
    while !parents.get().is_unknown() {
        let parent = parents.get();
        let found = languages.iter().find(|language| {
            let (tag, _) = tags(language);
            (tag.language, tag.script, tag.region) == (parent.language, parent.script, parent.region)
        });
        if found.is_some() {
            return found;
        }
        parents.step();
    }
    languages.iter().find(|language| {
        let (_, maximal) = tags(language);
        maximal.language == wanted.language && maximal.script == wanted.script
    })
}

fn built_in_sources() -> Result<Vec<Source>, TextsError> {
    let source = |(tag, text): &(&str, &str)| {
        let place = format!("built-in {tag}.ftl");
        let tag = LanguageIdentifier::try_from_str(tag)
            .map_err(|_| TextsError::new(&place, "its name is no language tag"))?;
        let text = (*text).to_owned();
        Ok(Source { place, tag, text })
    };
    BUILT_IN.iter().map(source).collect()
}

/// A tag with what is likely of the rest: `pt` is `pt-Latn-BR`. What it asks is compiled in.
pub(crate) fn maximal(tag: &LanguageIdentifier) -> LanguageIdentifier {
    let mut tag = tag.clone();
    LocaleExpander::new_extended().maximize(&mut tag);
    tag
}

fn no_default(tag: &LanguageIdentifier) -> TextsError {
    let problem = format!("there are no texts in “{tag}”: put a file {tag}.ftl into texts.folder");
    TextsError::new("texts.default_language", problem)
}

/// `und-IT` of an Italian number: the language is what is most spoken there.
pub(crate) fn language_of(phone: PhoneNumber) -> Option<LanguageIdentifier> {
    let region = Region::try_from_str(&Country::of(phone).to_string()).ok()?;
    Some(LanguageIdentifier {
        region: Some(region),
        ..LanguageIdentifier::UNKNOWN
    })
}

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tags = self.languages.iter().map(|language| language.tag().to_string());
        f.debug_list().entries(tags).finish()
    }
}

#[cfg(test)]
mod tests;
