//! Addresses of short messages: whom the recipient sees as the sender, and the recipient's number, each with its type of number (ton)
//! and numbering plan (npi).

use countersign_core::{PhoneNumber, SandboxNumbers, SenderUsername};
use rusmpp_core::types::owned::COctetString;
use rusmpp_core::values::{Npi, Ton};

/// Longest alphanumeric source address that phones show.
const MAX_NAME_CHARS: usize = 11;
/// Digits up to which a number is a short code.
const MAX_SHORT_CODE_DIGITS: usize = 8;

/// An address as a PDU has it.
pub(super) type Address = COctetString<1, 21>;

/// Whom the recipient sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) ton: Ton,
    pub(super) npi: Npi,
    pub(super) address: Address,
}

impl Source {
    /// What the message centre has set for us.
    pub(super) fn none() -> Self {
        Self {
            ton: Ton::Unknown,
            npi: Npi::Unknown,
            address: Address::empty(),
        }
    }

    /// A number in international form, a short code, or a name. `None`: no source address can look like that.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('+').unwrap_or(text);
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let (ton, npi, address) = if is_number && (text.starts_with('+') || digits.len() > MAX_SHORT_CODE_DIGITS) {
            (Ton::International, Npi::Isdn, digits)
        } else if is_number {
            (Ton::NetworkSpecific, Npi::Unknown, digits)
        } else {
            let fits = (1..=MAX_NAME_CHARS).contains(&text.len());
            let plain = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
            if !fits || !plain {
                return None;
            }
            (Ton::Alphanumeric, Npi::Unknown, text)
        };
        let address = Address::from_string(address.to_owned()).ok()?;
        Some(Self { ton, npi, address })
    }

    /// A sender's name, cut to what phones show.
    pub(super) fn of_sender(sender: &SenderUsername) -> Option<Self> {
        let name: String = sender.as_str().chars().take(MAX_NAME_CHARS).collect();
        Self::parse(&name)
    }
}

/// A number as a destination: its digits without `+`.
pub(super) fn of_phone(phone: PhoneNumber) -> Option<Address> {
    Address::from_string(phone.digits().to_string()).ok()
}

/// The number that a phone's message comes from, where it is written so that it can be known: in international form.
pub(super) fn to_phone(ton: Ton, address: &str) -> Option<PhoneNumber> {
    // What calls itself unknown is international nearly everywhere.
    let is_international = matches!(ton, Ton::International | Ton::Unknown | Ton::Other(_));
    let digits = address.trim().trim_start_matches('+');
    let digits = digits.strip_prefix("00").unwrap_or(digits);
    is_international
        .then(|| PhoneNumber::parse(digits, SandboxNumbers::Accepted))
        .flatten()
}

/// The digits of an address, for comparing.
pub(super) fn digits(address: &str) -> Option<u64> {
    address.trim().trim_start_matches('+').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_number_a_short_code_or_a_name() {
        let ton = |text: &str| Source::parse(text).map(|source| source.ton);
        assert_eq!(ton("+4915123456789"), Some(Ton::International));
        assert_eq!(ton("4915123456789"), Some(Ton::International));
        assert_eq!(ton("72345"), Some(Ton::NetworkSpecific));
        assert_eq!(ton("My Shop"), Some(Ton::Alphanumeric));
        for text in ["", "A name too long", "Café", "+123456789012345678901"] {
            assert_eq!(ton(text), None, "{text}");
        }
    }

    #[test]
    fn a_sender_s_name_is_cut_to_eleven_characters() {
        let sender = SenderUsername::parse("a_long_sender_name").unwrap();
        assert_eq!(Source::of_sender(&sender).unwrap().address.as_str(), "a_long_send");
    }

    #[test]
    fn only_international_numbers_of_phones_are_known() {
        let number = |ton, text| to_phone(ton, text).map(|phone| phone.to_string());
        let expected = Some("+4915123456789".to_owned());
        assert_eq!(number(Ton::International, "4915123456789"), expected);
        assert_eq!(number(Ton::Unknown, "+4915123456789"), expected);
        assert_eq!(number(Ton::Unknown, "004915123456789"), expected);
        assert_eq!(number(Ton::National, "4915123456789"), None);
        assert_eq!(number(Ton::Alphanumeric, "SHOP"), None);
        assert_eq!(number(Ton::Unknown, "72345678901234567890123"), None);
    }
}
