//! Statuses other than 200, long and slow bodies, and what is no call at all.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{PHONE, Reply, Server, Setup};

/// A form of exactly that many bytes.
fn form_of(bytes: usize) -> Vec<u8> {
    let start = "phone_number=391234567890&unknown=";
    format!("{start}{}", "x".repeat(bytes - start.len())).into_bytes()
}

fn chunked(body: &[u8]) -> Vec<u8> {
    let mut written = Vec::new();
    for piece in body.chunks(1000) {
        written.extend(format!("{:x}\r\n", piece.len()).as_bytes());
        written.extend(piece);
        written.extend(b"\r\n");
    }
    written.extend(b"0\r\n\r\n");
    written
}

#[tokio::test]
async fn a_body_of_64_kib_passes_and_a_longer_one_is_too_large() {
    let server = Server::start().await;
    let bearer = format!("Bearer {}", server.account.token);
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let head = format!(
        "POST /checkSendAbility HTTP/1.1\r\nhost: x\r\nauthorization: {bearer}\r\ncontent-type: \
         application/x-www-form-urlencoded\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    );
    let most = form_of(64 * 1024);
    server.send("POST", "/checkSendAbility", &headers, &most).await.result();
    server.raw(&[head.as_bytes(), &chunked(&most)].concat()).await.result();
    for bytes in [64 * 1024 + 1, 300_000] {
        let body = form_of(bytes);
        for reply in [
            server.send("POST", "/checkSendAbility", &headers, &body).await,
            server.raw(&[head.as_bytes(), &chunked(&body)].concat()).await,
        ] {
            assert_eq!((reply.status, reply.error_name().as_str()), (413, "BODY_TOO_LARGE"));
        }
    }
    // Before the parameters, after the token.
    let headers = [("authorization", "Bearer nonsense"), headers[1]];
    let reply = server
        .send("POST", "/checkSendAbility", &headers, &form_of(100_000))
        .await;
    assert_eq!(reply.error(), "ACCESS_TOKEN_INVALID");
    let reply = server.send("POST", "/checkSendAbility", &[], &form_of(100_000)).await;
    assert_eq!(reply.status, 413);
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_before_it_sends_a_long_body() {
    let server = Server::start().await;
    let head = format!(
        "POST /checkSendAbility HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nexpect: 100-continue\r\n",
        server.account.token
    );
    let reply = server
        .raw(format!("{head}content-length: 10000000\r\n\r\n").as_bytes())
        .await;
    assert_eq!((reply.status, reply.error_name().as_str()), (413, "BODY_TOO_LARGE"));
    // One with a fair length is asked for its body.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(format!("{head}content-length: 25\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut asked = [0; 25];
    stream.read_exact(&mut asked).await.unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"phone_number=391234567890").await.unwrap();
    Reply::read(&mut stream).await.result();
}

#[tokio::test]
async fn ten_megabytes_are_refused_and_the_next_caller_is_served() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = "POST /checkSendAbility HTTP/1.1\r\nhost: x\r\ncontent-length: 10000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    // The answer, or the end of the connection, comes long before all of it is taken.
    let _ = stream.write_all(&vec![b'x'; 10_000_000]).await;
    drop(stream);
    server
        .call("checkSendAbility", json!({"phone_number": PHONE}))
        .await
        .result();
}

#[tokio::test]
async fn a_body_that_does_not_come_in_time_is_a_time_out() {
    let server = Server::start_with(Setup {
        request_timeout: Duration::from_millis(200),
        ..Setup::default()
    })
    .await;
    let head = format!(
        "POST /checkSendAbility HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 100\r\n\r\nphone",
        server.account.token
    );
    let reply = server.raw(head.as_bytes()).await;
    assert_eq!((reply.status, reply.error_name().as_str()), (408, "REQUEST_TIMEOUT"));
}

#[tokio::test]
async fn a_refused_call_leaves_its_connection_usable() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = |token: &str| {
        let body = "phone_number=391234567890";
        let length = body.len();
        format!(
            "POST /checkSendAbility HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    };
    stream.write_all(request("nonsense").as_bytes()).await.unwrap();
    assert_eq!(Reply::read(&mut stream).await.error(), "ACCESS_TOKEN_INVALID");
    let unknown = request("nonsense").replace("checkSendAbility", "nothing");
    stream.write_all(unknown.as_bytes()).await.unwrap();
    assert_eq!(Reply::read(&mut stream).await.error(), "UNKNOWN_METHOD");
    stream
        .write_all(request(&server.account.token).as_bytes())
        .await
        .unwrap();
    Reply::read(&mut stream).await.result();
}

#[tokio::test]
async fn a_draining_server_takes_no_new_calls() {
    let server = Server::start().await;
    let ready = server.send("GET", "/readyz", &[], b"").await;
    assert_eq!((ready.status, ready.body.as_str()), (200, "ok"));
    server.drain();
    let reply = server.call("checkSendAbility", json!({"phone_number": PHONE})).await;
    assert_eq!((reply.status, reply.error_name().as_str()), (503, "UNAVAILABLE"));
    assert_eq!(reply.header("retry-after"), Some("1"));
    let ending = server.send("GET", "/readyz", &[], b"").await;
    assert_eq!((ending.status, ending.body.as_str()), (503, "draining"));
    // It lives all the same: a supervisor must not end it before it has ended by itself.
    let alive = server.send("GET", "/healthz", &[], b"").await;
    assert_eq!((alive.status, alive.body.as_str()), (200, "ok"));
    assert_eq!(server.balance().await, "10");
}

#[tokio::test]
async fn closed_books_are_unavailable() {
    let server = Server::start().await;
    server.store.close().await.unwrap();
    let reply = server
        .call("sendVerificationMessage", json!({"phone_number": PHONE}))
        .await;
    assert_eq!((reply.status, reply.error_name().as_str()), (503, "UNAVAILABLE"));
    assert_eq!(reply.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn random_bytes_never_end_the_server() {
    let server = Server::start().await;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..200 {
        let mut body = vec![0; round];
        for byte in &mut body {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            *byte = state.to_be_bytes()[0];
        }
        let content_type = [
            "application/json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "",
        ][round % 4];
        let bearer = format!("Bearer {}", server.account.token);
        let headers = [("authorization", bearer.as_str()), ("content-type", content_type)];
        let reply = server.send("POST", "/checkSendAbility", &headers, &body).await;
        let error = reply.error();
        assert!(
            ["BAD_REQUEST", "PHONE_NUMBER_INVALID"].contains(&error.as_str()),
            "{error}"
        );
    }
    server
        .call("checkSendAbility", json!({"phone_number": PHONE}))
        .await
        .result();
}
