//! What the tests of a bot share: a bot that is set up, its recipients, and the events that tests wait for.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use countersign_channels::testing::{Server, config, message};
use countersign_channels::{Channel, Handover, LoginPrompt, OutgoingMessage, Recipient, Recipients as _, make};
use countersign_core::{Code, LegName, PhoneNumber, SandboxNumbers, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// A bot's token, made up; what of it must never be seen is its second half.
pub(crate) const TOKEN: &str = "123456:not-a-real-token";
pub(crate) const SECRET_PART: &str = "not-a-real-token";
pub(crate) const PHONE: &str = "393331234567";
/// The chat of the number's holder.
pub(crate) const CHAT: i64 = 4_200;
pub(crate) const CODE: &str = "482913";
/// When the tests take place, in seconds.
pub(crate) const NOW_S: i64 = 1_795_000_000;

/// What a test waits for comes within that time, or never.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(30), what).await;
    waited.expect("it comes within 30 s")
}

pub(crate) fn leg() -> LegName {
    LegName::parse("bot").unwrap()
}

pub(crate) fn phone(text: &str) -> PhoneNumber {
    PhoneNumber::parse(text, SandboxNumbers::Refused).unwrap()
}

/// A bot that calls the Bot API there, with what else is set.
pub(crate) fn bot(server: &Server, base_url: &str, more: &[(&str, &str)]) -> Arc<dyn Channel> {
    let mut values = vec![("token", TOKEN), ("base_url", base_url)];
    values.extend(more);
    make(config("bot", "telegram_bot", &values).unwrap(), server.ports.clone()).unwrap()
}

/// The number's holder has opted in.
pub(crate) async fn link(server: &Server) {
    link_at(server, NOW_S, false).await;
}

pub(crate) async fn link_at(server: &Server, seconds: i64, stopped: bool) {
    let recipient = Recipient {
        phone: phone(PHONE),
        address: CHAT.to_string(),
        stopped,
        since: Timestamp::from_millis(seconds * 1000),
    };
    server.books.put(&leg(), recipient).await.unwrap();
}

pub(crate) fn is_linked(server: &Server) -> bool {
    let known = server.books.recipient(&leg(), phone(PHONE));
    known.is_some_and(|known| !known.stopped && known.address == CHAT.to_string())
}

/// A message to the number.
pub(crate) fn code_message(number: u64) -> OutgoingMessage {
    message(number, PHONE, CODE, Timestamp::from_millis(NOW_S * 1000)).unwrap()
}

/// A question to the number's holder.
pub(crate) fn prompt(attempt: i64) -> LoginPrompt {
    let at = Timestamp::from_millis(NOW_S * 1000);
    LoginPrompt {
        attempt,
        phone: phone(PHONE),
        code: Code::parse("7301").unwrap(),
        device: "Firefox on Linux".to_owned(),
        address: "203.0.113.7".to_owned(),
        at,
        expires_at: at.plus_millis(600_000),
    }
}

/// What was said of a message that didn't go out.
pub(crate) fn detail(handover: &Handover) -> &str {
    match handover {
        Handover::CannotReach(detail) | Handover::Refused(detail) | Handover::Failed(detail) => detail.as_str(),
        Handover::Waiting | Handover::Later(_) | Handover::Accepted(_) => "",
    }
}

/// A bot that listens, until it is told to end.
pub(crate) struct Listening {
    end: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Listening {
    pub(crate) fn start(bot: &Arc<dyn Channel>) -> Self {
        let (end, ended) = watch::channel(false);
        let task = tokio::spawn(Arc::clone(bot).run(ended));
        Self { end, task }
    }

    pub(crate) async fn end(self) {
        self.end.send(true).unwrap();
        soon(self.task).await.unwrap();
    }
}

/// The next item of a queue.
pub(crate) async fn next<T>(queue: &mut mpsc::Receiver<T>) -> T {
    soon(queue.recv()).await.expect("the channel lives")
}
