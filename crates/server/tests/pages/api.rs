//! `/account/api`: tokens and their rotation, the addresses that may call, the callback test, the low-balance report.

use countersign_server::Mode;

use crate::support::{Browser, Server};

async fn live(server: &Server, owner: &Browser<'_>) -> String {
    server.store.token(owner.account).await.unwrap().as_str().to_owned()
}

async fn addresses(server: &Server, owner: &Browser<'_>) -> Vec<String> {
    let profile = server.store.account(owner.account.id).await.unwrap().unwrap();
    profile.allow_list.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_token_stands_in_the_page_only_once_it_is_asked_for_and_is_kept_nowhere() {
    let server = Server::start_in(Mode::Production).await;
    let owner = server.owner().await;
    let token = live(&server, &owner).await;
    let page = owner.get("/account/api").await;
    assert_eq!(page.status, 200);
    assert!(
        !page.has(&token) && page.has(&format!("{}…", &token[..6])),
        "{}",
        page.body
    );
    assert!(page.has("YOUR_TOKEN"));
    let page = owner.get("/account/api?show=live").await;
    assert!(page.has(&format!("Authorization: Bearer {token}")) && page.has(&format!("data-copy=\"{token}\"")));
    assert!(page.head.contains("cache-control: no-store"), "{}", page.head);
    let page = owner.get("/account/api?show=test").await;
    assert!(!page.has(&token) && page.has("+9996610001"));
}

#[tokio::test]
async fn tokens_are_shown_and_changed_so_often_and_no_more() {
    let server = Server::start_in(Mode::Production).await;
    let (owner, other) = (server.owner().await, server.other().await);
    let mut last = owner.get("/account/api?show=live").await;
    for _ in 0..20 {
        last = owner.get("/account/api?show=live").await;
    }
    assert_eq!(last.status, 429);
    assert!(last.head.contains("retry-after: "), "{}", last.head);
    assert!(!last.has(&live(&server, &owner).await));
    // The page itself, and other accounts, go on.
    assert_eq!(owner.get("/account/api").await.status, 200);
    assert_eq!(other.get("/account/api?show=live").await.status, 200);
    let rotate = [("kind", "test"), ("grace", "none")];
    for _ in 0..10 {
        assert_eq!(owner.post("/account/api/rotate", &rotate).await.status, 303);
    }
    assert_eq!(owner.post("/account/api/rotate", &rotate).await.status, 429);
    assert_eq!(other.post("/account/api/rotate", &rotate).await.status, 303);
}

#[tokio::test]
async fn a_rotation_keeps_the_old_token_for_the_grace_that_was_chosen_and_that_can_be_ended() {
    let server = Server::start_in(Mode::Production).await;
    let owner = server.owner().await;
    let old = server.store.token(owner.account).await.unwrap();
    let answer = owner
        .post("/account/api/rotate", &[("kind", "live"), ("grace", "24h")])
        .await;
    assert_eq!(answer.location(), "/account/api?done=rotated-later");
    assert_ne!(live(&server, &owner).await, old.as_str());
    assert!(server.store.authenticate(&old).await.unwrap().is_some());
    let page = owner.get("/account/api?done=rotated-later").await;
    assert!(page.has("End it now") && page.has("still works"));
    let answer = owner.post("/account/api/end-grace", &[("kind", "live")]).await;
    assert_eq!(answer.location(), "/account/api?done=grace-ended");
    assert!(server.store.authenticate(&old).await.unwrap().is_none());
    assert!(!owner.get("/account/api").await.has("End it now"));
    // Rotated at once, it is refused from then on.
    let old = server.store.token(owner.account).await.unwrap();
    owner
        .post("/account/api/rotate", &[("kind", "live"), ("grace", "none")])
        .await;
    assert!(server.store.authenticate(&old).await.unwrap().is_none());
    let tokens = server.store.tokens(owner.account).await.unwrap();
    assert_eq!(
        (tokens.live.standing.generation, tokens.test.standing.generation),
        (3, 1)
    );
}

#[tokio::test]
async fn a_form_of_another_origin_or_another_session_rotates_nothing() {
    let server = Server::start_in(Mode::Production).await;
    let (owner, other) = (server.owner().await, server.other().await);
    let before = live(&server, &owner).await;
    let theirs = other.csrf().await;
    let rotate = [("kind", "live"), ("grace", "none")];
    assert_eq!(
        owner.post_with("/account/api/rotate", &theirs, &rotate).await.status,
        403
    );
    for wrong in [
        [("kind", "other"), ("grace", "none")],
        [("kind", "live"), ("grace", "8d")],
    ] {
        assert_eq!(owner.post("/account/api/rotate", &wrong).await.status, 400);
    }
    assert_eq!(live(&server, &owner).await, before);
}

#[tokio::test]
async fn an_allow_list_that_would_lock_the_present_address_out_is_saved_only_on_purpose() {
    let server = Server::start_in(Mode::Production).await;
    let owner = server.owner().await;
    let far = ("addresses", "192.0.2.0/24");
    let page = owner.post("/account/api/addresses", &[far]).await;
    assert_eq!(page.status, 422);
    assert!(
        page.has("127.0.0.1") && page.has("name=\"locks_out\"") && page.has("192.0.2.0/24"),
        "{}",
        page.body
    );
    assert!(addresses(&server, &owner).await.is_empty());
    let answer = owner.post("/account/api/addresses", &[far, ("locks_out", "yes")]).await;
    assert_eq!(answer.location(), "/account/api?done=addresses");
    assert_eq!(addresses(&server, &owner).await, ["192.0.2.0/24"]);
    // With the present address on it there is nothing to ask; and an empty list locks nobody out.
    let answer = owner
        .post(
            "/account/api/addresses",
            &[("addresses", "192.0.2.7\n::ffff:127.0.0.1")],
        )
        .await;
    assert_eq!(answer.status, 303);
    assert_eq!(addresses(&server, &owner).await, ["192.0.2.7/32", "127.0.0.1/32"]);
    assert_eq!(
        owner.post("/account/api/addresses", &[("addresses", "")]).await.status,
        303
    );
    assert!(addresses(&server, &owner).await.is_empty());
}

#[tokio::test]
async fn an_allow_list_is_normalised_and_what_was_made_of_it_is_said() {
    let server = Server::start_in(Mode::Production).await;
    let owner = server.owner().await;
    let list = ("addresses", "127.0.0.9/8, 10.1.0.1\n10.0.0.0/8 ::ffff:10.0.0.0/104");
    let page = owner.post("/account/api/addresses", &[list]).await;
    assert_eq!(page.status, 200);
    assert!(
        page.has("127.0.0.9/8 is kept as 127.0.0.0/8") && page.has("10.1.0.1 is left out"),
        "{}",
        page.body
    );
    assert_eq!(addresses(&server, &owner).await, ["127.0.0.0/8", "10.0.0.0/8"]);
    let page = owner
        .post("/account/api/addresses", &[("addresses", "127.0.0.1\n10.0.0.300")])
        .await;
    assert_eq!(page.status, 422);
    assert!(page.has("“10.0.0.300”") && page.has("aria-invalid=\"true\"") && page.has("127.0.0.1\n10.0.0.300"));
    let many: Vec<String> = (0..257).map(|n| format!("10.0.{}.{}", n / 256, n % 256)).collect();
    let page = owner
        .post("/account/api/addresses", &[("addresses", &many.join("\n"))])
        .await;
    assert!(page.status == 422 && page.has("257 ranges"), "{}", page.body);
    // A text of very many is refused before it is read, even where it would come down to one.
    let page = owner
        .post("/account/api/addresses", &[("addresses", &"10.0.0.1 ".repeat(1_025))])
        .await;
    assert!(page.status == 422 && page.has("1025 ranges"), "{}", page.body);
}

#[tokio::test]
async fn a_ping_is_refused_in_words_and_keeps_the_url() {
    let server = Server::start_in(Mode::Production).await;
    let owner = server.owner().await;
    let page = owner
        .post("/account/api/ping", &[("url", "http://example.com/reports")])
        .await;
    assert_eq!(page.status, 422);
    assert!(
        page.has("value=\"http://example.com/reports\"") && page.has("begins with https://"),
        "{}",
        page.body
    );
    // An address that no report may go to: the answer says what came of it.
    let page = owner
        .post("/account/api/ping", &[("url", "https://127.0.0.1:1/")])
        .await;
    assert_eq!(page.status, 200);
    assert!(
        page.has("didn’t take it") && page.has("<dt>Error</dt>"),
        "{}",
        page.body
    );
}

#[tokio::test]
async fn the_low_balance_report_is_set_and_turned_off() {
    let server = Server::start_in(Mode::Production).await;
    let owner = server.owner().await;
    let set = |below: &'static str, url: &'static str| [("below", below), ("url", url)];
    let path = "/account/api/low-balance";
    let page = owner.post(path, &set("0", "example.com")).await;
    assert_eq!(page.status, 422);
    assert!(
        page.has("id=\"below-problem\"") && page.has("id=\"low-url-problem\"") && page.has("value=\"example.com\"")
    );
    let answer = owner.post(path, &set("$12.50", "https://example.com/low")).await;
    assert_eq!(answer.location(), "/account/api?done=low-balance");
    let set = async || {
        server
            .store
            .account(owner.account.id)
            .await
            .unwrap()
            .unwrap()
            .low_balance
    };
    assert_eq!(set().await.unwrap().below.to_string(), "12.5");
    let page = owner.get("/account/api").await;
    assert!(page.has("value=\"12.5\"") && page.has("Turn it off"));
    let answer = owner.post(path, &[("off", "yes")]).await;
    assert_eq!(answer.location(), "/account/api?done=low-balance-off");
    assert_eq!(set().await, None);
}
