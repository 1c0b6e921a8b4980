//! What must be seen nowhere: whatever happens, and however much is logged, no code, no whole number, no secret.

use serde_json::json;

use super::template::json_settings;
use super::twilio::{TOKEN, settings, taken};
use super::*;

/// Sends, is refused, is called with nonsense, examines.
async fn go_through(world: &World, taken: Reaction) -> String {
    let said = json!({"code": 21_211, "message": format!("{PHONE} {CODE}")}).to_string();
    world.fake.will([
        taken,
        Reaction::Say(400, said),
        Reaction::Say(500, format!("{PHONE} {CODE}")),
        Reaction::Close,
        Reaction::Say(401, String::new()),
    ]);
    let mut shown = Vec::new();
    for _ in 0..5 {
        shown.push(format!("{:?}", world.deliver().await));
    }
    for path in ["status", "inbound"] {
        let call = WebhookCall {
            path: path.to_owned(),
            headers: vec![("x-twilio-signature".to_owned(), "AAAA".to_owned())],
            body: format!("From={PHONE}&Body={CODE}").into_bytes(),
            ..WebhookCall::default()
        };
        shown.push(format!("{:?}", world.channel.receive(call).await));
    }
    shown.push(format!("{:?}", world.channel.examine().await));
    shown.join("\n")
}

#[tokio::test]
async fn no_secret_no_code_and_no_number_is_logged_or_shown() {
    let (log, _guard) = log();
    let public_url = Some("https://gateway.example");
    let twilio = World::with(settings(&[("callbacks", "true")]), public_url).await;
    let mut shown = go_through(&twilio, taken("SM00000000000000000000000000000001")).await;
    let more = [
        ("url", "{fake}/{secret}?to={to}&code={code}"),
        ("user", "me"),
        ("password", "swordfish"),
        ("inbound_from", "From"),
        ("inbound_text", "Body"),
        ("callback_secret", "a-secret-for-calls"),
        ("callback_secret_header", "X-Secret"),
    ];
    let template = World::with(json_settings(&more), public_url).await;
    shown.push_str(&go_through(&template, Reaction::Say(200, String::new())).await);
    let log = log.text();
    assert!(log.contains("no message goes"), "{log}");
    for secret in [TOKEN, CODE, &PHONE[1..], "hunter2", "swordfish", "a-secret-for-calls"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
}
