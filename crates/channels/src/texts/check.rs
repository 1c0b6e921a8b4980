//! Whether a file of texts can be used: it is Fluent, each of its ids is one of ours, and each text shows what it is given and
//! nothing else. A mistake is found when the server starts, with its line, and not by a recipient.

use std::collections::{BTreeMap, BTreeSet};

use countersign_core::Locale;
use fluent_syntax::ast::{
    CallArguments, Entry, Expression, InlineExpression, Message, Pattern, PatternElement, Resource,
};
use fluent_syntax::parser;

use super::{Argument, Language, Source, TextsError};

/// The longest text once it is filled in, in characters. Telegram's answers to a pressed button take 200.
const MAX_CHARS: usize = 1_000;
const MAX_ANSWER_CHARS: usize = 200;
/// What a code is in a text.
const CODE: &str = "code";
/// Counts for which languages have different words.
const COUNTS: [u32; 9] = [0, 1, 2, 3, 5, 11, 21, 100, 1_440];

/// Which texts there are, as the built-in English ones say.
pub(super) struct Shapes(BTreeMap<String, Shape>);

/// What one text is given.
#[derive(Default)]
pub(super) struct Shape {
    /// Each with whether it is a number.
    pub(super) arguments: BTreeMap<String, bool>,
    /// Whether it makes no sense without the code.
    shows_code: bool,
}

impl Shapes {
    pub(super) fn of_english(built_in: &[Source]) -> Result<Self, TextsError> {
        let english = built_in.iter().find(|source| source.tag == Locale::ENGLISH);
        Self::of_file(english.ok_or_else(|| TextsError::new("built-in texts", "English is missing"))?)
    }

    /// Which texts a file has.
    pub(super) fn of_file(source: &Source) -> Result<Self, TextsError> {
        let resource = parse(source)?;
        let mut shapes = BTreeMap::new();
        for entry in &resource.body {
            if let Entry::Message(message) = entry
                && let Some(pattern) = &message.value
            {
                let seen = Seen::of(Some(pattern));
                let mut arguments: BTreeMap<String, bool> =
                    seen.variables.iter().map(|name| ((*name).to_owned(), false)).collect();
                for name in seen.selectors {
                    arguments.insert(name.to_owned(), true);
                }
                let shape = Shape {
                    shows_code: shows(pattern, CODE),
                    arguments,
                };
                shapes.insert(message.id.name.to_owned(), shape);
            }
        }
        Ok(Self(shapes))
    }

    pub(super) fn get(&self, id: &str) -> Option<&Shape> {
        self.0.get(id)
    }

    /// By id.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Shape)> {
        self.0.iter().map(|(id, shape)| (id.as_str(), shape))
    }
}

fn parse(source: &Source) -> Result<Resource<&str>, TextsError> {
    parser::parse(source.text.as_str()).map_err(|(_, errors)| match errors.first() {
        Some(error) => at(source, error.pos.start, &format!("this is no Fluent: {error}")),
        None => TextsError::new(&source.place, "this is no Fluent"),
    })
}

/// An error with the line in which a byte is.
fn at(source: &Source, byte: usize, problem: &str) -> TextsError {
    let before = source.text.as_bytes().iter().take(byte);
    let line = 1 + before.filter(|byte| **byte == b'\n').count();
    TextsError::new(format_args!("{}, line {line}", source.place), problem)
}

/// Where a part of a file's text begins.
fn place_of(source: &Source, part: &str) -> usize {
    part.as_ptr().addr().saturating_sub(source.text.as_ptr().addr())
}

/// Checks one file by itself.
pub(super) fn check(source: &Source, shapes: &Shapes) -> Result<(), TextsError> {
    let resource = parse(source)?;
    let mut terms = BTreeSet::new();
    for entry in &resource.body {
        if let Entry::Term(term) = entry {
            terms.insert(term.id.name);
        }
    }
    let mut known = BTreeSet::new();
    for entry in &resource.body {
        let (name, seen) = match entry {
            Entry::Message(message) => (message.id.name, Seen::of(message.value.as_ref())),
            Entry::Term(term) => (term.id.name, Seen::of(Some(&term.value))),
            _ => continue,
        };
        let error = |problem: &str| at(source, place_of(source, name), &format!("{name} {problem}"));
        if let Entry::Message(message) = entry {
            let shape = shapes.get(name);
            let shape = shape
                .ok_or_else(|| error("is no text of ours, so it would never be used; docs/texts.md lists their ids"))?;
            if !known.insert(name) {
                return Err(error("stands here for the second time"));
            }
            check_message(message, &seen, shape).map_err(|problem| error(&problem))?;
        }
        if let Some(function) = seen.functions.first() {
            return Err(error(&format!("calls {function}(), and there are no functions")));
        }
        if let Some(term) = seen.terms.iter().find(|term| !terms.contains(**term)) {
            return Err(error(&format!("shows {{ -{term} }}, which isn’t defined in this file")));
        }
        if let Some(message) = seen.messages.first() {
            return Err(error(&shows_another(message)));
        }
    }
    Ok(())
}

/// What is wrong with a text of ours.
fn check_message(message: &Message<&str>, seen: &Seen<'_>, shape: &Shape) -> Result<(), String> {
    let Some(pattern) = message.value.as_ref() else {
        return Err("is empty".to_owned());
    };
    if !message.attributes.is_empty() {
        return Err("has attributes, which nothing reads".to_owned());
    }
    if let Some(another) = seen.messages.first() {
        return Err(shows_another(another));
    }
    if let Some(variable) = seen.variables.iter().find(|name| !shape.arguments.contains_key(**name)) {
        let given: Vec<_> = shape.arguments.keys().map(|name| format!("{{ ${name} }}")).collect();
        let given = if given.is_empty() {
            "nothing".to_owned()
        } else {
            given.join(", ")
        };
        return Err(format!("shows {{ ${variable} }}, but it is given {given}"));
    }
    if shape.shows_code && !shows(pattern, CODE) {
        return Err("doesn’t show { $code } in each of its wordings".to_owned());
    }
    Ok(())
}

fn shows_another(message: &str) -> String {
    format!("shows {{ {message} }}, another text: write {{ ${message} }} for what it is given")
}

/// Fills every text of a language in, as its arguments may be, and looks at what comes out.
pub(super) fn try_out(language: &Language, shapes: &Shapes) -> Result<(), TextsError> {
    for (id, shape) in shapes.iter() {
        let counts = shape.arguments.values().any(|is_number| *is_number);
        for count in COUNTS.into_iter().take(if counts { COUNTS.len() } else { 1 }) {
            let arguments: Vec<(&str, Argument<'_>)> = shape
                .arguments
                .iter()
                .map(|(name, is_number)| {
                    let value = if *is_number {
                        Argument::Number(count)
                    } else {
                        Argument::Text("482913")
                    };
                    (name.as_str(), value)
                })
                .collect();
            let mut errors = Vec::new();
            let text = language.format(id, &arguments, &mut errors);
            let error = |problem: &str| TextsError::new(language.place(), format!("{id} {problem}"));
            if let Some(problem) = errors.first() {
                return Err(error(&format!("can’t be filled in: {problem}")));
            }
            let most = if id.contains("-answer") {
                MAX_ANSWER_CHARS
            } else {
                MAX_CHARS
            };
            if text.trim().is_empty() || text.chars().count() > most {
                return Err(error(&format!("must have 1 to {most} characters")));
            }
            let must_be_a_line = id.starts_with("sms-") || id.contains("-subject") || id.contains("-button");
            if must_be_a_line && text.contains(['\n', '\r']) {
                return Err(error("must be one line"));
            }
        }
    }
    Ok(())
}

/// What a pattern refers to.
#[derive(Default)]
struct Seen<'a> {
    variables: BTreeSet<&'a str>,
    /// The variables by which words are chosen.
    selectors: BTreeSet<&'a str>,
    messages: Vec<&'a str>,
    terms: BTreeSet<&'a str>,
    functions: Vec<&'a str>,
}

impl<'a> Seen<'a> {
    fn of(pattern: Option<&Pattern<&'a str>>) -> Self {
        let mut seen = Self::default();
        if let Some(pattern) = pattern {
            seen.pattern(pattern);
        }
        seen
    }

    fn pattern(&mut self, pattern: &Pattern<&'a str>) {
        for element in &pattern.elements {
            if let PatternElement::Placeable { expression } = element {
                self.expression(expression);
            }
        }
    }

    fn expression(&mut self, expression: &Expression<&'a str>) {
        match expression {
            Expression::Inline(inline) => self.inline(inline),
            Expression::Select { selector, variants } => {
                if let InlineExpression::VariableReference { id } = selector {
                    self.selectors.insert(id.name);
                }
                self.inline(selector);
                for variant in variants {
                    self.pattern(&variant.value);
                }
            }
        }
    }

    fn inline(&mut self, inline: &InlineExpression<&'a str>) {
        match inline {
            InlineExpression::VariableReference { id } => {
                self.variables.insert(id.name);
            }
            InlineExpression::MessageReference { id, .. } => self.messages.push(id.name),
            InlineExpression::TermReference { id, arguments, .. } => {
                self.terms.insert(id.name);
                if let Some(arguments) = arguments {
                    self.arguments(arguments);
                }
            }
            InlineExpression::FunctionReference { id, arguments } => {
                self.functions.push(id.name);
                self.arguments(arguments);
            }
            InlineExpression::Placeable { expression } => self.expression(expression),
            InlineExpression::StringLiteral { .. } | InlineExpression::NumberLiteral { .. } => {}
        }
    }

    fn arguments(&mut self, arguments: &CallArguments<&'a str>) {
        let named = arguments.named.iter().map(|argument| &argument.value);
        for value in arguments.positional.iter().chain(named) {
            self.inline(value);
        }
    }
}

/// Whether a pattern shows a variable, whichever of its words are chosen.
fn shows(pattern: &Pattern<&str>, name: &str) -> bool {
    pattern.elements.iter().any(|element| match element {
        PatternElement::TextElement { .. } => false,
        PatternElement::Placeable { expression } => expression_shows(expression, name),
    })
}

fn expression_shows(expression: &Expression<&str>, name: &str) -> bool {
    match expression {
        Expression::Select { variants, .. } => variants.iter().all(|variant| shows(&variant.value, name)),
        Expression::Inline(InlineExpression::VariableReference { id }) => id.name == name,
        Expression::Inline(InlineExpression::Placeable { expression }) => expression_shows(expression, name),
        Expression::Inline(_) => false,
    }
}
