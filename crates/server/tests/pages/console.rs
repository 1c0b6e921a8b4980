//! The operator's console: who gets in, how often one may try, that no form is taken from elsewhere, and that whatever is done
//! stands in the audit log.

use countersign_core::{Credits, SenderUsername};
use countersign_server::clock;
use countersign_store::{ActionFilter, Actor, Verification};

use crate::support::{Browser, OPERATOR_KEY, Server};

/// A visit's cookie: 32 bytes of zero.
const VISIT: &str = "countersign-visit=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

async fn signed_in(visitor: &Browser<'_>, key: &str) -> crate::support::Page {
    let csrf = visitor.csrf_on("/operator/login").await;
    visitor.post_with("/operator/login", &csrf, &[("key", key)]).await
}

#[tokio::test]
async fn the_operator_key_opens_the_console_and_signing_out_closes_it() {
    let server = Server::start().await;
    let visitor = server.browser(VISIT);
    assert_eq!(visitor.get("/operator").await.location(), "/operator/login");
    let page = signed_in(&visitor, OPERATOR_KEY).await;
    assert_eq!(page.location(), "/operator");
    let cookie = page.cookie("countersign-operator").unwrap();
    for part in ["httponly", "samesite=lax", "path=/", "max-age=43200"] {
        assert!(page.head.contains(part), "{part} is missing: {}", page.head);
    }
    let operator = server.browser(&cookie);
    assert_eq!(operator.get("/operator").await.status, 200);
    let csrf = operator.csrf_on("/operator").await;
    let out = operator.post_with("/operator/logout", &csrf, &[]).await;
    assert_eq!(out.location(), "/operator/login");
    assert_eq!(operator.get("/operator").await.status, 303);
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_tries_are_few_a_minute() {
    let server = Server::start().await;
    let visitor = server.browser(VISIT);
    for _ in 0..5 {
        let page = signed_in(&visitor, "not-the-operators-key").await;
        assert_eq!(page.status, 422);
        assert!(page.has("This is not the operator key") && page.cookie("countersign-operator").is_none());
    }
    // Now the right one must wait too.
    let page = signed_in(&visitor, OPERATOR_KEY).await;
    assert_eq!(page.status, 429);
    assert!(page.head.contains("retry-after"));
}

#[tokio::test]
async fn an_accounts_session_never_opens_the_console_nor_the_operators_an_account() {
    let server = Server::start().await;
    let operator = server.operator().await;
    let owner = server.owner().await;
    assert_eq!(owner.get("/operator").await.location(), "/operator/login");
    assert!(operator.get("/account").await.location().starts_with("/login"));
    // The same secret under the other's name.
    let swapped = server.browser(&owner.cookie().replace("-session=", "-operator="));
    assert_eq!(swapped.get("/operator").await.location(), "/operator/login");
    let swapped = server.browser(&operator.cookie().replace("-operator=", "-session="));
    assert!(swapped.get("/account").await.location().starts_with("/login"));
}

#[tokio::test]
async fn every_form_of_the_console_needs_its_token_and_its_session() {
    let server = Server::start().await;
    let operator = server.operator().await;
    let owner = server.owner().await;
    let account = owner.account.id;
    let stranger = server.browser(VISIT);
    for path in [
        "/operator/logout".to_owned(),
        "/operator/accounts".to_owned(),
        format!("/operator/accounts/{account}/credit"),
        format!("/operator/accounts/{account}/adjust"),
        format!("/operator/accounts/{account}/rotate"),
        format!("/operator/accounts/{account}/login-link"),
        format!("/operator/accounts/{account}/sign-out"),
        format!("/operator/accounts/{account}/close"),
        "/operator/orders/CS-7F3K-92Q8/confirm".to_owned(),
        "/operator/orders/CS-7F3K-92Q8/cancel".to_owned(),
        "/operator/senders/acme_shop/verify".to_owned(),
        "/operator/senders/acme_shop/refuse".to_owned(),
        "/operator/prices".to_owned(),
        "/operator/prices/remove".to_owned(),
        "/operator/prices/import".to_owned(),
    ] {
        let stale = operator.post_with(&path, "not-the-token", &[("amount", "1")]).await;
        assert_eq!(stale.status, 403, "{path}");
        let unknown = stranger.post_with(&path, "not-the-token", &[]).await;
        assert_eq!(unknown.location(), "/operator/login", "{path}");
        let owners = owner.post_with(&path, "not-the-token", &[]).await;
        assert_eq!(owners.location(), "/operator/login", "{path}");
    }
    // The sign-in's own form.
    let page = stranger
        .post_with("/operator/login", "not-the-token", &[("key", OPERATOR_KEY)])
        .await;
    assert_eq!(page.status, 403);
    let profile = server.store.account(account).await.unwrap().unwrap();
    assert!(profile.closed_at.is_none());
    assert_eq!(profile.balance, Credits::parse("10").unwrap());
}

#[tokio::test]
async fn what_the_operator_does_to_an_account_is_done_and_stands_in_the_audit_log() {
    let server = Server::start().await;
    let operator = server.operator().await;
    let account = server.owner().await.account;
    let at = format!("/operator/accounts/{}", account.id);
    let csrf = operator.csrf_on(&at).await;
    for (deed, fields) in [
        ("credit", vec![("amount", "5")]),
        ("adjust", vec![("amount", "-2.50"), ("reason", "credited twice")]),
        ("rotate", vec![]),
        ("sign-out", vec![]),
    ] {
        let page = operator.post_with(&format!("{at}/{deed}"), &csrf, &fields).await;
        assert!(page.location().starts_with(&at), "{deed}: {}", page.body);
    }
    let page = operator.get(&format!("{at}?done=adjusted")).await;
    assert!(page.has("The balance was adjusted.") && page.has("$12.50") && page.has("credited twice"));
    let page = operator.post_with(&format!("{at}/close"), &csrf, &[]).await;
    assert!(page.location().contains("done=closed"));
    let filter = ActionFilter {
        by: Some(Actor::Operator),
        subject: Some(format!("account {}", account.id)),
        action_prefix: None,
    };
    let found = server.store.actions(filter, None, 10).await.unwrap().records;
    let said: Vec<_> = found.iter().map(|line| line.action.as_str()).collect();
    assert_eq!(
        said[..5],
        [
            "account closed",
            "sessions ended",
            "token rotated",
            "balance adjusted",
            "credit added"
        ]
    );
    let page = operator.get("/operator/audit?action=balance").await;
    assert!(page.has("-2.5: credited twice") && !page.has("token rotated"));
}

#[tokio::test]
async fn sign_outs_and_the_download_of_all_data_stand_in_the_audit_log_once_they_were_done() {
    let server = Server::start().await;
    let operator = server.operator().await;
    let owner = server.owner().await;
    let lines = async || {
        let filter = ActionFilter {
            by: Some(Actor::Owner),
            subject: Some(format!("account {}", owner.account.id)),
            action_prefix: None,
        };
        let found = server.store.actions(filter, None, 10).await.unwrap().records;
        let said: Vec<_> = found.into_iter().rev().map(|line| line.action).collect();
        said
    };
    let before = lines().await.len();
    // A form that was not the owner's leaves no line.
    for path in ["/account/settings/export", "/account/settings/sessions", "/logout"] {
        assert_eq!(owner.post_with(path, "not-the-token", &[]).await.status, 403, "{path}");
    }
    assert_eq!(lines().await.len(), before);

    let download = owner.post("/account/settings/export", &[]).await;
    assert_eq!(download.status, 200, "{}", download.body);
    owner.post("/account/settings/sessions", &[("session", "77")]).await;
    owner.post("/account/settings/sessions", &[]).await;
    assert_eq!(owner.post("/logout", &[]).await.location(), "/login?done=out");
    let said = lines().await;
    let done = [
        "all data downloaded",
        "browser signed out",
        "other browsers signed out",
        "signed out",
    ];
    assert_eq!(said[before..], done);
    let page = operator.get("/operator/audit?action=all+data").await;
    assert!(page.has("all data downloaded") && !page.has("other browsers"));
}

#[tokio::test]
async fn a_sign_in_link_is_shown_once_and_noted_without_itself() {
    let server = Server::start().await;
    let operator = server.operator().await;
    let account = server.owner().await.account;
    let at = format!("/operator/accounts/{}", account.id);
    let csrf = operator.csrf_on(&at).await;
    let page = operator.post_with(&format!("{at}/login-link"), &csrf, &[]).await;
    assert!(page.status == 200 && page.has("/login/link/"), "{}", page.body);
    assert!(!operator.get(&at).await.has("/login/link/"));
    let log = server.store.actions(ActionFilter::default(), None, 1).await.unwrap();
    assert!(log.records[0].action.contains("link") && !log.records[0].detail.contains("/login/link/"));
}

#[tokio::test]
async fn a_mistake_keeps_what_was_typed_and_says_what_to_do() {
    let server = Server::start().await;
    let operator = server.operator().await;
    let account = server.owner().await.account;
    let at = format!("/operator/accounts/{}", account.id);
    let csrf = operator.csrf_on(&at).await;
    let fields = [("amount", "-99"), ("reason", "a mistake")];
    let page = operator.post_with(&format!("{at}/adjust"), &csrf, &fields).await;
    assert_eq!(page.status, 422);
    for text in [
        "value=\"-99\"",
        "value=\"a mistake\"",
        "aria-invalid=\"true\"",
        "10 is available",
    ] {
        assert!(page.has(text), "{text} is missing");
    }
    let page = operator.get("/operator/accounts/4711").await;
    assert_eq!(page.status, 404);
}

#[tokio::test]
async fn accounts_are_found_by_number_id_and_the_beginning_of_a_name() {
    let server = Server::start().await;
    let operator = server.operator().await;
    let account = server.owner().await.account;
    server.other().await;
    for query in ["%2B393333333333", &account.id.to_string(), "account+1"] {
        let page = operator.get(&format!("/operator/accounts?q={query}")).await;
        assert!(page.has("Account 1") && !page.has("Account 2"), "{query}");
    }
    let page = operator.get("/operator/accounts?q=nobody").await;
    assert!(page.has("No account here"));
    let page = operator.get("/operator/accounts").await;
    assert!(page.has("Account 1") && page.has("Account 2"));
}

#[tokio::test]
async fn prices_are_set_previewed_and_taken_away() {
    let server = Server::start().await;
    let operator = server.operator().await;
    let csrf = operator.csrf_on("/operator/prices").await;
    let set = [("prefix", "+39"), ("price", "0.02"), ("route", ""), ("from", "")];
    let page = operator.post_with("/operator/prices", &csrf, &set).await;
    assert_eq!(page.location(), "/operator/prices?done=set");
    assert!(operator.get("/operator/prices").await.has("$0.02"));
    let table = "route,prefix,price,effective_from\nall,+49,0.03,2020-01-01\n";
    let fields = [("table", table), ("action", "preview")];
    let page = operator.post_with("/operator/prices/import", &csrf, &fields).await;
    assert!(page.has("1 would be new") && page.has("all,+49,0.03"), "{}", page.body);
    assert!(!operator.get("/operator/prices").await.has("$0.03"));
    let fields = [("table", table), ("action", "import")];
    let page = operator.post_with("/operator/prices/import", &csrf, &fields).await;
    assert_eq!(page.location(), "/operator/prices?done=imported");
    let page = operator.get("/operator/prices.csv").await;
    assert!(page.has("all,+49,0.03,2020-01-01T00:00:00Z") && page.head.contains("text/csv"));
    let away = [("route", "all"), ("prefix", "+49"), ("from", "1577836800")];
    let page = operator.post_with("/operator/prices/remove", &csrf, &away).await;
    assert_eq!(page.location(), "/operator/prices?done=removed");
    assert!(!operator.get("/operator/prices").await.has("$0.03"));
    let wrong = [("table", "route,prefix\n"), ("action", "import")];
    let page = operator.post_with("/operator/prices/import", &csrf, &wrong).await;
    assert_eq!(page.status, 422);
}

#[tokio::test]
async fn a_sender_is_verified_or_refused_with_a_reason_that_its_owner_reads() {
    let server = Server::start().await;
    let operator = server.operator().await;
    let owner = server.owner().await;
    let name = SenderUsername::parse("acme_shop").unwrap();
    let now = clock::now();
    server
        .store
        .add_sender(owner.account, name.clone(), now, Actor::Owner)
        .await
        .unwrap();
    let note = "our trade mark".to_owned();
    server
        .store
        .request_verification(owner.account, name.clone(), note, now, Actor::Owner)
        .await
        .unwrap();
    let page = operator.get("/operator/senders").await;
    assert!(page.has("our trade mark"));
    let csrf = operator.csrf_on("/operator/senders").await;
    let empty = operator
        .post_with("/operator/senders/acme_shop/refuse", &csrf, &[("reason", "")])
        .await;
    assert_eq!(empty.status, 422);
    let reason = [("reason", "another’s name")];
    let page = operator
        .post_with("/operator/senders/acme_shop/refuse", &csrf, &reason)
        .await;
    assert_eq!(page.location(), "/operator/senders?done=refused");
    assert!(owner.get("/account/senders/acme_shop").await.has("another’s name"));
    let page = operator.get("/operator/senders").await;
    operator
        .post_with("/operator/senders/acme_shop/verify", &csrf, &[("seen", seen(&page))])
        .await;
    let sender = server.store.sender_detail(&name).await.unwrap().unwrap();
    assert!(matches!(sender.verification, Verification::Verified { .. }));
}

/// What the page says it showed of the first sender's look.
fn seen(page: &crate::support::Page) -> &str {
    let (_, rest) = page.body.split_once("name=\"seen\" value=\"").unwrap();
    rest.split_once('"').unwrap().0
}

#[tokio::test]
async fn a_sender_that_was_changed_while_the_operator_looked_is_not_verified() {
    let server = Server::start().await;
    let operator = server.operator().await;
    let owner = server.owner().await;
    let register = [("username", "acme_shop"), ("display_name", "Acme Shop")];
    owner.upload("/account/senders", &register, None).await;
    owner.post("/account/senders/acme_shop/request", &[]).await;
    let csrf = operator.csrf_on("/operator/senders").await;
    let page = operator.get("/operator/senders").await;
    let look = [("display_name", "The Bank")];
    owner.upload("/account/senders/acme_shop", &look, None).await;
    let path = "/operator/senders/acme_shop/verify";
    let answer = operator.post_with(path, &csrf, &[("seen", seen(&page))]).await;
    assert!(answer.status == 422 && answer.has("changed since"), "{}", answer.body);
    assert_eq!(operator.post_with(path, &csrf, &[]).await.status, 422);
    let name = SenderUsername::parse("acme_shop").unwrap();
    let sender = server.store.sender_detail(&name).await.unwrap().unwrap();
    assert!(!matches!(sender.verification, Verification::Verified { .. }));
    let answer = operator.post_with(path, &csrf, &[("seen", seen(&answer))]).await;
    assert_eq!(answer.location(), "/operator/senders?done=verified");
}

#[tokio::test]
async fn each_page_of_the_console_is_shown() {
    let server = Server::start().await;
    let operator = server.operator().await;
    for (path, heading) in [
        ("/operator", "Health"),
        ("/operator/accounts", "Accounts"),
        ("/operator/orders", "Orders"),
        ("/operator/senders", "Senders"),
        ("/operator/prices", "Prices"),
        ("/operator/prices/history", "Price history"),
        ("/operator/audit", "Audit log"),
    ] {
        let page = operator.get(path).await;
        assert_eq!(page.status, 200, "{path}");
        assert!(page.has(&format!("<h1>{heading}</h1>")), "{path}");
        assert!(!page.body.contains(" style="), "{path}");
    }
}
