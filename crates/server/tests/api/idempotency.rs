//! `Idempotency-Key`: the same call again has its effect once, and the same answer.

use countersign_store::Actor;
use serde_json::{Value, json};

use crate::support::{PHONE, Reply, Server};

async fn call_with_key(server: &Server, key: &str, method: &str, parameters: Value) -> Reply {
    let bearer = format!("Bearer {}", server.account.token);
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", key)];
    server.call_with(&headers, method, parameters).await
}

#[tokio::test]
async fn the_same_key_gives_the_first_answer_again_and_charges_once() {
    let server = Server::start().await;
    let send = json!({"phone_number": PHONE, "payload": "order 7", "ttl": 60});
    let first = call_with_key(&server, "k", "sendVerificationMessage", send.clone()).await;
    assert_eq!(first.result()["remaining_balance"], 9.99);
    let again = call_with_key(&server, "k", "sendVerificationMessage", send).await;
    assert_eq!(again.body, first.body);
    // However it is written, it is the same call.
    let written_otherwise =
        json!({"payload": "order 7", "ttl": "60", "phone_number": 391_234_567_890_u64, "code_length": 6});
    let again = call_with_key(&server, "k", "SENDVERIFICATIONMESSAGE", written_otherwise).await;
    assert_eq!(again.body, first.body);
    assert_eq!(server.balance().await, "9.99");
    call_with_key(
        &server,
        "another",
        "sendVerificationMessage",
        json!({"phone_number": PHONE}),
    )
    .await
    .result();
    assert_eq!(server.balance().await, "9.98");
}

#[tokio::test]
async fn the_same_key_for_something_else_is_refused() {
    let server = Server::start().await;
    let send = json!({"phone_number": PHONE, "code": "4711"});
    let first = call_with_key(&server, "k", "sendVerificationMessage", send).await;
    let id = first.result()["request_id"].clone();
    for (method, parameters) in [
        ("sendVerificationMessage", json!({"phone_number": PHONE})),
        (
            "sendVerificationMessage",
            json!({"phone_number": PHONE, "code": "4712"}),
        ),
        (
            "sendVerificationMessage",
            json!({"phone_number": PHONE, "code": "4711", "payload": "x"}),
        ),
        (
            "sendVerificationMessage",
            json!({"phone_number": PHONE, "code": "4711", "ttl": 60}),
        ),
        (
            "sendVerificationMessage",
            json!({"phone_number": "+19999999999", "code": "4711"}),
        ),
        ("checkSendAbility", json!({"phone_number": PHONE})),
        ("checkVerificationStatus", json!({"request_id": id})),
        ("revokeVerificationMessage", json!({"request_id": id})),
    ] {
        let reply = call_with_key(&server, "k", method, parameters.clone()).await;
        assert_eq!(reply.error(), "BAD_REQUEST", "{method} {parameters}");
    }
    assert_eq!(server.balance().await, "9.99");
}

#[tokio::test]
async fn every_method_takes_a_key() {
    let server = Server::start().await;
    let check = json!({"phone_number": PHONE});
    let first = call_with_key(&server, "a", "checkSendAbility", check.clone()).await;
    assert_eq!(
        call_with_key(&server, "a", "checkSendAbility", check).await.body,
        first.body
    );
    let id = server.sent(json!({"phone_number": PHONE, "code": "4711"})).await;
    let status = json!({"request_id": id});
    let first = call_with_key(&server, "s", "checkVerificationStatus", status.clone()).await;
    assert_eq!(first.result()["delivery_status"]["status"], "sent");
    // A wrong code counts once, however often its call is repeated.
    let wrong = json!({"request_id": id, "code": "0000"});
    for _ in 0..6 {
        let result = call_with_key(&server, "w", "checkVerificationStatus", wrong.clone())
            .await
            .result();
        assert_eq!(result["verification_status"]["status"], "code_invalid");
    }
    let right = server
        .call("checkVerificationStatus", json!({"request_id": id, "code": "4711"}))
        .await
        .result();
    assert_eq!(right["verification_status"]["status"], "code_valid");
    // The first answer, although the state has changed since.
    assert_eq!(
        call_with_key(&server, "s", "checkVerificationStatus", status)
            .await
            .body,
        first.body
    );
    for _ in 0..2 {
        let revoked = call_with_key(&server, "r", "revokeVerificationMessage", json!({"request_id": id})).await;
        assert_eq!(revoked.body, r#"{"ok":true,"result":true}"#);
    }
}

#[tokio::test]
async fn a_refused_call_leaves_its_key_free() {
    let server = Server::start().await;
    let reply = call_with_key(
        &server,
        "k",
        "sendVerificationMessage",
        json!({"phone_number": "+9996610004"}),
    )
    .await;
    assert_eq!(reply.error(), "PHONE_NUMBER_NOT_FOUND");
    call_with_key(&server, "k", "sendVerificationMessage", json!({"phone_number": PHONE}))
        .await
        .result();
}

#[tokio::test]
async fn keys_are_each_accounts_own() {
    let server = Server::start().await;
    let other = server.account(2, "+393333333334", "1").await;
    let first = call_with_key(&server, "k", "checkSendAbility", json!({"phone_number": PHONE}))
        .await
        .result();
    let bearer = format!("Bearer {}", other.token);
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", "k")];
    let others = server
        .call_with(&headers, "checkSendAbility", json!({"phone_number": PHONE}))
        .await
        .result();
    assert_ne!(first["request_id"], others["request_id"]);
}

#[tokio::test]
async fn a_key_has_1_to_64_bytes() {
    let server = Server::start().await;
    for (key, fits) in [
        ("x".repeat(64), true),
        ("ü".repeat(32), true),
        ("x".repeat(65), false),
        (String::new(), false),
    ] {
        let reply = call_with_key(&server, &key, "checkSendAbility", json!({"phone_number": PHONE})).await;
        if fits {
            reply.result();
        } else {
            assert_eq!(reply.error(), "BAD_REQUEST");
        }
    }
}

#[tokio::test]
async fn calls_at_the_same_time_with_one_key_have_one_effect() {
    let server = Server::start().await;
    let calls = (0..16).map(|_| call_with_key(&server, "k", "sendVerificationMessage", json!({"phone_number": PHONE})));
    let replies = futures_util::future::join_all(calls).await;
    assert!(replies.iter().all(|reply| reply.body == replies[0].body));
    assert_eq!(server.balance().await, "9.99");
}

#[tokio::test]
async fn a_key_outlives_the_rotation_of_the_token() {
    let server = Server::start().await;
    let send = json!({"phone_number": PHONE, "code": "4711"});
    let first = call_with_key(&server, "k", "sendVerificationMessage", send.clone()).await;
    let rotated = countersign_core::ApiToken::new(server.account.key.id, [42; 32]);
    server
        .store
        .rotate_token(server.account.key, rotated.clone(), Actor::Operator)
        .await
        .unwrap();
    let bearer = format!("Bearer {}", rotated.as_str());
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", "k")];
    let reply = server.call_with(&headers, "sendVerificationMessage", send).await;
    assert_eq!(reply.result(), first.result());
    assert_eq!(server.balance().await, "9.99");
}
