//! What a transport of the operator's own posts back.
#![no_main]

use std::cell::RefCell;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_fuzz::{MAX_INPUT_BYTES, NOBODY, World, now_seconds, posted, tag};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    thread_local!(static WORLD: RefCell<World> = RefCell::new({
        let secret = format!("whsec_{}", STANDARD.encode([7; 32]));
        World::new("webhook", &[("url", NOBODY), ("secret", secret.as_str())])
    }));
    if body.len() > MAX_INPUT_BYTES {
        return;
    }
    WORLD.with_borrow_mut(|world| {
        let time = now_seconds().to_string();
        let signed = [b"n-1.", time.as_bytes(), b".", body].concat();
        let headers = |signature: &[u8]| {
            let signature = format!("v1,{}", STANDARD.encode(signature));
            let headers = [
                ("webhook-id", "n-1"),
                ("webhook-timestamp", &time),
                ("webhook-signature", &signature),
            ];
            headers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec()
        };
        world.forged(posted("news", headers(&[0; 32]), body));
        let told = world.genuine(posted("news", headers(tag(&[7; 32], &signed).as_ref()), body));
        assert!(told.news.len() + told.logins.len() <= 1, "one call is one thing");
    });
});
