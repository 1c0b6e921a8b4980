//! The HTTP server against callers who mean no good, or whose network is bad: real sockets, hand-written bytes. Each test
//! has a server of its own with short limits, and ends by showing that the next caller is served.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use axum::routing::{get, post};
use countersign_server::http::{HttpLimits, HttpServer, bind};
use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;

/// Far more than anything here takes; a test that gets there has failed.
const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    address: SocketAddr,
    http: HttpServer,
    /// The handler of `/slow` tells that it was entered.
    entered: Arc<Notify>,
    /// And goes on when it is told.
    go_on: Arc<Notify>,
}

fn limits() -> HttpLimits {
    HttpLimits {
        max_connections: 100,
        request_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(900),
        drain_timeout: Duration::from_secs(10),
    }
}

impl Server {
    fn start(limits: HttpLimits) -> Self {
        let (entered, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (handler_entered, handler_goes_on) = (Arc::clone(&entered), Arc::clone(&go_on));
        let slow = async move || {
            handler_entered.notify_one();
            handler_goes_on.notified().await;
            "slow"
        };
        let router = Router::new()
            .route("/", get(async || "hello"))
            .route("/length", post(async |body: Bytes| body.len().to_string()))
            .route("/unread", post(async || "not read"))
            .route("/slow", get(slow))
            .route("/panic", get(panics))
            .route("/events", get(events));
        let http = HttpServer::new(router, limits);
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        http.listen(listener, None);
        Self {
            address,
            http,
            entered,
            go_on,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Connects and sends bytes.
    async fn sends(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = self.connect().await;
        // The server may end the connection before it has taken everything.
        let _ = stream.write_all(bytes).await;
        stream
    }

    /// Sends bytes and answers everything that comes back until the server ends the connection.
    async fn tell(&self, bytes: &[u8]) -> String {
        read_all(&mut self.sends(bytes).await).await
    }

    async fn serves_the_next_caller(&self) {
        let answer = self
            .tell(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await;
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("hello"),
            "{answer}"
        );
    }

    /// Waits until that many connections are left.
    async fn has_connections(&self, count: usize) {
        let waiting = async {
            while self.http.connections() != count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let arrived = timeout(PATIENCE, waiting).await;
        assert!(
            arrived.is_ok(),
            "{} connections instead of {count}",
            self.http.connections()
        );
    }
}

async fn panics() -> &'static str {
    panic!("on purpose, by the test")
}

async fn events() -> Response {
    let first = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"data: 1\n\n"))]);
    let mut response = Response::new(Body::from_stream(first.chain(futures_util::stream::pending())));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end as well.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes))
        .await
        .expect("the server did not end the connection");
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let reading = async {
        while !text.contains(end) {
            text.push(char::from(stream.read_u8().await.unwrap()));
        }
    };
    timeout(PATIENCE, reading)
        .await
        .expect("the expected bytes did not come");
    text
}

#[tokio::test]
async fn random_bytes_are_answered_with_an_error_or_a_closed_connection() {
    let server = Server::start(limits());
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random_byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    for round in 0..200 {
        let bytes: Vec<u8> = (0..round * 7 % 3000).map(|_| random_byte()).collect();
        let mut stream = server.sends(&bytes).await;
        let _ = stream.shutdown().await;
        let answer = read_all(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    server.serves_the_next_caller().await;
    server.has_connections(0).await;
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused_as_such() {
    let server = Server::start(limits());
    let long = "x".repeat(20 * 1024);
    let line = format!("GET /?{long} HTTP/1.1\r\nhost: x\r\n\r\n");
    let header = format!("GET / HTTP/1.1\r\nhost: x\r\nfield: {long}\r\n\r\n");
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(200));
    for head in [&line, &header, &many] {
        let answer = server.tell(head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    for head in [line, header] {
        let answer = server.tell(head.as_bytes()).await;
        assert!(answer.contains("\r\nx-request-id: "), "{answer}");
    }
    let bound = "x".repeat(16 * 1024 - "GET /? HTTP/1.1\r\nhost: x\r\n\r\n".len());
    for (more, status) in [("", "200"), ("x", "431")] {
        let answer = server
            .tell(format!("GET /?{bound}{more} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes())
            .await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    let endless = server.tell("x".repeat(1024 * 1024).as_bytes()).await;
    assert!(endless.is_empty() || endless.starts_with("HTTP/1.1 4"), "{endless}");
    server.serves_the_next_caller().await;
    server.has_connections(0).await;
}

#[tokio::test]
async fn requests_that_could_be_read_in_two_ways_are_refused() {
    let server = Server::start(limits());
    let cases = [
        "POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        "POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        "POST /length HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\nabcd",
        "POST /length HTTP/1.1\r\nhost : x\r\n\r\n",
        "POST /length HTTP/7.1\r\nhost: x\r\n\r\n",
        "POST /length HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n",
    ];
    for case in cases {
        let answer = server.tell(case.as_bytes()).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400 "),
            "{case:?}: {answer}"
        );
    }
    server.serves_the_next_caller().await;
}

#[tokio::test]
async fn a_head_that_drips_ends_the_connection_in_time() {
    let server = Server::start(limits());
    let mut stream = server.connect().await;
    let dripping = async {
        for byte in b"GET / HTTP/1.1\r\nhost: x\r\n".iter().chain(std::iter::repeat(&b'a')) {
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, dripping)
        .await
        .expect("the dripping caller was never stopped");
    server.serves_the_next_caller().await;
    server.has_connections(0).await;
}

#[tokio::test]
async fn a_second_head_on_the_same_connection_may_not_drip_either() {
    let server = Server::start(HttpLimits {
        idle_timeout: Duration::from_hours(1),
        ..limits()
    });
    let mut stream = server.sends(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    read_until(&mut stream, "hello").await;
    stream.write_all(b"GET / HT").await.unwrap();
    assert_eq!(read_all(&mut stream).await, "");
    server.serves_the_next_caller().await;
}

#[tokio::test]
async fn a_body_that_drips_is_answered_with_408() {
    let server = Server::start(limits());
    let head = b"POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc";
    let answer = server.tell(head).await;
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
    assert!(
        answer.ends_with(r#"{"ok":false,"error":"REQUEST_TIMEOUT"}"#),
        "{answer}"
    );
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    server.serves_the_next_caller().await;
    server.has_connections(0).await;
}

#[tokio::test]
async fn a_caller_who_says_nothing_is_closed_and_one_who_rests_may_rest_longer() {
    let limits = HttpLimits {
        idle_timeout: Duration::from_secs(3),
        ..limits()
    };
    let server = Server::start(limits);
    let mut silent = server.connect().await;
    let mut resting = server.sends(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    read_until(&mut resting, "hello").await;
    let begun = Instant::now();
    assert_eq!(read_all(&mut silent).await, "");
    resting.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    read_until(&mut resting, "hello").await;
    assert_eq!(read_all(&mut resting).await, "");
    assert!(
        begun.elapsed() >= limits.idle_timeout,
        "closed too early: {:?}",
        begun.elapsed()
    );
    server.has_connections(0).await;
}

#[tokio::test]
async fn an_open_stream_outlives_the_time_limit_of_requests() {
    let server = Server::start(limits());
    let mut stream = server.sends(b"GET /events HTTP/1.1\r\nhost: x\r\n\r\n").await;
    read_until(&mut stream, "data: 1").await;
    // Nothing more is ever written on it, so it ends as an idle connection does, and not earlier.
    let begun = Instant::now();
    read_all(&mut stream).await;
    assert!(begun.elapsed() > limits().request_timeout, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(limits());
    let mut bytes = Vec::new();
    for length in 0..50 {
        let head = format!("POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
        bytes.extend_from_slice(head.as_bytes());
        bytes.extend(std::iter::repeat_n(b'a', length));
    }
    bytes.extend_from_slice(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let answers = server.tell(&bytes).await;
    let bodies = answers
        .split("HTTP/1.1 200 OK\r\n")
        .skip(1)
        .map(|answer| answer.rsplit("\r\n").next().unwrap());
    let expected: Vec<String> = (0..50)
        .map(|length: usize| length.to_string())
        .chain(["hello".to_owned()])
        .collect();
    assert_eq!(bodies.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_large_body_that_nobody_reads_does_not_cost_its_caller_the_answer() {
    let server = Server::start(limits());
    let mut request = b"POST /unread HTTP/1.1\r\nhost: x\r\ncontent-length: 10485760\r\n\r\n".to_vec();
    request.resize(request.len() + 10 * 1024 * 1024, b'a');
    let mut stream = server.connect().await;
    stream.write_all(&request).await.unwrap();
    let answer = read_all(&mut stream).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("not read"),
        "{answer}"
    );
    drop(stream);
    server.serves_the_next_caller().await;
    server.has_connections(0).await;
}

#[tokio::test]
async fn a_caller_who_never_stops_sending_is_left_in_the_end() {
    let server = Server::start(limits());
    let mut stream = server
        .sends(b"POST /unread HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    let chunk = [b"10000\r\n".as_slice(), &vec![b'a'; 0x10000], b"\r\n"].concat();
    let mut sent = 0;
    let flood = async {
        while stream.write_all(&chunk).await.is_ok() {
            sent += chunk.len();
        }
    };
    timeout(PATIENCE, flood).await.expect("the flood was never cut off");
    assert!(sent < 100 * 1024 * 1024, "{sent} bytes were taken");
    server.serves_the_next_caller().await;
    server.has_connections(0).await;
}

#[tokio::test]
async fn a_panic_is_its_callers_500_and_nobody_elses_trouble() {
    let server = Server::start(limits());
    let answer = server.tell(b"GET /panic HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert!(answer.ends_with(r#"{"ok":false,"error":"INTERNAL_ERROR"}"#), "{answer}");
    server.serves_the_next_caller().await;
    server.has_connections(0).await;
}

#[tokio::test]
async fn a_full_server_says_so_and_takes_callers_again_when_there_is_room() {
    let server = Server::start(HttpLimits {
        max_connections: 2,
        request_timeout: PATIENCE,
        ..limits()
    });
    let first = server.connect().await;
    let _second = server.connect().await;
    server.has_connections(2).await;
    let answer = server.tell(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
    assert!(head.contains("retry-after: 1\r\n"), "{answer}");
    let (_, id) = head.split_once("x-request-id: ").unwrap();
    assert_eq!(id.len(), 24, "{answer}");
    assert!(
        head.contains(&format!("content-length: {}\r\n", body.len())),
        "{answer}"
    );
    assert_eq!(body, r#"{"ok":false,"error":"UNAVAILABLE"}"#);
    drop(first);
    server.has_connections(1).await;
    server.serves_the_next_caller().await;
}

#[tokio::test]
async fn the_end_gives_answers_in_flight_closes_idle_callers_and_refuses_new_ones() {
    let server = Server::start(HttpLimits {
        idle_timeout: PATIENCE,
        request_timeout: PATIENCE,
        ..limits()
    });
    let mut idle = server.sends(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    read_until(&mut idle, "hello").await;
    let mut open_stream = server.sends(b"GET /events HTTP/1.1\r\nhost: x\r\n\r\n").await;
    read_until(&mut open_stream, "data: 1").await;
    let mut in_flight = server.sends(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    server.entered.notified().await;

    let (address, go_on) = (server.address, server.go_on);
    let drained = tokio::spawn(server.http.drain());
    assert_eq!(read_all(&mut idle).await, "");
    read_all(&mut open_stream).await;
    assert!(!drained.is_finished(), "the answer in flight was not waited for");
    assert!(TcpStream::connect(address).await.is_err(), "a new caller was taken");
    go_on.notify_one();
    let answer = read_all(&mut in_flight).await;
    assert!(
        answer.contains("connection: close\r\n") && answer.ends_with("slow"),
        "{answer}"
    );
    timeout(PATIENCE, drained).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_end_does_not_wait_for_ever() {
    let server = Server::start(HttpLimits {
        drain_timeout: Duration::from_millis(100),
        ..limits()
    });
    let mut stuck = server.sends(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    server.entered.notified().await;
    timeout(PATIENCE, server.http.drain()).await.unwrap();
    assert_eq!(read_all(&mut stuck).await, "");
}
