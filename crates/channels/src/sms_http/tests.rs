//! The channel against a provider that misbehaves as it is told. Against Twilio's own description and helper library it is tested in
//! `tests/sms_http`.

mod secrets;
mod template;
mod template_settings;
mod twilio;
mod twilio_calls;

use std::sync::Arc;
use std::time::Duration;

use countersign_core::{News, Reach};

use super::*;
use crate::fake::{Call, Fake, PATIENCE, Reaction};
use crate::testing::{MemoryBooks, Server, config, destination, message};
use crate::{UpstreamCost, Verdict};

const PHONE: &str = "+4915123456789";
const CODE: &str = "123456";

/// A channel, its provider, and the server that has both.
struct World {
    fake: Fake,
    server: Server,
    channel: Arc<dyn Channel>,
}

impl World {
    /// `settings` gets the provider's address.
    async fn with(settings: impl Fn(&str) -> Vec<(String, String)>, public_url: Option<&str>) -> Self {
        let fake = Fake::start().await;
        let server = Server::new();
        Self::of(fake, server, settings, public_url)
    }

    fn of(
        fake: Fake,
        mut server: Server,
        settings: impl Fn(&str) -> Vec<(String, String)>,
        public_url: Option<&str>,
    ) -> Self {
        server.ports.public_url = public_url.map(str::to_owned);
        let channel = made(&settings(&fake.url), &server).unwrap();
        Self { fake, server, channel }
    }

    /// The same books and the same provider after a restart.
    fn restarted(self, settings: impl Fn(&str) -> Vec<(String, String)>, public_url: Option<&str>) -> Self {
        let books: Arc<MemoryBooks> = Arc::clone(&self.server.books);
        Self::of(self.fake, Server::with(books), settings, public_url)
    }

    async fn deliver(&self) -> Handover {
        self.channel.deliver(message_of(1)).await
    }

    async fn news(&mut self) -> ChannelNews {
        let news = tokio::time::timeout(PATIENCE, self.server.news.recv()).await;
        news.unwrap().unwrap()
    }

    async fn cost(&mut self) -> UpstreamCost {
        let cost = tokio::time::timeout(PATIENCE, self.server.costs.recv()).await;
        cost.unwrap().unwrap()
    }

    fn told_nothing(&mut self) -> bool {
        self.server.news.try_recv().is_err() && self.server.logins.try_recv().is_err()
    }
}

fn made(settings: &[(String, String)], server: &Server) -> Result<Arc<dyn Channel>, ConfigError> {
    let settings: Vec<_> = settings
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    make(config("sms", KIND, &settings).unwrap(), server.ports.clone())
}

fn owned(settings: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = settings.iter().map(|(key, value)| ((*key).into(), (*value).into()));
    owned.collect()
}

/// A message that was sent just now.
fn message_of(number: u64) -> OutgoingMessage {
    message(number, PHONE, CODE, clock::now()).unwrap()
}

fn key_of(message: &OutgoingMessage) -> MessageKey {
    MessageKey {
        account: message.account,
        request: message.request,
    }
}

fn handle(name: &str) -> Handle {
    Handle::new(name).unwrap()
}

fn accepted(name: &str) -> Handover {
    Handover::Accepted(Some(handle(name)))
}

fn prompt() -> LoginPrompt {
    let message = message_of(9);
    LoginPrompt {
        attempt: 5,
        phone: message.phone,
        code: message.code,
        device: "Firefox".to_owned(),
        address: "192.0.2.1".to_owned(),
        at: message.sent_at,
        expires_at: message.expires_at,
    }
}

/// What a form says.
fn form(call: &Call) -> std::collections::BTreeMap<String, String> {
    url::form_urlencoded::parse(&call.body).into_owned().collect()
}

fn failed(handover: &Handover) -> bool {
    matches!(handover, Handover::Failed(_))
}

/// What is logged on this thread from now on.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(lock(&self.0).clone()).unwrap()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn log() -> (Log, tracing::subscriber::DefaultGuard) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_max_level(tracing::Level::TRACE);
    let guard = tracing::subscriber::set_default(subscriber.finish());
    (log, guard)
}

/// What a handover must be.
type IsIt = fn(&Handover) -> bool;
