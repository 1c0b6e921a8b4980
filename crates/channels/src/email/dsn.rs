//! Reads delivery status notifications (RFC 3464): mail in which a mail server says what became of a message. Which message, and what; whether
//! to believe it is [`super::inbound`]'s to judge.

use mail_parser::{Message, MessageParser, MimeHeaders as _, PartType};

use super::reply::{Hidden, enhanced, scrub};

/// So many recipients of one notification are looked at: ours names one, and an alias may make some of it.
const MAX_RECIPIENTS: usize = 32;
/// So many names are tried as the message's.
const MAX_NAMES: usize = 4;

/// What a notification says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Notification {
    /// What may be the message's name, the most reliable first: what we called its envelope, then its `Message-ID`.
    pub(super) names: Vec<String>,
    pub(super) outcome: Outcome,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// It is on its way still.
    Delayed,
    /// It won't arrive; why.
    Failed(String),
    /// It went to a server that gives no notifications, or to many: nothing more will be heard.
    Passed(&'static str),
    /// It is in the mailbox.
    Delivered,
}

/// `None`: it is no notification, or says nothing that is known here.
pub(super) fn read(mail: &[u8]) -> Option<Notification> {
    let mail = MessageParser::default().parse(mail)?;
    let kind = mail.content_type()?;
    let is_report = kind.ctype().eq_ignore_ascii_case("multipart")
        && kind
            .subtype()
            .is_some_and(|subtype| subtype.eq_ignore_ascii_case("report"))
        && kind
            .attribute("report-type")
            .is_some_and(|of| of.eq_ignore_ascii_case("delivery-status"));
    if !is_report {
        return None;
    }
    let status = text_of(&mail, "message", "delivery-status")?;
    let mut groups = groups(&status);
    let about_message = groups.next()?;
    // From a server in between that lost the blank line, too: then all stands in the first group.
    let outcomes = std::iter::once(about_message.clone())
        .chain(groups)
        .take(MAX_RECIPIENTS + 1);
    let outcome = outcomes.filter_map(|group| outcome_of(&group)).max()?;
    let envelope_id = field(&about_message, "original-envelope-id").map(|id| decode_xtext(id.trim()));
    let names = envelope_id.into_iter().chain(returned_ids(&mail)).take(MAX_NAMES);
    Some(Notification {
        names: names.collect(),
        outcome,
    })
}

type Group = Vec<(String, String)>;

/// Groups of fields, with blank lines between them; folded lines are joined.
fn groups(text: &str) -> impl Iterator<Item = Group> + '_ {
    let mut lines = text.lines().peekable();
    std::iter::from_fn(move || {
        let mut group = Group::new();
        loop {
            match lines.next() {
                None if group.is_empty() => return None,
                None => return Some(group),
                Some(line) if line.trim().is_empty() => {
                    if !group.is_empty() {
                        return Some(group);
                    }
                }
                Some(line) if line.starts_with([' ', '\t']) => {
                    if let Some((_, value)) = group.last_mut() {
                        value.push(' ');
                        value.push_str(line.trim());
                    }
                }
                Some(line) => {
                    if let Some((name, value)) = line.split_once(':') {
                        group.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
                    }
                }
            }
        }
    })
}

fn field<'a>(group: &'a Group, name: &str) -> Option<&'a str> {
    let mut found = group.iter().filter(|(of, _)| of == name);
    found.next().map(|(_, value)| value.as_str())
}

fn outcome_of(group: &Group) -> Option<Outcome> {
    // A comment may follow.
    let action = field(group, "action")?;
    let action = action
        .split(|char: char| !char.is_ascii_alphabetic())
        .next()
        .unwrap_or_default();
    match action.to_ascii_lowercase().as_str() {
        "delivered" => Some(Outcome::Delivered),
        "relayed" => Some(Outcome::Passed(
            "it went to a mail server that reports nothing: taken as delivered",
        )),
        "expanded" => Some(Outcome::Passed(
            "it went to the addresses behind an alias: taken as delivered",
        )),
        "delayed" => Some(Outcome::Delayed),
        "failed" => Some(Outcome::Failed(reason(group))),
        _ => None,
    }
}

/// Why a message failed: in words, and as the other side says it.
fn reason(group: &Group) -> String {
    let status = field(group, "status").and_then(enhanced);
    let words = status.map_or("it was not delivered", status_in_words);
    let diagnostic = field(group, "diagnostic-code").map(|code| {
        let said = code.split_once(';').map_or(code, |(_, said)| said);
        let recipient = field(group, "final-recipient").unwrap_or_default();
        let address = recipient
            .split_once(';')
            .map_or(recipient, |(_, address)| address.trim());
        scrub(said, Hidden { code: "", address })
    });
    let status = status.map(|(class, subject, detail)| format!(" ({class}.{subject}.{detail})"));
    let said = diagnostic.map(|said| format!(": {said}"));
    format!("{words}{}{}", status.unwrap_or_default(), said.unwrap_or_default())
}

/// RFC 3463, as far as it helps who reads a timeline.
const fn status_in_words((_, subject, detail): (u16, u16, u16)) -> &'static str {
    match (subject, detail) {
        (1, 1 | 6) => "there is no such address",
        (1, 2 | 10) => "there is no such domain",
        (1, 7 | 8) => "the sender’s address is refused",
        (1, _) => "something is wrong with the address",
        (2, 1) => "the mailbox is closed",
        (2, 2) => "the mailbox is full",
        (2, _) => "the mailbox takes nothing",
        (3, _) => "the recipient’s mail system takes nothing",
        (4, 7) => "it took too long",
        (4, _) => "the recipient’s mail server could not be reached",
        (7, _) => "the recipient’s mail server refuses it",
        _ => "it was not delivered",
    }
}

/// The text of the first part of that kind.
fn text_of(mail: &Message<'_>, kind: &str, subkind: &str) -> Option<String> {
    let is_it = |part: &&mail_parser::MessagePart<'_>| {
        part.content_type().is_some_and(|of| {
            of.ctype().eq_ignore_ascii_case(kind) && of.subtype().is_some_and(|of| of.eq_ignore_ascii_case(subkind))
        })
    };
    let part = mail.parts.iter().find(is_it)?;
    Some(match &part.body {
        PartType::Text(text) | PartType::Html(text) => text.to_string(),
        PartType::Binary(bytes) | PartType::InlineBinary(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        PartType::Message(message) => String::from_utf8_lossy(message.raw_message()).into_owned(),
        PartType::Multipart(_) => return None,
    })
}

/// The local parts of `Message-ID`s in what came back of the message.
fn returned_ids(mail: &Message<'_>) -> Vec<String> {
    let mut ids = Vec::new();
    for part in mail.parts.iter().skip(1) {
        let id = match &part.body {
            PartType::Message(returned) => returned.message_id().map(str::to_owned),
            _ => None,
        };
        ids.extend(id);
    }
    if let Some(headers) = text_of(mail, "text", "rfc822-headers") {
        let returned = groups(&headers).next().unwrap_or_default();
        ids.extend(field(&returned, "message-id").map(str::to_owned));
    }
    let local = |id: String| {
        let bare = id.trim().trim_matches(['<', '>']);
        bare.split_once('@').map_or(bare, |(local, _)| local).to_owned()
    };
    ids.into_iter().map(local).collect()
}

/// `+41` is `A` (RFC 3461, 4).
fn decode_xtext(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('+') {
        decoded.push_str(before);
        match after.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if byte.is_ascii() => {
                decoded.push(char::from(byte));
                rest = &after[2..];
            }
            _ => {
                decoded.push('+');
                rest = after;
            }
        }
    }
    decoded.push_str(rest);
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the RFC's form, as mail servers write it.
    fn notification(about_message: &str, about_recipient: &str, returned: &str) -> String {
        let head = "From: MAILER-DAEMON@mx.example\r\nTo: codes@example.com\r\nSubject: Delivery Status\r\nMIME-Version: 1.0\r\n\
                    Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"BOUND\"\r\n\r\n";
        let words = "--BOUND\r\nContent-Type: text/plain\r\n\r\nSee below.\r\n\r\n";
        let status = format!(
            "--BOUND\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n{about_message}\r\n\
             Final-Recipient: rfc822; ida@example.net\r\n{about_recipient}\r\n"
        );
        format!("{head}{words}{status}{returned}--BOUND--\r\n")
    }

    fn outcome(about_recipient: &str) -> Option<Outcome> {
        read(notification("", about_recipient, "").as_bytes()).map(|notification| notification.outcome)
    }

    #[test]
    fn what_a_notification_says_is_read() {
        assert_eq!(
            outcome("Action: delivered\r\nStatus: 2.0.0\r\n"),
            Some(Outcome::Delivered)
        );
        assert_eq!(
            outcome("Action: Delayed (for now)\r\nStatus: 4.0.0\r\n"),
            Some(Outcome::Delayed)
        );
        assert!(matches!(
            outcome("Action: relayed\r\nStatus: 2.0.0\r\n"),
            Some(Outcome::Passed(_))
        ));
        assert!(matches!(
            outcome("Action: expanded\r\nStatus: 2.0.0\r\n"),
            Some(Outcome::Passed(_))
        ));
        assert_eq!(outcome("Action: vanished\r\n"), None);
        let failed = outcome(
            "Action: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1\r\n <ida@example.net>: no such user\r\n",
        );
        let why = "there is no such address (5.1.1): 550 5.1.1 <…@example.net>: no such user";
        assert_eq!(failed, Some(Outcome::Failed(why.to_owned())));
    }

    #[test]
    fn of_several_recipients_behind_an_alias_one_that_has_it_is_enough() {
        let two =
            "Action: failed\r\nStatus: 5.2.2\r\n\r\nFinal-Recipient: rfc822; b@example.net\r\nAction: delivered\r\n";
        assert_eq!(outcome(two), Some(Outcome::Delivered));
    }

    #[test]
    fn the_message_is_named_by_its_envelope_or_by_what_came_back_of_it() {
        let delivered = "Action: delivered\r\nStatus: 2.0.0\r\n";
        let names =
            |about: &str, returned: &str| read(notification(about, delivered, returned).as_bytes()).unwrap().names;
        assert_eq!(names("Original-Envelope-Id: cs1.7+2Bx\r\n", ""), ["cs1.7+x"]);
        let headers = "\r\n--BOUND\r\nContent-Type: text/rfc822-headers\r\n\r\nSubject: x\r\nMessage-ID: <cs1.9.a@example.com>\r\n\r\n";
        assert_eq!(names("", headers), ["cs1.9.a"]);
        let message = "\r\n--BOUND\r\nContent-Type: message/rfc822\r\n\r\nMessage-ID: <cs1.9.b@example.com>\r\nSubject: x\r\n\r\nbody\r\n";
        assert_eq!(names("Original-Envelope-Id: cs1.7\r\n", message), ["cs1.7", "cs1.9.b"]);
    }

    #[test]
    fn a_notification_that_was_cut_behind_what_it_says_is_read() {
        let returned = "\r\n--BOUND\r\nContent-Type: message/rfc822\r\n\r\nSubject: a long message\r\n\r\n";
        let whole = notification("Original-Envelope-Id: cs1.7\r\n", "Action: failed\r\n", returned);
        let cut = whole.split_once("a long message").unwrap().0;
        let read = read(cut.as_bytes()).unwrap();
        assert_eq!(read.names[0], "cs1.7");
        assert!(matches!(read.outcome, Outcome::Failed(_)));
    }

    #[test]
    fn what_is_no_notification_is_none() {
        let vacation = "From: ida@example.net\r\nAuto-Submitted: auto-replied\r\nSubject: away\r\n\r\nI am away.\r\n";
        let no_status = notification("", "", "").replace("message/delivery-status", "text/plain");
        let cut = &notification("", "Action: failed\r\n", "")[..250];
        for mail in ["", "\r\n\r\n", vacation, &no_status, cut] {
            assert_eq!(read(mail.as_bytes()), None, "{mail}");
        }
        assert_eq!(read(&[0xff; 4_096]), None);
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_is_read_without_a_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..2_000)) {
            read(&bytes);
        }

        #[test]
        fn a_notification_that_was_damaged_is_read_without_a_panic(
            damage in proptest::collection::vec((0..700_usize, proptest::num::u8::ANY), 1..20),
        ) {
            let mut mail = notification("Original-Envelope-Id: a+2Bb+\r\n", "Action: failed\r\nStatus: 5.1.1\r\n", "").into_bytes();
            for (at, byte) in damage {
                if let Some(place) = mail.get_mut(at) {
                    *place = byte;
                }
            }
            read(&mail);
        }
    }
}
