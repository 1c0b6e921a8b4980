//! docs/api.md, "Tokens" and "Test mode", through real HTTP.

use countersign_core::{ApiToken, Grace, Timestamp, TokenKind};
use countersign_server::Mode;
use countersign_store::{Actor, Rotation};
use serde_json::{Value, json};

use crate::support::{OPERATOR_KEY, OWNER, PHONE, Server, Setup, now};

const READ_AT_ONCE: &str = "+9996610001";
const UNSCRIPTED: &str = "+9996600042";

async fn production() -> Server {
    Server::start_with(Setup {
        mode: Mode::Production,
        inbox: false,
        ..Setup::default()
    })
    .await
}

async fn test_token(server: &Server) -> String {
    let fresh = ApiToken::of_kind(TokenKind::Test, server.account.key.id, [77; 32]);
    let token = server.store.test_token(server.account.key, fresh, now()).await.unwrap();
    token.as_str().to_owned()
}

async fn rotate(server: &Server, grace: Grace, at: Timestamp) -> String {
    let token = ApiToken::new(server.account.key.id, [88; 32]);
    let rotation = Rotation {
        token: token.clone(),
        grace,
        by: Actor::Owner,
        now: at,
    };
    server.store.rotate(server.account.key, rotation).await.unwrap();
    token.as_str().to_owned()
}

fn to(phone: &str) -> Value {
    json!({ "phone_number": phone })
}

#[tokio::test]
async fn in_production_a_test_mode_token_reaches_scripted_numbers_for_nothing_and_no_others() {
    let server = production().await;
    let token = test_token(&server).await;
    let sent = server
        .call_as(&token, "sendVerificationMessage", to(READ_AT_ONCE))
        .await
        .result();
    assert_eq!(sent["request_cost"].to_string(), "0");
    let request = json!({ "request_id": sent["request_id"], "code": "111111" });
    let checked = server
        .call_as(&token, "checkVerificationStatus", request)
        .await
        .result();
    assert_eq!(checked["verification_status"]["status"], "code_valid");
    assert_eq!(checked["delivery_status"]["status"], "read");
    for phone in [PHONE, OWNER] {
        let refused = server.call_as(&token, "sendVerificationMessage", to(phone)).await;
        assert_eq!(refused.error(), "PHONE_NUMBER_INVALID");
        let refused = server.call_as(&token, "checkSendAbility", to(phone)).await;
        assert_eq!(refused.error(), "PHONE_NUMBER_INVALID");
    }
    // Without a script, and without an inbox, nothing would take it.
    let refused = server.call_as(&token, "sendVerificationMessage", to(UNSCRIPTED)).await;
    assert_eq!(refused.error(), "PHONE_NUMBER_NOT_FOUND");
    let live = server.call("sendVerificationMessage", to(READ_AT_ONCE)).await;
    assert_eq!(live.error(), "PHONE_NUMBER_INVALID");
    assert_eq!(server.balance().await, "10");
}

#[tokio::test]
async fn a_live_token_cannot_see_a_test_nor_a_test_mode_token_what_is_live() {
    let server = Server::start().await;
    let test = test_token(&server).await;
    let live = server.account.token.clone();
    let made = server
        .call_as(&test, "sendVerificationMessage", to(UNSCRIPTED))
        .await
        .result();
    let made_live = server.sent(to(UNSCRIPTED)).await;
    for (token, id) in [(&live, made["request_id"].clone()), (&test, json!(made_live))] {
        for parameters in [json!({ "request_id": id }), json!({ "request_id": id, "code": "1" })] {
            let refused = server.call_as(token, "checkVerificationStatus", parameters).await;
            assert_eq!(refused.error(), "REQUEST_ID_INVALID");
        }
        let refused = server
            .call_as(token, "revokeVerificationMessage", json!({ "request_id": id }))
            .await;
        assert_eq!(refused.error(), "REQUEST_ID_INVALID");
    }
}

#[tokio::test]
async fn an_idempotency_key_of_a_test_has_nothing_to_do_with_the_same_one_of_a_live_call() {
    let server = Server::start().await;
    let test = test_token(&server).await;
    let call = async |token: &str| {
        let authorization = format!("Bearer {token}");
        let headers = [
            ("authorization", authorization.as_str()),
            ("idempotency-key", "order-7"),
        ];
        let answer = server
            .call_with(&headers, "sendVerificationMessage", to(UNSCRIPTED))
            .await;
        answer.result()["request_id"].clone()
    };
    let (of_test, of_live) = (call(&test).await, call(&server.account.token).await);
    assert_ne!(of_test, of_live);
    assert_eq!(
        (call(&test).await, call(&server.account.token).await),
        (of_test, of_live)
    );
}

#[tokio::test]
async fn during_a_grace_either_token_calls_and_after_it_the_new_one_alone() {
    let server = Server::start().await;
    let request = server.sent(to(UNSCRIPTED)).await;
    let new = rotate(&server, Grace::Hour, now()).await;
    let status = json!({ "request_id": request });
    for token in [&server.account.token, &new] {
        server
            .call_as(token, "checkVerificationStatus", status.clone())
            .await
            .result();
    }
    // The same rotation, as it looks when its hour is over: what only reads goes by the time, too.
    let other = Server::start().await;
    let request = other.sent(to(UNSCRIPTED)).await;
    let new = rotate(&other, Grace::Hour, now().plus_millis(-3_600_000)).await;
    let status = json!({ "request_id": request });
    let refused = other.call("checkVerificationStatus", status.clone()).await;
    assert_eq!(refused.error(), "ACCESS_TOKEN_INVALID");
    let refused = other.call("sendVerificationMessage", to(UNSCRIPTED)).await;
    assert_eq!(refused.error(), "ACCESS_TOKEN_INVALID");
    other.call_as(&new, "checkVerificationStatus", status).await.result();
}

#[tokio::test]
async fn a_test_mode_token_opens_no_owners_api() {
    let server = Server::start().await;
    let test = test_token(&server).await;
    let authorization = format!("Bearer {test}");
    for path in ["/account/v1", "/account/v1/statement", "/account/v1/reports"] {
        let refused = server
            .send("GET", path, &[("authorization", &authorization)], b"")
            .await;
        assert_eq!(refused.status, 403, "{path}");
    }
}

#[tokio::test]
async fn the_operator_shows_and_rotates_either_token_with_a_grace_or_without() {
    let server = Server::start().await;
    let operator = format!("Bearer {OPERATOR_KEY}");
    let headers = [
        ("authorization", operator.as_str()),
        ("content-type", "application/json"),
    ];
    let base = format!("/operator/v1/accounts/{}", server.account.key.id);
    let ask = async |method: &str, path: &str, body: &str| {
        let answer = server
            .send(method, &format!("{base}{path}"), &headers, body.as_bytes())
            .await;
        (answer.status, serde_json::from_str::<Value>(&answer.body).unwrap())
    };
    let (_, first) = ask("GET", "/test-token", "").await;
    assert_eq!(first["kind"], "test");
    assert_eq!(ask("GET", "/test-token", "").await.1["token"], first["token"]);
    let (status, second) = ask("POST", "/test-token/rotate", r#"{"grace":"24h"}"#).await;
    assert_eq!(status, 200);
    let until = second["old_token_until"].as_i64().unwrap();
    assert!((until - now().unix_seconds() - 86_400).abs() < 60);
    assert_eq!(ask("GET", "/test-token", "").await.1["old_token_until"], until);
    for token in [&first, &second] {
        let token = token["token"].as_str().unwrap();
        server
            .call_as(token, "sendVerificationMessage", to(READ_AT_ONCE))
            .await
            .result();
    }
    let (status, told) = ask("POST", "/token/rotate", r#"{"grace":"8d"}"#).await;
    assert!(
        status == 400 && told["error"].as_str().unwrap().contains("7d"),
        "{told}"
    );
    let (_, live) = ask("POST", "/token/rotate", "").await;
    assert_eq!((&live["kind"], live.get("old_token_until")), (&json!("live"), None));
    let refused = server.call("sendVerificationMessage", to(PHONE)).await;
    assert_eq!(refused.error(), "ACCESS_TOKEN_INVALID");
}
