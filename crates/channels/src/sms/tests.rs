use proptest::prelude::*;

use super::*;
use crate::Texts;

const CODE: &str = "48291370";
const HASH: &str = "FA+9qCX9VSu";

fn autofill(domain: Option<&str>, hash: Option<&str>) -> Autofill {
    Autofill {
        domain: domain.map(str::to_owned),
        android_hash: hash.map(str::to_owned),
    }
}

fn composed(tag: &str, sender: Option<&str>, autofill: &Autofill) -> Composed {
    let texts = Texts::built_in().unwrap();
    let mut languages = texts.languages().iter();
    let language = languages.find(|language| language.tag().to_string() == tag).unwrap();
    let parts = Parts {
        code: "482913",
        sender,
        autofill,
    };
    compose(language, &parts)
}

/// Long as a domain of a university's or a city's website.
fn long_domain() -> String {
    format!("login.{}.example.org", "d".repeat(63))
}

#[test]
fn in_each_language_with_whatever_is_set_a_message_ends_as_phones_expect_and_takes_one_segment_where_it_can() {
    let texts = Texts::built_in().unwrap();
    let long_sender = "s".repeat(32);
    let long_domain = long_domain();
    for language in texts.languages() {
        for sender in [None, Some("acme_shop"), Some(long_sender.as_str())] {
            for domain in [None, Some("example.com"), Some(long_domain.as_str())] {
                for hash in [None, Some(HASH)] {
                    let autofill = autofill(domain, hash);
                    let parts = Parts {
                        code: CODE,
                        sender,
                        autofill: &autofill,
                    };
                    let composed = compose(language, &parts);
                    let about = format!("{} {sender:?} {domain:?} {hash:?}: {}", language.tag(), composed.text);
                    let mut lines = composed.text.lines().rev();
                    if let Some(domain) = domain {
                        assert_eq!(lines.next(), Some(format!("@{domain} #{CODE}").as_str()), "{about}");
                    }
                    if hash.is_some() {
                        assert_eq!(lines.next(), Some(HASH), "{about}");
                    }
                    if domain.is_some() || hash.is_some() {
                        assert_eq!(lines.next(), Some(""), "{about}");
                    }
                    let words = lines.next().unwrap();
                    assert!(words.contains(CODE) && lines.next().is_none(), "{about}");
                    assert_eq!(composed.segments, 1, "{about}");
                    if domain != Some(long_domain.as_str()) {
                        assert!(hash.is_none() || composed.text.len() <= MAX_RETRIEVER_BYTES, "{about}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_message_says_as_much_as_one_segment_holds() {
    let plain = autofill(None, None);
    let english = composed("en", Some("acme_shop"), &plain);
    assert_eq!(english.text, "482913 is your verification code for acme_shop.");
    assert_eq!((english.alphabet, english.segments), (Alphabet::Gsm7, 1));
    // Its accents are kept where they cost nothing,
    let portuguese = composed("pt", Some("acme_shop"), &plain);
    assert_eq!(portuguese.text, "482913 é o seu código de verificação para acme_shop.");
    assert_eq!((portuguese.alphabet, portuguese.segments), (Alphabet::Ucs2, 1));
    // and given up for the sender's name.
    let bound = autofill(Some("example.com"), Some(HASH));
    let portuguese = composed("pt", Some("acme_shop"), &bound);
    assert_eq!(
        portuguese.text,
        "482913 é o seu codigo de verificacao para acme_shop.\n\nFA+9qCX9VSu\n@example.com #482913"
    );
    assert_eq!((portuguese.alphabet, portuguese.segments), (Alphabet::Gsm7, 1));
    // Cyrillic has no such form: the name makes way, then the words.
    let russian = composed(
        "ru",
        Some("a_shop_with_a_long_name"),
        &autofill(Some("example.com"), None),
    );
    assert_eq!(russian.text, "482913 — ваш код подтверждения.\n\n@example.com #482913");
    let bound = autofill(Some("login.example.com"), Some(HASH));
    let russian = composed("ru", Some("acme_shop"), &bound);
    assert_eq!(russian.text, "Код: 482913\n\nFA+9qCX9VSu\n@login.example.com #482913");
    assert_eq!((russian.alphabet, russian.segments), (Alphabet::Ucs2, 1));
}

#[test]
fn where_no_word_fits_one_segment_the_code_stands_alone() {
    let domain = long_domain();
    let composed = composed("ar", Some("acme_shop"), &autofill(Some(&domain), Some(HASH)));
    assert_eq!((composed.alphabet, composed.segments), (Alphabet::Gsm7, 1));
    assert_eq!(composed.text, format!("482913\n\nFA+9qCX9VSu\n@{domain} #482913"));
}

#[test]
fn what_would_be_too_long_for_the_sms_retriever_is_said_in_fewer_words() {
    let domain = format!("{}.example", "d".repeat(55));
    let sender = "s".repeat(32);
    let long = composed("en", Some(&sender), &autofill(Some(&domain), None));
    assert!(long.text.contains(&sender) && long.segments == 1);
    let short = composed("en", Some(&sender), &autofill(Some(&domain), Some(HASH)));
    assert!(
        !short.text.contains(&sender) && short.text.len() <= 140,
        "{}",
        short.text
    );
}

#[test]
fn the_text_of_a_sign_in_names_the_site_and_warns_and_nothing_fills_it_in() {
    let texts = Texts::built_in().unwrap();
    for language in texts.languages() {
        let composed = compose_login(language, "482913", "verify.example.com");
        assert!(composed.text.contains("482913") && composed.text.contains("verify.example.com"));
        assert_eq!(composed.segments, 1, "{}: {}", language.tag(), composed.text);
        assert_eq!(composed.text.lines().count(), 1);
    }
}

#[test]
fn an_operators_words_stay_as_they_are() {
    let composed = finish(
        "Il codice è 482913 — grazie. \n",
        "482913",
        &autofill(Some("example.com"), None),
    );
    assert_eq!(composed.text, "Il codice è 482913 — grazie.\n\n@example.com #482913");
    assert_eq!(finish("482913 ", "482913", &Autofill::default()).text, "482913 ");
}

#[test]
fn a_message_is_not_shown_by_debug_output() {
    let debug = format!("{:?}", finish("Code: 482913", "482913", &Autofill::default()));
    assert!(!debug.contains("482913"), "{debug}");
}

#[test]
fn no_character_is_torn_between_two_segments() {
    // 153 septets end in the middle of the euro sign's two.
    let gsm = format!("{}€{}", "a".repeat(152), "a".repeat(152));
    assert_eq!((measure(&gsm).units, measure(&gsm).segments), (306, 3));
    // 67 units end in the middle of a key's two.
    let ucs2 = format!("{}🔑{}", "ж".repeat(66), "ж".repeat(66));
    assert_eq!((measure(&ucs2).units, measure(&ucs2).segments), (134, 3));
    assert_eq!(
        measure(""),
        Length {
            alphabet: Alphabet::Gsm7,
            units: 0,
            segments: 1
        }
    );
}

/// Cuts a text as phones get it: greedily, between characters.
fn cut(text: &str) -> Vec<String> {
    let fits = |part: &str, most_gsm7: usize, most_ucs2: usize| match gsm7::encode(text) {
        Some(_) => gsm7::encode(part).is_some_and(|bytes| bytes.len() <= most_gsm7),
        None => part.encode_utf16().count() <= most_ucs2,
    };
    if fits(text, 160, 70) {
        return vec![text.to_owned()];
    }
    let mut parts = vec![String::new()];
    for char in text.chars() {
        let last = parts.last_mut().unwrap();
        last.push(char);
        if !fits(last, 153, 67) {
            last.pop();
            parts.push(char.to_string());
        }
    }
    parts
}

proptest! {
    #[test]
    fn the_length_of_a_text_is_what_the_encoder_makes_of_it(
        text in prop_oneof!["[a-zà€{}\\[\\]^@_ \n]{0,400}", "[a-z€ж🔑 ]{0,300}", ".{0,300}"]
    ) {
        let length = measure(&text);
        match gsm7::encode(&text) {
            Some(bytes) => prop_assert_eq!((length.alphabet, length.units), (Alphabet::Gsm7, bytes.len())),
            None => {
                prop_assert_eq!((length.alphabet, length.units), (Alphabet::Ucs2, text.encode_utf16().count()));
            }
        }
        prop_assert_eq!(length.segments, cut(&text).len());
    }

    #[test]
    fn plain_letters_are_letters_of_the_alphabet(text in "\\PC{0,80}") {
        if let Some(plain) = plain::in_gsm7(&text) {
            prop_assert!(gsm7::encode(&plain).is_some(), "{plain:?}");
        }
    }
}
