//! Signing in and out: the way by phone number, links that sign in once, and who is kept out.

use std::time::Duration;

use countersign_channels::LoginPrompt;
use countersign_server::Mode;
use countersign_store::{ActionFilter, Actor, LoginToken, SessionOwner};
use reqwest::{Method, StatusCode};

use crate::site::{Browser, OWNER, PATIENCE, PHONE, Page, Site, now, phone};

/// A number whose plan tells its country, and no account's own.
const GB_PHONE: &str = "+447400123456";
const SESSION: &str = "countersign-session";

async fn begin(browser: &Browser, number: &str) -> Page {
    browser.get("/login").await;
    let begun = browser.submit("/login", &[("phone", number)]).await;
    begun.leads_to("/login/wait?next=%2Faccount");
    browser.get("/login/wait?next=%2Faccount").await
}

/// The question that the number's inbox shows, once it is there.
async fn question(site: &Site, number: &str) -> LoginPrompt {
    let inbox = site.inbox.as_ref().unwrap();
    let found = async {
        loop {
            if let Some(prompt) = inbox.logins(Some(phone(number)), now()).pop() {
                return prompt;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("nobody was asked")
}

async fn answer(site: &Site, prompt: &LoginPrompt, word: &str) -> Page {
    let attempt = prompt.attempt.to_string();
    let fields = [("attempt", attempt.as_str()), ("answer", word)];
    site.browser().post("/inbox/login", &fields).await
}

#[tokio::test]
async fn whoever_confirms_on_the_phone_is_signed_in_under_a_new_session() {
    let site = Site::start().await;
    let browser = site.browser();
    browser.set_cookie(SESSION, "planted");
    begin(&browser, "+39 333 333 3333").await.shows("+39 333 333 3333");
    let prompt = question(&site, OWNER).await;
    answer(&site, &prompt, "confirm")
        .await
        .leads_to("/inbox?phone=%2B393333333333#newest");
    assert!(site.inbox.as_ref().unwrap().logins(None, now()).is_empty());

    let done = browser.get("/login/wait?next=%2Faccount").await;
    done.leads_to("/account");
    let session = browser.cookie(SESSION).unwrap();
    assert_ne!(session, "planted");
    assert_eq!(
        browser.cookie("countersign-visit"),
        None,
        "the visit ends with the sign-in"
    );
    assert_eq!(browser.cookie("countersign-login"), None);
    assert_eq!(browser.get("/account").await.status, StatusCode::OK);
    // The waiting page, opened again, goes on; the attempt itself opens nothing twice.
    browser.get("/login/wait?next=%2Faccount").await.leads_to("/account");
    assert_eq!(browser.cookie(SESSION).unwrap(), session);
}

#[tokio::test]
async fn a_browser_that_has_not_begun_the_sign_in_gets_nothing_of_it() {
    let site = Site::start().await;
    let (browser, other) = (site.browser(), site.browser());
    begin(&browser, OWNER).await;
    answer(&site, &question(&site, OWNER).await, "confirm").await;
    let page = other.get("/login/wait?next=%2Faccount").await;
    assert_eq!(page.heading(), "This sign-in is over");
    assert_eq!(other.cookie(SESSION), None);
}

#[tokio::test]
async fn the_waiting_page_is_told_to_go_on() {
    let site = Site::start().await;
    let browser = site.browser();
    let page = begin(&browser, OWNER).await;
    page.shows("data-live=\"/login/events?next=%2Faccount\"");
    let mut stream = browser.stream("/login/events?next=%2Faccount").await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    answer(&site, &question(&site, OWNER).await, "confirm").await;
    let told = tokio::time::timeout(PATIENCE, async {
        let mut text = String::new();
        while let Some(chunk) = stream.chunk().await.unwrap() {
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        text
    });
    let told = told.await.unwrap();
    assert!(
        told.contains("event: leave\ndata: /login/wait?next=%2Faccount"),
        "{told}"
    );
    browser.follow("/login/wait?next=%2Faccount").await;
    assert!(browser.cookie(SESSION).is_some());
}

#[tokio::test]
async fn a_waiting_page_ends_with_the_server() {
    let site = Site::start().await;
    let browser = site.browser();
    begin(&browser, OWNER).await;
    let mut stream = browser.stream("/login/events").await;
    site.drain();
    let ended = tokio::time::timeout(PATIENCE, async { while stream.chunk().await.unwrap().is_some() {} });
    ended.await.unwrap();
}

#[tokio::test]
async fn it_was_not_me_refuses_the_attempt_and_nobody_is_asked_again_for_an_hour() {
    let site = Site::start().await;
    let browser = site.browser();
    begin(&browser, OWNER).await;
    answer(&site, &question(&site, OWNER).await, "refuse").await;
    let page = browser.get("/login/wait?next=%2Faccount").await;
    assert_eq!(page.heading(), "The phone’s holder said: it wasn’t me");
    assert_eq!(browser.cookie(SESSION), None);

    // The next attempt looks like any other, and no question comes.
    let again = begin(&site.browser(), OWNER).await;
    assert_eq!(again.heading(), "Confirm on your phone");
    begin(&site.browser(), PHONE).await;
    question(&site, PHONE).await;
    assert!(
        site.inbox
            .as_ref()
            .unwrap()
            .logins(Some(phone(OWNER)), now())
            .is_empty()
    );
}

#[tokio::test]
async fn an_answer_counts_once() {
    let site = Site::start().await;
    let browser = site.browser();
    begin(&browser, OWNER).await;
    let prompt = question(&site, OWNER).await;
    answer(&site, &prompt, "confirm").await;
    answer(&site, &prompt, "refuse").await.leads_to("/inbox");
    browser.get("/login/wait").await.leads_to("/account");
}

#[tokio::test]
async fn the_code_of_the_message_signs_in_too_and_five_wrong_ones_end_the_attempt() {
    let site = Site::start().await;
    let browser = site.browser();
    begin(&browser, OWNER).await;
    let prompt = question(&site, OWNER).await;
    let code = prompt.code.as_str().to_owned();
    let wrong = if code == "000000" { "111111" } else { "000000" };
    let page = browser.submit("/login/wait?next=%2Faccount", &[("code", wrong)]).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.shows("You have 4 more tries.");
    page.shows("aria-describedby=\"code-problem\"");
    // What can't be a code costs no try.
    browser
        .submit("/login/wait", &[("code", "12")])
        .await
        .shows("six digits");
    let (first, last) = code.split_at(3);
    let spaced = format!("{first} {last}");
    browser
        .submit("/login/wait?next=%2Faccount", &[("code", &spaced)])
        .await
        .leads_to("/account");
    assert!(browser.cookie(SESSION).is_some());
    assert!(site.inbox.as_ref().unwrap().logins(None, now()).is_empty());

    let browser = site.browser();
    begin(&browser, OWNER).await;
    let prompt = question(&site, OWNER).await;
    let wrong = if prompt.code.as_str() == "000000" {
        "111111"
    } else {
        "000000"
    };
    for _ in 0..5 {
        browser.submit("/login/wait", &[("code", wrong)]).await;
    }
    assert_eq!(browser.get("/login/wait").await.heading(), "Too many wrong codes");
    begin(&browser, OWNER).await;
    question(&site, OWNER).await;
}

#[tokio::test]
async fn nothing_tells_numbers_with_an_account_from_others() {
    let site = Site::start_with(Mode::Sandbox, |settings| settings.site.sign_up = false).await;
    let (known, unknown) = (site.browser(), site.browser());
    let seen = async |browser: &Browser, number: &str, digits: &str| {
        let begun = {
            browser.get("/login").await;
            browser.submit("/login", &[("phone", number)]).await
        };
        let waiting = browser.get("/login/wait?next=%2Faccount").await;
        let wrong = browser.submit("/login/wait?next=%2Faccount", &[("code", "12")]).await;
        let mut said = Vec::new();
        for page in [begun, waiting, wrong] {
            let mut text = page.text.replace(digits, "DIGITS");
            if text.contains("name=\"csrf\"") {
                text = text.replace(&page.csrf(), "CSRF");
            }
            let grouped = if digits == "393333333333" {
                "+39 333 333 3333"
            } else {
                "+39 123 456 7890"
            };
            let text = text.replace(grouped, "NUMBER");
            let until = |text: &str, mark: &str| text.split(mark).next().unwrap().to_owned();
            let cookies: Vec<_> = page.set_cookies.iter().map(|cookie| until(cookie, "=")).collect();
            // The moment until which the answer counts differs by milliseconds.
            let times = text
                .split("<time ")
                .map(|part| part.split_once("</time>").map_or(part, |(_, rest)| rest).to_owned());
            said.push((page.status, page.to, cookies, times.collect::<String>()));
        }
        said
    };
    assert_eq!(
        seen(&known, OWNER, "393333333333").await,
        seen(&unknown, PHONE, "391234567890").await
    );
    question(&site, OWNER).await;
    assert!(
        site.inbox
            .as_ref()
            .unwrap()
            .logins(Some(phone(PHONE)), now())
            .is_empty()
    );
}

#[tokio::test]
async fn an_unknown_number_that_confirms_becomes_an_account_and_is_asked_about_itself_first() {
    let site = Site::start().await;
    let browser = site.browser();
    browser.get("/login?next=/account/settings").await;
    browser
        .submit("/login?next=/account/settings", &[("phone", GB_PHONE)])
        .await;
    answer(&site, &question(&site, GB_PHONE).await, "confirm").await;
    browser
        .get("/login/wait?next=/account/settings")
        .await
        .leads_to("/account/settings");
    let account = site.store.account_of_phone(phone(GB_PHONE)).await.unwrap().unwrap();
    assert!(account.balance.is_zero());

    for path in ["/account", "/account/settings"] {
        let page = browser.get(path).await;
        let next = path.replace('/', "%2F");
        page.leads_to(&format!("/account/welcome?next={next}"));
    }
    let welcome = browser.get("/account/welcome?next=%2Faccount%2Fsettings").await;
    welcome.shows("<option value=\"GB\" selected>");
    let refused = browser
        .submit(
            "/account/welcome?next=%2Faccount%2Fsettings",
            &[("name", "Acme & Söhne"), ("country", "DE")],
        )
        .await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    refused.shows("Acme &#38; Söhne");
    refused.shows("Read the terms and accept them");
    let answers = [
        ("name", "Acme & Söhne"),
        ("website", "acme.example"),
        ("country", "DE"),
        ("purpose", "Sign-ins of our shop"),
        ("terms", "1"),
    ];
    browser
        .submit("/account/welcome?next=%2Faccount%2Fsettings", &answers)
        .await
        .leads_to("/account/settings");
    browser.get("/account/settings").await.shows("https://acme.example");
    browser.get("/account/welcome").await.leads_to("/account");
}

#[tokio::test]
async fn forms_without_the_pages_token_or_from_other_sites_are_refused() {
    let site = Site::start().await;
    let browser = site.browser();
    browser.get("/login").await;
    for fields in [vec![("phone", OWNER)], vec![("phone", OWNER), ("csrf", "AAAA")]] {
        assert_eq!(browser.post("/login", &fields).await.status, StatusCode::FORBIDDEN);
    }
    // A token of another visit.
    let theirs = site.browser().get("/login").await.csrf();
    let fields = [("phone", OWNER), ("csrf", theirs.as_str())];
    assert_eq!(browser.post("/login", &fields).await.status, StatusCode::FORBIDDEN);
    let csrf = browser.get("/login").await.csrf();
    let fields = [("phone", OWNER), ("csrf", csrf.as_str())];
    let foreign = [("origin", "https://evil.example")];
    let page = browser.ask(Method::POST, "/login", Some(&fields), &foreign).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    let inbox = [("attempt", "1"), ("answer", "confirm")];
    let page = browser.ask(Method::POST, "/inbox/login", Some(&inbox), &foreign).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);

    let owner = site.owner().await;
    assert_eq!(owner.post("/logout", &[]).await.status, StatusCode::FORBIDDEN);
    assert_eq!(owner.get("/account").await.status, StatusCode::OK);
}

#[tokio::test]
async fn cookies_are_out_of_reach_for_scripts_and_other_sites() {
    let site = Site::start().await;
    let browser = site.browser();
    let page = browser.get("/login").await;
    assert_eq!(page.set_cookies.len(), 1);
    let cookie = &page.set_cookies[0];
    assert!(cookie.starts_with("countersign-visit="), "{cookie}");
    assert!(
        cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=86400"),
        "{cookie}"
    );

    let secure = Site::start_with(Mode::Production, |settings| {
        settings.server.behind_proxy = true;
    })
    .await;
    let token = LoginToken([9; 32]);
    let link = "/login/link/CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk";
    secure
        .store
        .make_login_link(secure.account, token, now(), 60_000)
        .await
        .unwrap();
    let browser = secure.browser();
    let page = browser.get(link).await;
    assert!(
        page.set_cookies[0].starts_with("__Host-countersign-visit="),
        "{:?}",
        page.set_cookies
    );
    let signed_in = browser.submit(link, &[]).await;
    signed_in.leads_to("/account");
    let cookie = signed_in
        .set_cookies
        .iter()
        .find(|cookie| cookie.contains("session"))
        .unwrap();
    assert!(cookie.starts_with("__Host-countersign-session="), "{cookie}");
    assert!(
        cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=2592000; Secure"),
        "{cookie}"
    );
    assert_eq!(browser.get("/account").await.status, StatusCode::OK);
    // The audit log tells that the link was used, and that somebody signed in.
    for action in ["login link used", "signed in"] {
        let filter = ActionFilter {
            action_prefix: Some(action.to_owned()),
            ..ActionFilter::default()
        };
        let told = secure.store.actions(filter, None, 10).await.unwrap().records;
        assert_eq!(
            (told.len(), told[0].actor.as_str()),
            (1, Actor::Owner.name()),
            "{action}"
        );
        assert_eq!(told[0].subject, format!("account {}", secure.account.id));
    }
    // Under the plain name the same value opens nothing.
    let plain = secure.browser();
    plain.set_cookie(SESSION, &browser.cookie("__Host-countersign-session").unwrap());
    plain.get("/account").await.leads_to("/login?next=%2Faccount");
}

#[tokio::test]
async fn a_number_and_an_address_begin_so_many_sign_ins_in_an_hour() {
    let site = Site::start_with(Mode::Sandbox, |settings| {
        settings.limits.login_attempts_per_hour = Some(2);
    })
    .await;
    let browser = site.browser();
    for _ in 0..2 {
        begin(&browser, PHONE).await;
    }
    browser.get("/login").await;
    let page = browser.submit("/login", &[("phone", PHONE)]).await;
    assert_eq!(page.status, StatusCode::TOO_MANY_REQUESTS);
    let seconds: u32 = page.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=1_800).contains(&seconds), "{seconds}");
    // Four times as many from one address, whatever the number; the refused one counted too.
    for last in 0..5 {
        begin(&browser, &format!("+39123456700{last}")).await;
    }
    browser.get("/login").await;
    let page = browser.submit("/login", &[("phone", "+391234567777")]).await;
    assert_eq!(page.status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn a_sign_in_leads_to_no_other_site() {
    let site = Site::start().await;
    let owner = site.owner().await;
    for next in ["//evil.example", "https://evil.example", "/%5Cevil.example"] {
        owner.get(&format!("/login?next={next}")).await.leads_to("/account");
    }
    owner.get("/login?next=/account/api").await.leads_to("/account/api");
    let page = site.browser().get("/login?next=//evil.example").await;
    page.shows("action=\"/login?next=%2Faccount\"");
}

#[tokio::test]
async fn without_a_messenger_the_login_page_says_how_to_get_in() {
    let site = Site::start_with(Mode::Production, |settings| settings.server.behind_proxy = true).await;
    let page = site.browser().get("/login").await;
    page.shows("countersign account login-link");
    assert!(!page.text.contains("<form"), "{}", page.text);
}

#[tokio::test]
async fn the_operators_link_signs_in_once_and_a_look_at_it_uses_nothing_up() {
    let site = Site::start().await;
    let made = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}/operator/v1/accounts/{OWNER}/login-link", site.address);
    let made = made
        .post(url)
        .bearer_auth(crate::site::OPERATOR_KEY)
        .send()
        .await
        .unwrap();
    assert_eq!(made.status(), StatusCode::CREATED);
    let made: serde_json::Value = made.json().await.unwrap();
    let url = made["url"].as_str().unwrap();
    let path = url.strip_prefix(&format!("http://{}", site.address)).expect(url);
    let life = made["expires_at"].as_i64().unwrap() - now().unix_seconds();
    assert!((890..=900).contains(&life), "{life}");

    let (browser, late) = (site.browser(), site.browser());
    for _ in 0..3 {
        assert_eq!(browser.get(path).await.heading(), "Sign in with this link");
    }
    late.get(path).await;
    browser.submit(path, &[]).await.leads_to("/account");
    assert_eq!(browser.get("/account").await.status, StatusCode::OK);
    let page = late.submit(path, &[]).await;
    assert_eq!((page.status, page.heading()), (StatusCode::GONE, "This link is over"));
    assert_eq!(late.get(path).await.status, StatusCode::GONE);
    assert_eq!(late.get("/login/link/nonsense").await.status, StatusCode::GONE);
    let owner = SessionOwner::Account(site.account);
    assert_eq!(site.store.sessions(owner, now()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn signing_out_ends_the_session_in_the_books() {
    let site = Site::start().await;
    let owner = site.owner().await;
    let session = owner.cookie(SESSION).unwrap();
    owner.get("/account").await;
    owner.submit("/logout", &[]).await.leads_to("/login?done=out");
    assert_eq!(owner.cookie(SESSION), None);
    owner.set_cookie(SESSION, &session);
    owner.get("/account").await.leads_to("/login?next=%2Faccount");
}

#[tokio::test]
async fn the_inbox_shows_who_asks_and_forgets_it_when_it_is_answered() {
    let site = Site::start().await;
    begin(&site.browser(), OWNER).await;
    let prompt = question(&site, OWNER).await;
    let inbox = site.browser();
    let page = inbox.get("/inbox?phone=%2B393333333333").await;
    page.shows("Is it you who signs in?");
    // Without a referrer browsers send `Origin: null` with the buttons' form, which is refused as another site's.
    assert_eq!(page.headers["referrer-policy"], "same-origin");
    page.shows("Unknown browser, from 127.0.0.1");
    page.shows(prompt.code.as_str());
    inbox.get("/inbox").await.shows("Sign-in from Unknown browser");
    let listed = inbox.get("/inbox/logins?phone=%2B393333333333").await;
    let listed: serde_json::Value = serde_json::from_str(&listed.text).unwrap();
    assert_eq!(listed[0]["attempt"], prompt.attempt.to_string());
    assert_eq!(listed[0]["code"], prompt.code.as_str());
    answer(&site, &prompt, "confirm").await;
    assert_eq!(inbox.get("/inbox/logins").await.text, "[]");
    assert!(
        !inbox
            .get("/inbox?phone=%2B393333333333")
            .await
            .text
            .contains("Is it you")
    );
}

#[tokio::test]
async fn attempts_end_by_themselves() {
    let site = Site::start().await;
    let token = LoginToken([3; 32]);
    let new = countersign_store::NewLogin {
        token: token.clone(),
        id: 3,
        phone: phone(OWNER),
        code: countersign_core::Code::parse("123456").unwrap(),
        device: String::new(),
        address: String::new(),
        now: now().plus_millis(-600_000),
        life_ms: 600_000,
    };
    site.store.begin_login(new).await.unwrap();
    let browser = site.browser();
    browser.set_cookie("countersign-login", "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM");
    assert_eq!(browser.get("/login/wait").await.heading(), "This sign-in is over");
    // Whoever waits for it is told at once.
    browser.set_cookie("countersign-login", "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM");
    let mut stream = browser.stream("/login/events").await;
    let chunk = tokio::time::timeout(Duration::from_secs(20), stream.chunk())
        .await
        .unwrap();
    assert!(chunk.unwrap().unwrap().starts_with(b"event: leave"));
}
