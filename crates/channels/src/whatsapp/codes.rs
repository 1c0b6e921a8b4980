//! What the Cloud API's error codes mean to this channel, whether they come as an answer or later in a status: Meta's list under
//! "WhatsApp error codes". The words are ours; what Meta writes beside a code could hold a number, and goes nowhere.

use std::time::Duration;

/// A limit that is counted by the second is tried again after this time at first.
const SHORT: Duration = Duration::from_secs(1);
/// One that is counted by the hour.
const LONG: Duration = Duration::from_mins(1);
/// One recipient gets a message in 6 seconds; a burst is let through and must then be waited for.
const PAIR: Duration = Duration::from_secs(10);
/// A number whose throughput is being raised is away for some minutes.
const MAINTENANCE: Duration = Duration::from_secs(30);

/// What a code means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The number has no WhatsApp, or one that can't show this message: worth remembering.
    NotThere,
    /// This number can't be reached, for a reason that the operator may lift at any time.
    CannotReach,
    /// Too many calls: nothing was sent, and nothing will be for that time. Doubled while it goes on.
    Busy(Duration),
    /// Too many messages to this number: nothing was sent.
    BusyNumber(Duration),
    /// Every message is refused until the operator acts.
    Operator,
    /// Something went wrong there: the message may have been sent.
    UnknownOutcome,
    /// Anything else: it won't take this message.
    Refused,
}

/// What a code means, and in words; `None` for a code that isn't known here.
pub(super) fn known(code: i64) -> Option<(Meaning, &'static str)> {
    use Meaning::{Busy, BusyNumber, CannotReach, NotThere, Operator, Refused, UnknownOutcome};
    let known = match code {
        131_026 => (
            NotThere,
            "not on WhatsApp, or the app there is too old or its terms aren’t accepted",
        ),
        131_021 => (CannotReach, "it is the sender’s own number"),
        131_030 => (
            CannotReach,
            "the app is in development, and the number isn’t in its list of recipients",
        ),
        130_497 => (CannotReach, "the business may not write to people of that country"),
        4 => (Busy(LONG), "too many calls by the app"),
        80_007 => (Busy(LONG), "too many calls for the business account"),
        130_429 => (Busy(SHORT), "too many messages at once"),
        133_016 => (Busy(LONG), "the number was registered too often"),
        131_057 => (Busy(MAINTENANCE), "the business number is in maintenance"),
        131_056 => (BusyNumber(PAIR), "too many messages to this number"),
        0 => (Operator, "the access token isn’t accepted"),
        190 => (Operator, "the access token isn’t valid any more"),
        3 | 10 | 200..=299 => (Operator, "the access token lacks a permission"),
        131_005 => (Operator, "access is denied: a permission is missing or was taken away"),
        33 | 133_010 => (Operator, "the business number isn’t registered with the Cloud API"),
        368 | 131_031 => (Operator, "the business account is locked or restricted by Meta"),
        131_042 => (
            Operator,
            "there is a problem with the payment method of the business account",
        ),
        131_037 => (Operator, "the display name of the business number isn’t approved"),
        131_045 => (
            Operator,
            "the certificate of the business number is wrong: register it anew",
        ),
        131_048 => (
            Operator,
            "sending is limited, since people blocked or reported earlier messages",
        ),
        131_064 => (Operator, "the messaging limit of the business is reached"),
        132_000 | 132_012 => (Operator, "the template has other parameters than a code and its button"),
        132_001 => (Operator, "there is no approved template of that name in that language"),
        132_005 | 132_007 | 132_008 => (Operator, "the template can’t carry the code"),
        132_015 => (Operator, "the template is paused for its quality"),
        132_016 => (Operator, "the template was disabled for its quality"),
        100 | 131_008 | 131_009 => (Operator, "a parameter isn’t accepted: see phone_number_id and template"),
        1 | 131_000 | 135_000 => (UnknownOutcome, "something went wrong at Meta"),
        2 | 131_016 => (UnknownOutcome, "Meta’s service is down or overloaded"),
        130_472 => (Refused, "the number is part of an experiment of Meta’s"),
        131_047 => (Refused, "only a template may be sent now"),
        131_049 => (Refused, "Meta didn’t deliver it, for the sake of its users"),
        131_050 => (Refused, "the recipient stopped such messages"),
        131_051 => (Refused, "the kind of message isn’t supported"),
        _ => return None,
    };
    Some(known)
}

/// A code in words, for the timeline: no text of Meta's.
pub(super) fn describe(code: i64) -> String {
    match known(code) {
        Some((_, words)) => format!("{code}: {words}"),
        None => format!("error {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_says_who_can_do_something_about_it() {
        for (code, meaning) in [
            (131_026, Meaning::NotThere),
            (131_030, Meaning::CannotReach),
            (131_021, Meaning::CannotReach),
            (130_429, Meaning::Busy(SHORT)),
            (80_007, Meaning::Busy(LONG)),
            (131_056, Meaning::BusyNumber(PAIR)),
            (190, Meaning::Operator),
            (200, Meaning::Operator),
            (299, Meaning::Operator),
            (132_001, Meaning::Operator),
            (132_015, Meaning::Operator),
            (131_042, Meaning::Operator),
            (131_000, Meaning::UnknownOutcome),
            (131_016, Meaning::UnknownOutcome),
            (131_047, Meaning::Refused),
        ] {
            assert_eq!(known(code).map(|(meaning, _)| meaning), Some(meaning), "{code}");
        }
        for code in [-1, 5, 199, 300, 132_017, i64::MAX] {
            assert_eq!(known(code), None, "{code}");
        }
        assert_eq!(describe(131_056), "131056: too many messages to this number");
        assert_eq!(describe(777), "error 777");
    }
}
