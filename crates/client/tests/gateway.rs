//! The client against a gateway of a few lines, which answers whatever a test wants: what goes out on the wire, and how
//! every kind of answer comes back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use countersign_client::{ApiError, Client, ClientError, SendRequest, is_code_valid};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const STATUS: &str = r#"{"ok":true,"result":{"request_id":"r-1","phone_number":"+391234567890","request_cost":0.01,"verification_status":{"status":"code_valid","updated_at":1790000000,"code_entered":"1234"}}}"#;

/// Takes one call, answers it with these bytes, and gives back what was asked.
async fn gateway(answer: String) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        // The head and the JSON object after it; these bodies hold no inner braces.
        while !request.ends_with(b"}") {
            let mut part = [0; 4096];
            let length = stream.read(&mut part).await.unwrap();
            request.extend_from_slice(&part[..length]);
        }
        // A client that has read enough may hang up meanwhile.
        let _ = stream.write_all(answer.as_bytes()).await;
        String::from_utf8(request).unwrap()
    });
    (url, asked)
}

fn answer(head: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn a_send_goes_out_as_json_with_the_token_in_its_header_below_the_base_path() {
    let (url, asked) = gateway(answer("200 OK", STATUS)).await;
    let client = Client::new(format!("{url}/telegram/"), "AQAA-secret").unwrap();
    let request = SendRequest::new("+391234567890")
        .ttl_seconds(60)
        .idempotency_key("order-17");
    let status = client.send(&request).await.unwrap();
    assert_eq!(status.request_id, "r-1");
    let asked = asked.await.unwrap();
    assert!(
        asked.starts_with("POST /telegram/sendVerificationMessage HTTP/1.1\r\n"),
        "{asked}"
    );
    for line in [
        "authorization: Bearer AQAA-secret\r\n",
        "content-type: application/json\r\n",
        "idempotency-key: order-17\r\n",
    ] {
        assert!(asked.contains(line), "{line:?} is missing: {asked}");
    }
    assert!(
        asked.ends_with(r#"{"phone_number":"+391234567890","ttl":60}"#),
        "{asked}"
    );
}

#[tokio::test]
async fn every_method_has_its_own_call() {
    let (url, asked) = gateway(answer("200 OK", STATUS)).await;
    Client::new(url, "t")
        .unwrap()
        .check_ability_once("+391234567890", "key")
        .await
        .unwrap();
    let asked = asked.await.unwrap();
    assert!(
        asked.starts_with("POST /checkSendAbility ") && asked.contains("idempotency-key: key\r\n"),
        "{asked}"
    );

    let (url, asked) = gateway(answer("200 OK", STATUS)).await;
    Client::new(url, "t").unwrap().status("r-1").await.unwrap();
    assert!(asked.await.unwrap().ends_with("\r\n\r\n{\"request_id\":\"r-1\"}"));

    let (url, asked) = gateway(answer("200 OK", STATUS)).await;
    let status = Client::new(url, "t").unwrap().check("r-1", "1234").await.unwrap();
    assert!(is_code_valid(&status));
    assert!(asked.await.unwrap().ends_with(r#"{"request_id":"r-1","code":"1234"}"#));

    let (url, asked) = gateway(answer("200 OK", r#"{"ok":true,"result":true}"#)).await;
    Client::new(url, "t").unwrap().revoke("r-1").await.unwrap();
    assert!(asked.await.unwrap().starts_with("POST /revokeVerificationMessage "));
}

#[tokio::test]
async fn refusals_and_a_busy_gateway_say_when_to_come_back() {
    let (url, _asked) = gateway(answer("200 OK", r#"{"ok":false,"error":"FLOOD_WAIT_7"}"#)).await;
    let error = Client::new(url, "t")
        .unwrap()
        .check_ability("+391234567890")
        .await
        .unwrap_err();
    assert!(
        matches!(error, ClientError::Api(ApiError::FloodWait { seconds: 7 })),
        "{error}"
    );
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));

    let busy = answer(
        "503 Service Unavailable\r\nretry-after: 3",
        r#"{"ok":false,"error":"UNAVAILABLE"}"#,
    );
    let (url, _asked) = gateway(busy).await;
    let error = Client::new(url, "t").unwrap().status("r-1").await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
    assert!(!error.may_have_happened());
}

#[tokio::test]
async fn a_redirect_is_not_followed_since_it_would_carry_the_token_away() {
    let (elsewhere, mut asked_elsewhere) = gateway(answer("200 OK", STATUS)).await;
    let (url, _asked) = gateway(answer(&format!("307 Moved\r\nlocation: {elsewhere}/x"), "")).await;
    let error = Client::new(url, "t").unwrap().status("r-1").await.unwrap_err();
    assert!(matches!(error, ClientError::Protocol { status: 307, .. }), "{error}");
    // Nobody ever connects there: it still waits when we stop waiting.
    assert!(
        tokio::time::timeout(Duration::from_millis(50), &mut asked_elsewhere)
            .await
            .is_err()
    );
    asked_elsewhere.abort();
}

#[tokio::test]
async fn an_answer_that_breaks_off_or_never_ends_is_no_answer() {
    let broken = "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"ok\":true,".to_owned();
    let (url, _asked) = gateway(broken).await;
    let error = Client::new(url, "t").unwrap().revoke("r-1").await.unwrap_err();
    assert!(matches!(error, ClientError::Transport { .. }), "{error}");
    assert!(error.may_have_happened());

    let (url, _asked) = gateway(answer("200 OK", &" ".repeat(300_000))).await;
    let error = Client::new(url, "t").unwrap().revoke("r-1").await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Protocol { reason, .. } if reason.contains("longer")),
        "{error}"
    );
}

#[tokio::test]
async fn a_key_or_a_certificate_that_is_none_is_told_before_anything_is_sent() {
    let client = Client::new("http://127.0.0.1:1", "t").unwrap();
    for key in ["", &"k".repeat(65), "two\nlines"] {
        let request = SendRequest::new("+391234567890").idempotency_key(key);
        let error = client.send(&request).await.unwrap_err();
        assert!(matches!(error, ClientError::Settings(_)), "{error}");
    }
    let error = Client::builder("https://127.0.0.1:1", "t")
        .trust_root_pem("nonsense")
        .build();
    assert!(matches!(error, Err(ClientError::Settings(_))), "{error:?}");
}
