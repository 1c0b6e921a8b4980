//! What it means for a message when something went wrong on its way: by how far it had come, and by what the server answered. Texts of
//! servers go into timelines and logs: without whole addresses, and without the code.

use std::time::Duration;

use countersign_core::Detail;

use super::connection::{DialError, Phase, Step, Trouble};
use crate::Handover;

/// A message that a server doesn't take at the moment is handed over again after that time: greylisting wants some, and the message lives
/// for minutes.
const AGAIN: Duration = Duration::from_secs(20);

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) handover: Handover,
    /// Only the operator can mend it.
    pub(super) is_for_operator: bool,
}

impl Judgement {
    const fn of(handover: Handover) -> Self {
        Self {
            handover,
            is_for_operator: false,
        }
    }

    fn for_operator(detail: &str) -> Self {
        Self {
            handover: Handover::Refused(Detail::new(detail)),
            is_for_operator: true,
        }
    }

    fn failed_for_operator(detail: &str) -> Self {
        Self {
            handover: Handover::Failed(Detail::new(detail)),
            is_for_operator: true,
        }
    }
}

/// What may not stand in a text, wherever the other side repeats it.
#[derive(Clone, Copy, Default)]
pub(super) struct Hidden<'a> {
    pub(super) code: &'a str,
    /// The recipient's.
    pub(super) address: &'a str,
}

/// A message that didn't go, or of which it is unknown. `is_over`: it was waited long enough for a server that says nothing.
pub(super) fn of_message(
    phase: Phase,
    trouble: &Trouble,
    hidden: Hidden<'_>,
    is_over: bool,
    life_left: Duration,
) -> Judgement {
    let words = in_words(trouble, hidden);
    let detail = || Detail::new(&words);
    match (phase, trouble) {
        (_, Trouble::Reply { code, text }) => match (*code, enhanced(text)) {
            // A full mailbox stays so for longer than a code lives.
            (_, Some((_, 2, 2))) => Judgement::of(Handover::CannotReach(detail())),
            (400..=499, _) => Judgement::of(later(&words, life_left)),
            (530 | 534 | 535 | 538, _) => Judgement::for_operator(&words),
            (_, _) if phase == Phase::Sender => Judgement::for_operator(&words),
            (_, Some((5, 1 | 2, _))) => Judgement::of(Handover::CannotReach(detail())),
            (550 | 551 | 552 | 553 | 556, None | Some((5, 0, _))) if phase == Phase::Recipient => {
                Judgement::of(Handover::CannotReach(detail()))
            }
            _ => Judgement::of(Handover::Refused(detail())),
        },
        (Phase::Content, _) => {
            let words = format!("it may have been sent: {words}");
            Judgement::of(Handover::Failed(Detail::new(&words)))
        }
        _ if is_over => Judgement::failed_for_operator(&words),
        _ => Judgement::of(later(&words, life_left)),
    }
}

/// A message for which there is no connection: nothing was sent. `is_over`: it was waited long enough for one.
pub(super) fn of_dial(error: &DialError, is_over: bool, life_left: Duration) -> Judgement {
    let words = no_connection(error);
    match (error.step, &error.trouble) {
        (Step::Authenticate, Trouble::Reply { code: 500..=599, .. } | Trouble::NotOffered(_)) => {
            Judgement::for_operator(&words)
        }
        (
            Step::StartTls | Step::Tls,
            Trouble::Lost(_) | Trouble::Garbage | Trouble::NotOffered(_) | Trouble::Reply { code: 500..=599, .. },
        ) => Judgement::failed_for_operator(&words),
        _ if is_over => Judgement::failed_for_operator(&words),
        (_, Trouble::Reply { code: 500..=599, .. } | Trouble::Garbage) => {
            Judgement::of(Handover::Failed(Detail::new(&words)))
        }
        _ => Judgement::of(later_in(Duration::from_secs(1), &words, life_left)),
    }
}

fn later(words: &str, life_left: Duration) -> Handover {
    later_in(AGAIN, words, life_left)
}

fn later_in(wait: Duration, words: &str, life_left: Duration) -> Handover {
    Handover::later_or_refused(wait, life_left, Detail::new(&format!("not in time: {words}")))
}

/// Why there is no connection, in one line.
pub(super) fn no_connection(error: &DialError) -> String {
    let why = match &error.trouble {
        Trouble::Lost(why) => scrub(why, Hidden::default()),
        other => in_words(other, Hidden::default()),
    };
    format!("{}: {why}", step_in_words(error.step))
}

const fn step_in_words(step: Step) -> &'static str {
    match step {
        Step::Resolve => "the mail server’s name can’t be resolved",
        Step::Connect => "no connection to the mail server",
        Step::Greeting => "the mail server doesn’t greet",
        Step::StartTls => "the mail server doesn’t begin TLS",
        Step::Tls => "no TLS with the mail server",
        Step::Hello => "the mail server doesn’t answer EHLO",
        Step::Authenticate => "the mail server doesn’t let this server sign in",
    }
}

/// What a server said, or what happened, in one line.
pub(super) fn in_words(trouble: &Trouble, hidden: Hidden<'_>) -> String {
    match trouble {
        Trouble::Reply { code, text } => format!("{code} {}", scrub(text, hidden)),
        Trouble::Lost(why) => format!("the connection was lost ({})", scrub(why, hidden)),
        Trouble::TimedOut => "no answer in time".to_owned(),
        Trouble::Garbage => "the answer makes no sense".to_owned(),
        Trouble::NotOffered(what) => format!("it doesn’t offer {what}"),
    }
}

/// The enhanced status at the beginning of a reply's text (RFC 3463), such as `5.1.1`.
pub(super) fn enhanced(text: &str) -> Option<(u16, u16, u16)> {
    let word = text.split_ascii_whitespace().next()?;
    let mut numbers = word.splitn(3, '.').map(|part| part.parse().ok());
    let class = numbers.next()??;
    let status = (class, numbers.next()??, numbers.next()??);
    matches!(class, 2 | 4 | 5).then_some(status)
}

/// A text of the other side in one line: without the code and the recipient's name, and without what stands before any `@`.
pub(super) fn scrub(text: &str, hidden: Hidden<'_>) -> String {
    let mut text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((local, _)) = hidden.address.rsplit_once('@') {
        text = without_word(&text, local);
        text = without_word(&text, local.trim_matches('"'));
    }
    if !hidden.code.is_empty() {
        text = text.replace(hidden.code, "…");
    }
    without_local_parts(&text)
}

/// `word` becomes an ellipsis in whatever case it is written, where no letter and no digit adjoins it.
fn without_word(text: &str, word: &str) -> String {
    if word.is_empty() {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let after = rest
            .get(..word.len())
            .filter(|found| found.to_lowercase() == word.to_lowercase())
            .and_then(|_| rest.get(word.len()..));
        let adjoins = |char: Option<char>| char.is_some_and(char::is_alphanumeric);
        match after {
            Some(after) if !adjoins(shown.chars().next_back()) && !adjoins(after.chars().next()) => {
                shown.push('…');
                rest = after;
            }
            _ => {
                shown.push(next);
                rest = rest.get(next.len_utf8()..).unwrap_or_default();
            }
        }
    }
    shown
}

/// What stands before an `@` becomes an ellipsis: back to the quote that it begins with, or to what no address has.
fn without_local_parts(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        if char == '@' {
            let is_end = |char: char| char.is_whitespace() || matches!(char, '<' | '(' | '[' | ',' | ';');
            let begins = if let Some(quoted) = shown.strip_suffix('"') {
                opening_quote(quoted)
            } else {
                let mut ends = shown.char_indices().rev().filter(|(_, char)| is_end(*char));
                ends.next().map_or(0, |(at, char)| at + char.len_utf8())
            };
            if begins < shown.len() {
                shown.truncate(begins);
                shown.push('…');
            }
        }
        shown.push(char);
    }
    shown
}

/// Where a quoted text begins; its last quote is taken off already.
fn opening_quote(text: &str) -> usize {
    let mut quotes = text.rmatch_indices('"').map(|(at, _)| at);
    quotes.find(|at| !text[..*at].ends_with('\\')).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_mins(5);
    const HIDDEN: Hidden<'static> = Hidden {
        code: "123456",
        address: "ida@example.com",
    };

    fn judged(phase: Phase, code: u16, text: &str) -> Judgement {
        let text = text.to_owned();
        of_message(phase, &Trouble::Reply { code, text }, HIDDEN, false, LIFE)
    }

    fn kind(judgement: &Judgement) -> &'static str {
        match (&judgement.handover, judgement.is_for_operator) {
            (Handover::Later(_), false) => "later",
            (Handover::CannotReach(_), false) => "cannot reach",
            (Handover::Refused(_), false) => "refused",
            (Handover::Refused(_), true) => "operator",
            (Handover::Failed(_), false) => "failed",
            (Handover::Failed(_), true) => "failed, operator",
            _ => "other",
        }
    }

    #[test]
    fn a_reply_means_what_its_phase_and_its_status_say() {
        for (phase, code, text, meaning) in [
            (Phase::Recipient, 550, "5.1.1 <ida@example.com> unknown", "cannot reach"),
            (Phase::Recipient, 550, "No such user here", "cannot reach"),
            (Phase::Recipient, 551, "User not local", "cannot reach"),
            (Phase::Recipient, 553, "Mailbox name not allowed", "cannot reach"),
            (Phase::Recipient, 552, "5.2.2 Mailbox full", "cannot reach"),
            (Phase::Recipient, 452, "4.2.2 Mailbox full", "cannot reach"),
            (Phase::Recipient, 556, "5.1.10 Null MX", "cannot reach"),
            (Phase::Recipient, 550, "5.7.1 Relay access denied", "refused"),
            (Phase::Recipient, 554, "5.7.1 Relay access denied", "refused"),
            (Phase::Recipient, 450, "4.2.0 Greylisted", "later"),
            (Phase::Recipient, 451, "4.7.1 try again", "later"),
            (Phase::Sender, 421, "too many connections", "later"),
            (Phase::Sender, 452, "4.3.1 system storage", "later"),
            (Phase::Sender, 530, "5.7.0 Authentication required", "operator"),
            (Phase::Sender, 550, "5.7.1 not your address", "operator"),
            (Phase::BeforeContent, 554, "no valid recipients", "refused"),
            (Phase::Content, 554, "5.7.1 spam", "refused"),
            (Phase::Content, 550, "5.1.1 unknown after all", "cannot reach"),
            (Phase::Content, 451, "4.3.0 queue file", "later"),
        ] {
            assert_eq!(kind(&judged(phase, code, text)), meaning, "{phase:?} {code} {text}");
        }
    }

    #[test]
    fn what_is_lost_before_the_content_waits_and_after_it_has_failed() {
        let troubles = [Trouble::Lost("reset".to_owned()), Trouble::TimedOut, Trouble::Garbage];
        for trouble in troubles {
            for phase in [Phase::Sender, Phase::Recipient, Phase::BeforeContent] {
                assert_eq!(kind(&of_message(phase, &trouble, HIDDEN, false, LIFE)), "later");
                let over = of_message(phase, &trouble, HIDDEN, true, LIFE);
                assert_eq!(kind(&over), "failed, operator");
            }
            for is_over in [false, true] {
                let judged = of_message(Phase::Content, &trouble, HIDDEN, is_over, LIFE);
                assert_eq!(kind(&judged), "failed");
            }
        }
    }

    #[test]
    fn a_message_that_can_not_wait_makes_way_for_the_next_leg() {
        let greylisted = Trouble::Reply {
            code: 450,
            text: "4.2.0 Greylisted".to_owned(),
        };
        // After the pause no other leg could start.
        let judged = of_message(Phase::Recipient, &greylisted, HIDDEN, false, Duration::from_secs(30));
        assert_eq!(kind(&judged), "refused");
    }

    #[test]
    fn no_detail_holds_an_address_or_the_code() {
        let judged = judged(
            Phase::Content,
            554,
            "5.7.1 <ida@example.com>: \"123456 is your code\" by ida@example.com looks bad",
        );
        let detail = format!("{:?}", judged.handover);
        assert!(!detail.contains("ida@") && !detail.contains("123456"), "{detail}");
        assert!(detail.contains("<…@example.com>:"), "{detail}");
    }

    #[test]
    fn no_name_before_an_at_sign_is_shown_however_it_is_written() {
        for (text, shown) in [
            ("rcpt=ida:x@example.com is bad", "…@example.com is bad"),
            ("<a@example.com>,<b@example.com>", "<…@example.com>,<…@example.com>"),
            ("\"max b\"@example.com unknown", "…@example.com unknown"),
            ("no \"a \\\"b\"@example.com here", "no …@example.com here"),
            ("no such user: IDA (ida) in idas box", "no such user: … (…) in idas box"),
            ("relay a@b@example.com", "relay …@example.com"),
            ("x=123456,code:123456;", "x=…,code:…;"),
            ("at @ and\r\n  \tß@ö.example", "at @ and …@ö.example"),
            ("", ""),
        ] {
            assert_eq!(scrub(text, HIDDEN), shown, "{text}");
        }
        let quoted = Hidden {
            code: "",
            address: "\"ida b\"@example.com",
        };
        assert_eq!(scrub("user \"ida b\" or ida b?", quoted), "user … or …?");
    }

    proptest::proptest! {
        #[test]
        fn whatever_a_server_says_is_scrubbed_without_a_panic(text in "\\PC{0,60}", address in "[a\"ß.]{0,4}@x") {
            scrub(&text, Hidden { code: "1", address: &address });
        }
    }

    #[test]
    fn an_enhanced_status_is_read_only_where_it_is_one() {
        assert_eq!(enhanced("5.1.1 unknown"), Some((5, 1, 1)));
        for other in ["", "192.0.2 no", "5.1 no", "unknown 5.1.1", "3.0.0 no", "5.1.1.1"] {
            assert_eq!(enhanced(other), None, "{other}");
        }
    }
}
