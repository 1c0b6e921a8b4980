//! Delivery status notifications that the operator's mail server brings, and what recipients answer.
#![no_main]

use std::cell::RefCell;

use countersign_channels::WebhookCall;
use countersign_fuzz::{MAX_INPUT_BYTES, World, posted};
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "a-secret-of-the-pipe";

fuzz_target!(|input: &[u8]| {
    thread_local!(static WORLD: RefCell<World> = RefCell::new(World::new("email", &[
        ("host", "localhost"), ("port", "1"), ("security", "none"), ("from", "Acme <codes@acme.example>"),
        ("dsn_secret", SECRET),
    ])));
    if input.len() > MAX_INPUT_BYTES {
        return;
    }
    WORLD.with_borrow_mut(|world| {
        let header = |secret: &str| vec![("authorization".to_owned(), format!("Bearer {secret}"))];
        world.forged(posted("dsn", header("a guess"), input));
        // A name of ours bears a tag that nobody guesses.
        let told = world.genuine(posted("dsn", header(SECRET), input));
        assert!(told.is_nothing(), "a name that we never made was believed: {told:?}");
        // A link that we never made, in the browser of somebody with any language.
        if let Ok(token) = std::str::from_utf8(input) {
            for is_get in [true, false] {
                let headers = vec![("accept-language".to_owned(), token.to_owned())];
                world.forged(WebhookCall {
                    is_get,
                    ..posted(&format!("answer/{token}"), headers, input)
                });
            }
        }
    });
});
