//! The GSM 7-bit default alphabet and its extension table (3GPP TS 23.038), one character an octet, as SMPP carries it. Short
//! messages are measured and written with it; what it lacks is sent in UCS-2.

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

/// How many septets a character takes: two from the extension table; `None` where the alphabet lacks it.
pub(crate) fn septets(char: char) -> Option<usize> {
    // The letters of most texts, without looking through the tables.
    if char.is_ascii_alphanumeric() || matches!(char, ' ' | '\n' | '.' | ',') {
        return Some(1);
    }
    if EXTENSION.iter().any(|(_, extended)| *extended == char) {
        return Some(2);
    }
    code(char).map(|_| 1)
}

/// A character's code in the default alphabet itself.
fn code(char: char) -> Option<u8> {
    let code = BASIC.iter().position(|basic| *basic == char)?;
    u8::try_from(code).ok().filter(|code| *code != ESCAPE)
}

/// A text, one character an octet; `None` where the alphabet lacks a character.
pub(crate) fn encode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    for char in text.chars() {
        if let Some((code, _)) = EXTENSION.iter().find(|(_, extended)| *extended == char) {
            bytes.extend([ESCAPE, *code]);
        } else {
            bytes.push(code(char)?);
        }
    }
    Some(bytes)
}

/// Reads what [`encode`] wrote. What can’t be read becomes replacement characters.
pub(crate) fn decode(bytes: &[u8]) -> String {
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
    fn every_character_of_the_alphabet_comes_back() {
        let all: String = BASIC.iter().filter(|char| **char != '\u{a0}').collect();
        let extended: String = EXTENSION.iter().map(|(_, char)| *char).collect();
        for text in [all, extended] {
            assert_eq!(decode(&encode(&text).unwrap()), text);
        }
    }

    #[test]
    fn signs_that_differ_from_ascii_have_their_own_codes() {
        assert_eq!(encode("@$_{€").unwrap(), [0x00, 0x02, 0x11, 0x1B, 0x28, 0x1B, 0x65]);
        assert_eq!(encode("\u{a0}"), None, "the escape's own place is no character");
    }

    #[test]
    fn a_character_takes_as_many_septets_as_are_written_for_it() {
        for char in (0..0x3000).filter_map(char::from_u32) {
            let written = encode(char.encode_utf8(&mut [0; 4])).map(|bytes| bytes.len());
            assert_eq!(septets(char), written, "{char:?}");
        }
    }
}
