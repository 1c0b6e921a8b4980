//! The owner's API: who is let in, by the rules of the Gateway methods, and what an account sees of itself.

use countersign_core::{AccountId, ApiToken, Timestamp};
use countersign_store::Actor;
use serde_json::{Value, json};

use crate::support::{PHONE, Reply, Server, Setup};

async fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> Reply {
    let reply = server.send("GET", path, headers, b"").await;
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    reply
}

async fn get_as(server: &Server, token: &str, path: &str) -> Reply {
    get(server, path, &[("authorization", &format!("Bearer {token}"))]).await
}

/// A refusal with this status, whose sentence holds this word.
fn assert_refused(reply: &Reply, status: u16, word: &str) {
    assert_eq!(reply.status, status, "{}", reply.body);
    let body: Value = serde_json::from_str(&reply.body).unwrap();
    assert!(body["error"].as_str().unwrap().contains(word), "{}", reply.body);
}

#[tokio::test]
async fn an_account_sees_itself_and_what_it_can_spend() {
    let server = Server::start().await;
    server.sent(json!({ "phone_number": PHONE })).await;
    let reply = get_as(&server, &server.account.token, "/account/v1").await;
    let id = server.account.key.id;
    let expected = format!(r#"{{"account_id":"{id}","name":"Account 1","balance":9.99,"held":0,"available":9.99}}"#);
    assert_eq!((reply.status, reply.body), (200, expected));

    let other = server.account(2, "+393333333334", "3").await;
    let reply = get_as(&server, &other.token, "/account/v1").await;
    assert!(reply.body.contains(r#""balance":3,"#), "{}", reply.body);
    assert!(!reply.body.contains(&id.to_string()), "{}", reply.body);
}

#[tokio::test]
async fn no_token_and_a_wrong_one_are_told_apart() {
    let server = Server::start().await;
    let unknown = ApiToken::new(AccountId::new(99).unwrap(), [9; 32]);
    for path in ["/account/v1", "/account/v1/nonsense"] {
        for headers in [
            &[][..],
            &[("authorization", "Basic abc")],
            &[("authorization", "Bearer ")],
        ] {
            let reply = get(&server, path, headers).await;
            assert_refused(&reply, 401, "missing");
            assert_eq!(reply.header("www-authenticate"), Some("bearer"));
        }
        for token in ["nonsense", unknown.as_str(), "the-operators-key-of-a-test"] {
            assert_refused(&get_as(&server, token, path).await, 401, "wrong");
        }
    }
    let in_the_query = format!("/account/v1?access_token={}", server.account.token);
    assert_refused(&get(&server, &in_the_query, &[]).await, 401, "missing");
}

#[tokio::test]
async fn a_rotated_token_and_a_closed_account_are_refused() {
    let server = Server::start().await;
    let path = "/account/v1";
    assert_eq!(get_as(&server, &server.account.token, path).await.status, 200);
    let token = ApiToken::new(server.account.key.id, [5; 32]);
    server
        .store
        .rotate_token(server.account.key, token.clone(), Actor::Operator)
        .await
        .unwrap();
    assert_refused(&get_as(&server, &server.account.token, path).await, 401, "rotated");
    assert_eq!(get_as(&server, token.as_str(), path).await.status, 200);
    let now = Timestamp::from_millis(1);
    server
        .store
        .close_account(server.account.key, now, Actor::Operator)
        .await
        .unwrap();
    assert_refused(&get_as(&server, token.as_str(), path).await, 401, "closed");
}

#[tokio::test]
async fn the_accounts_allow_list_holds_behind_trusted_proxies_too() {
    let setup = Setup {
        trusted_proxies: vec!["127.0.0.0/8"],
        ..Setup::default()
    };
    let server = Server::start_with(setup).await;
    let allowed = vec!["192.0.2.0/24".parse().unwrap()];
    server
        .store
        .set_allow_list(server.account.key, allowed, Actor::Operator)
        .await
        .unwrap();
    let authorization = format!("Bearer {}", server.account.token);
    let from = |address: &'static str| [("authorization", authorization.as_str()), ("x-forwarded-for", address)];
    assert_eq!(get(&server, "/account/v1", &from("192.0.2.7")).await.status, 200);
    assert_refused(
        &get(&server, "/account/v1", &from("198.51.100.7")).await,
        403,
        "allow-list",
    );
    let direct = get_as(&server, &server.account.token, "/account/v1").await;
    assert_refused(&direct, 403, "allow-list");
}

#[tokio::test]
async fn paths_and_methods_that_are_none_are_refused_with_a_sentence() {
    let server = Server::start().await;
    let reply = get_as(&server, &server.account.token, "/account/v1/nonsense").await;
    assert_refused(&reply, 404, "owner's API");
    let authorization = format!("Bearer {}", server.account.token);
    let reply = server
        .send("POST", "/account/v1", &[("authorization", &authorization)], b"")
        .await;
    assert_refused(&reply, 405, "another HTTP method");
}

#[tokio::test]
async fn a_server_that_ends_says_so() {
    let server = Server::start().await;
    server.drain();
    let reply = get_as(&server, &server.account.token, "/account/v1").await;
    assert_refused(&reply, 503, "try again");
    assert_eq!(reply.header("retry-after"), Some("1"));
}

async fn put_low_balance(server: &Server, token: &str, body: Value) -> Reply {
    let authorization = format!("Bearer {token}");
    let headers = [
        ("authorization", authorization.as_str()),
        ("content-type", "application/json"),
    ];
    let path = "/account/v1/low-balance";
    server.send("PUT", path, &headers, body.to_string().as_bytes()).await
}

#[tokio::test]
async fn an_owner_sets_shows_and_clears_the_low_balance_report() {
    let server = Server::start().await;
    let token = &server.account.token;
    assert_eq!(get_as(&server, token, "/account/v1/low-balance").await.body, "{}");
    let set = r#"{"below":2.5,"url":"http://127.0.0.1:9/low"}"#;
    let reply = put_low_balance(&server, token, serde_json::from_str(set).unwrap()).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, set));
    assert_eq!(get_as(&server, token, "/account/v1/low-balance").await.body, set);
    let headers = [("authorization", &*format!("Bearer {token}"))];
    let cleared = server.send("DELETE", "/account/v1/low-balance", &headers, b"").await;
    assert_eq!((cleared.status, cleared.body.as_str()), (200, "{}"));

    for (body, word) in [
        (json!({ "below": 0, "url": "https://example.com" }), "more than 0"),
        (json!({ "below": -1, "url": "https://example.com" }), "more than 0"),
        (json!({ "below": "1,5", "url": "https://example.com" }), "not an amount"),
        (json!({ "below": 1, "url": "ftp://example.com" }), "https://"),
        (
            json!({ "below": 1, "url": "https://me:secret@example.com" }),
            "password",
        ),
        (json!({ "below": 1 }), "url"),
    ] {
        assert_refused(&put_low_balance(&server, token, body).await, 400, word);
    }
}

#[tokio::test]
async fn an_owner_sets_shows_and_clears_what_short_messages_end_with() {
    let server = Server::start().await;
    let token = &server.account.token;
    let authorization = format!("Bearer {token}");
    let headers = [
        ("authorization", authorization.as_str()),
        ("content-type", "application/json"),
    ];
    let path = "/account/v1/autofill";
    let put = async |body: &str| server.send("PUT", path, &headers, body.as_bytes()).await;
    assert_eq!(get_as(&server, token, path).await.body, "{}");
    let reply = put(r#"{"domain":"Acme.Example","android_hash":"FA+9qCX9VSu"}"#).await;
    let set = r#"{"domain":"acme.example","android_hash":"FA+9qCX9VSu"}"#;
    assert_eq!((reply.status, reply.body.as_str()), (200, set));
    assert_eq!(get_as(&server, token, path).await.body, set);
    // Both are set at once.
    let reply = put(r#"{"android_hash":"FA+9qCX9VSu"}"#).await;
    assert_eq!(reply.body, r#"{"android_hash":"FA+9qCX9VSu"}"#);
    for (body, word) in [
        (r#"{"domain":"https://acme.example"}"#, "host name"),
        (r#"{"domain":"127.0.0.1"}"#, "host name"),
        (r#"{"domain":7}"#, "domain"),
        (r#"{"android_hash":"FA+9qCX9VSu="}"#, "11"),
        ("{}", "DELETE"),
        (r#"{"domain":" "}"#, "DELETE"),
    ] {
        assert_refused(&put(body).await, 400, word);
    }
    let other = server.account(2, "+393333333334", "3").await;
    assert_eq!(get_as(&server, &other.token, path).await.body, "{}");
    let cleared = server.send("DELETE", path, &headers, b"").await;
    assert_eq!((cleared.status, cleared.body.as_str()), (200, "{}"));
    let mut changes = 3;
    while server.send("DELETE", path, &headers, b"").await.status == 200 {
        changes += 1;
    }
    assert!(changes >= 10, "{changes}");
}

#[tokio::test]
async fn a_statement_shows_an_accounts_own_entries_page_by_page_and_adds_up() {
    let server = Server::start().await;
    for _ in 0..3 {
        server.sent(json!({ "phone_number": PHONE })).await;
    }
    let token = &server.account.token;
    let page = async |query: &str| -> Value {
        let reply = get_as(&server, token, &format!("/account/v1/statement?limit=3{query}")).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        serde_json::from_str(&reply.body).unwrap()
    };
    let first = page("").await;
    assert_eq!(first["opening_balance"], json!(0));
    assert_eq!(first["closing_balance"], json!(9.97));
    assert_eq!((&first["last_entry"], &first["next"]), (&json!(4), &json!(3)));
    let kinds: Vec<&str> = first["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["purchase", "charge", "charge"]);
    assert_eq!(first["entries"][1]["amount"], json!(-0.01));
    let second = page("&after=3").await;
    assert_eq!(second["entries"].as_array().unwrap().len(), 1);
    assert_eq!(second.get("next"), None);
    // Of a time before there was an account.
    let empty = page("&from=1000&to=2000").await;
    assert_eq!((&empty["closing_balance"], empty.get("last_entry")), (&json!(0), None));

    let other = server.account(2, "+393333333334", "3").await;
    let reply = get_as(&server, &other.token, "/account/v1/statement").await;
    assert!(reply.body.contains(r#""closing_balance":3,"#), "{}", reply.body);
    for (query, word) in [
        ("from=yesterday", "Unix seconds"),
        ("from=20&to=10", "later"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("after=x", "after"),
    ] {
        let reply = get_as(&server, token, &format!("/account/v1/statement?{query}")).await;
        assert_refused(&reply, 400, word);
    }
}
