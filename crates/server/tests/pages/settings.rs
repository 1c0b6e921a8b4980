//! The settings of an account: profile, signed-in browsers, a copy of the data, the end of the account.

use countersign_core::{Action, Command, EmailAddress, Locale, Timestamp};
use countersign_store::SessionOwner;
use reqwest::StatusCode;
use serde_json::json;

use crate::site::{Site, now, phone, send};

const PROFILE: [(&str, &str); 5] = [
    ("name", "Acme"),
    ("company", "Acme Ltd"),
    ("website", "https://acme.example"),
    ("country", "GB"),
    ("purpose", "Sign-ins"),
];

#[tokio::test]
async fn the_profile_is_kept_and_its_time_zone_shows_on_every_page() {
    let site = Site::start().await;
    let owner = site.owner().await;
    owner.set_cookie("countersign-zone", "Asia%2FTokyo");
    owner.get("/account/settings").await.shows("Times are in Asia/Tokyo.");
    let mut fields = PROFILE.to_vec();
    fields.push(("time_zone", "Europe/London"));
    owner
        .submit("/account/settings", &fields)
        .await
        .leads_to("/account/settings?done=saved");
    let page = owner.get("/account/settings?done=saved").await;
    page.shows("Your profile is saved.");
    page.shows("Acme Ltd");
    page.shows("<option selected>Europe/London");
    owner.get("/account").await.shows("Times are in Europe/London.");
    let details = site.store.details(site.account).await.unwrap();
    assert_eq!(
        details.terms_version.as_deref(),
        Some("test"),
        "what was accepted stays"
    );

    fields[2] = ("website", "javascript:alert(1)");
    let page = owner.submit("/account/settings", &fields).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.shows("aria-describedby=\"website-problem\"");
    page.shows("javascript:alert(1)");
}

#[tokio::test]
async fn short_messages_end_as_the_owner_says_and_the_page_shows_how() {
    let site = Site::start().await;
    let owner = site.owner().await;
    let page = owner.get("/account/settings").await;
    page.shows(">482913 is your verification code.</p>");
    let path = "/account/settings/autofill";
    owner
        .submit(path, &[("domain", "Acme.Example"), ("android_hash", "FA+9qCX9VSu")])
        .await
        .leads_to("/account/settings?done=autofill");
    let page = owner.get("/account/settings?done=autofill").await;
    page.shows("New short messages end as you said.");
    page.shows("FA+9qCX9VSu\n@acme.example #482913</p>");
    page.shows("value=\"acme.example\"");
    let set = site.store.autofill(site.account).await.unwrap();
    assert_eq!(set.domain.unwrap().as_str(), "acme.example");

    // What was typed stays, and nothing is set.
    let page = owner
        .submit(path, &[("domain", "https://other.example/"), ("android_hash", "short")])
        .await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.shows("aria-describedby=\"domain-problem domain-hint\"");
    page.shows("aria-describedby=\"hash-problem hash-hint\"");
    page.shows("value=\"https://other.example/\"");
    page.shows("@acme.example #482913");

    owner
        .submit(path, &[("domain", ""), ("android_hash", "")])
        .await
        .leads_to("/account/settings?done=autofill");
    assert!(site.store.autofill(site.account).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_profile_is_changed_only_so_often() {
    let site = Site::start().await;
    let owner = site.owner().await;
    owner.get("/account/settings").await;
    let mut taken = 0;
    // However slow the machine is: a try comes back after six seconds, and each takes less.
    let refused = loop {
        let page = owner.submit("/account/settings", &PROFILE).await;
        if page.status != StatusCode::SEE_OTHER {
            break page.status;
        }
        taken += 1;
    };
    assert_eq!(refused, StatusCode::TOO_MANY_REQUESTS);
    assert!(taken >= 10, "{taken}");
}

#[tokio::test]
async fn other_browsers_are_signed_out_one_by_one_or_all_at_once() {
    let site = Site::start().await;
    let (this, second, third) = (site.owner().await, site.owner().await, site.owner().await);
    let stranger = site.account(2, "+393333333334").await;
    let stranger = site.signed_in(stranger).await;
    let page = this.get("/account/settings").await;
    assert_eq!(page.text.matches("This browser").count(), 1);
    let theirs = page.text.split("name=\"session\" value=\"").nth(1).unwrap();
    let id = theirs.split('"').next().unwrap().to_owned();
    // Nobody ends another account's sessions.
    stranger.get("/account/settings").await;
    stranger.submit("/account/settings/sessions", &[("session", &id)]).await;
    this.submit("/account/settings/sessions", &[("session", &id)])
        .await
        .leads_to("/account/settings?done=ended");
    let owner = SessionOwner::Account(site.account);
    assert_eq!(site.store.sessions(owner, now()).await.unwrap().len(), 2);

    this.submit("/account/settings/sessions", &[]).await;
    for browser in [&second, &third] {
        browser.get("/account").await.leads_to("/login?next=%2Faccount");
    }
    assert_eq!(this.get("/account").await.status, StatusCode::OK);
    assert_eq!(stranger.get("/account").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_copy_of_the_data_holds_everything_and_no_code() {
    let site = Site::start().await;
    for number in 0_i64..3 {
        let mut action = send("+391234567890", number.unsigned_abs());
        if let Action::Send(send) = &mut action {
            send.locale = Locale::parse("pt-BR");
            send.email = EmailAddress::parse("ida@example.com");
        }
        let command = Command {
            now: Timestamp::from_millis(now().millis() + number),
            token: None,
            idempotency: None,
            action,
        };
        site.store.submit(site.account, command).await.unwrap().unwrap();
    }
    let owner = site.owner().await;
    owner.get("/account/settings").await;
    let page = owner.submit("/account/settings/export", &[]).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(
        page.headers["content-disposition"]
            .to_str()
            .unwrap()
            .starts_with("attachment")
    );
    let data: serde_json::Value = serde_json::from_str(&page.text).expect("no JSON");
    assert_eq!(data["account"]["phone_number"], "+393333333333");
    assert_eq!(data["ledger_entries"].as_array().unwrap().len(), 4);
    assert_eq!(data["requests"].as_array().unwrap().len(), 3);
    let request = &data["requests"][0];
    assert_eq!(
        (&request["phone_number"], &request["locale"], &request["email"]),
        (&json!("+391234567890"), &json!("pt-BR"), &json!("ida@example.com"))
    );
    assert_eq!(data["sessions"][0]["device"], "A test");
    for _ in 0..4 {
        owner.submit("/account/settings/export", &[]).await;
    }
    let page = owner.submit("/account/settings/export", &[]).await;
    assert_eq!(page.status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn an_account_is_closed_by_whoever_names_its_number() {
    let site = Site::start().await;
    let (owner, other) = (site.owner().await, site.owner().await);
    let page = owner.get("/account/settings").await;
    page.shows("the balance of <strong>$10.00</strong>");
    let refused = owner.submit("/account/settings/close", &[("digits", "0000")]).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    refused.shows("Nothing was closed.");
    refused.shows("<details class=\"confirm\" open>");
    owner
        .submit("/account/settings/close", &[("digits", "3333")])
        .await
        .leads_to("/login?done=closed");
    owner.get("/login?done=closed").await.shows("Your account is closed.");
    other.get("/account").await.leads_to("/login?next=%2Faccount");
    let account = site
        .store
        .account_of_phone(phone("+393333333333"))
        .await
        .unwrap()
        .unwrap();
    assert!(account.closed_at.is_some());
    let owner = SessionOwner::Account(site.account);
    assert!(site.store.sessions(owner, now()).await.unwrap().is_empty());
}
