//! One attempt: what it carries, what acknowledges it, and what doesn't.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use countersign_core::{AccountId, ApiToken, CallbackUrl, Timestamp};
use countersign_server::workers::{AttemptFailure, Postman, PostmanError, ReportSettings};
use tokio::net::TcpListener;

use crate::sink::{Reply, Sink};
use crate::support::quick;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_999);
const BODY: &[u8] = br#"{"request_id":"1"}"#;

fn postman() -> Postman {
    Postman::new(&quick()).unwrap()
}

fn with_authority(file: &Path) -> ReportSettings {
    let extra_ca_file = Some(file.to_owned());
    let attempt_timeout = Duration::from_secs(5);
    ReportSettings {
        extra_ca_file,
        attempt_timeout,
        ..quick()
    }
}

fn token() -> ApiToken {
    ApiToken::new(AccountId::new(7).unwrap(), [3; 32])
}

async fn attempt(postman: &Postman, url: &str) -> Result<(), AttemptFailure> {
    let url = CallbackUrl::from_stored(url.to_owned());
    postman.send(&url, Bytes::from_static(BODY), &token(), NOW).await
}

#[tokio::test]
async fn a_report_carries_a_signature_that_its_receiver_can_verify() {
    let sink = Sink::ok().await;
    attempt(&postman(), &sink.url("/reports?tenant=7")).await.unwrap();
    let received = sink.wait_for(1).await.remove(0);
    assert_eq!(
        (received.method.as_str(), received.path.as_str()),
        ("POST", "/reports?tenant=7")
    );
    assert_eq!(received.body, BODY);
    assert_eq!(received.header("X-Request-Timestamp"), "1800000000");
    assert!(received.is_signed_with(&token()));
    assert!(!received.is_signed_with(&ApiToken::new(AccountId::new(7).unwrap(), [4; 32])));
    assert_eq!(received.header("Content-Type"), "application/json");
    assert_eq!(
        received.header("User-Agent"),
        concat!("Countersign/", env!("CARGO_PKG_VERSION"))
    );
}

#[tokio::test]
async fn only_200_acknowledges() {
    let postman = postman();
    for status in [201, 202, 204, 206, 304, 400, 401, 410, 429, 500, 503] {
        let sink = Sink::answering([Reply::Status(status)]).await;
        assert_eq!(
            attempt(&postman, &sink.url("/")).await,
            Err(AttemptFailure::Status(status))
        );
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Sink::ok().await;
    for status in [301, 302, 303, 307, 308] {
        let sink = Sink::answering([Reply::Redirect(status, elsewhere.url("/"))]).await;
        assert_eq!(
            attempt(&postman(), &sink.url("/")).await,
            Err(AttemptFailure::Status(status))
        );
    }
    assert_eq!(elsewhere.count(), 0);
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_times_out() {
    let sink = Sink::answering([Reply::Silence]).await;
    let began = Instant::now();
    let failure = attempt(&postman(), &sink.url("/")).await.unwrap_err();
    assert!(matches!(failure, AttemptFailure::Timeout(_)), "{failure:?}");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let sink = Sink::answering([Reply::EndlessBody]).await;
    let began = Instant::now();
    assert_eq!(attempt(&postman(), &sink.url("/")).await, Ok(()));
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_refused_connection_is_a_failure_that_names_no_url() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let failure = attempt(&postman(), &format!("http://{address}/x?key=secret"))
        .await
        .unwrap_err();
    assert!(matches!(failure, AttemptFailure::Connect(_)), "{failure:?}");
    let told = failure.to_string();
    assert!(
        told.contains("refused") && !told.contains("secret") && !told.contains("http"),
        "{told}"
    );
}

#[tokio::test]
async fn what_is_no_http_is_a_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"220 mail.example ESMTP\r\n")
            .await
            .unwrap();
    });
    let failure = attempt(&postman(), &format!("http://{address}/")).await.unwrap_err();
    assert!(matches!(failure, AttemptFailure::Transport(_)), "{failure:?}");
    server.await.unwrap();
}

#[tokio::test]
async fn a_private_authority_is_trusted_where_its_file_is_set_and_only_then() {
    let (sink, authority) = Sink::tls().await;
    let failure = attempt(&postman(), &sink.url("/")).await.unwrap_err();
    assert!(failure.to_string().contains("certificate"), "{failure}");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(authority.as_bytes()).unwrap();
    let trusting = Postman::new(&with_authority(file.path())).unwrap();
    attempt(&trusting, &sink.url("/")).await.unwrap();
    assert!(sink.wait_for(1).await[0].is_signed_with(&token()));
    // A certificate counts only for the name that it was made for.
    let other_name = sink.url("/").replace("127.0.0.1", "localhost");
    assert!(matches!(
        attempt(&trusting, &other_name).await,
        Err(AttemptFailure::Connect(_))
    ));
}

#[test]
fn a_wrong_file_of_authorities_is_told_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.pem");
    let error = Postman::new(&with_authority(&missing)).unwrap_err();
    assert!(matches!(error, PostmanError::ExtraCaUnreadable { .. }));
    assert!(error.to_string().contains("callbacks.extra_ca_file"));
    let wrong = directory.path().join("wrong.pem");
    std::fs::write(&wrong, "no certificate").unwrap();
    let error = Postman::new(&with_authority(&wrong)).unwrap_err();
    assert!(matches!(error, PostmanError::ExtraCaInvalid { .. }));
}

#[tokio::test]
async fn in_production_no_report_goes_to_a_private_or_local_address() {
    let settings = ReportSettings {
        allow_private_addresses: false,
        ..quick()
    };
    let strict = Postman::new(&settings).unwrap();
    let sink = Sink::ok().await;
    let port = sink.url("").rsplit_once(':').unwrap().1.to_owned();
    // An address, the same one in other clothes, and a name that leads to it.
    for host in [
        "127.0.0.1",
        "0x7f000001",
        "[::ffff:127.0.0.1]",
        "localhost",
        "LOCALHOST",
    ] {
        let failure = attempt(&strict, &format!("http://{host}:{port}/")).await.unwrap_err();
        assert!(failure.to_string().contains("private or local"), "{host}: {failure}");
    }
    assert_eq!(sink.count(), 0);
}
