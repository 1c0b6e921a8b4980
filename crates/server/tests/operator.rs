//! The operator's API through real HTTP: who is let in, what is refused and with which sentence, amounts to the micro-credit,
//! pages of a list.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "operator/prices.rs"]
mod prices;

use countersign_server::Mode;
use countersign_server::settings::Settings;
use countersign_server::start::{RunningServer, start};
use reqwest::{Method, StatusCode};
use tempfile::TempDir;

/// A server with its data directory, and a caller of its operator's API.
struct House {
    server: RunningServer,
    key: String,
    http: reqwest::Client,
    _dir: TempDir,
}

/// An answer's status and its body, as it came.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: StatusCode,
    body: String,
}

impl Answer {
    fn json(&self) -> serde_json::Value {
        assert!(self.status.is_success(), "{self:?}");
        serde_json::from_str(&self.body).unwrap()
    }

    /// A refusal with this status, whose sentence holds these words.
    fn refused_with(&self, status: u16, words: &[&str]) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        let sentence = body["error"].as_str().unwrap();
        for word in words {
            assert!(sentence.contains(word), "{word:?} is missing: {sentence}");
        }
    }
}

impl House {
    async fn build() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings::defaults(Mode::Sandbox);
        dir.path().clone_into(&mut settings.data_dir);
        settings.server.listen = ([127, 0, 0, 1], 0).into();
        let server = start(settings).await.unwrap();
        let key = std::fs::read_to_string(dir.path().join("operator.key")).unwrap();
        // A process has one provider; another test may have installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .build()
            .unwrap();
        Self {
            server,
            key: key.trim().to_owned(),
            http,
            _dir: dir,
        }
    }

    async fn call(&self, method: Method, path: &str, authorization: Option<&str>, body: Option<&str>) -> Answer {
        let mut request = self
            .http
            .request(method, format!("{}/operator/v1{path}", self.server.api_url));
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        if let Some(body) = body {
            request = request.body(body.to_owned());
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(response.headers()["cache-control"], "no-store");
        Answer {
            status: response.status(),
            body: response.text().await.unwrap(),
        }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&str>) -> Answer {
        let authorization = format!("Bearer {}", self.key);
        self.call(method, path, Some(&authorization), body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: &str) -> Answer {
        self.ask(Method::POST, path, Some(body)).await
    }

    async fn put(&self, path: &str, body: &str) -> Answer {
        self.ask(Method::PUT, path, Some(body)).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, path, None).await
    }

    async fn end(self) {
        self.server.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn only_the_operator_key_opens_the_api() {
    let house = House::build().await;
    let token = house.server.first_account.as_ref().unwrap().token.as_str().to_owned();
    for authorization in [None, Some(""), Some("Bearer"), Some("Bearer "), Some("Basic abc")] {
        for path in ["/accounts", "/nonsense"] {
            let answer = house.call(Method::GET, path, authorization, None).await;
            answer.refused_with(401, &["missing", "Authorization: Bearer", "operator.key"]);
        }
    }
    let shorter = &house.key[..house.key.len() - 1];
    for key in [shorter, &format!("{}x", house.key), &house.key.to_lowercase(), &token] {
        let answer = house
            .call(Method::GET, "/accounts", Some(&format!("Bearer {key}")), None)
            .await;
        answer.refused_with(401, &["wrong", "operator.key"]);
    }
    let scheme_in_any_case = format!("bearer  {}", house.key);
    let answer = house
        .call(Method::GET, "/accounts", Some(&scheme_in_any_case), None)
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    house.end().await;
}

#[tokio::test]
async fn paths_and_methods_that_are_none_are_refused_with_a_sentence() {
    let house = House::build().await;
    house.get("/nonsense").await.refused_with(404, &["operator's API"]);
    house
        .get("/accounts/+391234567890/x")
        .await
        .refused_with(404, &["operator's API"]);
    house
        .post("/prices", "{}")
        .await
        .refused_with(405, &["another HTTP method"]);
    house
        .ask(Method::DELETE, "/accounts", None)
        .await
        .refused_with(405, &["another HTTP method"]);
    house.end().await;
}

#[tokio::test]
async fn a_body_that_makes_no_sense_is_answered_with_an_example() {
    let house = House::build().await;
    for body in [
        "",
        "[]",
        "{",
        r#"{"phone_number":"+391234567890"}"#,
        r#"{"phone_number":1,"name":"A"}"#,
    ] {
        house
            .post("/accounts", body)
            .await
            .refused_with(400, &["send JSON like", "phone_number"]);
    }
    let huge = format!(r#"{{"name":"{}"}}"#, "x".repeat(70_000));
    house.post("/accounts", &huge).await.refused_with(413, &[]);
    for (phone, name, word) in [
        ("+391", "Acme", "+391234567890"),
        ("+999123456", "Acme", "+391234567890"),
        ("+391234567890", "", "name"),
        ("+391234567890", "two\\nlines", "name"),
    ] {
        let body = format!(r#"{{"phone_number":"{phone}","name":"{name}"}}"#);
        house.post("/accounts", &body).await.refused_with(400, &[word]);
    }
    // Nothing of all that left an account behind.
    assert_eq!(
        house.get("/accounts").await.json()["accounts"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    house.end().await;
}

#[tokio::test]
async fn amounts_are_exact_to_the_micro_credit() {
    let house = House::build().await;
    let create = r#"{"phone_number":"391234567890","name":"Acme","credit":"0.1"}"#;
    let created = house.post("/accounts", create).await;
    assert_eq!(created.status, StatusCode::CREATED);
    assert!(created.body.contains(r#""balance":0.1}"#), "{created:?}");
    let credit = "/accounts/+391234567890/credit";
    let answer = house.post(credit, r#"{"amount":0.2}"#).await;
    assert!(answer.body.contains(r#""balance":0.3,"#), "{answer:?}");
    // More digits than a double holds.
    let answer = house.post(credit, r#"{"amount":"999999999.123456"}"#).await;
    assert!(answer.body.contains(r#""balance":999999999.423456,"#), "{answer:?}");
    for amount in [
        "0",
        "-1",
        "1000000000.000001",
        "0.0000001",
        "1e2",
        "null",
        "\"ten\"",
        "[1]",
    ] {
        house
            .post(credit, &format!(r#"{{"amount":{amount}}}"#))
            .await
            .refused_with(400, &[]);
    }
    let answer = house.get("/accounts/+391234567890").await;
    assert!(answer.body.contains(r#""balance":999999999.423456,"#), "{answer:?}");
    house.end().await;
}

#[tokio::test]
async fn a_balance_is_adjusted_both_ways_with_a_reason() {
    let house = House::build().await;
    let create = r#"{"phone_number":"391234567890","name":"Acme","credit":1}"#;
    house.post("/accounts", create).await.json();
    let adjust = "/accounts/+391234567890/adjust";
    let up = house
        .post(adjust, r#"{"amount":"0.000001","reason":"for patience"}"#)
        .await;
    assert!(up.body.contains(r#""balance":1.000001,"#), "{up:?}");
    let down = house
        .post(adjust, r#"{"amount":-0.5,"reason":" credited twice "}"#)
        .await;
    assert!(down.body.contains(r#""balance":0.500001,"#), "{down:?}");
    let all = house.post(adjust, r#"{"amount":-0.500001,"reason":"to zero"}"#).await;
    assert_eq!(all.json()["balance"], 0);
    house.end().await;
}

#[tokio::test]
async fn an_adjustment_that_cannot_be_is_refused_with_its_reason_and_changes_nothing() {
    let house = House::build().await;
    let create = r#"{"phone_number":"391234567890","name":"Acme","credit":1}"#;
    house.post("/accounts", create).await.json();
    let adjust = "/accounts/+391234567890/adjust";
    let long = format!(r#"{{"amount":1,"reason":"{}"}}"#, "x".repeat(201));
    for (body, status, words) in [
        ("{}", 400, &["send JSON like", "reason"][..]),
        (r#"{"amount":"much","reason":"x"}"#, 400, &["send JSON like"]),
        (r#"{"amount":0,"reason":"x"}"#, 400, &["by 0"]),
        (
            r#"{"amount":1000000000.000001,"reason":"x"}"#,
            400,
            &["too much", "1000000000"],
        ),
        (
            r#"{"amount":-1000000000.000001,"reason":"x"}"#,
            400,
            &["too much", "1000000000"],
        ),
        (r#"{"amount":1}"#, 400, &["reason is missing"]),
        (r#"{"amount":1,"reason":"  "}"#, 400, &["reason is missing"]),
        (r#"{"amount":1,"reason":"two\nlines"}"#, 400, &["one line"]),
        (&long, 400, &["201 bytes", "at most 200"]),
        (
            r#"{"amount":-1.01,"reason":"x"}"#,
            409,
            &["1.01 can't be taken", "1 is available", "nothing was done"],
        ),
    ] {
        house.post(adjust, body).await.refused_with(status, words);
    }
    let unknown = house.post("/accounts/+393331234567/adjust", r#"{"amount":1,"reason":"x"}"#);
    unknown.await.refused_with(404, &["account list"]);
    assert_eq!(house.get("/accounts/+391234567890").await.json()["balance"], 1);
    house.end().await;
}

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let house = House::build().await;
    for number in 0..4 {
        let body = format!(r#"{{"phone_number":"+39333123456{number}","name":"{number}"}}"#);
        house.post("/accounts", &body).await.json();
    }
    let mut ids = Vec::new();
    let mut path = "/accounts?limit=2".to_owned();
    let mut pages = 0;
    loop {
        let page = house.get(&path).await.json();
        let accounts = page["accounts"].as_array().unwrap();
        assert!((1..=2).contains(&accounts.len()));
        ids.extend(
            accounts
                .iter()
                .map(|account| account["account_id"].as_str().unwrap().parse::<i64>().unwrap()),
        );
        pages += 1;
        match page["next"].as_str() {
            Some(next) => path = format!("/accounts?limit=2&after={next}"),
            None => break,
        }
    }
    assert_eq!(pages, 3);
    assert_eq!(ids.len(), 5);
    assert!(ids.is_sorted_by(|one, next| one < next));
    for query in ["limit=0", "limit=1001", "limit=x", "after=x", "after=-1"] {
        house
            .get(&format!("/accounts?{query}"))
            .await
            .refused_with(400, &["must be"]);
    }
    house.end().await;
}

#[tokio::test]
async fn an_account_is_found_by_phone_and_by_id_and_nothing_else() {
    let house = House::build().await;
    let create = r#"{"phone_number":"+391234567890","name":"Acme"}"#;
    let id = house.post("/accounts", create).await.json()["account_id"]
        .as_str()
        .unwrap()
        .to_owned();
    for name in ["+391234567890", "%2B391234567890", "391234567890", &id] {
        let shown = house.get(&format!("/accounts/{name}")).await.json();
        assert_eq!(shown["account_id"], id.as_str());
    }
    for name in [
        format!("+{id}"),
        "+393331234567".to_owned(),
        "0".to_owned(),
        "%20".to_owned(),
    ] {
        house
            .get(&format!("/accounts/{name}"))
            .await
            .refused_with(404, &["account list"]);
    }
    house
        .post("/accounts", create)
        .await
        .refused_with(409, &["+391234567890", "exists already"]);
    house.end().await;
}

#[tokio::test]
async fn a_closed_account_takes_no_credit_token_sender_or_allow_list() {
    let house = House::build().await;
    let create = r#"{"phone_number":"+391234567890","name":"Acme","credit":1}"#;
    house.post("/accounts", create).await.json();
    let account = "/accounts/+391234567890";
    let closed = house.post(&format!("{account}/close"), "").await.json();
    assert!(closed["closed_at"].is_i64());
    assert_eq!(closed["balance"], 1);
    for answer in [
        house.post(&format!("{account}/credit"), r#"{"amount":1}"#).await,
        house
            .post(&format!("{account}/adjust"), r#"{"amount":-1,"reason":"x"}"#)
            .await,
        house.post(&format!("{account}/token/rotate"), "").await,
        house.put(&format!("{account}/allow-list"), r#"{"addresses":[]}"#).await,
        house
            .put(&format!("{account}/autofill"), r#"{"domain":"acme.example"}"#)
            .await,
        house
            .post("/senders", r#"{"account":"+391234567890","username":"acme_shop"}"#)
            .await,
    ] {
        answer.refused_with(409, &["closed", "account create"]);
    }
    house.end().await;
}

#[tokio::test]
async fn senders_and_prices_are_judged_before_they_are_stored() {
    let house = House::build().await;
    for username in ["", "acme", "1acme_shop", "acme shop"] {
        let body = format!(r#"{{"account":"+9996600000","username":"{username}"}}"#);
        house.post("/senders", &body).await.refused_with(400, &["5 to 32"]);
    }
    house
        .get("/senders?account=%2B393331234567")
        .await
        .refused_with(404, &["account list"]);
    assert_eq!(house.get("/senders").await.body, r#"{"senders":[]}"#);
    for (prefix, price) in [
        ("+39x", "0.01"),
        ("+0", "0.01"),
        ("+39", "-0.01"),
        ("+39", "1001"),
        ("+39", "\"\""),
    ] {
        let body = format!(r#"{{"prefix":"{prefix}","price":{price}}}"#);
        assert_eq!(
            house.put("/prices", &body).await.status,
            StatusCode::BAD_REQUEST,
            "{body}"
        );
    }
    house.end().await;
}

#[tokio::test]
async fn an_allow_list_has_a_bound() {
    let house = House::build().await;
    let list = |count: usize| {
        let addresses: Vec<String> = (0..count)
            .map(|n| format!("\"10.0.{}.{}\"", n / 256, n % 256))
            .collect();
        format!(r#"{{"addresses":[{}]}}"#, addresses.join(","))
    };
    let path = "/accounts/+9996600000/allow-list";
    house.put(path, &list(1001)).await.refused_with(400, &["at most 1000"]);
    let set = house.put(path, &list(1000)).await.json();
    assert_eq!(set["allow_list"].as_array().unwrap().len(), 1000);
    house.end().await;
}

#[tokio::test]
async fn an_accounts_messages_end_as_the_operator_says() {
    let house = House::build().await;
    let path = "/accounts/+9996600000/autofill";
    let set = house.put(path, r#"{"domain":"acme.example"}"#).await.json();
    assert_eq!(set["autofill"].to_string(), r#"{"domain":"acme.example"}"#);
    for (body, word) in [("{}", "DELETE"), (r#"{"domain":"acme"}"#, "host name")] {
        house.put(path, body).await.refused_with(400, &[word]);
    }
    let cleared = house.delete(path).await.json();
    assert_eq!(cleared.get("autofill"), None);
    house.end().await;
}
