//! The operator's page of texts: every language, as recipients see it, and e-mails in a frame that can do nothing.

use countersign_channels::{OwnTexts, Texts};
use countersign_core::LegName;
use countersign_server::Mode;

use crate::support::{Page, Server};

/// The answer's content security policy.
fn policy(page: &Page) -> &str {
    let mut lines = page.head.lines();
    lines
        .find_map(|line| line.strip_prefix("content-security-policy: "))
        .unwrap()
}

#[tokio::test]
async fn all_languages_are_shown_at_a_glance_with_the_length_of_short_messages() {
    let server = Server::start().await;
    let operator = server.operator().await;
    let page = operator.get("/operator/texts").await;
    assert_eq!(page.status, 200);
    for language in Texts::built_in().unwrap().languages() {
        let tag = language.tag();
        assert!(page.has(&format!("href=\"/operator/texts/{tag}\"")), "no link to {tag}");
    }
    for words in [
        "<code>482913</code> is your verification code.",
        "482913 is your verification code for acme_shop.",
        "<span lang=\"ar\">العربية</span>",
        "lang=\"ar\" dir=\"rtl\"",
        "With the longest name of a sender",
    ] {
        assert!(page.has(words), "{words} is missing: {}", page.body);
    }
    // Eight short messages in six languages, none of which is longer than it must be.
    assert!(page.body.matches(">1 segment<").count() >= 48, "{}", page.body);
    assert!(!page.has("segments<"), "{}", page.body);
    assert_eq!(
        server.browser("none=1").get("/operator/texts").await.location(),
        "/operator/login"
    );
}

#[tokio::test]
async fn every_language_is_shown_in_full_in_its_own_direction() {
    let server = Server::start().await;
    let operator = server.operator().await;
    for language in Texts::built_in().unwrap().languages() {
        let tag = language.tag();
        let page = operator.get(&format!("/operator/texts/{tag}")).await;
        assert_eq!(page.status, 200, "{tag}");
        let direction = if language.is_right_to_left() { "rtl" } else { "ltr" };
        for words in [
            format!("lang=\"{tag}\" dir=\"{direction}\""),
            "@acme.example #482913".to_owned(),
            "FA+9qCX9VSu".to_owned(),
            "the_marvellous_acme_shop_company".to_owned(),
            "verify.example".to_owned(),
            "/stop".to_owned(),
            "Firefox on Linux".to_owned(),
            format!("src=\"/operator/texts/{tag}/email/code\""),
            format!("src=\"/operator/texts/{tag}/email/code-from\""),
            format!("src=\"/operator/texts/{tag}/email/sign-in\""),
        ] {
            assert!(page.has(&words), "{tag}: {words} is missing");
        }
        // A text that a language lacks would show its id.
        for id in [">sms-", ">telegram-", ">email-", "{ $"] {
            assert!(!page.has(id), "{tag}: {id}");
        }
        assert!(policy(&page).contains("frame-src 'self'"), "{}", page.head);
    }
    assert_eq!(operator.get("/operator/texts/tlh").await.status, 404);
    assert_eq!(operator.get("/operator/texts/en?channel=none").await.status, 404);
}

#[tokio::test]
async fn the_operators_own_words_are_shown_and_those_of_one_channel_where_it_is_chosen() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("inbox")).unwrap();
    std::fs::write(folder.path().join("it.ftl"), "sms-code = Il codice è { $code }.\n").unwrap();
    let markup = "code = <b>Acme</b> sagt { $code }.\n";
    std::fs::write(folder.path().join("inbox/de.ftl"), markup).unwrap();
    let own = OwnTexts {
        folder: Some(folder.path().to_owned()),
        ..OwnTexts::default()
    };
    let texts = Texts::with_own(&own, &[LegName::INBOX]).unwrap();
    let server = Server::start_with(Mode::Sandbox, texts).await;
    let operator = server.operator().await;
    let all = operator.get("/operator/texts").await;
    for words in ["href=\"/operator/texts/it\"", "href=\"/operator/texts?channel=inbox\""] {
        assert!(all.has(words), "{words} is missing: {}", all.body);
    }
    let italian = operator.get("/operator/texts/it").await;
    assert!(italian.has("Il codice è 482913."), "{}", italian.body);
    // What it lacks is said in the default language.
    assert!(italian.has("482913 is your verification code for acme_shop."));
    assert!(!operator.get("/operator/texts/de").await.has("Acme"));
    let german = operator.get("/operator/texts/de?channel=inbox").await;
    assert!(german.has("&#60;b&#62;Acme&#60;/b&#62; sagt"), "{}", german.body);
    assert!(german.has("href=\"/operator/texts/it?channel=inbox\""));
}

#[tokio::test]
async fn an_emails_html_stands_in_a_frame_that_can_do_nothing() {
    let server = Server::start().await;
    let operator = server.operator().await;
    for which in ["code", "code-from", "sign-in"] {
        let page = operator.get(&format!("/operator/texts/ar/email/{which}")).await;
        assert_eq!(page.status, 200);
        assert!(
            page.has("<html lang=\"ar\" dir=\"rtl\">") && page.has("482913"),
            "{}",
            page.body
        );
        let policy = policy(&page);
        for part in [
            "default-src 'none'",
            "sandbox",
            "frame-ancestors 'self'",
            "form-action 'none'",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("script-src"), "{policy}");
        assert!(page.head.contains("x-frame-options: sameorigin"), "{}", page.head);
    }
    let other = operator.get("/operator").await;
    assert!(other.head.contains("x-frame-options: deny") && !policy(&other).contains("frame-src"));
    assert_eq!(operator.get("/operator/texts/ar/email/none").await.status, 404);
    let stranger = server.browser("none=1");
    assert_eq!(
        stranger.get("/operator/texts/ar/email/code").await.location(),
        "/operator/login"
    );
}

/// Every text's id with what it is given, as a language of its own: `code = (code) { $code }`.
fn ids_as_texts() -> (Vec<String>, String) {
    let english = include_str!("../../../channels/texts/en.ftl");
    let mut texts: Vec<(String, Vec<&str>)> = Vec::new();
    for line in english.lines().filter(|line| !line.starts_with('#')) {
        if let Some((id, _)) = line
            .split_once(" =")
            .filter(|_| line.starts_with(|first: char| first.is_ascii_lowercase()))
        {
            texts.push((id.to_owned(), Vec::new()));
        }
        let Some((_, given)) = texts.last_mut() else { continue };
        for (_, rest) in line.match_indices('$').map(|(at, _)| line.split_at(at + 1)) {
            let name = rest.split(|char: char| !char.is_ascii_alphabetic()).next().unwrap();
            if !given.contains(&name) {
                given.push(name);
            }
        }
    }
    let line = |(id, given): &(String, Vec<&str>)| {
        let given: Vec<_> = given.iter().map(|name| format!("{{ ${name} }}")).collect();
        format!("{id} = ({id}) {}\n", given.join(" "))
    };
    let file = texts.iter().map(line).collect();
    (texts.into_iter().map(|(id, _)| id).collect(), file)
}

#[tokio::test]
async fn every_text_stands_on_the_page_or_in_an_email_on_it() {
    let (ids, file) = ids_as_texts();
    assert!(ids.len() > 40 && ids.contains(&"email-life".to_owned()), "{ids:?}");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("it.ftl"), file).unwrap();
    let own = OwnTexts {
        folder: Some(folder.path().to_owned()),
        ..OwnTexts::default()
    };
    let texts = Texts::with_own(&own, &[]).unwrap();
    let server = Server::start_with(Mode::Sandbox, texts).await;
    let operator = server.operator().await;
    let mut seen = operator.get("/operator/texts/it").await.body;
    for which in ["code", "code-from", "sign-in"] {
        seen.push_str(&operator.get(&format!("/operator/texts/it/email/{which}")).await.body);
    }
    let missing: Vec<_> = ids.iter().filter(|id| !seen.contains(&format!("({id})"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
