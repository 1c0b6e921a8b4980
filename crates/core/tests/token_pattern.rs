//! The expression that `docs/tokens.md` gives to secret scanners finds every token that can be made, and what it finds among other
//! random texts the checksum tells from tokens.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use countersign_core::{AccountId, ApiToken, TOKEN_LENGTH, TokenKind};
use proptest::prelude::*;
use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input};

/// The expression as the page has it: the one indented line that begins with a word's edge.
fn published() -> &'static str {
    let page = include_str!("../../../docs/tokens.md");
    let mut lines = page.lines().filter_map(|line| line.strip_prefix("    \\b"));
    let rest = lines.next().unwrap();
    assert_eq!(lines.next(), None, "one expression is published");
    rest
}

/// A scanner: bytes, and words of ASCII, as such programs have it.
struct Scanner(dense::DFA<Vec<u32>>);

impl Scanner {
    fn new() -> Self {
        let syntax = syntax::Config::new().unicode(false).utf8(false);
        // Tried at each place: one automaton for all places at once would have a state for each set of places where a token may have begun.
        let scanner = dense::Builder::new()
            .configure(dense::Config::new().start_kind(StartKind::Anchored))
            .syntax(syntax)
            .build(&format!("\\b{}", published()))
            .unwrap();
        Self(scanner)
    }

    /// All finds in a text.
    fn finds<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let mut finds = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let place = Input::new(text).range(at..).anchored(Anchored::Yes);
            at = match self.0.try_search_fwd(&place).unwrap() {
                Some(found) => {
                    finds.push(&text[found.offset() - TOKEN_LENGTH..found.offset()]);
                    found.offset()
                }
                None => at + 1,
            };
        }
        finds
    }
}

thread_local!(static SCANNER: Scanner = Scanner::new());

fn finds(text: &str) -> Vec<&str> {
    SCANNER.with(|scanner| scanner.finds(text))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_published_expression_finds_every_token_wherever_it_leaked(
        number in 1..=i64::MAX, secret in any::<[u8; 32]>(), is_live in any::<bool>(), from_entropy in any::<u64>(),
    ) {
        let kind = if is_live { TokenKind::Live } else { TokenKind::Test };
        for account in [AccountId::new(number).unwrap(), AccountId::from_entropy(from_entropy)] {
            let token = ApiToken::of_kind(kind, account, secret);
            let text = token.as_str();
            for leaked in [
                text.to_owned(),
                format!("token={text}\n"),
                format!("Authorization: Bearer {text}\r\n"),
                format!("{{\"access_token\":\"{text}\",\"code\":1}}"),
                format!("https://gateway.example/checkSendAbility?access_token={text}&phone_number=1"),
                format!("export TOKEN='{text}'; # {text}"),
            ] {
                let found = finds(&leaked);
                prop_assert!(!found.is_empty() && found.iter().all(|found| *found == text), "{leaked}");
            }
            let second = text.strip_prefix('A').and_then(|rest| rest.chars().next()).unwrap();
            let of_kind = if is_live { 'Q'..='X' } else { 'g'..='n' };
            prop_assert!(of_kind.contains(&second), "what the page says of the first two letters: {text}");
        }
    }

    #[test]
    fn hexadecimal_digits_are_never_taken_for_a_token(bytes in proptest::collection::vec(any::<u8>(), 20..400)) {
        let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
        let hex: String = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
        prop_assert!(finds(&hex).is_empty());
        prop_assert!(finds(&hex.to_uppercase()).is_empty());
    }

    #[test]
    fn what_is_found_in_other_base64_has_not_a_tokens_checksum(bytes in proptest::collection::vec(any::<u8>(), 45..600)) {
        let words = [STANDARD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)];
        for word in &words {
            for found in finds(word) {
                prop_assert!(ApiToken::parse(found).is_none(), "{found}");
            }
        }
    }

    #[test]
    fn the_claims_of_a_json_web_token_are_never_taken_for_a_token_and_its_signature_lacks_the_checksum(
        subject in "[a-z0-9@.]{1,80}", issued in 1_700_000_000_u64..2_000_000_000, signature in any::<[u8; 64]>(),
    ) {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","typ":"JWT","kid":"2026-11-key-of-the-signer-of-november"}"#);
        let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"sub":"{subject}","iat":{issued},"iss":"https://issuer.example"}}"#));
        let signature = URL_SAFE_NO_PAD.encode(signature);
        let token = format!("{header}.{claims}.{signature}");
        let before_signature = token.len() - signature.len();
        for found in finds(&token) {
            prop_assert!(found.as_ptr() as usize - token.as_ptr() as usize >= before_signature, "{found}");
            prop_assert!(ApiToken::parse(found).is_none(), "{found}");
        }
    }
}

#[test]
fn of_random_words_the_expression_takes_as_many_as_the_page_says() {
    // Words as long as a token: 2^16 of them, by a small generator, so that the count is the same each time.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut word = || {
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .take(45)
        .collect();
        URL_SAFE_NO_PAD.encode(bytes)
    };
    let taken = (0..1 << 16).filter(|_| finds(&word()).len() == 1).count();
    // 16 of 4,096 beginnings: one in 256.
    assert!((200..=312).contains(&taken), "{taken} of 65,536");
}
