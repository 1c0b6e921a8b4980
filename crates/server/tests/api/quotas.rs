//! Quotas: what all accounts together may send to one number, or from one network.

use serde_json::json;

use crate::support::{PHONE, Server, Setup};

const SEND: &str = "sendVerificationMessage";

async fn with(quotas: &'static str) -> Server {
    Server::start_with(Setup {
        quotas,
        trusted_proxies: vec!["127.0.0.0/8"],
        ..Setup::default()
    })
    .await
}

#[tokio::test]
async fn a_quota_counts_the_sends_of_all_accounts_together() {
    let server = with("number=2/1h").await;
    let other = server.account(2, "+4915123456789", "10").await;
    let to = |phone: &str| json!({ "phone_number": phone });
    server.call(SEND, to(PHONE)).await.result();
    server.call_as(&other.token, SEND, to(PHONE)).await.result();
    // The third of an hour's two has its turn after half of it.
    assert_eq!(server.call(SEND, to(PHONE)).await.error(), "FLOOD_WAIT_1800");
    assert_eq!(
        server.call("checkSendAbility", to(PHONE)).await.error(),
        "FLOOD_WAIT_1800"
    );
    server.call(SEND, to("+16502530000")).await.result();
}

#[tokio::test]
async fn what_is_refused_for_another_reason_uses_up_nothing() {
    let server = with("country=3/1h").await;
    let poor = server.account(2, "+4915123456789", "0.001").await;
    for _ in 0..10 {
        let refused = server
            .call_as(&poor.token, SEND, json!({ "phone_number": PHONE }))
            .await;
        assert_eq!(refused.error(), "BALANCE_NOT_ENOUGH");
    }
    for _ in 0..3 {
        server.call(SEND, json!({ "phone_number": PHONE })).await.result();
    }
    assert_eq!(
        server.call(SEND, json!({ "phone_number": PHONE })).await.error(),
        "FLOOD_WAIT_1200"
    );
}

#[tokio::test]
async fn a_repeated_call_gets_its_first_answer_though_the_quota_is_used_up() {
    let server = with("number=1/1h").await;
    let authorization = format!("Bearer {}", server.account.token);
    let headers = [
        ("authorization", authorization.as_str()),
        ("idempotency-key", "order 7"),
    ];
    let send = json!({ "phone_number": PHONE });
    let first = server.call_with(&headers, SEND, send.clone()).await.result();
    assert_eq!(server.call(SEND, send.clone()).await.error(), "FLOOD_WAIT_3600");
    let again = server.call_with(&headers, SEND, send).await.result();
    assert_eq!(again["request_id"], first["request_id"]);
}

#[tokio::test]
async fn callers_of_one_network_share_its_quota() {
    let server = with("ipv4/24=2/1h,ipv6/48=1/1h").await;
    let authorization = format!("Bearer {}", server.account.token);
    let from = async |address: &str| {
        let headers = [("authorization", authorization.as_str()), ("x-forwarded-for", address)];
        server.call_with(&headers, SEND, json!({ "phone_number": PHONE })).await
    };
    from("192.0.2.1").await.result();
    from("192.0.2.200").await.result();
    assert_eq!(from("192.0.2.77").await.error(), "FLOOD_WAIT_1800");
    from("192.0.3.1").await.result();
    from("2001:db8:7:1::1").await.result();
    assert_eq!(from("2001:db8:7:ffff::2").await.error(), "FLOOD_WAIT_3600");
    from("2001:db8:8::1").await.result();
}
