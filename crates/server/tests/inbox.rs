//! The built-in messenger through real HTTP, on a whole server: what is shown, what counts as delivered and as read, and
//! who is kept out.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use countersign_server::Mode;
use countersign_server::settings::Settings;
use countersign_server::start::{RunningServer, start};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

const PHONE: &str = "+391234567890";
const OTHER: &str = "+447400123456";

/// A server on a free port, with its data in a temporary directory.
struct Sandbox {
    server: RunningServer,
    client: Client,
    token: String,
    directory: TempDir,
}

impl Sandbox {
    async fn start() -> Self {
        Self::start_in(TempDir::new().unwrap(), |_| {}).await
    }

    async fn start_in(directory: TempDir, set: impl FnOnce(&mut Settings)) -> Self {
        // Fails where a test before us installed it: then it is there.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let server = start(settings(directory.path(), set)).await.unwrap();
        let token = server.first_account.as_ref().unwrap().token.as_str().to_owned();
        let client = Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(20))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Self {
            server,
            client,
            token,
            directory,
        }
    }

    async fn restart(self) -> Self {
        self.server.shutdown().await.unwrap();
        Self::start_in(self.directory, |_| {}).await
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.api_url)
    }

    async fn get(&self, path: &str) -> Response {
        self.client.get(self.url(path)).send().await.unwrap()
    }

    async fn json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.json().await.unwrap()
    }

    async fn call(&self, method: &str, parameters: Value) -> Value {
        let request = self.client.post(self.url(&format!("/{method}")));
        let answer = request.bearer_auth(&self.token).json(&parameters).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["ok"], true, "{method}: {answer}");
        answer["result"].clone()
    }

    /// Sends a code; answers its request id.
    async fn send(&self, phone: &str) -> String {
        let sent = self
            .call("sendVerificationMessage", json!({ "phone_number": phone }))
            .await;
        sent["request_id"].as_str().unwrap().to_owned()
    }

    /// Sends a code, and waits until the inbox has it.
    async fn send_and_wait(&self, phone: &str) -> String {
        let id = self.send(phone).await;
        bounded(async { while !ids(&self.messages(phone).await).contains(&id) {} }).await;
        id
    }

    async fn messages(&self, phone: &str) -> Value {
        self.json(&format!("/inbox/messages?phone={phone}")).await
    }

    async fn delivery_status(&self, id: &str) -> String {
        let status = self.call("checkVerificationStatus", json!({ "request_id": id })).await;
        status["delivery_status"]["status"].as_str().unwrap().to_owned()
    }

    async fn wait_for_status(&self, id: &str, wanted: &str) {
        bounded(async { while self.delivery_status(id).await != wanted {} }).await;
    }

    async fn read(&self, body: Value) -> Response {
        let request = self.client.post(self.url("/inbox/read")).json(&body);
        request.send().await.unwrap()
    }

    async fn events(&self, query: &str) -> Events {
        let response = self.get(&format!("/inbox/events{query}")).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Events {
            response,
            received: String::new(),
        }
    }
}

fn settings(data_dir: &Path, set: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings::defaults(Mode::Sandbox);
    data_dir.clone_into(&mut settings.data_dir);
    settings.server.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    set(&mut settings);
    settings
}

/// An open event stream.
struct Events {
    response: Response,
    received: String,
}

impl Events {
    /// The data of the next event of that name; others are passed over. `None` where the stream ended.
    async fn next(&mut self, wanted: &str) -> Option<Value> {
        bounded(async {
            loop {
                while let Some((event, rest)) = self.received.split_once("\n\n") {
                    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                    let found = (field("event: ") == Some(wanted)).then(|| field("data: ").unwrap().to_owned());
                    self.received = String::from(rest);
                    if let Some(data) = found {
                        return Some(serde_json::from_str(&data).unwrap());
                    }
                }
                let chunk = self.response.chunk().await.unwrap()?;
                self.received.push_str(std::str::from_utf8(&chunk).unwrap());
            }
        })
        .await
    }
}

async fn bounded<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work)
        .await
        .expect("what was waited for never came")
}

fn ids(messages: &Value) -> Vec<String> {
    let id = |message: &Value| message["request_id"].as_str().unwrap().to_owned();
    messages.as_array().unwrap().iter().map(id).collect()
}

#[tokio::test]
async fn looking_at_lists_and_pages_changes_no_state() {
    let sandbox = Sandbox::start().await;
    let id = sandbox.send_and_wait(PHONE).await;
    let messages = sandbox.messages(PHONE).await;
    assert_eq!(messages[0]["status"], "sent");
    let code = messages[0]["code"].as_str().unwrap();
    assert_eq!(messages[0]["text"], format!("{code} is your verification code."));
    assert_eq!(messages[0]["phone_number"], PHONE);
    assert_eq!(messages[0]["sender"], Value::Null);
    let life = messages[0]["expires_at"].as_i64().unwrap() - messages[0]["sent_at"].as_i64().unwrap();
    assert_eq!(life, 3600);
    let numbers = sandbox.json("/inbox/numbers").await;
    assert_eq!(
        numbers,
        json!([{ "phone_number": PHONE, "messages": 1, "unread": 1, "last_at": messages[0]["sent_at"] }])
    );
    let page = sandbox
        .get(&format!("/inbox?phone={PHONE}"))
        .await
        .text()
        .await
        .unwrap();
    assert!(page.contains(code) && page.contains("+39 123 456 7890"), "{page}");
    sandbox.events("").await.next("numbers").await.unwrap();
    assert_eq!(sandbox.delivery_status(&id).await, "sent");
    assert_eq!(sandbox.messages(PHONE).await[0]["status"], "sent");
}

#[tokio::test]
async fn an_open_inbox_takes_what_waited_and_what_comes() {
    let sandbox = Sandbox::start().await;
    let waited = sandbox.send_and_wait(PHONE).await;
    let of_another = sandbox.send_and_wait(OTHER).await;
    let mut events = sandbox.events("?phone=%2B391234567890").await;
    let taken = events.next("messages").await.unwrap();
    assert_eq!(
        (ids(&taken), &taken[0]["status"]),
        (vec![waited.clone()], &json!("delivered"))
    );
    let came = sandbox.send(PHONE).await;
    assert_eq!(
        ids(&events.next("messages").await.unwrap()),
        std::slice::from_ref(&came)
    );
    sandbox.wait_for_status(&waited, "delivered").await;
    sandbox.wait_for_status(&came, "delivered").await;
    assert_eq!(sandbox.delivery_status(&of_another).await, "sent");
}

#[tokio::test]
async fn reading_is_in_the_books_when_it_is_answered() {
    let sandbox = Sandbox::start().await;
    let first = sandbox.send_and_wait(PHONE).await;
    let second = sandbox.send_and_wait(PHONE).await;
    let answer = sandbox
        .read(json!({ "phone_number": PHONE, "request_id": first }))
        .await;
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(
        (ids(&answer), &answer[0]["status"]),
        (vec![first.clone()], &json!("read"))
    );
    assert_eq!(sandbox.delivery_status(&first).await, "read");
    assert_eq!(sandbox.delivery_status(&second).await, "sent");

    let answer: Value = sandbox
        .read(json!({ "phone_number": PHONE }))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(ids(&answer), [second.clone(), first], "newest first");
    assert_eq!(sandbox.delivery_status(&second).await, "read");
    assert_eq!(sandbox.json("/inbox/numbers").await[0]["unread"], 0);
}

#[tokio::test]
async fn a_browser_without_javascript_reads_by_a_form() {
    let sandbox = Sandbox::start().await;
    let id = sandbox.send_and_wait(PHONE).await;
    let form = sandbox
        .client
        .post(sandbox.url("/inbox/read"))
        .form(&[("phone_number", PHONE)]);
    let answer = form.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    assert_eq!(answer.headers()["location"], "/inbox?phone=%2B391234567890#newest");
    assert_eq!(sandbox.delivery_status(&id).await, "read");
}

#[tokio::test]
async fn a_message_that_nobody_took_vanishes_when_it_is_revoked_or_ends() {
    let sandbox = Sandbox::start().await;
    let revoked = sandbox.send_and_wait(PHONE).await;
    sandbox
        .call("revokeVerificationMessage", json!({ "request_id": revoked }))
        .await;
    assert_eq!(sandbox.messages(PHONE).await, json!([]));

    let taken = sandbox.send_and_wait(OTHER).await;
    sandbox.read(json!({ "phone_number": OTHER })).await;
    let ended = sandbox.send_and_wait(PHONE).await;
    sandbox.call("sandbox/clock", json!({ "advance_seconds": 3601 })).await;
    assert_eq!(sandbox.messages(PHONE).await, json!([]));
    assert_eq!(sandbox.delivery_status(&ended).await, "expired");
    assert_eq!(ids(&sandbox.messages(OTHER).await), [taken]);
    let page = sandbox
        .get(&format!("/inbox?phone={OTHER}"))
        .await
        .text()
        .await
        .unwrap();
    assert!(page.contains("Code expired"), "{page}");
}

#[tokio::test]
async fn an_open_inbox_hears_what_became_of_a_code() {
    let sandbox = Sandbox::start().await;
    let mut events = sandbox.events("?phone=391234567890").await;
    let id = sandbox.send(PHONE).await;
    let message = events.next("messages").await.unwrap();
    let code = &message[0]["code"];
    sandbox
        .call("checkVerificationStatus", json!({ "request_id": id, "code": code }))
        .await;
    let changed = events.next("messages").await.unwrap();
    assert_eq!((ids(&changed), &changed[0]["status"]), (vec![id], &json!("read")));
    let page = sandbox
        .get(&format!("/inbox?phone={PHONE}"))
        .await
        .text()
        .await
        .unwrap();
    assert!(page.contains("Code valid"), "{page}");
    sandbox.call("sandbox/clock", json!({ "advance_seconds": 10 })).await;
    events.next("reload").await.unwrap();
}

#[tokio::test]
async fn what_was_typed_is_shown_again_and_never_as_markup() {
    let sandbox = Sandbox::start().await;
    let page = sandbox.get("/inbox?phone=%3Cscript%3Ealert(1)%3C/script%3E").await;
    assert_eq!(page.status(), StatusCode::BAD_REQUEST);
    let page = page.text().await.unwrap();
    assert!(
        !page.contains("<script>alert") && page.contains("is no possible phone number"),
        "{page}"
    );
}

#[tokio::test]
async fn a_restart_shows_what_arrived_and_what_waits() {
    let sandbox = Sandbox::start().await;
    let read = sandbox.send_and_wait(PHONE).await;
    sandbox.read(json!({ "phone_number": PHONE })).await;
    let waits = sandbox.send_and_wait(PHONE).await;
    let sandbox = sandbox.restart().await;
    bounded(async { while sandbox.messages(PHONE).await.as_array().unwrap().len() < 2 {} }).await;
    let messages = sandbox.messages(PHONE).await;
    assert_eq!(ids(&messages), [waits.clone(), read]);
    assert_eq!(
        (&messages[0]["status"], &messages[1]["status"]),
        (&json!("sent"), &json!("read"))
    );
    let mut events = sandbox.events("?phone=%2B391234567890").await;
    events.next("messages").await.unwrap();
    sandbox.wait_for_status(&waits, "delivered").await;
}

#[tokio::test]
async fn open_inboxes_end_with_the_server() {
    let sandbox = Sandbox::start().await;
    let mut number = sandbox.events("?phone=%2B391234567890").await;
    let mut list = sandbox.events("").await;
    let (ended, (), ()) = bounded(async {
        tokio::join!(
            sandbox.server.shutdown(),
            async { while number.next("messages").await.is_some() {} },
            async { while list.next("numbers").await.is_some() {} },
        )
    })
    .await;
    ended.unwrap();
}

#[tokio::test]
async fn other_sites_are_kept_out() {
    let sandbox = Sandbox::start().await;
    let id = sandbox.send_and_wait(PHONE).await;
    let refused = [
        sandbox
            .client
            .get(sandbox.url("/inbox/messages"))
            .header("Host", "evil.example"),
        sandbox
            .client
            .get(sandbox.url("/inbox/messages"))
            .header("Origin", "https://evil.example"),
        sandbox
            .client
            .post(sandbox.url("/inbox/read"))
            .header("Origin", "https://evil.example")
            .json(&json!({ "phone_number": PHONE })),
        sandbox
            .client
            .get(sandbox.url("/inbox/events?phone=%2B391234567890"))
            .header("Sec-Fetch-Site", "cross-site"),
    ];
    for request in refused {
        assert_eq!(request.send().await.unwrap().status(), StatusCode::FORBIDDEN);
    }
    assert_eq!(sandbox.delivery_status(&id).await, "sent");
    assert_eq!(sandbox.messages(PHONE).await[0]["status"], "sent");
}

#[tokio::test]
async fn everything_comes_from_here_and_nothing_is_kept() {
    let sandbox = Sandbox::start().await;
    for path in [
        "/inbox",
        "/inbox/messages",
        "/inbox/inbox.js",
        "/inbox/inbox.css",
        "/inbox/icon.svg",
    ] {
        let answer = sandbox.get(path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let headers = answer.headers();
        assert_eq!(headers["cache-control"], "no-store", "{path}");
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'") && !policy.contains("unsafe"),
            "{path}"
        );
    }
    let page = sandbox.get("/inbox").await.text().await.unwrap();
    assert!(
        !page.contains("style=") && !page.contains("onclick") && !page.contains("://fonts"),
        "{page}"
    );
}

#[tokio::test]
async fn the_empty_page_teaches_the_line_that_sends_a_first_code() {
    let sandbox = Sandbox::start().await;
    let page = sandbox.get("/inbox").await.text().await.unwrap();
    let line = format!("curl {}/sendVerificationMessage", sandbox.server.api_url);
    assert!(page.contains(&line) && page.contains(&sandbox.token), "{page}");
}

#[tokio::test]
async fn an_exposed_sandbox_shows_no_token() {
    let directory = TempDir::new().unwrap();
    let sandbox = Sandbox::start_in(directory, |settings| settings.sandbox.exposed = true).await;
    let page = sandbox.get("/inbox").await.text().await.unwrap();
    assert!(
        !page.contains(&sandbox.token) && page.contains("$COUNTERSIGN_TOKEN"),
        "{page}"
    );
}

#[tokio::test]
async fn wrong_calls_are_told_what_to_do() {
    let sandbox = Sandbox::start().await;
    for path in [
        "/inbox/messages?phone=12",
        "/inbox/events?phone=abc",
        "/inbox/messages?limit=0",
        "/inbox/numbers?limit=x",
    ] {
        let answer = sandbox.get(path).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{path}");
        let answer: Value = answer.json().await.unwrap();
        assert!(answer["error"].as_str().unwrap().len() > 20, "{path}: {answer}");
    }
    for body in [
        json!({}),
        json!({ "phone_number": "12" }),
        json!({ "phone_number": PHONE, "request_id": "x" }),
        json!([]),
    ] {
        assert_eq!(sandbox.read(body).await.status(), StatusCode::BAD_REQUEST);
    }
    let answer = sandbox
        .client
        .delete(sandbox.url("/inbox/messages"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_server_without_an_inbox_has_no_inbox_pages() {
    let directory = TempDir::new().unwrap();
    let sandbox = Sandbox::start_in(directory, |settings| settings.inbox.enabled = false).await;
    let answer: Value = sandbox.get("/inbox").await.json().await.unwrap();
    assert_eq!(answer["error"], "UNKNOWN_METHOD");
}

#[tokio::test]
async fn a_text_is_in_the_recipients_language_and_shown_in_its_direction() {
    let sandbox = Sandbox::start().await;
    for (phone, locale, text, shown) in [
        (
            "+9996612345",
            None,
            "482913 is your verification code.",
            "<p class=\"text\" lang=\"en\" dir=\"ltr\">",
        ),
        (
            "+34612345678",
            None,
            "482913 es su código de verificación.",
            "<p class=\"text\" lang=\"es\" dir=\"ltr\">",
        ),
        (
            "+34612345679",
            Some("ar"),
            "رمز التحقق الخاص بك هو 482913.",
            "<p class=\"text\" lang=\"ar\" dir=\"rtl\">",
        ),
    ] {
        let mut parameters = json!({"phone_number": phone, "code": "482913"});
        if let Some(locale) = locale {
            parameters["locale"] = locale.into();
        }
        let sent = sandbox.call("sendVerificationMessage", parameters).await;
        let id = sent["request_id"].as_str().unwrap().to_owned();
        bounded(async { while !ids(&sandbox.messages(phone).await).contains(&id) {} }).await;
        assert_eq!(sandbox.messages(phone).await[0]["text"], text);
        let page = sandbox
            .get(&format!("/inbox?phone={phone}"))
            .await
            .text()
            .await
            .unwrap();
        assert!(page.contains(&format!("{shown}{text}</p>")), "{page}");
    }
}
