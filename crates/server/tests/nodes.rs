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
    /// One of them may have ended.
    nodes: Vec<RunningServer>,
    client: Client,
    token: String,
    url: String,
    directory: TempDir,
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
            nodes: vec![first, second],
            client: Client::builder()
                .no_proxy()
                .timeout(PATIENCE)
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .unwrap(),
            token,
            url,
            directory,
        })
    }

    /// A third one.
    async fn another(&mut self) {
        let third = settings(self.directory.path(), "third", &self.url);
        self.nodes.push(start(third).await.unwrap());
    }

    /// The open inbox of the number: what comes is delivered as long as this is kept.
    async fn open_inbox(&self, node: usize) -> Response {
        let url = self.url(node, &format!("/inbox/events?phone={PHONE}"));
        self.client.get(url).send().await.unwrap()
    }

    /// Ends a node, as an operator does.
    async fn end_node(&mut self, node: usize) {
        end(self.nodes.remove(node)).await;
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
            end(node).await;
        }
    }
}

async fn end(node: RunningServer) {
    tokio::time::timeout(PATIENCE, node.shutdown())
        .await
        .expect("a node did not end")
        .unwrap();
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
    let mut stream = pair.open_inbox(1).await;
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
async fn an_inbox_that_is_opened_late_shows_what_another_node_delivered_before() {
    let Some(mut pair) = Pair::start("late").await else {
        return;
    };
    // All that happens to them happens on the first node, while nobody looks at the second.
    let stream = pair.open_inbox(0).await;
    let delivered = pair.send(0).await;
    let read = pair.send(0).await;
    for id in [&delivered, &read] {
        until("delivered", async || pair.delivery(0, id).await == "delivered").await;
    }
    let body = json!({ "phone_number": PHONE, "request_id": read });
    assert_eq!(pair.post(0, "/inbox/read", body).await, StatusCode::OK);
    drop(stream);
    pair.wait_for(1, &delivered, Some("delivered")).await;
    pair.wait_for(1, &read, Some("read")).await;
    // A node that starts only now reads them before it takes calls.
    pair.another().await;
    pair.wait_for(2, &delivered, Some("delivered")).await;
    pair.wait_for(2, &read, Some("read")).await;
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_inbox_shows_what_a_node_delivers_as_soon_as_it_joins() {
    let Some(mut pair) = Pair::start("joins").await else {
        return;
    };
    pair.end_node(1).await;
    let _stream = pair.open_inbox(0).await;
    // Nobody has told the new one yet that somebody looks at the inbox of the other.
    pair.another().await;
    let stream = pair.open_inbox(1).await;
    let id = pair.send(1).await;
    until("delivered", async || pair.delivery(1, &id).await == "delivered").await;
    let body = json!({ "phone_number": PHONE, "request_id": id });
    assert_eq!(pair.post(1, "/inbox/read", body).await, StatusCode::OK);
    drop(stream);
    pair.wait_for(0, &id, Some("read")).await;
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_inbox_goes_on_after_the_other_node_has_ended() {
    let Some(mut pair) = Pair::start("survives").await else {
        return;
    };
    let mut stream = pair.open_inbox(1).await;
    let before = pair.send(0).await;
    event(&mut stream, "messages").await;
    until("delivered", async || pair.delivery(1, &before).await == "delivered").await;
    // Its last words: who looks at the other node must find it, whether it was told of it or not.
    let last = pair.send(0).await;
    pair.end_node(0).await;
    pair.wait_for(0, &last, Some("delivered")).await;
    let after = pair.send(0).await;
    event(&mut stream, "messages").await;
    until("delivered", async || pair.delivery(0, &after).await == "delivered").await;
    pair.wait_for(0, &after, Some("delivered")).await;
    pair.wait_for(0, &before, Some("delivered")).await;
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
