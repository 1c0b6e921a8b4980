//! The words that people answer with, on every channel whose recipients write in their own words: SMS of any kind, WhatsApp.

/// What a phone wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Nothing more over this channel, whichever account sends it.
    Stop,
    /// Messages again.
    Start,
    /// They asked for no code.
    NotMe,
}

/// Reads words as people write them: case, spaces and punctuation don't count.
pub(crate) fn wish_of(written: &str) -> Option<Wish> {
    let word: String = written
        .chars()
        .filter(|char| char.is_alphanumeric())
        .take(24)
        .flat_map(char::to_uppercase)
        .collect();
    match word.as_str() {
        "STOP" | "STOPALL" | "UNSUBSCRIBE" | "CANCEL" | "END" | "QUIT" => Some(Wish::Stop),
        "START" | "UNSTOP" => Some(Wish::Start),
        "NO" | "NOTME" | "WASNTME" | "ITWASNTME" | "ITWASNOTME" => Some(Wish::NotMe),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_known_however_they_are_written() {
        for text in [
            "STOP",
            " stop ",
            "Stop.",
            "s t o p",
            "STOP ALL",
            "unsubscribe",
            "Cancel!",
            "end",
            "QUIT",
        ] {
            assert_eq!(wish_of(text), Some(Wish::Stop), "{text}");
        }
        for text in ["start", "UNSTOP"] {
            assert_eq!(wish_of(text), Some(Wish::Start), "{text}");
        }
        for text in ["no", "NO!", "Not me", "wasn’t me", "It wasn't me."] {
            assert_eq!(wish_of(text), Some(Wish::NotMe), "{text}");
        }
        for text in [
            "",
            "Yes",
            "stop it please, I will call you",
            "nobody",
            "12345",
            "\u{fffd}",
        ] {
            assert_eq!(wish_of(text), None, "{text}");
        }
    }
}
