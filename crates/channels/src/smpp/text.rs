//! Texts as bytes of a short message and back: the GSM 7-bit default alphabet (3GPP TS 23.038, one character an octet, as SMPP
//! carries it) where a text fits, else UCS-2.

/// `data_coding` of the message centre's default alphabet.
pub(super) const DEFAULT_ALPHABET: u8 = 0x00;
/// `data_coding` of UCS-2.
pub(super) const UCS2: u8 = 0x08;
/// Most septets of one short message.
const ONE_MESSAGE_SEPTETS: usize = 160;
/// Most octets of one short message in UCS-2: 70 characters.
const ONE_MESSAGE_OCTETS: usize = 140;
/// Leads to the extension table.
const ESCAPE: u8 = 0x1B;

/// The default alphabet by code; the escape's own place holds a no-break space, as receivers without the extension show it.
const BASIC: [char; 128] = [
    '@', '£', '$', '¥', 'è', 'é', 'ù', 'ì', 'ò', 'Ç', '\n', 'Ø', 'ø', '\r', 'Å', 'å', 'Δ', '_', 'Φ', 'Γ', 'Λ', 'Ω',
    'Π', 'Ψ', 'Σ', 'Θ', 'Ξ', '\u{a0}', 'Æ', 'æ', 'ß', 'É', ' ', '!', '"', '#', '¤', '%', '&', '\'', '(', ')', '*', '+',
    ',', '-', '.', '/', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', ':', ';', '<', '=', '>', '?', '¡', 'A', 'B',
    'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O', 'P', 'Q', 'R', 'S', 'T', 'U', 'V', 'W', 'X', 'Y',
    'Z', 'Ä', 'Ö', 'Ñ', 'Ü', '§', '¿', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p',
    'q', 'r', 's', 't', 'u', 'v', 'w', 'x', 'y', 'z', 'ä', 'ö', 'ñ', 'ü', 'à',
];

/// The extension table: what follows the escape.
const EXTENSION: [(u8, char); 10] = [
    (0x0A, '\u{c}'),
    (0x14, '^'),
    (0x28, '{'),
    (0x29, '}'),
    (0x2F, '\\'),
    (0x3C, '['),
    (0x3D, '~'),
    (0x3E, ']'),
    (0x40, '|'),
    (0x65, '€'),
];

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
    if let Some(bytes) = septets(text) {
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
        DEFAULT_ALPHABET => from_septets(bytes),
        // Latin 1; of IA5 and of binary, it reads what is ASCII.
        _ => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

fn septets(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    for char in text.chars() {
        if let Some((code, _)) = EXTENSION.iter().find(|(_, extended)| *extended == char) {
            bytes.extend([ESCAPE, *code]);
        } else {
            let code = BASIC.iter().position(|basic| *basic == char)?;
            let code = u8::try_from(code).ok().filter(|code| *code != ESCAPE)?;
            bytes.push(code);
        }
    }
    Some(bytes)
}

fn from_septets(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut bytes = bytes.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte == ESCAPE {
            let code = bytes.next();
            let extended = EXTENSION.iter().find(|(extended, _)| Some(*extended) == code);
            text.push(extended.map_or('\u{a0}', |(_, char)| *char));
        } else {
            let char = BASIC.get(usize::from(byte));
            text.push(char.copied().unwrap_or(char::REPLACEMENT_CHARACTER));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_of_the_default_alphabet_comes_back() {
        let all: String = BASIC.iter().filter(|char| **char != '\u{a0}').collect();
        let extended: String = EXTENSION.iter().map(|(_, char)| *char).collect();
        for text in [all, extended] {
            let encoded = encode(&text);
            assert_eq!(encoded.data_coding, DEFAULT_ALPHABET);
            assert_eq!(decode(DEFAULT_ALPHABET, &encoded.bytes), text);
        }
    }

    #[test]
    fn signs_that_differ_from_ascii_have_their_own_codes() {
        assert_eq!(encode("@$_{€").bytes, [0x00, 0x02, 0x11, 0x1B, 0x28, 0x1B, 0x65]);
    }

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
