//! What an owner may set of a sender's look, and how it is refused.

use url::Url;

/// Longest display name, in characters.
pub(crate) const MAX_NAME_CHARS: usize = 64;
/// Longest support link, in bytes.
const MAX_LINK_BYTES: usize = 256;
/// Longest word for a verification request, in characters.
pub(crate) const MAX_NOTE_CHARS: usize = 500;
/// Of a sender without a colour.
pub(crate) const DEFAULT_COLOUR: &str = "#4f6f8f";
/// Colours that are offered; each is told apart from a light and from a dark page.
pub(crate) const PALETTE: [(&str, &str); 8] = [
    ("#4f6f8f", "Slate"),
    ("#2f7d4f", "Green"),
    ("#1f7a8c", "Teal"),
    ("#3a6fd8", "Blue"),
    ("#7a5bd0", "Violet"),
    ("#b8478f", "Pink"),
    ("#c0492f", "Red"),
    ("#9a6a12", "Amber"),
];
/// The surfaces on which a colour stands, light and dark (`site.css`, `--surface`), and what a shape needs against them
/// (WCAG 2.2, 1.4.11).
const SURFACES: [[u8; 3]; 2] = [[0xff, 0xff, 0xff], [0x15, 0x1d, 0x27]];
const MIN_CONTRAST_HUNDREDTHS: u64 = 300;

/// Reads a display name: one line, without characters that can't be seen or turn the line round.
pub(crate) fn display_name(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.chars().count() > MAX_NAME_CHARS {
        return Err(format!("A display name has at most {MAX_NAME_CHARS} characters."));
    }
    if text.chars().any(is_unseen) {
        return Err(
            "The display name holds a character that can’t be seen, or that turns the direction of writing: type it anew."
                .to_owned(),
        );
    }
    Ok(text.to_owned())
}

/// Control characters, and those of Unicode that are drawn as nothing or change the order of what is beside them.
fn is_unseen(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}' | '\u{3164}' | '\u{feff}'
            | '\u{ffa0}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Reads a colour: `#rrggbb` that can be told from both surfaces; empty is none.
pub(crate) fn colour(text: &str) -> Result<String, String> {
    let text = text.trim().to_ascii_lowercase();
    if text.is_empty() {
        return Ok(text);
    }
    let Some(rgb) = rgb(&text) else {
        return Err("A colour is written like #3a6fd8.".to_owned());
    };
    let seen = SURFACES
        .iter()
        .all(|surface| contrast_hundredths(rgb, *surface) >= MIN_CONTRAST_HUNDREDTHS);
    if seen {
        Ok(text)
    } else {
        Err("This colour is hard to see on a light or on a dark page: take one that is neither very light nor very dark."
            .to_owned())
    }
}

/// Whether a colour is one that is offered, or none.
pub(crate) fn is_offered(colour: &str) -> bool {
    colour.is_empty() || PALETTE.iter().any(|(offered, _)| *offered == colour)
}

/// Black or white, whichever can be read better on a colour.
pub(crate) fn ink_on(colour: &str) -> &'static str {
    let Some(rgb) = rgb(colour) else {
        return "#ffffff";
    };
    if contrast_hundredths(rgb, [0xff; 3]) >= contrast_hundredths(rgb, [0; 3]) {
        "#ffffff"
    } else {
        "#000000"
    }
}

/// Reads a support link: https, to a host, without a password in it; empty is none.
pub(crate) fn support_url(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(String::new());
    }
    let url = Url::parse(text).ok().filter(|url| {
        url.scheme() == "https" && url.has_host() && url.username().is_empty() && url.password().is_none()
    });
    match url {
        Some(url) if url.as_str().len() <= MAX_LINK_BYTES => Ok(url.as_str().to_owned()),
        Some(_) => Err(format!("A support link has at most {MAX_LINK_BYTES} bytes.")),
        None => Err("A support link begins with https://, like https://example.com/help.".to_owned()),
    }
}

fn rgb(text: &str) -> Option<[u8; 3]> {
    let digits = text
        .strip_prefix('#')
        .filter(|digits| digits.len() == 6 && digits.is_ascii())?;
    let part = |from: usize| u8::from_str_radix(&digits[from..from + 2], 16).ok();
    Some([part(0)?, part(2)?, part(4)?])
}

/// WCAG's contrast of two colours, in hundredths: the brighter's relative luminance and the darker's, each plus 0.05.
fn contrast_hundredths(one: [u8; 3], other: [u8; 3]) -> u64 {
    // In millionths.
    let [one, other] = [one, other].map(|colour| luminance_millionths(colour) + 50_000);
    100 * one.max(other) / one.min(other)
}

fn luminance_millionths(colour: [u8; 3]) -> u64 {
    let [red, green, blue] = colour.map(linear_millionths);
    (2_126 * red + 7_152 * green + 722 * blue) / 10_000
}

/// The inverse of sRGB's transfer curve, in millionths: 0 to 1,000,000.
fn linear_millionths(value: u8) -> u64 {
    let share = f64::from(value) / 255.0;
    let linear = if share <= 0.040_45 {
        share / 12.92
    } else {
        ((share + 0.055) / 1.055).powf(2.4)
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to a million"
    )]
    let millionths = (linear * 1_000_000.0).round() as u64;
    millionths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contrast_is_what_wcag_computes() {
        assert_eq!(contrast_hundredths([0; 3], [0xff; 3]), 2_100);
        // #777777 on white is 4.48, just short of AA.
        assert_eq!(contrast_hundredths([0x77; 3], [0xff; 3]), 447);
    }

    #[test]
    fn every_offered_colour_is_taken_and_carries_its_letter() {
        for (offered, name) in PALETTE {
            assert_eq!(colour(offered).as_deref(), Ok(offered), "{name}");
        }
        assert!(PALETTE.iter().any(|(offered, _)| *offered == DEFAULT_COLOUR));
        assert_eq!(ink_on("#3a6fd8"), "#ffffff");
        assert_eq!(ink_on("#ffe08a"), "#000000");
    }

    #[test]
    fn a_colour_that_vanishes_on_a_page_is_refused() {
        for bad in ["#ffffff", "#000000", "#fff", "red", "#12345g", "#ffee00", "#11203ö"] {
            assert!(colour(bad).is_err(), "{bad} passed");
        }
        assert_eq!(colour(" #3A6FD8 ").as_deref(), Ok("#3a6fd8"));
        assert_eq!(colour("").as_deref(), Ok(""));
    }

    #[test]
    fn a_display_name_is_one_line_of_what_can_be_seen() {
        assert_eq!(display_name("  Acme Ünited 東京 ").as_deref(), Ok("Acme Ünited 東京"));
        assert!(display_name(&"x".repeat(64)).is_ok());
        for bad in ["a\nb", "pay\u{202e}lap", "A\u{200b}cme", &"x".repeat(65)] {
            assert!(display_name(bad).is_err(), "{bad:?} passed");
        }
    }

    #[test]
    fn a_support_link_is_https() {
        assert_eq!(
            support_url("https://acme.example/help").as_deref(),
            Ok("https://acme.example/help")
        );
        assert_eq!(support_url("").as_deref(), Ok(""));
        for bad in [
            "http://acme.example",
            "javascript:alert(1)",
            "acme.example",
            "https://user:pw@acme.example",
            "https://",
        ] {
            assert!(support_url(bad).is_err(), "{bad} passed");
        }
    }
}
