//! Texts as bytes of a short message and back, as SMPP carries them: the GSM 7-bit default alphabet where a text fits, else UCS-2.

use crate::sms::gsm7;

/// `data_coding` of the message centre's default alphabet.
pub(super) const DEFAULT_ALPHABET: u8 = 0x00;
/// `data_coding` of UCS-2.
pub(super) const UCS2: u8 = 0x08;
/// Most septets of one short message.
const ONE_MESSAGE_SEPTETS: usize = 160;
/// Most octets of one short message in UCS-2: 70 characters.
const ONE_MESSAGE_OCTETS: usize = 140;
/// A text ready to be submitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Encoded {
    pub(super) data_coding: u8,
    pub(super) bytes: Vec<u8>,
    /// Whether one short message holds it. A longer one goes as a payload, which the message centre splits.
    pub(super) is_one_message: bool,
}

/// Encodes a text in the shortest form that holds all of it.
pub(super) fn encode(text: &str) -> Encoded {
    if let Some(bytes) = gsm7::encode(text) {
        return Encoded {
            data_coding: DEFAULT_ALPHABET,
            is_one_message: bytes.len() <= ONE_MESSAGE_SEPTETS,
            bytes,
        };
    }
    let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    Encoded {
        data_coding: UCS2,
        is_one_message: bytes.len() <= ONE_MESSAGE_OCTETS,
        bytes,
    }
}

/// Reads what a phone wrote. What can't be read becomes replacement characters.
pub(super) fn decode(data_coding: u8, bytes: &[u8]) -> String {
    match data_coding & 0x0F {
        UCS2 => {
            let units = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units)
                .map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect()
        }
        DEFAULT_ALPHABET => gsm7::decode(bytes),
        // Latin 1; of IA5 and of binary, it reads what is ASCII.
        _ => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_alphabet_lacks_makes_the_whole_text_ucs2() {
        let encoded = encode("код 🔑");
        assert_eq!(encoded.data_coding, UCS2);
        assert_eq!(encoded.bytes.len(), 12, "a key is two units");
        assert_eq!(decode(UCS2, &encoded.bytes), "код 🔑");
    }

    #[test]
    fn a_text_is_one_message_up_to_160_septets_or_70_units() {
        assert!(encode(&"a".repeat(160)).is_one_message);
        assert!(!encode(&"a".repeat(161)).is_one_message);
        assert!(!encode(&"€".repeat(81)).is_one_message);
        assert!(encode(&"ж".repeat(70)).is_one_message);
        assert!(!encode(&"ж".repeat(71)).is_one_message);
    }

    #[test]
    fn bytes_that_make_no_sense_are_read_without_harm() {
        assert_eq!(decode(UCS2, &[0xD8, 0x00, 0x41]), "\u{fffd}");
        assert_eq!(decode(DEFAULT_ALPHABET, &[0x1B]), "\u{a0}");
        assert_eq!(decode(DEFAULT_ALPHABET, &[0xFF, 0x41]), "\u{fffd}A");
        assert_eq!(decode(0x03, b"stop"), "stop");
    }
}
