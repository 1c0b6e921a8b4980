//! Updates that Telegram calls in.
#![no_main]

use std::cell::RefCell;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_fuzz::{MAX_INPUT_BYTES, NOBODY, World, posted, tag};
use libfuzzer_sys::fuzz_target;

const TOKEN: &str = "123456:not-a-real-token";

fuzz_target!(|update: &[u8]| {
    thread_local!(static WORLD: RefCell<World> = RefCell::new(World::new("telegram_bot", &[
        ("token", TOKEN), ("base_url", NOBODY), ("mode", "webhook"),
    ])));
    if update.len() > MAX_INPUT_BYTES {
        return;
    }
    WORLD.with_borrow_mut(|world| {
        let secret = URL_SAFE_NO_PAD.encode(tag(TOKEN.as_bytes(), b"countersign telegram_bot webhook"));
        let header = |secret: String| vec![("x-telegram-bot-api-secret-token".to_owned(), secret)];
        world.forged(posted("hook", header("a guess".to_owned()), update));
        let told = world.genuine(posted("hook", header(secret), update));
        // Buttons bear a tag that nobody guesses.
        assert!(told.is_nothing(), "a button that we never made was believed: {told:?}");
    });
});
