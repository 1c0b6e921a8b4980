//! `/account`: the balance, and the card that sends a code to oneself.

use countersign_core::*;
use countersign_server::Mode;

use crate::support::{OWNER, Server};

#[tokio::test]
async fn the_overview_shows_what_can_be_spent_and_the_call_to_paste() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let page = owner.get("/account").await;
    assert_eq!(page.status, 200);
    assert!(page.has("$10.00") && page.has("Send me a code"));
    let token = ApiToken::new(owner.account.id, [1; 32]);
    assert!(page.has(token.as_str()), "the sandbox's line is ready to paste");
}

#[tokio::test]
async fn in_production_no_page_shows_the_token() {
    let server = Server::start_in(Mode::Production).await;
    let owner = server.owner().await;
    let token = ApiToken::new(owner.account.id, [1; 32]);
    for path in ["/account", "/account/messages"] {
        let page = owner.get(path).await;
        assert!(page.has("$TOKEN") && !page.has(token.as_str()), "{path}");
    }
}

#[tokio::test]
async fn a_code_goes_to_oneself_for_free_and_is_checked_on_the_same_page() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let answer = owner
        .post("/account/test-message", &[("code_length", "5"), ("ttl", "60")])
        .await;
    assert!(answer.location().starts_with("/account?message="));
    let now = countersign_server::clock::now();
    let page = countersign_store::Messages::messages(
        &*server.store,
        owner.account,
        countersign_store::MessageFilter::default(),
        countersign_store::MessageOrder::NewestFirst,
        None,
        1,
        now,
    );
    let request = page.await.unwrap().requests.remove(0);
    let message = request.message.unwrap();
    assert_eq!(request.phone.digits(), OWNER);
    assert_eq!(request.fee, Credits::ZERO);
    assert_eq!(message.code.whole().unwrap().as_str().len(), 5);
    let path = format!("/account?message={}", request.id);
    let page = owner.get(&path).await;
    assert!(page.has("data-live=") && page.has("Check the code"));
    assert!(
        !page.has(message.code.whole().unwrap().as_str()),
        "the code is read in the messenger"
    );
    let check = format!("/account/test-message/{}/check", request.id);
    let answer = owner.post(&check, &[("code", "nonsense")]).await;
    assert!(answer.head.contains("&code=wrong"));
    let page = owner.get(&format!("{path}&code=wrong")).await;
    assert!(page.has("aria-invalid=\"true\"") && page.has("That isn’t the code"));
    let code = message.code.whole().unwrap().as_str();
    let spaced = format!("{} {}", &code[..2], &code[2..]);
    let answer = owner.post(&check, &[("code", &spaced)]).await;
    assert!(!answer.location().contains("code=wrong"));
    let page = owner.get(&path).await;
    assert!(page.has("the whole loop") && page.has("Code valid"));
    assert!(!page.has("data-live="), "nothing more will happen");
}

#[tokio::test]
async fn what_can_t_be_sent_is_said_with_what_was_typed() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let page = owner
        .post("/account/test-message", &[("code_length", "9"), ("ttl", "60")])
        .await;
    assert_eq!(page.status, 422);
    assert!(page.has("Choose a code of 4 to 8 digits") && page.has("<option value=\"60\" selected>"));
    let server = Server::start_in(Mode::Production).await;
    let owner = server.owner().await;
    let page = owner
        .post("/account/test-message", &[("code_length", "6"), ("ttl", "60")])
        .await;
    assert_eq!(page.status, 422);
    assert!(page.has("no way to deliver messages reaches your number yet"));
}

#[tokio::test]
async fn a_code_is_sent_only_by_the_pages_own_form() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let fields = [("code_length", "6"), ("ttl", "60")];
    let page = owner.post_with("/account/test-message", "stolen", &fields).await;
    assert_eq!(page.status, 403);
    assert!(owner.get("/account").await.has("Nothing was sent yet"));
}
