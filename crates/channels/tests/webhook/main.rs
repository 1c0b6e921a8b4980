//! The channel `webhook` against a transport whose signatures are checked and made by the Standard Webhooks project's own library
//! (PyPI `standardwebhooks`). `./test` makes its environment.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_channels::testing::transport::Transport;
use countersign_channels::testing::{Server, config, message};
use countersign_channels::{Channel, Handle, Handover, Verdict, WebhookCall, make};
use countersign_core::{News, Timestamp};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

fn secret(byte: u8) -> String {
    format!("whsec_{}", STANDARD.encode([byte; 32]))
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
}

fn channel(server: &Server, transport: &Transport, secret: &str) -> Arc<dyn Channel> {
    let url = transport.url();
    let config = config("ours", "webhook", &[("url", &url), ("secret", secret)]).unwrap();
    make(config, server.ports.clone()).unwrap()
}

/// Takes one call over HTTP, as the server does, and gives it to the channel.
async fn take_one(listener: &TcpListener, channel: &dyn Channel) {
    let (mut connection, _) = listener.accept().await.unwrap();
    let mut read = Vec::new();
    let (head, body) = loop {
        connection.read_buf(&mut read).await.unwrap();
        let text = String::from_utf8(read.clone()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let lower = head.to_ascii_lowercase();
        let length = lower.split("content-length: ").nth(1).unwrap();
        let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
        if body.len() == length {
            break (head.to_owned(), body.to_owned());
        }
    };
    let headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    let call = WebhookCall {
        path: "news".to_owned(),
        headers: headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect(),
        body: body.into_bytes(),
        ..WebhookCall::default()
    };
    let answer = channel.receive(call).await;
    let length = answer.text.len();
    let text = format!(
        "HTTP/1.1 {} Said\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{}",
        answer.status, answer.text
    );
    connection.write_all(text.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn the_librarys_transport_takes_our_calls_and_we_take_its_news() {
    let secret = secret(3);
    let mut transport = Transport::start(json!({"secret": secret})).await.unwrap();
    let mut server = Server::new();
    let channel = channel(&server, &transport, &secret);
    let sent = message(1, "+391234567890", "482913", now()).unwrap();
    let Handover::Accepted(Some(handle)) = channel.deliver(sent.clone()).await else {
        panic!("not accepted");
    };
    let call = transport.event("call").await.unwrap();
    assert_eq!(
        (&call["type"], &call["data"]["code"]),
        (&json!("message.send"), &json!("482913"))
    );
    assert_eq!(
        handle,
        Handle::new(&format!("t-{}", call["id"].as_str().unwrap())).unwrap()
    );

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/channels/ours/news", listener.local_addr().unwrap());
    let data = json!({"message_id": call["data"]["message_id"]});
    let (posted, ()) = tokio::join!(
        transport.posts(&url, "message.delivered", data),
        take_one(&listener, &*channel)
    );
    assert_eq!(posted.unwrap(), (200, String::new()));
    let news = server.news.recv().await.unwrap();
    assert_eq!((news.request, news.news), (sent.request, News::Delivered));

    let data = json!({"id": "nobody"});
    let (posted, ()) = tokio::join!(
        transport.posts(&url, "message.delivered", data),
        take_one(&listener, &*channel)
    );
    assert_eq!(posted.unwrap().0, 404);
}

#[tokio::test]
async fn the_librarys_transport_refuses_another_secret_and_we_refuse_its_news() {
    let (ours, theirs) = (secret(3), secret(4));
    let mut transport = Transport::start(json!({"secret": theirs})).await.unwrap();
    let server = Server::new();
    let channel = channel(&server, &transport, &ours);
    let sent = message(1, "+391234567890", "482913", now()).unwrap();
    assert!(matches!(channel.deliver(sent).await, Handover::Refused(_)));
    transport.event("forged").await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/channels/ours/news", listener.local_addr().unwrap());
    let (posted, ()) = tokio::join!(
        transport.posts(&url, "message.delivered", json!({"id": "x"})),
        take_one(&listener, &*channel)
    );
    assert_eq!(posted.unwrap().0, 401);
}

#[tokio::test]
async fn the_doctor_is_content_with_the_librarys_transport() {
    let secret = secret(3);
    let transport = Transport::start(json!({"secret": secret})).await.unwrap();
    let mut server = Server::new();
    server.ports.public_url = Some("https://gateway.example".to_owned());
    let findings = channel(&server, &transport, &secret).examine().await;
    assert!(
        findings.iter().all(|found| found.verdict == Verdict::Well),
        "{findings:?}"
    );
}

#[tokio::test]
async fn a_refusal_in_words_reaches_the_timeline() {
    let secret = secret(3);
    let mut transport = Transport::start(json!({"secret": secret})).await.unwrap();
    let answer = json!({"status": "unreachable", "detail": "no pager goes by that number"});
    transport.answers("message.send", 200, answer).await.unwrap();
    let server = Server::new();
    let sent = message(1, "+391234567890", "482913", now()).unwrap();
    let handover = channel(&server, &transport, &secret).deliver(sent).await;
    let said = format!("{handover:?}");
    assert!(
        matches!(handover, Handover::CannotReach(_)) && said.contains("no pager"),
        "{said}"
    );
}
