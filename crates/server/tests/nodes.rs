//! Two whole servers on one PostgreSQL database: what is begun on one and goes on on the other.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use countersign_server::Mode;
use countersign_server::settings::{DatabaseUrl, Settings};
use countersign_server::start::{RunningServer, start};
use countersign_store::testing;
use reqwest::header::{COOKIE, SET_COOKIE};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

const PHONE: &str = "+391234567890";
/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(40);

/// Two nodes, and whoever calls them.
struct Pair {
    nodes: [RunningServer; 2],
    client: Client,
    token: String,
    _directory: TempDir,
}

fn settings(directory: &Path, name: &str, url: &str) -> Settings {
    let mut settings = Settings::defaults(Mode::Sandbox);
    settings.data_dir = directory.join(name);
    settings.keys.master_key_file = Some(directory.join("master.key"));
    settings.database.url = DatabaseUrl::parse(url);
    settings.server.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    settings.limits.login_attempts_per_hour = Some(4);
    settings
}

impl Pair {
    /// `None` in the run on SQLite, which is one process's.
    async fn start(name: &str) -> Option<Self> {
        if !testing::on_postgres() {
            return None;
        }
        // Fails where a test before us installed it: then it is there.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = testing::new_database(&format!("t_{}_{name}", std::process::id())).unwrap();
        let directory = TempDir::new().unwrap();
        std::fs::write(directory.path().join("master.key"), "11".repeat(32)).unwrap();
        let first = start(settings(directory.path(), "first", &url)).await.unwrap();
        let second = start(settings(directory.path(), "second", &url)).await.unwrap();
        let token = first.first_account.as_ref().unwrap().token.as_str().to_owned();
        let others = second.first_account.as_ref().unwrap().token.as_str();
        assert_eq!(token, others, "there is one account");
        Some(Self {
            nodes: [first, second],
            client: Client::builder()
                .no_proxy()
                .timeout(PATIENCE)
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .unwrap(),
            token,
            _directory: directory,
        })
    }

    fn url(&self, node: usize, path: &str) -> String {
        format!("{}{path}", self.nodes[node].api_url)
    }

    async fn call(&self, node: usize, method: &str, parameters: Value) -> Value {
        let request = self.client.post(self.url(node, &format!("/{method}")));
        let answer = request.bearer_auth(&self.token).json(&parameters).send().await.unwrap();
        answer.json().await.unwrap()
    }

    async fn send(&self, node: usize) -> String {
        let sent = self
            .call(node, "sendVerificationMessage", json!({ "phone_number": PHONE }))
            .await;
        sent["result"]["request_id"].as_str().unwrap().to_owned()
    }

    async fn json(&self, node: usize, path: &str) -> Value {
        let answer = self.client.get(self.url(node, path)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.json().await.unwrap()
    }

    async fn inbox(&self, node: usize) -> Value {
        self.json(node, &format!("/inbox/messages?phone={PHONE}")).await
    }

    async fn post(&self, node: usize, path: &str, body: Value) -> StatusCode {
        let request = self.client.post(self.url(node, path)).json(&body);
        request.send().await.unwrap().status()
    }

    /// Waits until the inbox of a node shows the message in that state; `None`: until it doesn't show it.
    async fn wait_for(&self, node: usize, id: &str, state: Option<&str>) {
        until("a message in the inbox", async || {
            let messages = self.inbox(node).await;
            let shown = messages
                .as_array()
                .unwrap()
                .iter()
                .find(|message| message["request_id"] == id);
            shown.map(|message| message["status"].as_str().unwrap()) == state
        })
        .await;
    }

    async fn delivery(&self, node: usize, id: &str) -> Value {
        let status = self
            .call(node, "checkVerificationStatus", json!({ "request_id": id }))
            .await;
        status["result"]["delivery_status"]["status"].clone()
    }

    /// Begins to sign in with a number in a new browser; answers its cookies.
    async fn begin_login(&self, node: usize, phone: &str) -> Result<String, StatusCode> {
        let page = self.client.get(self.url(node, "/login")).send().await.unwrap();
        let mut cookies = cookies_of(&page);
        let text = page.text().await.unwrap();
        let (_, after) = text.split_once("name=\"csrf\" value=\"").expect("no form on the page");
        let csrf = after.split_once('"').unwrap().0.to_owned();
        let request = self.client.post(self.url(node, "/login")).header(COOKIE, &cookies);
        let begun = request
            .form(&[("csrf", csrf.as_str()), ("phone", phone)])
            .send()
            .await
            .unwrap();
        if begun.status() != StatusCode::SEE_OTHER {
            return Err(begun.status());
        }
        cookies = format!("{cookies}; {}", cookies_of(&begun));
        Ok(cookies)
    }

    async fn end(self) {
        for node in self.nodes {
            tokio::time::timeout(PATIENCE, node.shutdown())
                .await
                .expect("a node did not end")
                .unwrap();
        }
    }
}

fn cookies_of(page: &Response) -> String {
    let cookies = page.headers().get_all(SET_COOKIE).iter();
    let pairs: Vec<_> = cookies
        .map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap())
        .collect();
    pairs.join("; ")
}

async fn until(what: &str, mut happened: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !happened().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("{what}: never came"));
}

/// Reads a stream of events until one of that name comes.
async fn event(stream: &mut Response, name: &str) {
    let mut text = String::new();
    let reading = async {
        while !text.contains(&format!("event: {name}")) {
            let chunk = stream.chunk().await.unwrap().expect("the stream ended");
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, reading)
        .await
        .expect("no such event came");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inbox_of_one_node_shows_what_was_sent_through_another_and_takes_it() {
    let Some(pair) = Pair::start("inbox").await else { return };
    let id = pair.send(0).await;
    pair.wait_for(1, &id, Some("sent")).await;
    // An inbox that somebody opens there takes it.
    let mut stream = pair
        .client
        .get(pair.url(1, &format!("/inbox/events?phone={PHONE}")))
        .send()
        .await
        .unwrap();
    event(&mut stream, "messages").await;
    until("delivered", async || pair.delivery(0, &id).await == "delivered").await;
    pair.wait_for(0, &id, Some("delivered")).await;
    // What comes while it is open comes by itself.
    let next = pair.send(0).await;
    event(&mut stream, "messages").await;
    until("delivered", async || pair.delivery(0, &next).await == "delivered").await;
    // Reading it there is seen here.
    let read = json!({ "phone_number": PHONE, "request_id": next });
    assert_eq!(pair.post(1, "/inbox/read", read).await, StatusCode::OK);
    assert_eq!(pair.delivery(0, &next).await, "read");
    pair.wait_for(0, &next, Some("read")).await;
    pair.wait_for(1, &id, Some("delivered")).await;
    drop(stream);
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_revoked_on_one_node_leaves_the_inboxes_of_all() {
    let Some(pair) = Pair::start("revoked").await else {
        return;
    };
    let id = pair.send(0).await;
    pair.wait_for(0, &id, Some("sent")).await;
    pair.wait_for(1, &id, Some("sent")).await;
    pair.call(1, "revokeVerificationMessage", json!({ "request_id": id }))
        .await;
    pair.wait_for(0, &id, None).await;
    pair.wait_for(1, &id, None).await;
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_is_asked_for_on_one_node_is_answered_on_another() {
    let Some(pair) = Pair::start("login").await else { return };
    let cookies = pair.begin_login(0, "+9996600000").await.unwrap();
    let stream = pair
        .client
        .get(pair.url(0, "/login/events"))
        .header(COOKIE, &cookies)
        .send();
    let mut stream = stream.await.unwrap();
    let mut questions = Value::Null;
    until("the question", async || {
        questions = pair.json(1, "/inbox/logins").await;
        !questions.as_array().unwrap().is_empty()
    })
    .await;
    let answer = json!({ "attempt": questions[0]["attempt"], "answer": "confirm" });
    assert_eq!(pair.post(1, "/inbox/login", answer).await, StatusCode::OK);
    event(&mut stream, "leave").await;
    until("the question is gone", async || {
        pair.json(0, "/inbox/logins").await == json!([])
    })
    .await;
    // Its browser goes on, on whichever node.
    let page = pair
        .client
        .get(pair.url(1, "/login/wait"))
        .header(COOKIE, &cookies)
        .send()
        .await
        .unwrap();
    assert_eq!(page.headers()["location"], "/account");
    let session = cookies_of(&page);
    let page = pair
        .client
        .get(pair.url(0, "/account"))
        .header(COOKIE, session)
        .send()
        .await
        .unwrap();
    assert_eq!(page.status(), StatusCode::OK);
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_ins_of_a_number_have_one_limit_on_all_nodes() {
    let Some(pair) = Pair::start("limit").await else { return };
    for attempt in 0..4 {
        assert!(pair.begin_login(attempt % 2, PHONE).await.is_ok());
    }
    for node in [0, 1] {
        let refused = pair.begin_login(node, PHONE).await;
        assert_eq!(refused.err(), Some(StatusCode::TOO_MANY_REQUESTS));
    }
    pair.end().await;
}
