//! The many ways to write the same call.

use serde_json::json;

use crate::support::{PHONE, Reply, Server};

const FORM: &str = "application/x-www-form-urlencoded";

/// A multipart body of these fields.
fn multipart(fields: &[(&str, &str)]) -> Vec<u8> {
    let part = |(name, value): &(&str, &str)| {
        format!("--frontier\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let parts = fields.iter().map(part).collect::<Vec<_>>().concat();
    (parts + "--frontier--\r\n").into_bytes()
}

const MULTIPART: &str = "multipart/form-data; boundary=frontier";

fn assert_sent(reply: &Reply, how: &str) {
    let result = reply.result();
    assert_eq!(result["phone_number"], PHONE, "{how}");
    assert_eq!(result["payload"], "Grüße & mehr", "{how}");
    assert_eq!(result["delivery_status"]["status"], "sent", "{how}");
}

#[tokio::test]
async fn get_and_post_take_query_form_json_and_multipart() {
    let server = Server::start().await;
    let bearer = format!("Bearer {}", server.account.token);
    let form = "phone_number=%2B391234567890&payload=Gr%C3%BC%c3%9fe+%26+mehr&ttl=60&code_length=5&unknown=1&&=";
    let json = json!({"phone_number": PHONE, "payload": "Grüße & mehr", "ttl": 60, "code_length": "5", "x": [{}]});
    let json = json.to_string();
    let parts = multipart(&[
        ("phone_number", PHONE),
        ("payload", "Grüße & mehr"),
        ("ttl", "60"),
        ("x", ""),
    ]);
    for method in ["GET", "POST"] {
        let query = format!("/sendVerificationMessage?{form}");
        let reply = server.send(method, &query, &[("authorization", &bearer)], b"").await;
        assert_sent(&reply, &format!("{method} query"));
        let bodies: [(&str, &[u8]); 9] = [
            (FORM, form.as_bytes()),
            ("Application/X-WWW-Form-URLEncoded; charset=UTF-8", form.as_bytes()),
            ("application/json", json.as_bytes()),
            ("APPLICATION/JSON;charset=utf-8", json.as_bytes()),
            ("text/json", json.as_bytes()),
            ("text/plain;charset=UTF-8", json.as_bytes()),
            ("text/plain", form.as_bytes()),
            (MULTIPART, &parts),
            ("Multipart/Form-Data; charset=utf-8; boundary=\"frontier\"", &parts),
        ];
        for (content_type, body) in bodies {
            let headers = [("authorization", bearer.as_str()), ("content-type", content_type)];
            let reply = server.send(method, "/sendVerificationMessage", &headers, body).await;
            assert_sent(&reply, &format!("{method} {content_type}"));
        }
        // Nobody said what the body is.
        for body in [form.as_bytes(), json.as_bytes()] {
            let reply = server
                .send(method, "/sendVerificationMessage", &[("authorization", &bearer)], body)
                .await;
            assert_sent(&reply, &format!("{method} untyped"));
        }
    }
}

#[tokio::test]
async fn method_names_come_in_any_case_behind_any_slashes() {
    let server = Server::start().await;
    for name in [
        "//sendVerificationMessage",
        "SENDVERIFICATIONMESSAGE",
        "sendverificationmessage/",
        "//CheckSendAbility//",
    ] {
        server.call(name, json!({"phone_number": PHONE})).await.result();
    }
}

#[tokio::test]
async fn the_token_may_come_in_header_query_form_json_or_multipart() {
    let server = Server::start().await;
    let token = server.account.token.as_str();
    let phone = "phone_number=391234567890";
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let header = format!("{scheme} {token}");
        let reply = server
            .send(
                "GET",
                &format!("/checkSendAbility?{phone}"),
                &[("Authorization", &header)],
                b"",
            )
            .await;
        reply.result();
    }
    let query = format!("/checkSendAbility?{phone}&access_token={token}");
    server.send("GET", &query, &[], b"").await.result();
    let form = format!("{phone}&access_token={token}");
    server
        .send("POST", "/checkSendAbility", &[("content-type", FORM)], form.as_bytes())
        .await
        .result();
    server
        .call_with(
            &[],
            "checkSendAbility",
            json!({"phone_number": PHONE, "access_token": token}),
        )
        .await
        .result();
    let parts = multipart(&[("phone_number", PHONE), ("access_token", token)]);
    server
        .send("POST", "/checkSendAbility", &[("content-type", MULTIPART)], &parts)
        .await
        .result();
}

#[tokio::test]
async fn the_headers_token_wins() {
    let server = Server::start().await;
    let token = server.account.token.as_str();
    let header = [("authorization", format!("Bearer {token}"))];
    let header = [("authorization", header[0].1.as_str())];
    let path = "/checkSendAbility?phone_number=391234567890&access_token=nonsense";
    server.send("GET", path, &header, b"").await.result();
    let body = json!({"phone_number": PHONE, "access_token": "nonsense"});
    server.call_with(&header, "checkSendAbility", body).await.result();
    let path = format!("/checkSendAbility?phone_number=391234567890&access_token={token}");
    let reply = server
        .send("GET", &path, &[("authorization", "Bearer nonsense")], b"")
        .await;
    assert_eq!(reply.error(), "ACCESS_TOKEN_INVALID");
    // A header that names no bearer token is none.
    server
        .send("GET", &path, &[("authorization", "Basic dTpw")], b"")
        .await
        .result();
    server
        .send("GET", &path, &[("authorization", "Bearer ")], b"")
        .await
        .result();
}

#[tokio::test]
async fn the_body_wins_over_the_query_except_where_it_says_nothing() {
    let server = Server::start().await;
    let bearer = format!("Bearer {}", server.account.token);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let path = "/sendVerificationMessage?phone_number=19999999999&payload=query&ttl=x";
    let body = json!({"phone_number": PHONE, "payload": null, "ttl": 60, "code": ""}).to_string();
    let result = server.send("POST", path, &headers, body.as_bytes()).await.result();
    assert_eq!(
        (&result["phone_number"], &result["payload"]),
        (&json!(PHONE), &json!("query"))
    );
}

#[tokio::test]
async fn empty_texts_and_nulls_are_absent() {
    let server = Server::start().await;
    for nothing in [json!(""), json!(null)] {
        let id = server
            .sent(json!({
                "phone_number": "+9996630003", "request_id": nothing, "sender_username": nothing, "code": nothing,
                "code_length": nothing, "callback_url": nothing, "payload": nothing, "ttl": nothing,
            }))
            .await;
        // Neither code nor length: six digits.
        let check = json!({"request_id": id, "code": "333333"});
        let result = server.call("checkVerificationStatus", check).await.result();
        assert_eq!(result["verification_status"]["status"], "code_valid");
        assert_eq!(result.get("payload"), None);
        let state = server
            .call("checkVerificationStatus", json!({"request_id": id, "code": nothing}))
            .await
            .result();
        assert_eq!(state["delivery_status"], result["delivery_status"]);
        assert_eq!(state["verification_status"]["status"], "code_valid");
        assert_eq!(
            state["verification_status"].get("code_entered"),
            None,
            "no code was entered"
        );
    }
    let bearer = format!("Bearer {}", server.account.token);
    let path = "/sendVerificationMessage?phone_number=391234567890&code=&ttl=&request_id&payload=";
    server
        .send("GET", path, &[("authorization", &bearer)], b"")
        .await
        .result();
}

#[tokio::test]
async fn texts_may_be_numbers_and_integers_may_be_texts() {
    let server = Server::start().await;
    let bearer = format!("Bearer {}", server.account.token);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    // The digits of a number go through as they stand: no float comes between.
    let body = br#"{"phone_number":391234567890,"code":4711,"payload":1.10,"ttl":"60"}"#;
    let result = server
        .send("POST", "/sendVerificationMessage", &headers, body)
        .await
        .result();
    assert_eq!(
        (&result["phone_number"], &result["payload"]),
        (&json!(PHONE), &json!("1.10"))
    );
    let check = json!({"request_id": result["request_id"], "code": 4711});
    let checked = server.call("checkVerificationStatus", check).await.result();
    assert_eq!(checked["verification_status"]["status"], "code_valid");
    assert_eq!(checked["verification_status"]["code_entered"], "4711");
    for length in [json!(4), json!("4"), json!("04")] {
        let id = server
            .sent(json!({"phone_number": "+9996670003", "code_length": length}))
            .await;
        let checked = server
            .call("checkVerificationStatus", json!({"request_id": id, "code": "7777"}))
            .await
            .result();
        assert_eq!(checked["verification_status"]["status"], "code_valid");
    }
}

#[tokio::test]
async fn escapes_are_read_and_the_last_of_equal_names_counts() {
    let server = Server::start().await;
    let bearer = format!("Bearer {}", server.account.token);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let body = br#" {"phone_number":"x","phone\u005fnumber":"\u002b391234567890","payload":"a\n\ud83d\ude00\"\\"} "#;
    let result = server
        .send("POST", "/sendVerificationMessage", &headers, body)
        .await
        .result();
    assert_eq!(
        (&result["phone_number"], &result["payload"]),
        (&json!(PHONE), &json!("a\n😀\"\\"))
    );
    let path = "/sendVerificationMessage?phone%5Fnumber=x&phone_number=+391234567890&payload=100%&payload=50%25+%zz";
    let result = server
        .send("GET", path, &[("authorization", &bearer)], b"")
        .await
        .result();
    assert_eq!(
        (&result["phone_number"], &result["payload"]),
        (&json!(PHONE), &json!("50% %zz"))
    );
}

#[tokio::test]
async fn an_empty_body_holds_nothing_whatever_its_type() {
    let server = Server::start().await;
    let bearer = format!("Bearer {}", server.account.token);
    let path = "/checkSendAbility?phone_number=391234567890";
    for content_type in ["application/json", FORM, "multipart/form-data", "image/png", ""] {
        let headers = [("authorization", bearer.as_str()), ("content-type", content_type)];
        server.send("POST", path, &headers, b"").await.result();
    }
    for (content_type, body) in [("application/json", " \n"), ("application/json", "null"), (FORM, "&&")] {
        let headers = [("authorization", bearer.as_str()), ("content-type", content_type)];
        server.send("POST", path, &headers, body.as_bytes()).await.result();
    }
}
