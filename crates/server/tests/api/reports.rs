//! Delivery reports as their owner and the operator see them, redelivery by hand, and the test ping.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use countersign_core::{ApiToken, RequestId, sign_report};
use countersign_server::Mode;
use countersign_store::{ReportAttempt, ReportKey, ReportOutcome, RequestRef};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::support::{OPERATOR_KEY, PATIENCE, Reply, Server, Setup, now};

/// A number that is delivered and read at once: two reports.
const READ_AT_ONCE: &str = "+9996610001";

/// A receiver of reports: it answers a status, says something, and hands on what came.
struct Receiver {
    url: String,
    status: Arc<AtomicU16>,
    came: mpsc::UnboundedReceiver<String>,
    task: JoinHandle<()>,
}

impl Receiver {
    async fn answering(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?key=1", listener.local_addr().unwrap());
        let status = Arc::new(AtomicU16::new(status));
        let (sender, came) = mpsc::unbounded_channel();
        let task = tokio::spawn(serve(listener, Arc::clone(&status), sender));
        Self {
            url,
            status,
            came,
            task,
        }
    }

    /// The next request, head and body.
    async fn next(&mut self) -> String {
        tokio::time::timeout(PATIENCE, self.came.recv()).await.unwrap().unwrap()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, status: Arc<AtomicU16>, came: mpsc::UnboundedSender<String>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut bytes = Vec::new();
        while stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let length = head.to_ascii_lowercase();
            let length = length
                .split("content-length: ")
                .nth(1)
                .and_then(|rest| rest.lines().next());
            if body.len() >= length.unwrap().parse().unwrap() {
                let _ = came.send(text);
                break;
            }
        }
        let status = status.load(Ordering::Relaxed);
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 9\r\nconnection: close\r\n\r\nheard \u{1b}[m");
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

async fn ask(server: &Server, key: &str, method: &str, path: &str, body: &str) -> Reply {
    let headers = [("authorization", &*format!("Bearer {key}"))];
    server.send(method, path, &headers, body.as_bytes()).await
}

async fn owner(server: &Server, method: &str, path: &str) -> Reply {
    ask(
        server,
        &server.account.token,
        method,
        &format!("/account/v1/reports{path}"),
        "",
    )
    .await
}

async fn operator(server: &Server, method: &str, path: &str) -> Reply {
    let path = format!("/operator/v1/accounts/{}/reports{path}", server.account.key.id);
    ask(server, OPERATOR_KEY, method, &path, "").await
}

fn read(reply: &Reply) -> Value {
    assert_eq!(reply.status, 200, "{}", reply.body);
    serde_json::from_str(&reply.body).unwrap()
}

fn refused(reply: &Reply, status: u16, word: &str) {
    assert_eq!(reply.status, status, "{}", reply.body);
    let body: Value = serde_json::from_str(&reply.body).unwrap();
    assert!(body["error"].as_str().unwrap().contains(word), "{}", reply.body);
}

fn ids(list: &Value) -> Vec<&str> {
    let reports = list["reports"].as_array().unwrap().iter();
    reports.map(|report| report["report_id"].as_str().unwrap()).collect()
}

/// Waits until a report has so many attempts in the books: the worker notes one after its receiver has seen it.
async fn attempts(server: &Server, id: &str, count: usize) -> Value {
    let look = async {
        loop {
            // Its state may be yet to come: a script goes on in commands of its own.
            let reply = owner(server, "GET", &format!("/{id}")).await;
            let detail: Value = serde_json::from_str(&reply.body).unwrap();
            if detail["attempts"].as_array().is_some_and(|made| made.len() >= count) {
                return detail;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap()
}

/// Sends to a number whose two reports a receiver refuses; answers the request's id once the first attempt is noted.
async fn refused_once(server: &Server, receiver: &mut Receiver) -> String {
    let parameters = json!({ "phone_number": READ_AT_ONCE, "callback_url": receiver.url, "payload": "order 17" });
    let request = server.sent(parameters).await;
    receiver.next().await;
    attempts(server, &format!("{request}-1"), 1).await;
    request
}

/// Notes a last failed attempt: the report is lost.
async fn lose(server: &Server, request: &str, number: u16) {
    let id = RequestId::parse(request).unwrap();
    let account = server.account.key;
    let key = ReportKey {
        request: RequestRef { account, id },
        number,
    };
    let attempt = ReportAttempt {
        at: now(),
        duration_ms: 12,
        status: Some(503),
        error: Some("answered 503 instead of 200".into()),
        response: b"out of order".to_vec(),
    };
    server
        .store
        .record_report(key, attempt, ReportOutcome::Lost, server.store.lease())
        .await
        .unwrap();
}

#[tokio::test]
async fn an_owner_sees_what_became_of_each_report() {
    let server = Server::start().await;
    let mut receiver = Receiver::answering(500).await;
    assert_eq!(read(&owner(&server, "GET", "").await), json!({ "reports": [] }));
    let request = refused_once(&server, &mut receiver).await;
    let (first, second) = (format!("{request}-1"), format!("{request}-2"));

    let list = read(&owner(&server, "GET", "").await);
    assert_eq!(ids(&list), [&second, &first]);
    let shown = &list["reports"][1];
    let destination = receiver.url.strip_prefix("http://").unwrap().split('/').next().unwrap();
    assert_eq!(shown["state"], "pending");
    assert_eq!(shown["kind"], "delivery");
    assert_eq!(shown["request_id"], *request);
    assert_eq!(shown["callback_url"], *receiver.url);
    assert_eq!(shown["destination"], *destination);
    assert_eq!(shown["attempt_count"], 1);
    assert!(shown["due_at"].is_i64() && shown["made_at"].is_i64(), "{shown}");
    assert!(list["reports"][0].get("due_at").is_none(), "it waits behind the first");

    lose(&server, &request, 1).await;
    let detail = read(&owner(&server, "GET", &format!("/{first}")).await);
    assert_eq!(detail["state"], "lost");
    assert!(detail["finished_at"].is_i64());
    let body: Value = serde_json::from_str(detail["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["delivery_status"]["status"], "delivered");
    assert_eq!(body["payload"], "order 17");
    assert_eq!(detail["attempts"].as_array().unwrap().len(), 2);
    assert_eq!(detail["attempts"][0]["status"], 500);
    assert_eq!(detail["attempts"][0]["error"], "answered 500 instead of 200");
    assert_eq!(detail["attempts"][1]["duration_ms"], 12);
    assert_eq!(detail["attempts"][1]["response"], "out of order");
}

#[tokio::test]
async fn reports_are_found_by_state_and_page_by_page() {
    let server = Server::start().await;
    let mut receiver = Receiver::answering(500).await;
    let lost = refused_once(&server, &mut receiver).await;
    lose(&server, &lost, 1).await;
    attempts(&server, &format!("{lost}-2"), 1).await;
    lose(&server, &lost, 2).await;
    let pending = refused_once(&server, &mut receiver).await;
    receiver.status.store(200, Ordering::Relaxed);
    let acknowledged = server
        .sent(json!({ "phone_number": READ_AT_ONCE, "callback_url": receiver.url }))
        .await;
    attempts(&server, &format!("{acknowledged}-2"), 1).await;

    let found = async |query: &str| read(&owner(&server, "GET", query).await);
    let of = |request: &str| [format!("{request}-2"), format!("{request}-1")];
    assert_eq!(ids(&found("?state=lost").await), of(&lost));
    assert_eq!(ids(&found("?state=pending").await), of(&pending));
    assert_eq!(ids(&found("?state=acknowledged").await), of(&acknowledged));
    let (mut seen, mut query) = (Vec::new(), "?limit=4".to_owned());
    loop {
        let page = found(&query).await;
        seen.extend(ids(&page).into_iter().map(str::to_owned));
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?limit=4&before={next}");
    }
    assert_eq!(seen, [of(&acknowledged), of(&pending), of(&lost)].concat());
    let first = found("?state=acknowledged&limit=1").await;
    let next = first["next"].as_str().unwrap();
    let second = found(&format!("?state=acknowledged&limit=1&before={next}")).await;
    assert_eq!([ids(&first), ids(&second)].concat(), of(&acknowledged));
    for (query, word) in [
        ("?state=gone", "acknowledged"),
        ("?limit=0", "1000"),
        ("?before=1", "next"),
    ] {
        refused(&owner(&server, "GET", query).await, 400, word);
    }
}

#[tokio::test]
async fn a_lost_report_goes_again_by_hand_and_no_other() {
    let server = Server::start().await;
    let mut receiver = Receiver::answering(500).await;
    let request = refused_once(&server, &mut receiver).await;
    let path = format!("/{request}-1/redeliver");
    refused(&owner(&server, "POST", &path).await, 409, "pending");
    lose(&server, &request, 1).await;
    attempts(&server, &format!("{request}-2"), 1).await;
    lose(&server, &request, 2).await;
    receiver.status.store(200, Ordering::Relaxed);
    receiver.next().await;
    let again = read(&owner(&server, "POST", &path).await);
    assert_eq!(
        (&again["state"], &again["attempt_count"]),
        (&json!("pending"), &json!(0))
    );
    assert!(receiver.next().await.contains("\"delivered\""));
    let detail = attempts(&server, &format!("{request}-1"), 3).await;
    assert_eq!(detail["state"], "acknowledged");
    refused(&owner(&server, "POST", &path).await, 409, "acknowledged");
    assert_eq!(
        read(&operator(&server, "POST", &format!("/{request}-2/redeliver")).await)["state"],
        "pending"
    );
    assert!(receiver.next().await.contains("\"read\""));
    for id in [
        "nonsense",
        "1-1",
        &format!("{request}-3"),
        &format!("{request}-01"),
        &format!("{request}-+1"),
    ] {
        refused(
            &owner(&server, "POST", &format!("/{id}/redeliver")).await,
            404,
            "reports list",
        );
        refused(&owner(&server, "GET", &format!("/{id}")).await, 404, "reports list");
    }
}

#[tokio::test]
async fn reports_are_shown_to_their_account_only_and_to_the_operator_without_their_contents() {
    let server = Server::start().await;
    let mut receiver = Receiver::answering(500).await;
    let request = refused_once(&server, &mut receiver).await;
    lose(&server, &request, 1).await;
    let other = server.account(2, "+393333333334", "1").await;
    for path in [format!("/{request}-1"), String::new()] {
        let path = format!("/account/v1/reports{path}");
        let reply = ask(&server, &other.token, "GET", &path, "").await;
        assert!(!reply.body.contains(&request) || reply.status == 404, "{}", reply.body);
    }
    for path in [format!("/{request}-1"), String::new()] {
        let reply = operator(&server, "GET", &path).await;
        let shown = read(&reply);
        for secret in ["order 17", "out of order", "99966", "key=1", "\"body\"", "response"] {
            assert!(!reply.body.contains(secret), "{secret} is in {}", reply.body);
        }
        assert!(reply.body.contains("127.0.0.1"), "{shown}");
    }
    let detail = read(&operator(&server, "GET", &format!("/{request}-1")).await);
    assert_eq!(detail["attempts"][1]["error"], "answered 503 instead of 200");
    refused(
        &ask(
            &server,
            &server.account.token,
            "GET",
            "/operator/v1/accounts/1/reports",
            "",
        )
        .await,
        401,
        "operator key",
    );
}

async fn ping(server: &Server, url: &str) -> Reply {
    let body = json!({ "url": url }).to_string();
    ask(server, &server.account.token, "POST", "/account/v1/reports/ping", &body).await
}

#[tokio::test]
async fn a_ping_is_signed_like_a_report_and_tells_what_came_of_it() {
    let server = Server::start().await;
    let mut receiver = Receiver::answering(200).await;
    let pinged = read(&ping(&server, &receiver.url).await);
    assert_eq!(
        (&pinged["acknowledged"], &pinged["status"]),
        (&json!(true), &json!(200))
    );
    assert_eq!(pinged["response"], "heard \u{1b}[m");
    assert!(
        pinged["duration_ms"].is_u64() && pinged.get("error").is_none(),
        "{pinged}"
    );
    let came = receiver.next().await;
    let (head, body) = came.split_once("\r\n\r\n").unwrap();
    let header = |name: &str| {
        let line = head
            .lines()
            .find(|line| line.to_ascii_lowercase().starts_with(name))
            .unwrap();
        line.split_once(": ").unwrap().1.to_owned()
    };
    let key = ApiToken::parse(&server.account.token).unwrap().report_key();
    let signature = sign_report(&key, &header("x-request-timestamp"), body.as_bytes());
    assert_eq!(header("x-request-signature"), signature);
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["event"], "ping");
    assert_eq!(body["account_id"], server.account.key.id.to_string());
    assert!(body["sent_at"].is_i64());

    receiver.status.store(404, Ordering::Relaxed);
    let pinged = read(&ping(&server, &receiver.url).await);
    assert_eq!(
        (&pinged["acknowledged"], &pinged["status"]),
        (&json!(false), &json!(404))
    );
    assert_eq!(pinged["error"], "answered 404 instead of 200");
    // Nothing of a ping stands in the books.
    assert_eq!(read(&owner(&server, "GET", "").await), json!({ "reports": [] }));
}

#[tokio::test]
async fn pings_are_few_a_minute_for_each_account() {
    let server = Server::start().await;
    let receiver = Receiver::answering(200).await;
    for _ in 0..5 {
        assert_eq!(ping(&server, &receiver.url).await.status, 200);
    }
    let reply = ping(&server, &receiver.url).await;
    refused(&reply, 429, "5 pings a minute");
    let other = server.account(2, "+393333333334", "1").await;
    let body = json!({ "url": receiver.url }).to_string();
    assert_eq!(
        ask(&server, &other.token, "POST", "/account/v1/reports/ping", &body)
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_ping_goes_only_where_reports_may_go() {
    let setup = Setup {
        mode: Mode::Production,
        inbox: false,
        ..Setup::default()
    };
    let server = Server::start_with(setup).await;
    for url in ["", "nonsense", "ftp://example.com/", "http://example.com/"] {
        refused(&ping(&server, url).await, 400, "https://");
    }
    for url in [
        "https://127.0.0.1:1/",
        "https://[::1]/",
        "https://169.254.169.254/latest",
        "https://localhost/",
    ] {
        let pinged = read(&ping(&server, url).await);
        assert_eq!(pinged["acknowledged"], false);
        assert!(
            pinged["error"].as_str().unwrap().contains("private or local"),
            "{pinged}"
        );
    }
    let reply = ask(&server, &server.account.token, "POST", "/account/v1/reports/ping", "{}").await;
    refused(&reply, 400, "send JSON like");
}
