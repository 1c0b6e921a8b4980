//! What a recipient of an e-mail reads: subject, plain text and HTML in their language. Pure: [`super::message`] makes a message of it, and
//! whoever shows texts to operators calls it, too. What others wrote (a sender's name, what a browser calls itself) is cleaned and escaped.

use std::fmt;

use crate::texts::{Argument, Language};

/// The longest name of others that is shown, in characters.
const MAX_NAME_CHARS: usize = 100;
/// Marks around words whose direction may differ from the text's (Unicode's first strong isolate, and its end).
const ISOLATE: (char, char) = ('\u{2068}', '\u{2069}');

/// What a message with a code says.
#[derive(Clone, Copy)]
pub struct Parts<'a> {
    /// The code.
    pub code: &'a str,
    /// Whose code it is, as recipients know them.
    pub sender: Option<&'a str>,
    /// For how many minutes it works from now on.
    pub minutes: u32,
    /// Where its recipient says that they asked for no code, or want no more; if there is such a page.
    pub answer_url: Option<&'a str>,
}

/// What a message with a code for signing in says.
#[derive(Clone, Copy)]
pub struct LoginParts<'a> {
    /// The code.
    pub code: &'a str,
    /// Where they sign in.
    pub site: &'a str,
    /// What the asking browser calls itself.
    pub device: &'a str,
    /// Where it asks from.
    pub address: &'a str,
    /// For how many minutes it works from now on.
    pub minutes: u32,
    /// Where its recipient says that it wasn't they, or that they want no more; if there is such a page.
    pub answer_url: Option<&'a str>,
}

/// A message as its recipient reads it.
#[derive(Clone, PartialEq, Eq)]
pub struct Composed {
    /// One line.
    pub subject: String,
    /// The plain text, lines ending in `\n`.
    pub text: String,
    /// A whole page with inline styles, which loads nothing.
    pub html: String,
    /// Whether it is written from right to left.
    pub right_to_left: bool,
}

/// No code, and no link that answers for its recipient.
impl fmt::Debug for Parts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sender, minutes, .. } = self;
        f.debug_struct("Parts")
            .field("sender", sender)
            .field("minutes", minutes)
            .finish_non_exhaustive()
    }
}

/// The same.
impl fmt::Debug for LoginParts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { site, minutes, .. } = self;
        f.debug_struct("LoginParts")
            .field("site", site)
            .field("minutes", minutes)
            .finish_non_exhaustive()
    }
}

/// All of it holds the code.
impl fmt::Debug for Composed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { right_to_left, .. } = self;
        f.debug_struct("Composed")
            .field("right_to_left", right_to_left)
            .finish_non_exhaustive()
    }
}

/// Writes a message with a code.
pub fn compose(language: &Language, parts: &Parts<'_>) -> Composed {
    let sender = parts.sender.map(|sender| named(language, sender));
    let code = ("code", Argument::Text(parts.code));
    let (subject, heading) = match &sender {
        Some(sender) => {
            let sender = ("sender", Argument::Text(sender));
            (
                language.text("email-subject-from", &[code, sender]),
                language.text("email-heading-from", &[sender]),
            )
        }
        None => (
            language.text("email-subject", &[code]),
            language.text("email-heading", &[]),
        ),
    };
    let lines = vec![
        language.text("email-life", &[("minutes", Argument::Number(parts.minutes))]),
        language.text("email-warning", &[]),
    ];
    put_together(language, &subject, &heading, parts.code, &lines, parts.answer_url)
}

/// Writes a message with a code for signing in.
pub fn compose_login(language: &Language, parts: &LoginParts<'_>) -> Composed {
    let [site, device, address] = [parts.site, parts.device, parts.address].map(|name| named(language, name));
    let subject = language.text(
        "email-login-subject",
        &[("code", Argument::Text(parts.code)), ("site", Argument::Text(&site))],
    );
    let heading = language.text("email-login-heading", &[]);
    let asker = [
        ("device", Argument::Text(&device)),
        ("address", Argument::Text(&address)),
    ];
    let lines = vec![
        language.text("email-login-from", &asker),
        language.text("email-life", &[("minutes", Argument::Number(parts.minutes))]),
        language.text("email-warning", &[]),
    ];
    put_together(language, &subject, &heading, parts.code, &lines, parts.answer_url)
}

fn put_together(
    language: &Language,
    subject: &str,
    heading: &str,
    code: &str,
    lines: &[String],
    answer_url: Option<&str>,
) -> Composed {
    let answer = answer_url.map(|url| (language.text("email-disown", &[]), url));
    let right_to_left = language.is_right_to_left();
    let mut text = format!("{heading}\n\n    {code}\n\n{}\n", lines.join("\n\n"));
    if let Some((label, url)) = &answer {
        text = format!("{text}\n{label}\n{url}\n");
    }
    let mut body = format!(
        "<h1 style=\"margin:0 0 16px;font-size:20px;line-height:1.3;font-weight:600\">{}</h1>\n\
         <p style=\"margin:0 0 16px;padding:12px 16px;border:1px solid;border-radius:8px;text-align:center;font-family:ui-monospace,\
         SFMono-Regular,Menlo,Consolas,'Liberation Mono',monospace;font-size:32px;line-height:1.3;font-weight:700;letter-spacing:4px\">\
         <bdi dir=\"ltr\">{}</bdi></p>\n",
        escape(heading),
        escape(code),
    );
    for line in lines {
        body.push_str("<p style=\"margin:0 0 12px\">");
        body.push_str(&escape(line));
        body.push_str("</p>\n");
    }
    if let Some((label, url)) = &answer {
        let link = format!(
            "<a href=\"{}\" style=\"color:inherit\">{}</a>",
            escape(url),
            escape(label.trim_end_matches(':'))
        );
        body = format!("{body}<p style=\"margin:24px 0 0;font-size:14px\">{link}</p>\n");
    }
    Composed {
        html: page(language, subject, &body),
        subject: one_line(subject),
        text,
        right_to_left,
    }
}

/// A page that loads nothing and sets no colour, so that it is light or dark as its reader is. Language and direction stand inside the body,
/// too: some mail programs keep nothing else.
pub(super) fn page(language: &Language, title: &str, body: &str) -> String {
    let tag = language.tag();
    let direction = if language.is_right_to_left() { "rtl" } else { "ltr" };
    format!(
        "<!doctype html>\n<html lang=\"{tag}\" dir=\"{direction}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta name=\"supported-color-schemes\" content=\"light dark\">\n<title>{}</title>\n</head>\n\
         <body style=\"margin:0;padding:0\">\n\
         <div lang=\"{tag}\" dir=\"{direction}\" style=\"max-width:480px;margin:0 auto;padding:24px 16px;font-family:system-ui,-apple-system,\
         'Segoe UI',Roboto,'Noto Sans','Noto Sans Arabic',Arial,sans-serif;font-size:16px;line-height:1.5\">\n{body}</div>\n</body>\n</html>\n",
        escape(&one_line(title)),
    )
}

/// What others call themselves or somebody: one line without marks that turn what follows, not too long. In a text from right to left it
/// keeps its own direction.
fn named(language: &Language, name: &str) -> String {
    let isolates = |char: &char| matches!(char, '\u{2066}'..='\u{2069}');
    let line = one_line(name);
    let clean: String = line
        .chars()
        .filter(|char| !isolates(char))
        .take(MAX_NAME_CHARS)
        .collect();
    if language.is_right_to_left() {
        format!("{}{clean}{}", ISOLATE.0, ISOLATE.1)
    } else {
        clean
    }
}

/// One line: what breaks lines or controls anything becomes a space, marks of direction that could be left open go. Pairs of isolates that
/// were set here stay.
fn one_line(text: &str) -> String {
    let is_turning = |char: &char| matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}' | '\u{2067}');
    let breaks = |char: char| char.is_control() || matches!(char, '\u{2028}' | '\u{2029}');
    text.chars()
        .filter(|char| !is_turning(char))
        .map(|char| if breaks(char) { ' ' } else { char })
        .collect()
}

/// For HTML, inside elements and inside quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::texts::Texts;

    const URL: &str = "https://verify.example/channels/mail/answer/abc?x=1&y=2";

    fn in_language(tag: &str, parts: &Parts<'_>) -> Composed {
        let texts = Texts::built_in().unwrap();
        let language = texts
            .languages()
            .iter()
            .find(|language| language.tag().to_string() == tag);
        compose(language.unwrap(), parts)
    }

    fn parts(sender: Option<&'static str>) -> Parts<'static> {
        Parts {
            code: "123456",
            sender,
            minutes: 5,
            answer_url: None,
        }
    }

    #[test]
    fn every_language_has_every_part() {
        let texts = Texts::built_in().unwrap();
        for language in texts.languages() {
            let parts = Parts {
                answer_url: Some(URL),
                ..parts(Some("acme_shop"))
            };
            let login = LoginParts {
                code: "123456",
                site: "verify.example",
                device: "Firefox on Linux",
                address: "203.0.113.9",
                minutes: 5,
                answer_url: None,
            };
            for mail in [compose(language, &parts), compose_login(language, &login)] {
                for part in [&mail.subject, &mail.text, &mail.html] {
                    assert!(part.contains("123456"), "{part}");
                    assert!(!part.contains("email-") && !part.contains('{'), "{part}");
                }
                assert_eq!(mail.right_to_left, language.tag().to_string() == "ar");
                let direction = if mail.right_to_left { "rtl" } else { "ltr" };
                let html = format!("<html lang=\"{}\" dir=\"{direction}\">", language.tag());
                assert!(mail.html.contains(&html), "{}", mail.html);
                assert!(mail.html.contains("<bdi dir=\"ltr\">123456</bdi>"), "{}", mail.html);
                for outside in ["src=", "<link", "@import", "url("] {
                    assert!(!mail.html.contains(outside), "{outside}");
                }
            }
            assert!(compose(language, &parts).text.contains(URL));
        }
    }

    #[test]
    fn a_name_can_neither_break_a_line_nor_become_html() {
        let mail = in_language("en", &parts(Some("a\r\nBcc: x@example.com<b onload=\"x\">\u{202e}'&")));
        assert!(!mail.subject.contains(['\r', '\n', '\u{202e}']), "{:?}", mail.subject);
        assert!(!mail.html.contains("<b onload"), "{}", mail.html);
        assert!(
            mail.html.contains("&lt;b onload=&quot;x&quot;&gt;&#39;&amp;"),
            "{}",
            mail.html
        );
        assert!(!mail.text.contains("\nBcc"), "{}", mail.text);
        let long = "x".repeat(1_000);
        let texts = Texts::built_in().unwrap();
        let parts = Parts {
            sender: Some(&long),
            ..parts(None)
        };
        assert!(compose(&texts.languages()[0], &parts).subject.chars().count() < 200);
    }

    #[test]
    fn no_code_and_no_link_is_in_debug_output() {
        let parts = Parts {
            answer_url: Some(URL),
            ..parts(Some("acme_shop"))
        };
        let login = LoginParts {
            code: "123456",
            site: "verify.example",
            device: "Firefox on Linux",
            address: "203.0.113.9",
            minutes: 5,
            answer_url: Some(URL),
        };
        let shown = format!("{parts:?} {login:?} {:?}", in_language("en", &parts));
        assert!(
            shown.contains("acme_shop") && !shown.contains("123456") && !shown.contains("answer/"),
            "{shown}"
        );
        assert!(!shown.contains("203.0.113.9"), "{shown}");
    }

    #[test]
    fn from_right_to_left_a_name_keeps_its_own_direction() {
        let arabic = in_language("ar", &parts(Some("acme_shop")));
        assert!(
            arabic.subject.contains("\u{2068}acme_shop\u{2069}"),
            "{:?}",
            arabic.subject
        );
        assert!(
            !in_language("en", &parts(Some("acme_shop")))
                .subject
                .contains('\u{2068}')
        );
    }

    #[test]
    fn the_english_mail_in_full() {
        let mail = in_language(
            "en",
            &Parts {
                answer_url: Some(URL),
                ..parts(Some("acme_shop"))
            },
        );
        insta::assert_snapshot!(format!("{}\n\n{}\n{}", mail.subject, mail.text, mail.html));
    }
}
