//! The parameters of a call. First any bytes in each of the four forms; then the same values in all four, which must be read alike.
#![no_main]

use arbitrary::Arbitrary;
use bytes::Bytes;
use countersign_core::ApiError;
use countersign_fuzz::runtime;
use countersign_server::api::{MAX_BODY_BYTES, ReadParameter, read_parameters};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 14] = [
    "access_token",
    "phone_number",
    "request_id",
    "sender_username",
    "code",
    "code_length",
    "callback_url",
    "payload",
    "ttl",
    "advance_seconds",
    "locale",
    "email",
    // Nobody's.
    "colour",
    "",
];
const BOUNDARY: &str = "a-boundary-that-no-value-has";

#[derive(Debug, Arbitrary)]
struct Call<'a> {
    content_type: Option<&'a str>,
    query: Option<&'a str>,
    values: Vec<(u8, &'a str)>,
    body: &'a [u8],
}

type Read = Result<Vec<ReadParameter>, ApiError>;

fn read(query: Option<&str>, content_type: Option<&str>, body: impl Into<Vec<u8>>) -> Read {
    let mut headers = HeaderMap::new();
    if let Some(value) = content_type.and_then(|kind| HeaderValue::from_bytes(kind.as_bytes()).ok()) {
        headers.insert(CONTENT_TYPE, value);
    }
    let body: Bytes = Bytes::from(body.into());
    thread_local!(static RUNTIME: tokio::runtime::Runtime = runtime());
    RUNTIME.with(|runtime| runtime.block_on(read_parameters(query, &headers, &body)))
}

/// What holds of everything that is read.
fn judge(read: &Read) {
    let Ok(parameters) = read else { return };
    let mut names: Vec<_> = parameters.iter().map(|(name, _)| *name).collect();
    assert!(names.iter().all(|name| NAMES[..12].contains(name)), "{names:?}");
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), parameters.len(), "a parameter was read twice");
    for (name, value) in parameters {
        assert_ne!(value.as_deref(), Some(""), "{name} is empty, and so absent");
    }
}

fn multipart(values: &[(&str, &str)]) -> String {
    let part = |(name, value): &(&str, &str)| {
        format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let parts: String = values.iter().map(part).collect();
    format!("{parts}--{BOUNDARY}--\r\n")
}

fn json(values: &[(&str, &str)]) -> String {
    let field = |(name, value): &(&str, &str)| format!("{}:{}", serde_json::json!(name), serde_json::json!(value));
    let fields: Vec<_> = values.iter().map(field).collect();
    format!("{{{}}}", fields.join(","))
}

fuzz_target!(|call: Call<'_>| {
    if call.body.len() > MAX_BODY_BYTES {
        return;
    }
    judge(&read(call.query, call.content_type, call.body));
    for kind in [
        "application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
    ] {
        judge(&read(None, Some(kind), call.body));
    }
    let mut values = Vec::new();
    for (name, value) in &call.values {
        let name = NAMES[usize::from(*name) % NAMES.len()];
        // An unescaped plus before a phone number is one, so there a blank can't be said.
        let is_sayable = !value.contains(BOUNDARY) && !(name == "phone_number" && value.starts_with(' '));
        if is_sayable {
            values.push((name, *value));
        }
    }
    let form = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(&values)
        .finish();
    let by_query = read(Some(&form), None, "");
    judge(&by_query);
    assert!(by_query.is_ok());
    let by_form = read(None, Some("application/x-www-form-urlencoded"), form.as_bytes());
    let by_json = read(None, Some("application/json; charset=utf-8"), json(&values));
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    let by_multipart = read(None, Some(&kind), multipart(&values));
    assert_eq!(by_query, by_form);
    assert_eq!(by_query, by_json);
    assert_eq!(by_query, by_multipart);
    // The body's word counts more than the query's.
    let over = read(
        Some("payload=of-the-query&code=1"),
        Some("application/json"),
        json(&values),
    );
    let of = |read: &Read, name: &str| read.as_ref().unwrap().iter().find(|(of, _)| *of == name).cloned();
    for (name, fallback) in [("payload", "of-the-query"), ("code", "1")] {
        let said = of(&by_json, name).unwrap_or((NAMES[0], Some(fallback.to_owned())));
        assert_eq!(of(&over, name).unwrap().1, said.1);
    }
});
