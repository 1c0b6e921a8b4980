//! Texts with placeholders, and values in their places. Every value is escaped for where it stands: a recipient's or an account's
//! words never become part of a request's form.

use std::fmt::Write as _;

/// Where a text with placeholders stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Url,
    Header,
    Json,
    Form,
    Xml,
    Plain,
}

/// What can be filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    To,
    ToDigits,
    Text,
    Code,
    From,
    Id,
    Ttl,
    CallbackUrl,
    Secret,
}

const NAMES: [(&str, Name); 9] = [
    ("to", Name::To),
    ("to_digits", Name::ToDigits),
    ("text", Name::Text),
    ("code", Name::Code),
    ("from", Name::From),
    ("id", Name::Id),
    ("ttl", Name::Ttl),
    ("callback_url", Name::CallbackUrl),
    ("secret", Name::Secret),
];

/// The values of one message.
pub(super) struct Values<'a> {
    pub(super) to: String,
    pub(super) to_digits: String,
    pub(super) text: &'a str,
    pub(super) code: &'a str,
    pub(super) from: &'a str,
    pub(super) id: &'a str,
    pub(super) ttl: String,
    pub(super) callback_url: &'a str,
    pub(super) secret: &'a str,
}

/// What is hard to fill in: a placeholder that would break its surroundings breaks them with these.
pub(super) fn hard_values() -> Values<'static> {
    Values {
        to: "+4915123456789".to_owned(),
        to_digits: "4915123456789".to_owned(),
        text: "\"A\"\n\\&=<é",
        code: "012345",
        from: "\"A\\",
        id: "cs1.1.2.3",
        ttl: "60".to_owned(),
        callback_url: "https://a.example/?a=\"",
        secret: "\"\\",
    }
}

/// A text with placeholders. It may hold secrets, so it can't be printed.
pub(super) struct Pattern {
    pieces: Vec<Piece>,
    place: Place,
}

enum Piece {
    Literal(String),
    Value(Name),
}

impl Pattern {
    /// Reads a text. The error says what is wrong with it, without showing it.
    pub(super) fn parse(text: &str, place: Place) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(char) = rest.chars().next() {
            let after = &rest[char.len_utf8()..];
            if char == '{' {
                let length = after
                    .find(|char: char| !(char.is_ascii_alphanumeric() || char == '_'))
                    .unwrap_or(after.len());
                let (word, behind) = after.split_at(length);
                if !word.is_empty() && behind.starts_with('}') {
                    if !literal.is_empty() {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    }
                    pieces.push(Piece::Value(name_of(word)?));
                    rest = &behind[1..];
                    continue;
                }
            }
            if matches!(char, '{' | '}') && place != Place::Json {
                return Err(format!(
                    "a {char} that belongs to no placeholder: expected {}",
                    all_names()
                ));
            }
            literal.push(char);
            rest = after;
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self { pieces, place })
    }

    /// The text with its values.
    pub(super) fn fill(&self, values: &Values<'_>) -> String {
        let mut filled = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => filled.push_str(text),
                Piece::Value(name) => push_escaped(&mut filled, values.get(*name), self.place),
            }
        }
        filled
    }

    /// Whether a value is filled in somewhere.
    pub(super) fn uses(&self, name: Name) -> bool {
        let is_it = |piece: &Piece| matches!(piece, Piece::Value(of) if *of == name);
        self.pieces.iter().any(is_it)
    }

    /// What stands before the first value.
    pub(super) fn beginning(&self) -> &str {
        match self.pieces.first() {
            Some(Piece::Literal(text)) => text,
            _ => "",
        }
    }
}

impl Values<'_> {
    fn get(&self, name: Name) -> &str {
        match name {
            Name::To => &self.to,
            Name::ToDigits => &self.to_digits,
            Name::Text => self.text,
            Name::Code => self.code,
            Name::From => self.from,
            Name::Id => self.id,
            Name::Ttl => &self.ttl,
            Name::CallbackUrl => self.callback_url,
            Name::Secret => self.secret,
        }
    }
}

fn name_of(word: &str) -> Result<Name, String> {
    let found = NAMES.iter().find(|(name, _)| *name == word);
    found.map(|(_, name)| *name).ok_or_else(|| {
        // What stands in braces may be a secret by mistake.
        format!("an unknown placeholder: expected {}", all_names())
    })
}

fn all_names() -> String {
    let names: Vec<_> = NAMES.iter().map(|(name, _)| format!("{{{name}}}")).collect();
    names.join(", ")
}

fn push_escaped(text: &mut String, value: &str, place: Place) {
    match place {
        Place::Url | Place::Form => {
            for byte in value.bytes() {
                if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                    text.push(char::from(byte));
                } else {
                    // Writing to a text can't fail.
                    let _ = write!(text, "%{byte:02X}");
                }
            }
        }
        Place::Json => {
            let quoted = serde_json::Value::from(value).to_string();
            text.push_str(quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default());
        }
        Place::Xml => {
            for char in value.chars() {
                match char {
                    '&' => text.push_str("&amp;"),
                    '<' => text.push_str("&lt;"),
                    '>' => text.push_str("&gt;"),
                    '"' => text.push_str("&quot;"),
                    '\'' => text.push_str("&#39;"),
                    // XML has no other control characters.
                    char if char.is_control() && !matches!(char, '\n' | '\t') => text.push(' '),
                    char => text.push(char),
                }
            }
        }
        // A header with what it can't hold is refused as a whole when it is made.
        Place::Header | Place::Plain => text.push_str(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str, place: Place) -> String {
        Pattern::parse(text, place).unwrap().fill(&hard_values())
    }

    #[test]
    fn every_value_is_escaped_for_its_place() {
        assert_eq!(
            filled("https://a.example/{to}?t={text}", Place::Url),
            "https://a.example/%2B4915123456789?t=%22A%22%0A%5C%26%3D%3C%C3%A9"
        );
        assert_eq!(
            filled("t={text}&x=1", Place::Form),
            "t=%22A%22%0A%5C%26%3D%3C%C3%A9&x=1"
        );
        assert_eq!(filled(r#"{"t":"{text}"}"#, Place::Json), r#"{"t":"\"A\"\n\\&=<é"}"#);
        assert_eq!(
            filled("<t>{text}</t>", Place::Xml),
            "<t>&quot;A&quot;\n\\&amp;=&lt;é</t>"
        );
        assert_eq!(filled("Key {secret}", Place::Header), "Key \"\\");
    }

    #[test]
    fn a_value_that_looks_like_a_placeholder_stays_a_value() {
        let values = Values {
            text: "{secret}",
            secret: "hunter2",
            ..hard_values()
        };
        let text = Pattern::parse("{text}", Place::Plain).unwrap().fill(&values);
        assert_eq!(text, "{secret}");
    }

    #[test]
    fn braces_of_json_are_left_alone_and_others_must_be_placeholders() {
        assert_eq!(
            filled(r#"{"a":{},"b":{"c":{ttl}}}"#, Place::Json),
            r#"{"a":{},"b":{"c":60}}"#
        );
        for (text, place) in [
            ("{", Place::Url),
            ("}", Place::Url),
            ("{to", Place::Form),
            ("to}", Place::Form),
            ("{ to }", Place::Header),
            ("{To}", Place::Json),
            ("{hunter2}", Place::Json),
        ] {
            let problem = Pattern::parse(text, place).err().unwrap();
            assert!(problem.contains("expected {to}, {to_digits}"), "{problem}");
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }
}
