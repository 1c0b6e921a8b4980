//! A channel, the server that lends to it, and the message centre that it talks to.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use countersign_channels::testing::smsc::Smsc;
use countersign_channels::testing::{self, Server};
use countersign_channels::{Channel, ChannelNews, Handle, Handover, OutgoingMessage, make};
use countersign_core::{LegName, News, Timestamp};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A mobile number.
pub(crate) const NUMBER: &str = "+4915123456789";
/// What must appear in no log and no error.
pub(crate) const PASSWORD: &str = "hush-pw1";

pub(crate) struct Fixture {
    pub(crate) smsc: Smsc,
    pub(crate) server: Server,
    pub(crate) channel: Arc<dyn Channel>,
    pub(crate) end: watch::Sender<bool>,
    running: Option<JoinHandle<()>>,
}

impl Fixture {
    /// A message centre that behaves so, and a channel that is bound to it.
    pub(crate) async fn new(behaviour: Value, settings: &[(&str, &str)]) -> Self {
        Self::with(Server::new(), behaviour, settings).await
    }

    pub(crate) async fn with(server: Server, behaviour: Value, settings: &[(&str, &str)]) -> Self {
        let mut options = json!({"password": PASSWORD});
        merge(&mut options, behaviour);
        let mut smsc = Smsc::start(options).await.unwrap();
        let channel = channel(&server, smsc.port(), settings);
        let (end, running) = run(&channel);
        smsc.event("bound").await.unwrap();
        Self {
            smsc,
            server,
            channel,
            end,
            running: Some(running),
        }
    }

    /// Hands a message over; again and again while nothing could be sent.
    pub(crate) async fn deliver(&self, message: &OutgoingMessage) -> Handover {
        for _ in 0..30 {
            match self.channel.deliver(message.clone()).await {
                Handover::Later(wait) => tokio::time::sleep(wait).await,
                other => return other,
            }
        }
        panic!("it is never taken");
    }

    /// Hands a message over that is accepted. The server keeps its handle.
    pub(crate) async fn accepted(&self, message: &OutgoingMessage) -> Handle {
        let handover = self.deliver(message).await;
        let Handover::Accepted(Some(handle)) = handover else {
            panic!("{handover:?}")
        };
        handle
    }

    pub(crate) async fn news(&mut self) -> ChannelNews {
        let news = tokio::time::timeout(Duration::from_secs(30), self.server.news.recv());
        news.await.expect("news come in time").expect("the channel lives")
    }

    /// What came, and of which message.
    pub(crate) async fn next(&mut self) -> (News, u64) {
        let news = self.news().await;
        (news.news, news.request.random())
    }

    pub(crate) async fn tell(&mut self, command: Value) {
        self.smsc.tell(command).await.unwrap();
    }

    pub(crate) async fn event(&mut self, kind: &str) -> Value {
        self.smsc.event(kind).await.unwrap()
    }

    /// Ends the channel in good order.
    pub(crate) async fn end(&mut self) {
        self.end.send_replace(true);
        if let Some(running) = self.running.take() {
            let ended = tokio::time::timeout(Duration::from_secs(10), running);
            ended.await.expect("it ends in time").unwrap();
        }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

pub(crate) fn name() -> LegName {
    LegName::parse("sms").unwrap()
}

/// A channel that talks to a port of this machine.
pub(crate) fn channel(server: &Server, port: u16, settings: &[(&str, &str)]) -> Arc<dyn Channel> {
    let port = port.to_string();
    let mut all = vec![
        ("host", "127.0.0.1"),
        ("port", port.as_str()),
        ("system_id", "countersign"),
        ("password", PASSWORD),
    ];
    all.retain(|(key, _)| settings.iter().all(|(other, _)| other != key));
    all.extend_from_slice(settings);
    let config = testing::config("sms", "smpp", &all).unwrap();
    make(config, server.ports.clone()).unwrap()
}

pub(crate) fn run(channel: &Arc<dyn Channel>) -> (watch::Sender<bool>, JoinHandle<()>) {
    let (end, ended) = watch::channel(false);
    (end, tokio::spawn(Arc::clone(channel).run(ended)))
}

/// A message with the number of its request, which lives for five minutes from now.
pub(crate) fn message(number: u64) -> OutgoingMessage {
    message_to(number, NUMBER)
}

pub(crate) fn message_to(number: u64, phone: &str) -> OutgoingMessage {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let now = Timestamp::from_millis(i64::try_from(now).unwrap());
    testing::message(number, phone, "482913", now).unwrap()
}

fn merge(options: &mut Value, more: Value) {
    let (Some(options), Value::Object(more)) = (options.as_object_mut(), more) else {
        return;
    };
    options.extend(more);
}
