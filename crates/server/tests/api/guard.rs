//! Countries and prefixes of an account, by the owner's and the operator's API: what a caller is told, and what both see of it.

use serde_json::{Value, json};

use crate::support::{OPERATOR_KEY, Reply, Server};

/// A mobile: a number that is only possible is in no country.
const PHONE: &str = "+393331234567";
const SEND: &str = "sendVerificationMessage";

async fn ask(server: &Server, key: &str, method: &str, path: &str, body: Value) -> Reply {
    let authorization = format!("Bearer {key}");
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let headers = [
        ("authorization", authorization.as_str()),
        ("content-type", "application/json"),
    ];
    server.send(method, path, &headers, body.as_bytes()).await
}

async fn seen(server: &Server, key: &str, path: &str) -> Value {
    let reply = ask(server, key, "GET", path, Value::Null).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    serde_json::from_str(&reply.body).unwrap()
}

#[tokio::test]
async fn an_owner_blocks_a_country_and_callers_are_told_why_without_a_charge() {
    let server = Server::start().await;
    let token = &server.account.token;
    let set = ask(
        &server,
        token,
        "PUT",
        "/account/v1/guard/areas/IT",
        json!({"verdict": "block"}),
    )
    .await;
    assert_eq!(set.status, 200, "{}", set.body);
    for method in [SEND, "checkSendAbility"] {
        let reply = server.call(method, json!({ "phone_number": PHONE })).await;
        assert_eq!(reply.error(), "PHONE_NUMBER_NOT_FOUND");
        assert_eq!(
            reply.header("x-refusal-reason"),
            Some("the account blocks the country it")
        );
    }
    server.sent(json!({ "phone_number": "+4915123456789" })).await;
    assert_eq!(server.balance().await, "9.99");

    let id = server.account.key.id;
    let operators = format!("/operator/v1/accounts/{id}/guard");
    for (key, path) in [
        (token.as_str(), "/account/v1/guard"),
        (OPERATOR_KEY, operators.as_str()),
    ] {
        let guard = seen(&server, key, path).await;
        assert_eq!(guard["rules"], json!([{"area": "IT", "verdict": "block"}]));
        assert_eq!(guard["refused"][0]["reason"], "the account blocks the country IT");
        assert_eq!(guard["refused"][0]["count"], 2);
        assert_eq!((&guard["held"], &guard["judges_pumping"]), (&json!([]), &json!(false)));
    }
    let removed = ask(&server, token, "DELETE", "/account/v1/guard/areas/it", Value::Null).await;
    assert_eq!(removed.status, 200, "{}", removed.body);
    server.sent(json!({ "phone_number": PHONE })).await;
}

#[tokio::test]
async fn the_operator_sets_all_rules_at_once_and_an_allowed_area_refuses_all_others() {
    let server = Server::start().await;
    let id = server.account.key.id;
    let path = format!("/operator/v1/accounts/{id}/guard");
    let rules = json!({"rules": [{"area": "de", "verdict": "allow"}, {"area": "+4915199", "verdict": "block"}]});
    assert_eq!(ask(&server, OPERATOR_KEY, "PUT", &path, rules).await.status, 200);
    server.sent(json!({ "phone_number": "+4915123456789" })).await;
    for (phone, reason) in [
        (PHONE, "the account allows other countries and prefixes only"),
        ("+4915199456789", "the account blocks numbers that begin with +4915199"),
    ] {
        let reply = server.call(SEND, json!({ "phone_number": phone })).await;
        assert_eq!(reply.error(), "PHONE_NUMBER_NOT_FOUND");
        assert_eq!(reply.header("x-refusal-reason"), Some(reason));
    }
    let none = json!({"rules": []});
    assert_eq!(ask(&server, OPERATOR_KEY, "PUT", &path, none).await.status, 200);
    server.sent(json!({ "phone_number": PHONE })).await;
}

#[tokio::test]
async fn what_is_no_area_and_no_verdict_is_said() {
    let server = Server::start().await;
    let token = &server.account.token;
    for (path, body, word) in [
        (
            "/account/v1/guard/areas/Germany",
            json!({"verdict": "block"}),
            "no area",
        ),
        ("/account/v1/guard/areas/DE", json!({"verdict": "forbid"}), "verdict"),
        (
            "/account/v1/guard",
            json!({"rules": [{"area": "D", "verdict": "allow"}]}),
            "no area",
        ),
        ("/account/v1/guard", json!({}), "rules"),
    ] {
        let reply = ask(&server, token, "PUT", path, body).await;
        assert_eq!(reply.status, 400, "{path}: {}", reply.body);
        assert!(reply.body.contains(word), "{path}: {}", reply.body);
    }
    assert_eq!(seen(&server, token, "/account/v1/guard").await["rules"], json!([]));
}
