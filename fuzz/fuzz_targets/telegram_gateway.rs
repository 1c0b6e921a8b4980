//! Delivery reports of a Gateway upstream.
#![no_main]

use std::cell::RefCell;

use countersign_core::{SIGNATURE_HEADER, TIMESTAMP_HEADER, sign_report};
use countersign_fuzz::{MAX_INPUT_BYTES, NOBODY, World, now_seconds, posted};
use libfuzzer_sys::fuzz_target;
use ring::digest::{SHA256, digest};

const TOKEN: &str = "AAEuAAAABPmgKDzuMl1g1A9kSnVBmzpB1rdFYmYdkZk2FQ";

fuzz_target!(|report: &[u8]| {
    thread_local!(static WORLD: RefCell<World> = RefCell::new(World::new("telegram_gateway", &[
        ("token", TOKEN), ("base_url", NOBODY), ("callbacks", "true"),
    ])));
    if report.len() > MAX_INPUT_BYTES {
        return;
    }
    WORLD.with_borrow_mut(|world| {
        let timestamp = now_seconds().to_string();
        let mut key = [0; 32];
        key.copy_from_slice(digest(&SHA256, TOKEN.as_bytes()).as_ref());
        let signature = sign_report(&key, &timestamp, report);
        let headers = |signature: &str| {
            vec![
                (TIMESTAMP_HEADER.to_owned(), timestamp.clone()),
                (SIGNATURE_HEADER.to_owned(), signature.to_owned()),
            ]
        };
        world.forged(posted("report", headers(&"0".repeat(64)), report));
        let told = world.genuine(posted("report", headers(&signature), report));
        assert!(told.news.len() <= 1, "one report is news of one message");
    });
});
