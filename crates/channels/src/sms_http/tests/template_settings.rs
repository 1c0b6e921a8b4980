//! A template that can't work is refused when the channel is made, and its error says what to mend.

use super::template::json_settings;
use super::*;

fn error(more: &[(&str, &str)], public_url: Option<&str>) -> String {
    let mut server = Server::new();
    server.ports.public_url = public_url.map(str::to_owned);
    let made = made(&json_settings(more)("http://127.0.0.1:1"), &server);
    made.err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn what_can_not_be_is_refused_with_the_keys_name_and_shows_no_secret() {
    let callback = r#"{"to":"{to}","text":"{text}","secret":"{secret}","cb":"{callback_url}"}"#;
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("url", "-")], "url: missing"),
        (&[("url", "ftp://a.example/")], "url: expected an http"),
        (&[("url", "https://{to}.example/")], "url: expected an http"),
        (&[("url", "https://a.example:{code}/")], "url: expected an http"),
        (&[("url", "https://a.example{text}")], "url: expected an http"),
        (&[("url", "https://a:b@a.example/")], "url: expected an http"),
        (&[("url", "https://a.example/{hunter2}")], "url: an unknown placeholder"),
        (
            &[("url", "https://a.example/{to")],
            "url: a { that belongs to no placeholder",
        ),
        (&[("method", "DELETE")], "method: expected"),
        (&[("method", "GET")], "body: a GET request has none"),
        (
            &[("headers", "Authorization {secret}")],
            "headers: expected \"Name: value\"",
        ),
        (
            &[("headers", "A b: {secret}")],
            "headers: a name that no header can have",
        ),
        (&[("headers", "Host: {secret}")], "headers: host is set by this program"),
        (
            &[("headers", "X: {text}{secret}")],
            "headers: {text} can’t stand in a header",
        ),
        (
            &[("headers", "X: {from}{secret}"), ("from", "Ä\n")],
            "headers: a value that no header can have",
        ),
        (&[("body", r#"{"to":{to},"text":"{text}"}"#)], "body: it is no JSON"),
        (&[("body", r#"{"to":"{to}","text":"{text}""#)], "body: it is no JSON"),
        (&[("body", r#"{"to":"{to}","code":{code}}"#)], "body: it is no JSON"),
        (&[("body", r#"{"to":"{To}"}"#)], "body: an unknown placeholder"),
        (&[("body", "text={text}")], "body: neither here nor in url is {to}"),
        (&[("body", "to={to}")], "body: neither here nor in url is {text}"),
        (&[("content_type", "application/pdf")], "content_type: expected"),
        (&[("body", "-"), ("content_type", "text/plain")], "body: missing"),
        (&[("from", "-")], "from: missing"),
        (&[("secret", "-")], "secret: missing"),
        (&[("headers", "-")], "secret: nothing uses it"),
        (&[("user", "me")], "password: missing"),
        (&[("password", "x")], "user: missing"),
        (&[("success", "ok")], "success: expected HTTP statuses"),
        (
            &[("success_pointer", "status"), ("success_value", "ok")],
            "success_pointer: expected a JSON pointer",
        ),
        (&[("success_pointer", "/status")], "success_value: missing"),
        (&[("success_value", "ok")], "success_pointer: missing"),
        (&[("unreachable", "/error")], "unreachable: expected"),
        (
            &[("body", callback), ("headers", "-")],
            "url: {callback_url} is used, and it needs",
        ),
        (&[("callback_secret", "long-enough")], "callback_secret_header: missing"),
        (&[("status_id", "id")], "status_value: missing"),
        (&[("status_delivered", "ok")], "status_id: missing"),
        (&[("inbound_from", "from")], "inbound_text: missing"),
        (
            &[("inbound_from", "from"), ("inbound_text", "text")],
            "callback_secret: missing",
        ),
        (
            &[("account_sid", "AC1")],
            "account_sid: \"sms_http\" channels have no such setting",
        ),
    ];
    for (more, said) in cases {
        let error = error(more, None);
        assert!(
            error.starts_with("channels.sms.") && error.contains(said),
            "{said}: {error}"
        );
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn what_is_too_much_is_refused_and_not_dropped() {
    let many = |item: &str, count: usize| vec![item; count].join(", ");
    for key in ["success", "unreachable", "later", "refused"] {
        assert_eq!(error(&[(key, &many("404", 64))], None), "", "{key}");
        let said = error(&[(key, &many("404", 65))], None);
        assert!(said.contains(&format!("{key}: expected at most 64")), "{said}");
    }
    let headers = format!("Authorization: Key {{secret}}, {}", many("X-A: b", 64));
    let said = error(&[("headers", &headers)], None);
    assert!(said.contains("headers: expected at most 64"), "{said}");
    let said = error(&[("inbound_id", "/id")], None);
    assert!(said.contains("inbound_from: missing: inbound_id is set"), "{said}");
}

#[test]
fn reports_need_a_secret_and_a_name_of_the_message() {
    let status = [("status_id", "id"), ("status_value", "s"), ("status_delivered", "1")];
    let secret = [
        ("callback_secret", "long-enough"),
        ("callback_secret_header", "X-Secret"),
    ];
    let with = |more: &[(&str, &str)]| {
        let all = [&status[..], &secret[..], more].concat();
        error(&all, Some("https://gateway.example"))
    };
    assert_eq!(with(&[]), "");
    let nameless = ("body", r#"{"to":"{to}","text":"{text}"}"#);
    assert!(with(&[nameless]).contains("id_pointer: missing"));
    assert_eq!(with(&[nameless, ("id_pointer", "/id")]), "");
    assert!(with(&[("callback_signature_header", "X-S")]).contains("not both"));
    let no_status = error(&secret, None);
    assert!(no_status.contains("status_id: missing"), "{no_status}");
    let short = [
        &status[..],
        &[("callback_secret", "short"), ("callback_secret_header", "X")],
    ]
    .concat();
    assert!(error(&short, None).contains("at least 8"));
}
