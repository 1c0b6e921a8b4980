//! The sandbox's scripted numbers and its clock.

use countersign_core::Timestamp;
use serde_json::{Value, json};

use crate::support::{PHONE, Server, now};

const SEND: &str = "sendVerificationMessage";

async fn advance(server: &Server, seconds: i64) -> i64 {
    let reply = server.call("sandbox/clock", json!({"advance_seconds": seconds})).await;
    let result = reply.result();
    let now = result["now"].as_i64().unwrap();
    assert_eq!(reply.body, format!("{{\"ok\":true,\"result\":{{\"now\":{now}}}}}"));
    now
}

fn delivery(status: &Value) -> &Value {
    &status["delivery_status"]["status"]
}

async fn state(server: &Server, request_id: &str) -> Value {
    server
        .call("checkVerificationStatus", json!({"request_id": request_id}))
        .await
        .result()
}

#[tokio::test]
async fn number_1_is_delivered_and_read_at_once() {
    let server = Server::start().await;
    let id = server.sent(json!({"phone_number": "+9996610001"})).await;
    assert_eq!(delivery(&state(&server, &id).await), "read");
}

#[tokio::test]
async fn number_2_is_delivered_and_never_read_nor_refunded() {
    let server = Server::start().await;
    let id = server.sent(json!({"phone_number": "+9996620002", "ttl": 60})).await;
    assert_eq!(delivery(&state(&server, &id).await), "delivered");
    advance(&server, 3600).await;
    let late = state(&server, &id).await;
    assert_eq!(delivery(&late), "delivered");
    assert_eq!(late["verification_status"]["status"], "expired");
    assert_eq!(late.get("is_refunded"), None);
}

#[tokio::test]
async fn number_3_expires_and_is_refunded() {
    let server = Server::start().await;
    let id = server.sent(json!({"phone_number": "+9996630003", "ttl": 60})).await;
    advance(&server, 59).await;
    assert_eq!(delivery(&state(&server, &id).await), "sent");
    assert_eq!(server.balance().await, "9.99");
    advance(&server, 1).await;
    // The books were settled before the clock's answer: nobody had to ask for the request.
    assert_eq!(server.balance().await, "10");
    let expired = state(&server, &id).await;
    assert_eq!(
        (delivery(&expired), &expired["is_refunded"]),
        (&json!("expired"), &json!(true))
    );
}

#[tokio::test]
async fn numbers_4_and_5_are_refused_and_cost_nothing() {
    let server = Server::start().await;
    for method in [SEND, "checkSendAbility"] {
        let reply = server.call(method, json!({"phone_number": "+9996640004"})).await;
        assert_eq!(reply.error(), "PHONE_NUMBER_NOT_FOUND");
        let reply = server.call(method, json!({"phone_number": "+9996650005"})).await;
        assert_eq!(reply.error(), "FLOOD_WAIT_30");
    }
    assert_eq!(server.balance().await, "10");
}

#[tokio::test]
async fn number_6_is_delivered_after_five_seconds() {
    let server = Server::start().await;
    let id = server.sent(json!({"phone_number": "+9996660006"})).await;
    assert_eq!(delivery(&state(&server, &id).await), "sent");
    advance(&server, 5).await;
    let delivered = state(&server, &id).await;
    assert_eq!(delivery(&delivered), "delivered");
}

#[tokio::test]
async fn scripted_codes_are_the_digit_repeated() {
    let server = Server::start().await;
    for digit in ["0", "5", "9"] {
        for length in [4, 6, 8] {
            let phone = format!("+99966{digit}0003");
            let id = server.sent(json!({"phone_number": phone, "code_length": length})).await;
            let check = json!({"request_id": id, "code": digit.repeat(length)});
            let status = server.call("checkVerificationStatus", check).await.result();
            assert_eq!(
                status["verification_status"]["status"], "code_valid",
                "{phone} {length}"
            );
        }
    }
    // A code of the customer's own stays its own.
    let id = server
        .sent(json!({"phone_number": "+9996610003", "code": "4711"}))
        .await;
    let status = server
        .call("checkVerificationStatus", json!({"request_id": id, "code": "1111"}))
        .await
        .result();
    assert_eq!(status["verification_status"]["status"], "code_invalid");
}

#[tokio::test]
async fn the_workers_play_the_script_without_being_asked() {
    let server = Server::start().await;
    let id = server.sent(json!({"phone_number": "+9996610001"})).await;
    let id = countersign_core::RequestId::parse(&id).unwrap();
    let read = async {
        loop {
            let stored = server.store.request(server.account.key, id).await.unwrap().unwrap();
            if stored.delivery == countersign_core::DeliveryState::Read {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), read)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_clock_moves_its_account_and_no_other() {
    let server = Server::start().await;
    let other = server.account(2, "+393333333334", "1").await;
    let request = json!({"phone_number": "+9996630003", "ttl": 60});
    let others = server.call_as(&other.token, SEND, request).await.result();
    let before = now().unix_seconds();
    let moved = advance(&server, 86_400).await;
    assert!((86_400..86_500).contains(&(moved - before)), "{moved}");
    // Ids, times and lives follow it.
    let sent = server.call(SEND, json!({"phone_number": PHONE})).await.result();
    assert!(sent["delivery_status"]["updated_at"].as_i64().unwrap() >= moved);
    let id = countersign_core::RequestId::parse(sent["request_id"].as_str().unwrap()).unwrap();
    assert!(id.created_at() >= Timestamp::from_millis(moved * 1000));
    let asked = json!({"request_id": others["request_id"]});
    let others = server
        .call_as(&other.token, "checkVerificationStatus", asked)
        .await
        .result();
    assert_eq!(delivery(&others), "sent");
    // It never goes back, and moving by nothing tells the time.
    assert!(advance(&server, 0).await >= moved);
}

#[tokio::test]
async fn the_clock_settles_more_than_a_page_of_requests() {
    let server = Server::start().await;
    let rich = server.account(2, "+393333333334", "20").await;
    for _ in 0..22 {
        let parameters = json!({"phone_number": "+9996630003", "ttl": 30});
        let sends = (0..50).map(|_| server.call_as(&rich.token, SEND, parameters.clone()));
        for reply in futures_util::future::join_all(sends).await {
            reply.result();
        }
    }
    let balance = async || {
        let profile = server.store.account(rich.key.id).await.unwrap().unwrap();
        profile.balance.to_string()
    };
    assert_eq!(balance().await, "9");
    server
        .call_as(&rich.token, "sandbox/clock", json!({"advance_seconds": 30}))
        .await
        .result();
    assert_eq!(balance().await, "20");
}

#[tokio::test]
async fn credit_lapses_when_the_clock_passes_its_time() {
    let server = Server::start().await;
    advance(&server, 1_096 * 86_400 - 60).await;
    assert_eq!(server.balance().await, "10");
    advance(&server, 120).await;
    assert_eq!(server.balance().await, "0");
    assert_eq!(
        server.call(SEND, json!({"phone_number": PHONE})).await.error(),
        "BALANCE_NOT_ENOUGH"
    );
}

#[tokio::test]
async fn the_clock_takes_0_seconds_to_10_years_and_stays_within_32_bits() {
    let server = Server::start().await;
    let wrong = [
        json!(-1),
        json!(316_224_001),
        json!("x"),
        json!(1.5),
        json!(null),
        json!(true),
        json!(1e99),
    ];
    for seconds in wrong {
        let reply = server.call("sandbox/clock", json!({"advance_seconds": seconds})).await;
        assert_eq!(reply.error(), "BAD_REQUEST", "{seconds}");
    }
    assert_eq!(server.call("sandbox/clock", json!({})).await.error(), "BAD_REQUEST");
    let year = 365 * 86_400;
    let mut years = 0;
    while server
        .call("sandbox/clock", json!({"advance_seconds": year}))
        .await
        .body
        .contains("\"ok\":true")
    {
        years += 1;
        assert!(years < 30, "the clock left 32 bits");
    }
    let sent = server
        .call("checkSendAbility", json!({"phone_number": "+393333333333"}))
        .await
        .result();
    assert!(sent.is_object());
    assert!(advance(&server, 0).await < i64::from(i32::MAX));
}

#[tokio::test]
async fn the_clock_wants_the_accounts_token() {
    let server = Server::start().await;
    let parameters = json!({"advance_seconds": 1});
    let without = server.call_with(&[], "sandbox/clock", parameters.clone()).await;
    assert_eq!(without.error(), "ACCESS_TOKEN_REQUIRED");
    assert_eq!(
        server.call_as("nonsense", "sandbox/clock", parameters).await.error(),
        "ACCESS_TOKEN_INVALID"
    );
    let bearer = format!("Bearer {}", server.account.token);
    let reply = server
        .send(
            "GET",
            "/sandbox/clock?advance_seconds=1",
            &[("authorization", &bearer)],
            b"",
        )
        .await;
    assert_eq!(reply.error(), "UNKNOWN_METHOD");
    // As lenient as the methods: form, query, slashes.
    let reply = server
        .send(
            "POST",
            "//sandbox//clock/?advance_seconds=1",
            &[("authorization", &bearer)],
            b"",
        )
        .await;
    reply.result();
}
