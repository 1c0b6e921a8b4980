//! What a message centre says on a session, as a stream of bytes: whole PDUs, broken ones, and what is none.
#![no_main]

use std::cell::RefCell;

use countersign_channels::testing::smpp_session;
use countersign_fuzz::{MAX_INPUT_BYTES, World, leg};
use libfuzzer_sys::fuzz_target;

const HEADER_BYTES: usize = 16;
const MAX_PDU_BYTES: usize = 16 * 1024;
const SUBMIT_SM: u32 = 4;
const ANSWER_BIT: u32 = 0x8000_0000;
const GENERIC_NACK: u32 = 0x8000_0000;

/// Command and sequence number of each PDU in a stream, up to what is none, and whether it ended with a whole one.
fn pdus(mut stream: &[u8]) -> (Vec<(u32, u32)>, bool) {
    let mut found = Vec::new();
    loop {
        let word = |at: usize| Some(u32::from_be_bytes(stream.get(at..at + 4)?.try_into().ok()?));
        let Some(length) = word(0).and_then(|length| usize::try_from(length).ok()) else {
            return (found, stream.is_empty());
        };
        if !(HEADER_BYTES..=MAX_PDU_BYTES).contains(&length) || stream.len() < length {
            return (found, false);
        }
        found.extend(word(4).zip(word(12)));
        stream = &stream[length..];
    }
}

fuzz_target!(|said: &[u8]| {
    thread_local!(static WORLD: RefCell<World> = RefCell::new(World::new("smpp", &[
        ("host", "127.0.0.1"), ("port", "1"), ("tls", "false"), ("system_id", "fuzz"), ("password", "secret"),
    ])));
    if said.len() > MAX_INPUT_BYTES {
        return;
    }
    WORLD.with_borrow_mut(|world| {
        let (ports, message) = (world.server.ports.clone(), world.message.clone());
        let (heard, told) = world.run(smpp_session(ports, leg(), &message, said));
        let (answers, is_whole) = pdus(&heard);
        assert!(is_whole, "what we say are whole PDUs");
        let (asked, _) = pdus(said);
        let mut answers = answers.into_iter();
        assert_eq!(answers.next(), Some((SUBMIT_SM, 1)), "our own request comes first");
        let mut count = 0;
        for (command, sequence) in answers {
            count += 1;
            assert_ne!(command & ANSWER_BIT, 0, "we ask nothing more");
            let of_a_request = |(of, number): &(u32, u32)| of & ANSWER_BIT == 0 && *number == sequence;
            let is_answer = asked.iter().any(of_a_request) || (command, sequence) == (GENERIC_NACK, 0);
            assert!(is_answer, "an answer to a request that there wasn't");
        }
        assert!(count <= asked.len() + 1, "more answers than requests");
        for news in &told.news {
            assert_eq!(news.request, message.request, "news of a message that there isn't");
        }
    });
});
