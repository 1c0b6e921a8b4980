//! What people write back to a short message, whatever brought it: a wish to be left alone (STOP), to be reached again (START), or the
//! word that they asked for no code (NO). The channels that hear phones call it.

use countersign_core::{LegName, PhoneNumber};

use crate::clock;
use crate::ports::{PortError, Ports, Recipient};

/// Letters and digits of an answer that are looked at.
const MAX_CHARS: usize = 24;

/// What a phone wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Nothing more over this channel.
    Stop,
    /// Messages again.
    Start,
    /// It wasn't they who asked for the code.
    NotMe,
}

/// Reads words as people write them: case, spaces and punctuation don't count.
pub(crate) fn wish_of(written: &str) -> Option<Wish> {
    let word: String = written
        .chars()
        .filter(|char| char.is_alphanumeric())
        .take(MAX_CHARS)
        .flat_map(char::to_uppercase)
        .collect();
    match word.as_str() {
        "STOP" | "STOPALL" | "UNSUBSCRIBE" | "CANCEL" | "END" | "QUIT" => Some(Wish::Stop),
        "START" | "UNSTOP" => Some(Wish::Start),
        "NO" | "NOTME" | "WASNTME" | "ITWASNTME" | "ITWASNOTME" => Some(Wish::NotMe),
        _ => None,
    }
}

/// Notes that a phone wants no more messages of a channel, or wants them again, whichever account sends them.
pub(crate) async fn note_stopped(
    ports: &Ports,
    channel: &LegName,
    phone: PhoneNumber,
    stopped: bool,
) -> Result<(), PortError> {
    let recipient = Recipient {
        phone,
        address: String::new(),
        stopped,
        since: clock::now(),
    };
    ports.recipients.put(channel, recipient).await
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
