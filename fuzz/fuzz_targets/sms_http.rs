//! Calls of SMS providers: Twilio's forms, and those that an operator's template reads.
#![no_main]

use std::cell::RefCell;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_channels::WebhookCall;
use countersign_fuzz::{MAX_INPUT_BYTES, NOBODY, PUBLIC_URL, World, hex, posted, tag};
use libfuzzer_sys::fuzz_target;
use ring::hmac;

const TOKEN: &str = "an-auth-token-of-tests";
const SECRET: &str = "a-secret-for-calls";

struct Worlds {
    twilio: World,
    json: World,
    form: World,
}

impl Worlds {
    fn new() -> Self {
        let template = |fields: [(&'static str, &'static str); 4]| {
            let settings = [
                ("provider", "template"),
                ("url", NOBODY),
                ("body", r#"{"to":"{to_digits}","text":"{text}"}"#),
                ("id_pointer", "/id"),
                ("callback_secret", SECRET),
                ("callback_signature_header", "X-Signature"),
                ("status_delivered", "DELIVERED"),
                ("status_failed", "FAILED"),
            ];
            World::new("sms_http", &[&settings[..], &fields].concat())
        };
        Self {
            twilio: World::new(
                "sms_http",
                &[
                    ("account_sid", "AC0123456789abcdef0123456789abcdef"),
                    ("auth_token", TOKEN),
                    ("from", "+15551234567"),
                    ("base_url", NOBODY),
                    ("callbacks", "true"),
                ],
            ),
            json: template([
                ("status_id", "/message/id"),
                ("status_value", "/status"),
                ("inbound_from", "/from"),
                ("inbound_text", "/text"),
            ]),
            form: template([
                ("status_id", "id"),
                ("status_value", "status"),
                ("inbound_from", "from"),
                ("inbound_text", "text"),
            ]),
        }
    }
}

/// Twilio signs the address, and the form's fields by name and value, equal ones once.
fn signed_by_twilio(path: &str, query: &str, body: &[u8]) -> WebhookCall {
    let mut text = format!("{PUBLIC_URL}/channels/leg/{path}");
    if !query.is_empty() {
        text = format!("{text}?{query}");
    }
    let mut fields: Vec<(String, String)> = url::form_urlencoded::parse(body).into_owned().collect();
    fields.sort();
    fields.dedup();
    for (name, value) in &fields {
        text.push_str(name);
        text.push_str(value);
    }
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, TOKEN.as_bytes());
    let signature = STANDARD.encode(hmac::sign(&key, text.as_bytes()));
    WebhookCall {
        query: query.to_owned(),
        ..posted(path, vec![("x-twilio-signature".to_owned(), signature)], body)
    }
}

fuzz_target!(|input: &[u8]| {
    thread_local!(static WORLDS: RefCell<Worlds> = RefCell::new(Worlds::new()));
    // The first byte says which call, the first line behind it is Twilio's query.
    let Some((&kind, rest)) = input.split_first() else {
        return;
    };
    if rest.len() > MAX_INPUT_BYTES {
        return;
    }
    let path = if kind & 1 == 0 { "status" } else { "inbound" };
    WORLDS.with_borrow_mut(|worlds| {
        if kind & 2 == 0 {
            let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(0);
            let query = String::from_utf8_lossy(&rest[..end]).into_owned();
            let body = &rest[end..];
            let mut forged = signed_by_twilio(path, &query, body);
            forged.headers[0].1 = STANDARD.encode([0; 20]);
            worlds.twilio.forged(forged);
            let told = worlds.twilio.genuine(signed_by_twilio(path, &query, body));
            assert!(told.news.len() <= 1);
            return;
        }
        let world = if kind & 4 == 0 {
            &mut worlds.json
        } else {
            &mut worlds.form
        };
        let header = |signature: String| vec![("x-signature".to_owned(), signature)];
        world.forged(posted(path, header(hex(&[0; 32])), rest));
        let told = world.genuine(posted(path, header(hex(tag(SECRET.as_bytes(), rest).as_ref())), rest));
        for news in &told.news {
            assert_eq!(
                news.request, world.message.request,
                "news of a message that there isn't"
            );
        }
    });
});
