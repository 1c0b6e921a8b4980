//! What the list of messages is asked for: one box that understands a request id, a number and a payload, and filters. All of
//! it stands in the URL, so that a search can be sent to a colleague and survives a reload.

use countersign_core::{
    DeliveryState, PhoneNumber, RequestId, SandboxNumbers, SenderUsername, Timestamp, VerificationState,
};
use countersign_store::{MessageFilter, MessageOrder, NumberSearch, PayloadSearch};
use jiff::ToSpan as _;
use jiff::civil::Date;

use crate::site::zone::Zone;

/// Where the list is.
pub(super) const PATH: &str = "/account/messages";
/// The longest text that the box takes: a payload has at most 128 bytes.
const MAX_TEXT_BYTES: usize = 200;
/// From so many digits on, digits without a `+` are taken for a number; shorter ones are as often an order's.
const NUMBER_DIGITS: usize = 7;

/// Choices of a filter: the word in the URL, what it is called, and what it stands for.
pub(super) static DELIVERY: [(&str, &str, DeliveryState); 6] = [
    ("sent", "Sent", DeliveryState::Sent),
    ("delivered", "Delivered", DeliveryState::Delivered),
    ("read", "Read", DeliveryState::Read),
    ("expired", "Expired", DeliveryState::Expired),
    ("revoked", "Revoked", DeliveryState::Revoked),
    ("checked", "Only checked", DeliveryState::Checked),
];
pub(super) static VERIFICATION: [(&str, &str, VerificationState); 5] = [
    ("none", "No code entered", VerificationState::Unchecked),
    ("valid", "Code valid", VerificationState::Valid),
    ("invalid", "Wrong code", VerificationState::Invalid),
    ("exceeded", "Too many attempts", VerificationState::AttemptsExceeded),
    ("expired", "Code expired", VerificationState::Expired),
];

/// From where on a page goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cursor {
    /// From the beginning of the order.
    Start,
    /// On after a request.
    On(RequestId),
    /// Back to what comes before a request.
    Back(RequestId),
}

/// What the box asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Looked {
    Nothing,
    /// It reads as a request id; where there is no such request, it may be a payload.
    Request(RequestId),
    Number(NumberSearch),
    Payload(PayloadSearch),
}

/// The query as it was typed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) text: String,
    pub(super) delivery: String,
    pub(super) verification: String,
    pub(super) sender: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) oldest_first: bool,
    on: Option<RequestId>,
    back: Option<RequestId>,
}

impl Query {
    /// Reads a URL's query. What makes no sense is left out: a hand-made URL gets the list.
    pub(super) fn read(raw: Option<&str>) -> Self {
        let mut query = Self::default();
        for (name, value) in form_urlencoded::parse(raw.unwrap_or_default().as_bytes()) {
            let text = || {
                let value = value.trim();
                let end = value.floor_char_boundary(MAX_TEXT_BYTES);
                value[..end].to_owned()
            };
            match &*name {
                "q" => query.text = text(),
                "delivery" => query.delivery = text(),
                "verification" => query.verification = text(),
                "sender" => query.sender = text(),
                "from" => query.from = text(),
                "to" => query.to = text(),
                "order" => query.oldest_first = value == "oldest",
                "on" => query.on = RequestId::parse(&value),
                "back" => query.back = RequestId::parse(&value),
                _ => {}
            }
        }
        query
    }

    pub(super) const fn order(&self) -> MessageOrder {
        if self.oldest_first {
            MessageOrder::OldestFirst
        } else {
            MessageOrder::NewestFirst
        }
    }

    pub(super) fn cursor(&self) -> Cursor {
        match (self.on, self.back) {
            (Some(id), _) => Cursor::On(id),
            (None, Some(id)) => Cursor::Back(id),
            (None, None) => Cursor::Start,
        }
    }

    /// Whether anything narrows the list.
    pub(super) fn narrows(&self) -> bool {
        let fields = [
            &self.text,
            &self.delivery,
            &self.verification,
            &self.sender,
            &self.from,
            &self.to,
        ];
        fields.iter().any(|field| !field.is_empty())
    }

    /// Whether one of the filters under the box does.
    pub(super) fn filters(&self) -> bool {
        Self {
            text: String::new(),
            ..self.clone()
        }
        .narrows()
    }

    /// What the box asks for.
    pub(super) fn looked(&self, sandbox_numbers: SandboxNumbers) -> Looked {
        let text = self.text.as_str();
        if text.is_empty() {
            return Looked::Nothing;
        }
        if let Some(payload) = text.strip_prefix("payload:") {
            return payload_search(payload.trim_start());
        }
        let (number, asked_for) = match text.strip_prefix("number:") {
            Some(number) => (number.trim_start(), true),
            None => (text, false),
        };
        if let Some(search) = number_search(number, asked_for, sandbox_numbers) {
            return Looked::Number(search);
        }
        match RequestId::parse(text) {
            Some(id) => Looked::Request(id),
            None => payload_search(text),
        }
    }

    /// What the filters say besides, with the box's number or payload. A text that a filter doesn't know finds nothing less.
    pub(super) fn filter(&self, looked: &Looked, zone: &Zone) -> MessageFilter {
        let mut filter = MessageFilter {
            delivery: chosen(&DELIVERY, &self.delivery),
            verification: chosen(&VERIFICATION, &self.verification),
            sender: SenderUsername::parse(&self.sender),
            from: day(&self.from).and_then(|date| start_of(date, zone)),
            to: day(&self.to)
                .and_then(|date| date.checked_add(1.day()).ok())
                .and_then(|date| start_of(date, zone)),
            ..MessageFilter::default()
        };
        match looked {
            Looked::Nothing | Looked::Request(_) => {}
            Looked::Number(number) => filter.number = Some(number.clone()),
            Looked::Payload(payload) => filter.payload = Some(payload.clone()),
        }
        filter
    }

    /// The list's path with this query, at a place.
    pub(super) fn path(&self, cursor: Cursor) -> String {
        let mut pairs = form_urlencoded::Serializer::new(String::new());
        for (name, value) in [
            ("q", &self.text),
            ("delivery", &self.delivery),
            ("verification", &self.verification),
            ("sender", &self.sender),
            ("from", &self.from),
            ("to", &self.to),
        ] {
            if !value.is_empty() {
                pairs.append_pair(name, value);
            }
        }
        if self.oldest_first {
            pairs.append_pair("order", "oldest");
        }
        match cursor {
            Cursor::Start => {}
            Cursor::On(id) => {
                pairs.append_pair("on", &id.to_string());
            }
            Cursor::Back(id) => {
                pairs.append_pair("back", &id.to_string());
            }
        }
        let pairs = pairs.finish();
        if pairs.is_empty() {
            PATH.to_owned()
        } else {
            format!("{PATH}?{pairs}")
        }
    }

    /// The same list in the other order, from its beginning.
    pub(super) fn turned(&self) -> String {
        Self {
            oldest_first: !self.oldest_first,
            ..self.clone()
        }
        .path(Cursor::Start)
    }

    /// The list for another text in the box, with the same filters.
    pub(super) fn path_for(&self, text: &str) -> String {
        Self {
            text: text.to_owned(),
            ..self.clone()
        }
        .path(Cursor::Start)
    }
}

fn chosen<T: Copy>(choices: &[(&str, &str, T)], word: &str) -> Option<T> {
    choices
        .iter()
        .find(|(known, ..)| *known == word)
        .map(|(.., value)| *value)
}

fn day(text: &str) -> Option<Date> {
    text.parse().ok()
}

fn start_of(date: Date, zone: &Zone) -> Option<Timestamp> {
    let start = date.at(0, 0, 0, 0).to_zoned_datetime(zone.time_zone().clone()).ok()?;
    Some(Timestamp::from_millis(start.timestamp().as_millisecond()))
}

/// A number as people write it, whole or in part; `None` for what is none.
fn number_search(text: &str, asked_for: bool, sandbox_numbers: SandboxNumbers) -> Option<NumberSearch> {
    let kept: String = text
        .chars()
        .filter(|sign| !sign.is_whitespace() && !matches!(sign, '-' | '(' | ')' | '.' | '/'))
        .collect();
    let (digits, international) = match kept.strip_prefix('+').or_else(|| kept.strip_prefix("00")) {
        Some(digits) => (digits, true),
        None => (kept.as_str(), false),
    };
    let is_number = !digits.is_empty() && digits.len() <= 15 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number {
        return None;
    }
    if international {
        return Some(match PhoneNumber::parse(digits, sandbox_numbers) {
            Some(phone) => NumberSearch::Is(phone),
            None => NumberSearch::Begins(digits.to_owned()),
        });
    }
    (asked_for || digits.len() >= NUMBER_DIGITS).then(|| NumberSearch::BeginsOrEnds(digits.to_owned()))
}

fn payload_search(text: &str) -> Looked {
    match text.strip_suffix('*') {
        _ if text.is_empty() => Looked::Nothing,
        Some(start) => Looked::Payload(PayloadSearch::Begins(start.to_owned())),
        None => Looked::Payload(PayloadSearch::Is(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(text: &str) -> Looked {
        let query = Query {
            text: text.to_owned(),
            ..Query::default()
        };
        query.looked(SandboxNumbers::Accepted)
    }

    #[test]
    fn a_number_is_understood_as_people_write_it() {
        let rome = PhoneNumber::parse("393471234567", SandboxNumbers::Refused).unwrap();
        for text in ["+39 347 123 4567", "0039-347.1234567", "+39 (347) 1234567"] {
            assert_eq!(looked(text), Looked::Number(NumberSearch::Is(rome)), "{text}");
        }
        let part = |digits: &str| Looked::Number(NumberSearch::BeginsOrEnds(digits.to_owned()));
        assert_eq!(looked("347 123 4567"), part("3471234567"));
        assert_eq!(looked("number: 4567"), part("4567"));
        assert_eq!(looked("+39"), Looked::Number(NumberSearch::Begins("39".to_owned())));
    }

    #[test]
    fn what_is_neither_a_number_nor_an_id_is_a_payload() {
        let is = |text: &str| Looked::Payload(PayloadSearch::Is(text.to_owned()));
        assert_eq!(looked("order-10293"), is("order-10293"));
        assert_eq!(looked("10293"), is("10293"));
        assert_eq!(looked("payload: 3471234567"), is("3471234567"));
        let begins = Looked::Payload(PayloadSearch::Begins("order-".to_owned()));
        assert_eq!(looked("order-*"), begins);
        let id = RequestId::new(Timestamp::from_millis(1_800_000_000_000), 7);
        assert_eq!(looked(&id.to_string()), Looked::Request(id));
        assert_eq!(looked(""), Looked::Nothing);
    }

    #[test]
    fn a_query_survives_its_url() {
        let raw =
            "q=%2B39+347&delivery=read&verification=valid&sender=acme_shop&from=2026-01-02&to=2026-02-03&order=oldest";
        let query = Query::read(Some(raw));
        let path = query.path(Cursor::Start);
        assert_eq!(Query::read(path.split_once('?').map(|(_, raw)| raw)), query);
        let filter = query.filter(&Looked::Nothing, &Zone::named("Europe/Rome").unwrap());
        assert_eq!(filter.from.unwrap().rfc_3339(), "2026-01-01T23:00:00Z");
        assert_eq!(filter.to.unwrap().rfc_3339(), "2026-02-03T23:00:00Z");
        assert_eq!(Query::default().path(Cursor::Start), PATH);
    }

    #[test]
    fn a_long_text_is_cut_between_letters() {
        let raw = format!("q={}", "é".repeat(500));
        assert_eq!(Query::read(Some(&raw)).text.len(), MAX_TEXT_BYTES);
    }
}
