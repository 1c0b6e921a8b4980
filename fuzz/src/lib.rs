//! What the fuzz targets share: channels that a server in memory lends to, the calls that the other side makes, and what must hold
//! whatever comes. A target is a file in `fuzz_targets`, its first inputs stand in `seeds`.

use std::future::Future;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use countersign_channels::testing::{Server, config, message};
use countersign_channels::{Channel, ChannelNews, Handle, LoginReply, MessageKey, OutgoingMessage, WebhookCall, make};
use countersign_core::{LegName, PhoneNumber, Timestamp};
use ring::hmac;
use tokio::runtime::Runtime;

/// The number of the one message that was sent.
pub const PHONE: &str = "+4915123456789";
/// What the other side calls that message.
pub const HANDLE: &str = "1a2b";
/// How callers reach the server.
pub const PUBLIC_URL: &str = "https://gateway.example";
/// Nobody listens there: what a channel would ask the other side fails at once.
pub const NOBODY: &str = "http://127.0.0.1:1";
/// Longest inputs that a target reads: above each limit of length that it is to meet, and no more.
pub const MAX_INPUT_BYTES: usize = 32 * 1024;

/// What a channel told of one call.
#[derive(Debug, Default)]
pub struct Told {
    /// Of messages.
    pub news: Vec<ChannelNews>,
    /// Of sign-ins.
    pub logins: Vec<LoginReply>,
}

impl Told {
    /// Whether it told nothing.
    pub fn is_nothing(&self) -> bool {
        self.news.is_empty() && self.logins.is_empty()
    }
}

/// A channel and what is lent to it.
pub struct World {
    /// Its books, in which one message has the name [`HANDLE`].
    pub server: Server,
    /// The channel.
    pub channel: Arc<dyn Channel>,
    /// That message.
    pub message: OutgoingMessage,
    runtime: Runtime,
}

impl World {
    /// A channel of that kind with these settings.
    ///
    /// # Panics
    ///
    /// Where a setting is wrong: then there is nothing to fuzz.
    pub fn new(kind: &str, settings: &[(&str, &str)]) -> Self {
        let mut server = Server::new();
        server.ports.public_url = Some(PUBLIC_URL.to_owned());
        let config = config("leg", kind, settings).expect("a name");
        let runtime = runtime();
        let channel = {
            let _entered = runtime.enter();
            make(config, server.ports.clone()).expect("the settings are right")
        };
        let message = sent();
        let handle = Handle::new(HANDLE).expect("a name");
        server.books.keep_handle(&leg(), handle, MessageKey::of(&message));
        Self {
            server,
            channel,
            message,
            runtime,
        }
    }

    /// Lets a future run to its end, beside whom the channel's news are taken.
    pub fn run<T>(&mut self, future: impl Future<Output = T>) -> (T, Told) {
        let mut told = Told::default();
        let server = &mut self.server;
        let answer = self.runtime.block_on(async {
            let mut future = std::pin::pin!(future);
            loop {
                tokio::select! {
                    answer = &mut future => break answer,
                    Some(news) = server.news.recv() => told.news.push(news),
                    Some(login) = server.logins.recv() => told.logins.push(login),
                    Some(_) = server.costs.recv() => {}
                }
            }
        });
        while let Ok(news) = server.news.try_recv() {
            told.news.push(news);
        }
        while let Ok(login) = server.logins.try_recv() {
            told.logins.push(login);
        }
        while server.costs.try_recv().is_ok() {}
        (answer, told)
    }

    /// The other side calls. Its answer is one that HTTP knows, and says nothing of the server's insides; news bears the channel's
    /// name.
    pub fn call(&mut self, call: WebhookCall) -> (u16, Told) {
        let channel = Arc::clone(&self.channel);
        let (answer, told) = self.run(async move { channel.receive(call).await });
        assert!(
            (200..600).contains(&answer.status),
            "an answer that is none: {}",
            answer.status
        );
        for news in &told.news {
            assert_eq!(news.leg, leg());
        }
        (answer.status, told)
    }

    /// A call that nobody signed: it must be refused, and change nothing.
    pub fn forged(&mut self, call: WebhookCall) {
        let (status, told) = self.call(call);
        assert!(
            (400..500).contains(&status),
            "an unsigned call was answered with {status}"
        );
        assert!(told.is_nothing(), "an unsigned call told {told:?}");
    }

    /// A call that the other side signed, with books that work: it must never be asked to come again because of what it holds.
    pub fn genuine(&mut self, call: WebhookCall) -> Told {
        let (status, told) = self.call(call);
        assert!(status < 500, "a genuine call was answered with {status}");
        assert!(status < 400 || told.is_nothing(), "a refused call told {told:?}");
        told
    }
}

/// The channel's name.
pub fn leg() -> LegName {
    LegName::parse("leg").expect("a name")
}

/// The holder of the message's number.
pub fn phone() -> PhoneNumber {
    sent().phone
}

/// The one message that was sent, an hour ago at most.
pub fn sent() -> OutgoingMessage {
    let hour = now_seconds() / 3_600 * 3_600;
    message(1, PHONE, "482913", Timestamp::from_millis(hour * 1_000)).expect("a number and a code")
}

/// A runtime in which waiting takes no time.
pub fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().expect("a runtime")
}

/// The time at which calls are signed.
pub fn now_seconds() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    i64::try_from(now.as_secs()).expect("it is before the year 292 billion")
}

/// HMAC-SHA-256 of a body.
pub fn tag(secret: &[u8], body: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), body)
}

/// Bytes as they are written in headers.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A posted call.
pub fn posted(path: &str, headers: Vec<(String, String)>, body: &[u8]) -> WebhookCall {
    WebhookCall {
        path: path.to_owned(),
        headers,
        body: body.to_vec(),
        ..WebhookCall::default()
    }
}
