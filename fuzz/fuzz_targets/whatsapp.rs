//! Updates of the Cloud API, and its handshake.
#![no_main]

use std::cell::RefCell;

use countersign_channels::WebhookCall;
use countersign_fuzz::{MAX_INPUT_BYTES, NOBODY, World, hex, posted, tag};
use libfuzzer_sys::fuzz_target;

const APP_SECRET: &str = "0123456789abcdef0123456789abcdef";

fuzz_target!(|input: &[u8]| {
    thread_local!(static WORLD: RefCell<World> = RefCell::new(World::new("whatsapp", &[
        ("phone_number_id", "106540352242922"), ("access_token", "EAAJB-a-token"), ("app_secret", APP_SECRET),
        ("verify_token", "a-word-that-nobody-guesses"), ("template", "verification_code"), ("languages", "en_US,de"),
        ("base_url", NOBODY),
    ])));
    if input.len() > MAX_INPUT_BYTES {
        return;
    }
    WORLD.with_borrow_mut(|world| {
        if let Ok(query) = std::str::from_utf8(input)
            && query.starts_with("hub.")
        {
            let handshake = WebhookCall {
                is_get: true,
                query: query.to_owned(),
                ..posted("webhook", Vec::new(), b"")
            };
            let channel = world.channel.clone();
            let (answer, told) = world.run(async move { channel.receive(handshake).await });
            // Only a challenge comes back, and nothing that a browser would take for a page.
            assert!(answer.text.len() <= 128 && !answer.text.contains(['<', '>', '&']));
            assert!(answer.status == 200 || answer.text.is_empty());
            assert!(told.is_nothing());
            return;
        }
        let header = |signature: &[u8]| vec![("x-hub-signature-256".to_owned(), format!("sha256={}", hex(signature)))];
        world.forged(posted("webhook", header(&[0; 32]), input));
        world.genuine(posted(
            "webhook",
            header(tag(APP_SECRET.as_bytes(), input).as_ref()),
            input,
        ));
    });
});
