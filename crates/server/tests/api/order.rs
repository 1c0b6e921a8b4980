//! Which error a call gets that is wrong in several ways: the first in the contract's order.

use countersign_core::{Rules, SenderUsername};
use countersign_store::Actor;
use serde_json::json;

use crate::support::{PHONE, Server, Setup, now};

const SEND: &str = "sendVerificationMessage";
const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn the_method_comes_before_the_token() {
    let server = Server::start().await;
    assert_eq!(
        server.call_as("nonsense", "nothing", json!({})).await.error(),
        "UNKNOWN_METHOD"
    );
    let reply = server.send("POST", "/nothing", &[JSON], b"{").await;
    assert_eq!(reply.error(), "UNKNOWN_METHOD");
}

#[tokio::test]
async fn a_token_of_header_or_query_comes_before_the_body_and_another_after_it() {
    let server = Server::start().await;
    let broken = b"{";
    let headers = [("authorization", "Bearer nonsense"), JSON];
    assert_eq!(
        server.send("POST", "/checkSendAbility", &headers, broken).await.error(),
        "ACCESS_TOKEN_INVALID"
    );
    let path = "/checkSendAbility?access_token=nonsense";
    assert_eq!(
        server.send("POST", path, &[JSON], broken).await.error(),
        "ACCESS_TOKEN_INVALID"
    );
    assert_eq!(
        server.send("POST", "/checkSendAbility", &[JSON], broken).await.error(),
        "BAD_REQUEST"
    );
    let body = br#"{"access_token":"nonsense","phone_number":"x"}"#;
    assert_eq!(
        server.send("POST", "/checkSendAbility", &[JSON], body).await.error(),
        "ACCESS_TOKEN_INVALID"
    );
    assert_eq!(
        server.send("POST", "/checkSendAbility", &[JSON], b"{}").await.error(),
        "ACCESS_TOKEN_REQUIRED"
    );
}

#[tokio::test]
async fn the_address_comes_between_token_and_body() {
    let server = Server::start().await;
    server
        .store
        .set_allow_list(
            server.account.key,
            vec!["192.0.2.0/24".parse().unwrap()],
            Actor::Operator,
        )
        .await
        .unwrap();
    let bearer = format!("Bearer {}", server.account.token);
    let headers = [("authorization", bearer.as_str()), JSON];
    assert_eq!(
        server.send("POST", "/checkSendAbility", &headers, b"{").await.error(),
        "IP_NOT_ALLOWED"
    );
}

#[tokio::test]
async fn parameters_are_judged_in_the_methods_order() {
    let server = Server::start().await;
    // All wrong at once; then one after the other is put right.
    let mut parameters = json!({
        "phone_number": "x", "sender_username": "x", "code": "x", "code_length": "x", "callback_url": "x",
        "payload": true, "ttl": "x", "locale": "x", "email": "x", "request_id": "x",
    });
    for (name, error, right) in [
        ("phone_number", "PHONE_NUMBER_INVALID", json!(PHONE)),
        ("sender_username", "SENDER_USERNAME_INVALID", json!("nobodys_shop")),
        ("code", "CODE_INVALID", json!(null)),
        ("code_length", "CODE_LENGTH_INVALID", json!(4)),
        ("callback_url", "CALLBACK_URL_INVALID", json!("https://example.com/")),
        ("payload", "PAYLOAD_INVALID", json!("x")),
        ("ttl", "TTL_INVALID", json!(60)),
        ("locale", "LOCALE_INVALID", json!("pt_BR")),
        ("email", "EMAIL_INVALID", json!("ida@example.com")),
    ] {
        assert_eq!(server.call(SEND, parameters.clone()).await.error(), error);
        parameters[name] = right;
    }
    // Then the books are asked: the idempotency key, the request, the sender.
    let bearer = format!("Bearer {}", server.account.token);
    let empty_key = [("authorization", bearer.as_str()), ("idempotency-key", "")];
    assert_eq!(
        server.call_with(&empty_key, SEND, parameters.clone()).await.error(),
        "BAD_REQUEST"
    );
    let used_key = [("authorization", bearer.as_str()), ("idempotency-key", "used")];
    server
        .call_with(&used_key, SEND, json!({"phone_number": PHONE}))
        .await
        .result();
    assert_eq!(
        server.call_with(&used_key, SEND, parameters.clone()).await.error(),
        "BAD_REQUEST"
    );
    assert_eq!(
        server.call(SEND, parameters.clone()).await.error(),
        "REQUEST_ID_INVALID"
    );
    parameters["request_id"] = json!(null);
    assert_eq!(server.call(SEND, parameters).await.error(), "SENDER_USERNAME_INVALID");
}

#[tokio::test]
async fn sender_flood_balance_and_reachability_come_in_this_order() {
    let server = Server::start_with(Setup {
        rules: Rules {
            number_limit: Some(countersign_core::Limit {
                count: 1,
                period_ms: 3_600_000,
            }),
            ..Rules::default()
        },
        ..Setup::default()
    })
    .await;
    let poor = server.account(2, "+393333333334", "0.01").await;
    let name = SenderUsername::parse("acme_shop").unwrap();
    server
        .store
        .add_sender(poor.key, name, now(), Actor::Operator)
        .await
        .unwrap();
    server
        .call_as(&poor.token, SEND, json!({"phone_number": PHONE}))
        .await
        .result();

    // Unverified sender, flooded number, no balance.
    let parameters = json!({"phone_number": PHONE, "sender_username": "acme_shop"});
    assert_eq!(
        server.call_as(&poor.token, SEND, parameters).await.error(),
        "SENDER_NOT_VERIFIED"
    );
    let error = server
        .call_as(&poor.token, SEND, json!({"phone_number": PHONE}))
        .await
        .error();
    assert!(error.starts_with("FLOOD_WAIT_"), "{error}");
    // Who can't pay isn't told whether a number can be reached.
    let unreachable = json!({"phone_number": "+9996610004"});
    assert_eq!(
        server.call_as(&poor.token, SEND, unreachable.clone()).await.error(),
        "BALANCE_NOT_ENOUGH"
    );
    assert_eq!(server.call(SEND, unreachable).await.error(), "PHONE_NUMBER_NOT_FOUND");
}

#[tokio::test]
async fn a_long_code_is_refused_before_an_unknown_request() {
    let server = Server::start().await;
    let parameters = json!({"request_id": "x", "code": "x".repeat(65)});
    assert_eq!(
        server.call("checkVerificationStatus", parameters).await.error(),
        "CODE_INVALID"
    );
    let parameters = json!({"code": "x".repeat(65)});
    assert_eq!(
        server.call("checkVerificationStatus", parameters).await.error(),
        "REQUEST_ID_REQUIRED"
    );
}
