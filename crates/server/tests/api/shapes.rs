//! Answers, byte for byte but for ids and times: the documented fields and no other.

use serde_json::json;

use crate::support::{OWNER, PHONE, Server};

#[tokio::test]
async fn a_send_answers_its_state_its_cost_and_what_is_left() {
    let server = Server::start().await;
    let reply = server
        .call(
            "sendVerificationMessage",
            json!({"phone_number": PHONE, "code": "4711"}),
        )
        .await;
    assert_eq!(
        reply.redacted(),
        r#"{"ok":true,"result":{"request_id":"ID","phone_number":"+391234567890","request_cost":0.01,"remaining_balance":9.99,"delivery_status":{"status":"sent","updated_at":TIME}}}"#
    );
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn a_payload_comes_back_with_every_answer() {
    let server = Server::start().await;
    let payload = "Bestellung \"Grüße\" \\ 💶";
    let send = json!({"phone_number": PHONE, "payload": payload, "code": "123456"});
    let reply = server.call("sendVerificationMessage", send).await;
    assert_eq!(
        reply.redacted(),
        r#"{"ok":true,"result":{"request_id":"ID","phone_number":"+391234567890","request_cost":0.01,"remaining_balance":9.99,"delivery_status":{"status":"sent","updated_at":TIME},"payload":"Bestellung \"Grüße\" \\ 💶"}}"#
    );
    let id = reply.result()["request_id"].clone();
    let status = server
        .call("checkVerificationStatus", json!({"request_id": id, "code": "1"}))
        .await
        .result();
    assert_eq!(status["payload"], payload);
}

#[tokio::test]
async fn an_ability_check_answers_without_a_delivery_status() {
    let server = Server::start().await;
    let reply = server.call("checkSendAbility", json!({"phone_number": PHONE})).await;
    assert_eq!(
        reply.redacted(),
        r#"{"ok":true,"result":{"request_id":"ID","phone_number":"+391234567890","request_cost":0.01,"remaining_balance":9.99}}"#
    );
    // Asking its state, without a code, says the same but for the balance.
    let id = reply.result()["request_id"].clone();
    let status = server.call("checkVerificationStatus", json!({"request_id": id})).await;
    assert_eq!(
        status.redacted(),
        r#"{"ok":true,"result":{"request_id":"ID","phone_number":"+391234567890","request_cost":0.01}}"#
    );
}

#[tokio::test]
async fn a_send_on_an_ability_check_costs_nothing_more_and_tells_no_balance() {
    let server = Server::start().await;
    let check = server
        .call("checkSendAbility", json!({"phone_number": PHONE}))
        .await
        .result();
    let send = json!({"phone_number": PHONE, "request_id": check["request_id"]});
    let reply = server.call("sendVerificationMessage", send).await;
    assert_eq!(
        reply.redacted(),
        r#"{"ok":true,"result":{"request_id":"ID","phone_number":"+391234567890","request_cost":0.01,"delivery_status":{"status":"sent","updated_at":TIME}}}"#
    );
    assert_eq!(reply.result()["request_id"], check["request_id"]);
    assert_eq!(server.balance().await, "9.99");
}

#[tokio::test]
async fn the_owners_own_number_is_free() {
    let server = Server::start().await;
    for method in ["sendVerificationMessage", "checkSendAbility"] {
        let result = server.call(method, json!({"phone_number": OWNER})).await.result();
        assert_eq!(result["request_cost"], 0);
        assert_eq!(result.get("remaining_balance"), None);
    }
    assert_eq!(server.balance().await, "10");
}

#[tokio::test]
async fn a_code_is_judged_and_proves_delivery() {
    let server = Server::start().await;
    let id = server
        .sent(json!({"phone_number": "+9996630003", "code_length": 8}))
        .await;
    let wrong = server
        .call("checkVerificationStatus", json!({"request_id": id, "code": "12345678"}))
        .await;
    assert_eq!(
        wrong.redacted(),
        r#"{"ok":true,"result":{"request_id":"ID","phone_number":"+9996630003","request_cost":0.01,"delivery_status":{"status":"sent","updated_at":TIME},"verification_status":{"status":"code_invalid","updated_at":TIME,"code_entered":"12345678"}}}"#
    );
    let right = server
        .call("checkVerificationStatus", json!({"request_id": id, "code": "33333333"}))
        .await;
    let expected = r#"{"ok":true,"result":{"request_id":"ID","phone_number":"+9996630003","request_cost":0.01,"delivery_status":{"status":"read","updated_at":TIME},"verification_status":{"status":"code_valid","updated_at":TIME,"code_entered":"33333333"}}}"#;
    assert_eq!(right.redacted(), expected);
    // A safe retry says the same; so does the state without a code, but for the code, which is gone.
    let again = server
        .call("checkVerificationStatus", json!({"request_id": id, "code": 33_333_333}))
        .await;
    assert_eq!(again.body, right.body);
    let state = server.call("checkVerificationStatus", json!({"request_id": id})).await;
    assert_eq!(state.redacted(), expected.replace(r#","code_entered":"33333333""#, ""));
}

#[tokio::test]
async fn the_fifth_wrong_code_ends_all_attempts() {
    let server = Server::start().await;
    let id = server.sent(json!({"phone_number": PHONE, "code": "4711"})).await;
    for attempt in 1..=6 {
        let code = if attempt == 6 { "4711" } else { "0000" };
        let result = server
            .call("checkVerificationStatus", json!({"request_id": id, "code": code}))
            .await
            .result();
        let expected = if attempt < 5 {
            "code_invalid"
        } else {
            "code_max_attempts_exceeded"
        };
        assert_eq!(result["verification_status"]["status"], expected, "attempt {attempt}");
    }
}

#[tokio::test]
async fn a_revocation_is_true_and_ends_the_code() {
    let server = Server::start().await;
    let id = server.sent(json!({"phone_number": "+9996630003"})).await;
    let reply = server
        .call("revokeVerificationMessage", json!({"request_id": id}))
        .await;
    assert_eq!(reply.body, r#"{"ok":true,"result":true}"#);
    let state = server
        .call("checkVerificationStatus", json!({"request_id": id, "code": "333333"}))
        .await;
    assert_eq!(
        state.redacted(),
        r#"{"ok":true,"result":{"request_id":"ID","phone_number":"+9996630003","request_cost":0.01,"delivery_status":{"status":"revoked","updated_at":TIME},"verification_status":{"status":"expired","updated_at":TIME,"code_entered":"333333"}}}"#
    );
    assert_eq!(server.balance().await, "9.99");
}

#[tokio::test]
async fn an_expired_request_is_shown_refunded() {
    let server = Server::start().await;
    let id = server.sent(json!({"phone_number": "+9996630003", "ttl": 30})).await;
    server
        .call("sandbox/clock", json!({"advance_seconds": 30}))
        .await
        .result();
    let state = server.call("checkVerificationStatus", json!({"request_id": id})).await;
    assert_eq!(
        state.redacted(),
        r#"{"ok":true,"result":{"request_id":"ID","phone_number":"+9996630003","request_cost":0.01,"is_refunded":true,"delivery_status":{"status":"expired","updated_at":TIME},"verification_status":{"status":"expired","updated_at":TIME}}}"#
    );
}
