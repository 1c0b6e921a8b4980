//! One attempt: what it carries, what acknowledges it, and what doesn't.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use countersign_core::{AccountId, ApiToken, CallbackUrl, PlainHttp, Timestamp};
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
    let attempt = postman.send(&url, Bytes::from_static(BODY), &token(), NOW).await;
    attempt.failure.map_or(Ok(()), Err)
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
    assert!(matches!(error, PostmanError::ExtraCa(_)));
    assert!(error.to_string().contains("callbacks.extra_ca_file"));
    let wrong = directory.path().join("wrong.pem");
    std::fs::write(&wrong, "no certificate").unwrap();
    let error = Postman::new(&with_authority(&wrong)).unwrap_err();
    assert!(matches!(error, PostmanError::ExtraCa(_)));
    assert!(error.to_string().contains("no certificate in PEM form"), "{error}");
}

#[tokio::test]
async fn the_beginning_of_an_answer_is_kept_whatever_its_status() {
    let postman = postman();
    let url = |sink: &Sink| CallbackUrl::from_stored(sink.url("/"));
    let sink = Sink::answering([Reply::Text(500, "no room".into()), Reply::EndlessBody]).await;
    let failed = postman.send(&url(&sink), Bytes::from_static(BODY), &token(), NOW).await;
    assert_eq!((failed.status, &*failed.response), (Some(500), &b"no room"[..]));
    let endless = postman.send(&url(&sink), Bytes::from_static(BODY), &token(), NOW).await;
    assert_eq!((endless.status, endless.response.len()), (Some(200), 4_096));
    assert!(endless.failure.is_none());
}

#[tokio::test]
async fn reports_share_a_connection_and_a_closed_one_is_made_anew() {
    let postman = postman();
    let sink = Sink::ok().await;
    for _ in 0..10 {
        attempt(&postman, &sink.url("/")).await.unwrap();
    }
    assert_eq!(sink.connections(), 1);
    sink.close_connections().await;
    for _ in 0..10 {
        attempt(&postman, &sink.url("/")).await.unwrap();
    }
    assert_eq!((sink.connections(), sink.count()), (2, 20));
}

#[tokio::test]
async fn in_production_reports_go_by_https_only() {
    let settings = ReportSettings {
        plain_http: PlainHttp::Refused,
        ..quick()
    };
    let sink = Sink::ok().await;
    let refused = attempt(&Postman::new(&settings).unwrap(), &sink.url("/")).await;
    assert_eq!((refused, sink.connections()), (Err(AttemptFailure::NotHttps), 0));
}
