//! Texts in letters that the GSM alphabet has: a letter that it lacks loses its accents (`ó` is `o`), and typographic signs
//! become plain ones. Short messages are written so where that saves a segment.

use icu_normalizer::DecomposingNormalizer;

use super::gsm7;

/// The text in the GSM alphabet; `None` where it is in it already, or has letters that have no plain form there (Cyrillic, say).
pub(super) fn in_gsm7(text: &str) -> Option<String> {
    let is_plain = |char| gsm7::septets(char).is_some();
    if text.chars().all(is_plain) {
        return None;
    }
    let decomposing = DecomposingNormalizer::new_nfkd();
    let mut plain = String::with_capacity(text.len());
    for char in text.chars() {
        if is_plain(char) {
            plain.push(char);
        } else if let Some(sign) = sign(char) {
            plain.push_str(sign);
        } else {
            let taken_apart = decomposing.normalize(char.encode_utf8(&mut [0; 4])).into_owned();
            let letters = taken_apart.chars().filter(|char| !is_accent(*char));
            for letter in letters {
                match sign(letter) {
                    _ if is_plain(letter) => plain.push(letter),
                    Some(sign) => plain.push_str(sign),
                    None => return None,
                }
            }
        }
    }
    Some(plain)
}

/// Marks that stand on or below the letter before them, and those that set the direction of writing.
const fn is_accent(char: char) -> bool {
    matches!(char, '\u{300}'..='\u{36F}' | '\u{200B}'..='\u{200F}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

/// What is written for a sign or a letter that can't be taken apart.
const fn sign(char: char) -> Option<&'static str> {
    Some(match char {
        '‐' | '‑' | '‒' | '–' | '—' | '―' | '−' | '•' => "-",
        '‘' | '’' | '‚' | '‛' | '′' | '`' | '´' => "'",
        '“' | '”' | '„' | '‟' | '«' | '»' | '″' => "\"",
        '‹' => "<",
        '›' => ">",
        'ł' => "l",
        'Ł' => "L",
        'đ' | 'ð' => "d",
        'Đ' | 'Ð' => "D",
        'ħ' => "h",
        'Ħ' => "H",
        'ı' => "i",
        'ŋ' => "n",
        'ŧ' => "t",
        'Ŧ' => "T",
        'þ' => "th",
        'Þ' => "Th",
        'œ' => "oe",
        'Œ' => "OE",
        'ẞ' => "SS",
        'ə' => "a",
        'Ə' => "A",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_keep_the_accents_that_the_alphabet_has_and_lose_the_others() {
        for (text, plain) in [
            ("código de verificação é o seu", "codigo de verificacao é o seu"),
            ("Potwierdź — łódź", "Potwierdz - lodz"),
            ("Doğrulama kodunuz: ışık", "Dogrulama kodunuz: isik"),
            ("Don’t “give” it…", "Don't \"give\" it..."),
            ("mã xác thực của bạn", "ma xac thuc cua ban"),
        ] {
            assert_eq!(in_gsm7(text).as_deref(), Some(plain));
        }
        assert_eq!(
            in_gsm7("Ihr Bestätigungscode für é ñ à Ç"),
            None,
            "nothing is to be done"
        );
    }

    #[test]
    fn what_has_no_plain_form_stays_as_it_is() {
        for text in ["Ваш код — 12345", "الرمز: 12345", "验证码 12345", "code 🔑"] {
            assert_eq!(in_gsm7(text), None, "{text}");
        }
    }
}
