//! An amount as people type it, read digit by digit: no float touches money.

use countersign_core::Credits;

/// Reads an amount of dollars and cents: `12`, `12.5`, `12.50`, `12,50`, `$1,250.00`. What could be read two ways is refused
/// with a sentence that says how to write it.
pub(super) fn parse(text: &str) -> Result<Credits, String> {
    let bare: String = text
        .trim()
        .trim_start_matches('$')
        .chars()
        .filter(|character| !matches!(character, ' ' | '\u{a0}' | '\u{202f}'))
        .collect();
    if bare.is_empty() {
        return Err("Type an amount, like 50 or 12.50.".to_owned());
    }
    let plain = without_groups(&bare).ok_or_else(|| {
        let digits_only = bare.replace([',', '.'], "");
        format!("{text} can be read in more than one way, or isn’t an amount. Write it like {digits_only}.00 or 12.50.")
    });
    let plain = match plain {
        Ok(plain) => plain,
        Err(sentence)
            if bare
                .chars()
                .all(|character| character.is_ascii_digit() || ".,".contains(character)) =>
        {
            return Err(sentence);
        }
        Err(_) => return Err("That isn’t an amount. Type digits, like 50 or 12.50.".to_owned()),
    };
    if plain.split_once('.').is_some_and(|(_, cents)| cents.len() > 2) {
        return Err("An order is for whole cents: write at most two digits after the point.".to_owned());
    }
    Credits::parse(&plain).map_err(|_| "That amount is too long to be paid.".to_owned())
}

/// Digits with a decimal point, of digits that may be grouped.
fn without_groups(text: &str) -> Option<String> {
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let grouped = |part: &str| {
        let mut groups = part.split(',');
        let first = groups.next().unwrap_or_default();
        all_digits(first) && first.len() <= 3 && groups.all(|group| group.len() == 3 && all_digits(group))
    };
    match (text.matches(',').count(), text.rsplit_once('.')) {
        (0, None) => all_digits(text).then(|| text.to_owned()),
        (0, Some((whole, cents))) => (all_digits(whole) && all_digits(cents)).then(|| text.to_owned()),
        // A comma for the decimals, as half of the world writes them; before three digits it could mean thousands.
        (1, None) => {
            let (whole, cents) = text.split_once(',')?;
            (all_digits(whole) && all_digits(cents) && cents.len() != 3).then(|| format!("{whole}.{cents}"))
        }
        (_, Some((whole, cents))) => {
            (grouped(whole) && all_digits(cents)).then(|| format!("{}.{cents}", whole.replace(',', "")))
        }
        (_, None) => grouped(text).then(|| text.replace(',', "")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_people_write_them() {
        for (text, micros) in [
            ("12", 12_000_000),
            ("12.5", 12_500_000),
            (" 12.50 ", 12_500_000),
            ("12,50", 12_500_000),
            ("$1,250.00", 1_250_000_000),
            ("1 250", 1_250_000_000),
            ("1,000,000", 1_000_000_000_000),
            ("0.01", 10_000),
        ] {
            assert_eq!(parse(text), Ok(Credits::from_micros(micros)), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_amount_or_could_be_two_is_refused_with_a_hint() {
        for text in [
            "",
            "abc",
            "-5",
            "1e3",
            "1,000",
            "1.2.3",
            "1,00,0",
            "12.345",
            "12,3456",
            "1.000,50",
            ".",
            ",",
            "5.",
            "NaN",
            "99999999999999999999",
        ] {
            let sentence = parse(text).unwrap_err();
            assert!(sentence.ends_with('.'), "{text:?}: {sentence}");
        }
    }
}
