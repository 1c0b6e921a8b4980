//! Delivery receipts: what a `deliver_sm` of that kind says of a message of ours, and the forms in which message centres write one
//! and the same message id.

use rusmpp_core::pdus::owned::DeliverSm;
use rusmpp_core::tlvs::owned::TlvValue;
use rusmpp_core::values::MessageState;

/// The message types of `esm_class`: bits 5 to 2.
const TYPE_BITS: u8 = 0b0011_1100;
const RECEIPT: u8 = 0b0000_0100;
/// The text begins with a user data header.
const HEADER_BIT: u8 = 0b0100_0000;
/// Longest message id that is looked at.
const MAX_ID_CHARS: usize = 64;

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is on the phone.
    Delivered,
    /// It will not be: the state and the network's error, in a few words.
    Failed(String),
    /// It is still on its way, or nobody knows.
    Open,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Receipt {
    pub(super) id: String,
    pub(super) outcome: Outcome,
}

/// Reads a receipt. `None`: it is none, or names no message. A phone's own message is never taken for one, whatever its text says.
pub(super) fn read(deliver: &DeliverSm) -> Option<Receipt> {
    let mut id = None;
    let mut state = None;
    for value in deliver.tlvs().iter().filter_map(|tlv| tlv.value()) {
        match value {
            TlvValue::ReceiptedMessageId(named) => id = Some(named.as_str().to_owned()),
            TlvValue::MessageState(told) => state = Some(*told),
            _ => {}
        }
    }
    let is_receipt = u8::from(deliver.esm_class) & TYPE_BITS == RECEIPT;
    if !is_receipt && id.is_none() {
        return None;
    }
    let text = String::from_utf8_lossy(&content(deliver)).into_owned();
    let id = id.filter(|id| !id.is_empty()).or_else(|| field(&text, "id:"))?;
    let word = field(&text, "stat:").unwrap_or_default().to_ascii_uppercase();
    let outcome = match state.and_then(of_state).or_else(|| of_word(&word)) {
        None => Outcome::Open,
        Some((true, _)) => Outcome::Delivered,
        Some((false, name)) => Outcome::Failed(match field(&text, "err:") {
            Some(error) if error.bytes().any(|byte| byte != b'0') => format!("{name}, error {error}"),
            _ => name.to_owned(),
        }),
    };
    let fits = !id.is_empty() && id.len() <= MAX_ID_CHARS;
    fits.then_some(Receipt { id, outcome })
}

/// Whether it is a message of a phone, and no notice of the network.
pub(super) fn is_from_phone(deliver: &DeliverSm) -> bool {
    u8::from(deliver.esm_class) & TYPE_BITS == 0
}

/// The text's bytes, wherever they stand; without the header of its part, where it is one of several.
pub(super) fn content(deliver: &DeliverSm) -> Vec<u8> {
    let payload = deliver.tlvs().iter().find_map(|tlv| match tlv.value() {
        Some(TlvValue::MessagePayload(payload)) => Some(payload.value.clone().into_vec()),
        _ => None,
    });
    let mut bytes = payload.unwrap_or_else(|| deliver.short_message().clone().into_vec());
    if u8::from(deliver.esm_class) & HEADER_BIT != 0
        && let Some(length) = bytes.first()
    {
        let header = usize::from(*length) + 1;
        bytes.drain(..header.min(bytes.len()));
    }
    bytes
}

/// Whether that state is final, and if so whether the message arrived, with the state's name.
fn of_state(state: MessageState) -> Option<(bool, &'static str)> {
    match state {
        MessageState::Delivered => Some((true, "DELIVRD")),
        MessageState::Expired => Some((false, "EXPIRED")),
        MessageState::Deleted => Some((false, "DELETED")),
        MessageState::Undeliverable => Some((false, "UNDELIV")),
        MessageState::Rejected => Some((false, "REJECTD")),
        // SMPP 5.0: the message centre passed the message over on purpose.
        MessageState::Skipped => Some((false, "SKIPPED")),
        _ => None,
    }
}

/// The same by the text's word. Some write it out.
fn of_word(word: &str) -> Option<(bool, &'static str)> {
    let known = [
        ("DELIV", true, "DELIVRD"),
        ("EXPIR", false, "EXPIRED"),
        ("DELET", false, "DELETED"),
        ("UNDEL", false, "UNDELIV"),
        ("REJEC", false, "REJECTD"),
        ("FAIL", false, "FAILED"),
        ("SKIP", false, "SKIPPED"),
    ];
    let found = known.iter().find(|(start, ..)| word.starts_with(start));
    found.map(|(_, arrived, name)| (*arrived, *name))
}

/// The word behind a key of the text form: `id:42 sub:001 … stat:DELIVRD err:000 text:…`. What the recipient's text holds, which
/// comes last, is not looked at.
fn field(text: &str, key: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let end = lower.find("text:").unwrap_or(lower.len());
    let head = &lower[..end];
    let starts_a_word = |at: &usize| *at == 0 || head.as_bytes()[at - 1] == b' ';
    let at = head.match_indices(key).map(|(at, _)| at).find(starts_a_word)?;
    let value = text[at + key.len()..end].split(' ').next()?;
    let plain = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic());
    (plain && value.len() <= MAX_ID_CHARS).then(|| value.to_owned())
}

/// The form by which ids are compared: lower case, without leading zeros.
pub(super) fn canonical(id: &str) -> String {
    let lower = id.trim().to_ascii_lowercase();
    let bare = lower.trim_start_matches('0');
    if bare.is_empty() && !lower.is_empty() {
        "0".to_owned()
    } else {
        bare.to_owned()
    }
}

/// The same id written in the other base, in canonical form: some message centres answer in hexadecimal and write receipts in decimal,
/// or the other way round.
pub(super) fn in_other_base(id: &str) -> Vec<String> {
    let canonical = canonical(id);
    let mut forms = Vec::new();
    if let Ok(number) = canonical.parse::<u64>() {
        forms.push(format!("{number:x}"));
    }
    if let Ok(number) = u64::from_str_radix(&canonical, 16) {
        forms.push(number.to_string());
    }
    forms.retain(|form| *form != canonical);
    forms
}

/// Every form in which the books may have kept an id that a receipt names, in the same base.
pub(super) fn forms(id: &str) -> Vec<String> {
    let mut forms = vec![id.to_owned()];
    for form in written(canonical(id)) {
        if !forms.contains(&form) {
            forms.push(form);
        }
    }
    forms
}

/// The ways in which an id in canonical form is written.
pub(super) fn written(bare: String) -> [String; 5] {
    let upper = bare.to_ascii_uppercase();
    // Ids of 32 bits are often filled up with zeros.
    [
        format!("{bare:0>8}"),
        format!("{upper:0>8}"),
        format!("{bare:0>10}"),
        bare,
        upper,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusmpp_core::tlvs::owned::MessageDeliveryRequestTlvValue;
    use rusmpp_core::types::owned::{COctetString, OctetString};
    use rusmpp_core::values::EsmClass;

    fn deliver(esm_class: u8, text: &str) -> DeliverSm {
        DeliverSm::builder()
            .esm_class(EsmClass::from(esm_class))
            .short_message(OctetString::from_vec(text.as_bytes().to_vec()).unwrap())
            .build()
    }

    fn text_form(stat: &str) -> String {
        format!("id:1A2b sub:001 dlvrd:001 submit date:2401010000 done date:2401010001 stat:{stat} err:042 text:id:9")
    }

    #[test]
    fn the_text_form_says_which_message_and_what_became_of_it() {
        let read = |stat: &str| read(&deliver(4, &text_form(stat))).unwrap();
        assert_eq!(read("DELIVRD").id, "1A2b");
        assert_eq!(read("DELIVRD").outcome, Outcome::Delivered);
        assert_eq!(
            read("UNDELIV").outcome,
            Outcome::Failed("UNDELIV, error 042".to_owned())
        );
        for stat in ["EXPIRED", "REJECTD", "DELETED", "undelivered", "SKIPPED"] {
            assert!(matches!(read(stat).outcome, Outcome::Failed(_)), "{stat}");
        }
        for stat in ["ENROUTE", "ACCEPTD", "UNKNOWN", "?"] {
            assert_eq!(read(stat).outcome, Outcome::Open, "{stat}");
        }
    }

    #[test]
    fn the_fields_go_before_the_text() {
        let mut receipt = deliver(4, &text_form("UNDELIV"));
        let id = COctetString::from_static_slice(b"77\0").unwrap();
        receipt.push_tlv(MessageDeliveryRequestTlvValue::ReceiptedMessageId(id));
        receipt.push_tlv(MessageDeliveryRequestTlvValue::MessageState(MessageState::Delivered));
        let expected = Receipt {
            id: "77".to_owned(),
            outcome: Outcome::Delivered,
        };
        assert_eq!(read(&receipt), Some(expected));
    }

    #[test]
    fn a_message_that_was_skipped_has_failed() {
        let mut receipt = deliver(4, "id:7");
        receipt.push_tlv(MessageDeliveryRequestTlvValue::MessageState(MessageState::Skipped));
        let outcome = read(&receipt).unwrap().outcome;
        assert_eq!(outcome, Outcome::Failed("SKIPPED".to_owned()));
    }

    #[test]
    fn a_phone_can_not_write_a_receipt() {
        assert_eq!(read(&deliver(0, &text_form("DELIVRD"))), None);
        assert!(is_from_phone(&deliver(0, "STOP")));
        assert!(!is_from_phone(&deliver(4, "STOP")));
    }

    #[test]
    fn a_header_before_the_text_is_no_text() {
        assert_eq!(content(&deliver(0x40, "\u{2}\u{70}\u{0}STOP")), b"STOP");
        assert_eq!(content(&deliver(0x40, "\u{7f}STOP")), b"");
        assert_eq!(content(&deliver(0, "STOP")), b"STOP");
    }

    #[test]
    fn receipts_without_an_id_are_none() {
        for text in [
            "",
            "stat:DELIVRD",
            "id: stat:DELIVRD",
            "text:id:5 stat:DELIVRD",
            "ID",
            "\u{fffd}\u{fffd}",
        ] {
            assert_eq!(read(&deliver(4, text)), None, "{text}");
        }
    }

    #[test]
    fn ids_are_the_same_in_either_base_case_and_length() {
        assert_eq!(canonical("0000ABCD"), "abcd");
        assert_eq!(canonical("000"), "0");
        assert!(in_other_base("6699").contains(&"1a2b".to_owned()));
        assert!(in_other_base("1A2B").contains(&"6699".to_owned()));
        assert!(forms("00001a2b").contains(&"1A2B".to_owned()));
        assert!(forms("1a2b").contains(&"00001A2B".to_owned()));
        assert!(!forms("6699").contains(&"1A2B".to_owned()), "that is the other base");
        assert!(written("1a2b".to_owned()).contains(&"00001A2B".to_owned()));
        assert!(in_other_base("b7f3c9d2-43aa").is_empty());
    }
}
