//! What calls cost: by the list at the moment of the call, and nothing to the owner's own number.

use countersign_core::{Credits, NumberPrefix, PriceRoute, PriceRow, RouteName, Timestamp};
use countersign_store::{Actor, PriceSetting};
use serde_json::{Value, json};

use crate::support::{OWNER, PHONE, Server, now};

async fn set_price(server: &Server, route: PriceRoute, from: Timestamp, price: &str) {
    let row = PriceRow {
        route,
        prefix: NumberPrefix::parse("+39").unwrap(),
        effective_from: from,
        price: Some(Credits::parse(price).unwrap()),
    };
    let setting = PriceSetting {
        rows: vec![row],
        dry_run: false,
        set_by: Actor::Operator,
        now: now(),
    };
    assert_eq!(server.store.set_prices(setting).await.unwrap().added, 1);
}

async fn entries(server: &Server) -> u64 {
    let profile = server.store.account(server.account.key.id).await.unwrap().unwrap();
    profile.entries
}

async fn cost(server: &Server, method: &str, parameters: Value) -> Value {
    server.call(method, parameters).await.result()["request_cost"].clone()
}

#[tokio::test]
async fn the_owners_own_number_is_free_and_no_line_of_the_ledger() {
    let server = Server::start().await;
    set_price(&server, PriceRoute::All, Timestamp::default(), "0.5").await;
    let before = entries(&server).await;
    for method in ["sendVerificationMessage", "checkSendAbility"] {
        let result = server.call(method, json!({ "phone_number": OWNER })).await.result();
        assert_eq!(result["request_cost"], json!(0), "{method}");
        assert_eq!(result.get("remaining_balance"), None, "{method}: nothing was charged");
        let id = result["request_id"].clone();
        let status = server
            .call("checkVerificationStatus", json!({ "request_id": id }))
            .await;
        assert_eq!(status.result()["request_cost"], json!(0), "{method}");
    }
    assert_eq!(entries(&server).await, before);
    assert_eq!(server.balance().await, "10");
    assert_eq!(
        cost(&server, "sendVerificationMessage", json!({ "phone_number": PHONE })).await,
        json!(0.5)
    );
    assert_eq!(entries(&server).await, before + 1);
}

#[tokio::test]
async fn a_send_on_an_ability_check_keeps_the_price_of_the_check() {
    let server = Server::start().await;
    let parameters = json!({ "phone_number": PHONE });
    let checked = server.call("checkSendAbility", parameters.clone()).await.result();
    set_price(&server, PriceRoute::Only(RouteName::INBOX), now(), "3").await;
    let on_the_check = json!({ "phone_number": PHONE, "request_id": checked["request_id"] });
    assert_eq!(
        cost(&server, "sendVerificationMessage", on_the_check).await,
        json!(0.01)
    );
    assert_eq!(server.balance().await, "9.99");
    assert_eq!(cost(&server, "checkSendAbility", parameters).await, json!(3));
    assert_eq!(server.balance().await, "6.99");
}

#[tokio::test]
async fn a_price_that_is_announced_holds_once_the_accounts_clock_is_there() {
    let server = Server::start().await;
    set_price(&server, PriceRoute::All, now().plus_millis(86_400_000), "2").await;
    let send = || cost(&server, "sendVerificationMessage", json!({ "phone_number": PHONE }));
    assert_eq!(send().await, json!(0.01));
    server
        .call("sandbox/clock", json!({ "advance_seconds": 90_000 }))
        .await
        .result();
    assert_eq!(send().await, json!(2));
    let other = server.account(2, "+393333333334", "5").await;
    let elsewhere = server.call_as(
        &other.token,
        "sendVerificationMessage",
        json!({ "phone_number": PHONE }),
    );
    assert_eq!(
        elsewhere.await.result()["request_cost"],
        json!(0.01),
        "its clock wasn't moved"
    );
}
