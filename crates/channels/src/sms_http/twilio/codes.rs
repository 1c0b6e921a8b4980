//! Twilio's error codes that this channel meets (twilio.com/docs/api/errors): what each means for a message, and words for it. Their
//! own words aren't shown: a number may be in them.

/// What an error means for a message that was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The number can't be reached this way.
    CannotReach,
    /// Too much at once; nothing was sent.
    Later,
    /// No message goes until the operator acts.
    Mend,
    /// This message isn't taken.
    Refused,
}

use Meaning::{CannotReach, Later, Mend, Refused};

/// By code. The ones from 30000 on come later, as a message's fate.
static CODES: &[(u64, Meaning, &str)] = &[
    (20003, Mend, "Twilio refuses the credentials"),
    (20005, Mend, "the account isn’t active"),
    (20006, Mend, "access is denied"),
    (20008, Mend, "test credentials can’t do this"),
    (20403, Mend, "access is forbidden"),
    (20404, Mend, "Twilio knows no such account"),
    (20429, Later, "too many calls at once"),
    (21211, CannotReach, "not a valid number"),
    (21212, Mend, "`from` isn’t valid"),
    (21214, CannotReach, "the number can’t be reached"),
    (21217, CannotReach, "the number doesn’t seem to be valid"),
    (
        21408,
        CannotReach,
        "messages to this country aren’t permitted in the account (Messaging, Geo permissions)",
    ),
    (21602, Refused, "the text is empty"),
    (21603, Mend, "neither a `from` nor a messaging service"),
    (
        21606,
        Mend,
        "`from` is no number of this account that can send messages",
    ),
    (21608, Mend, "a trial account sends to verified numbers only"),
    (
        21609,
        Mend,
        "the address for callbacks isn’t valid: look at server.public_url",
    ),
    (21610, CannotReach, "the recipient wrote STOP"),
    (21611, Later, "the queue of `from` is full"),
    (21612, CannotReach, "`from` can’t reach this number"),
    (21614, CannotReach, "not a mobile number"),
    (21617, Refused, "the text is longer than 1,600 characters"),
    (21635, CannotReach, "a fixed line"),
    (21657, Mend, "the sender’s name isn’t valid"),
    (
        21659,
        Mend,
        "`from` is no number of Twilio’s, or a short code of another country",
    ),
    (21660, Mend, "`from` belongs to another account"),
    (21661, Mend, "`from` can’t send SMS"),
    (21701, Mend, "the messaging service doesn’t exist"),
    (21702, Mend, "the messaging service isn’t available"),
    (21703, Mend, "the messaging service has no number for this message"),
    (21704, Mend, "the messaging service has no numbers"),
    (21705, Mend, "the messaging service isn’t valid"),
    (30001, Later, "the queue was full"),
    (30002, Mend, "the account is suspended"),
    (30003, CannotReach, "the phone is off or out of reach"),
    (30004, CannotReach, "blocked: the phone takes no messages"),
    (30005, CannotReach, "an unknown number"),
    (30006, CannotReach, "a fixed line, or a network that can’t be reached"),
    (30007, Refused, "filtered by the network"),
    (30008, Refused, "the network says no reason"),
    (30010, Refused, "dearer than allowed"),
    (
        30022,
        Later,
        "more than the network allows a registered sender (A2P 10DLC)",
    ),
    (
        30023,
        Refused,
        "the day’s limit of the registered sender is used up (A2P 10DLC)",
    ),
    (30032, Mend, "the toll-free number isn’t verified"),
    (30034, Mend, "the number isn’t registered (A2P 10DLC)"),
    (30036, Refused, "its life was over before Twilio could send it"),
    (30410, Refused, "the network didn’t answer in time"),
    (30450, Refused, "held back: it looks like SMS pumping"),
    (63038, Mend, "the account’s limit of messages a day is used up"),
];

/// What a code means; `None` where it isn't known here.
pub(super) fn meaning(code: u64) -> Option<Meaning> {
    find(code).map(|(meaning, _)| meaning)
}

/// A code in words.
pub(super) fn words(code: u64) -> String {
    match find(code) {
        Some((_, words)) => format!("{words} (Twilio’s error {code})"),
        None => format!("Twilio’s error {code}: see twilio.com/docs/api/errors/{code}"),
    }
}

fn find(code: u64) -> Option<(Meaning, &'static str)> {
    let place = CODES.binary_search_by_key(&code, |(of, ..)| *of).ok()?;
    CODES.get(place).map(|(_, meaning, words)| (*meaning, *words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_table_is_found() {
        assert!(CODES.is_sorted_by(|a, b| a.0 < b.0));
        for (code, meaning_there, _) in CODES {
            assert_eq!(meaning(*code), Some(*meaning_there));
            assert!(words(*code).contains(&code.to_string()));
        }
        assert_eq!(meaning(1), None);
        assert!(words(21_999).contains("docs/api/errors/21999"));
    }
}
