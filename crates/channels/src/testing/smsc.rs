//! A message centre for tests: the npm package `smpp` speaks the protocol. How it behaves and what it tells is said in
//! `e2e/node/smsc.js`; here is how it is started and asked.

use std::io;

use serde_json::Value;

use super::node::Script;

/// A running message centre. It ends when this is dropped.
#[derive(Debug)]
pub struct Smsc {
    script: Script,
    port: u16,
}

impl Smsc {
    /// Starts one and waits until it listens on 127.0.0.1. `options` are its settings and its behaviour, as an object; without a port it
    /// takes a free one.
    pub async fn start(options: Value) -> io::Result<Self> {
        let mut script = Script::start("smsc.js", &options.to_string(), "smpp")?;
        let listening = script.event("listening").await?;
        let port = listening.get("port").and_then(Value::as_u64);
        let port = port.and_then(|port| u16::try_from(port).ok());
        let port = port.ok_or_else(|| io::Error::other("it listens on no port"))?;
        Ok(Self { script, port })
    }

    /// Where it listens.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Tells it something (an object with `do`), and waits until it did that.
    pub async fn tell(&mut self, command: Value) -> io::Result<()> {
        self.script.tell(&command).await
    }

    /// Waits for the next event of a kind. Events of other kinds stay where they are.
    pub async fn event(&mut self, kind: &str) -> io::Result<Value> {
        self.script.event(kind).await
    }

    /// How many events of a kind were read and not asked for.
    pub fn left(&self, kind: &str) -> usize {
        self.script.left(kind)
    }

    /// Ends it, and waits until it has ended.
    pub async fn stop(self) -> io::Result<()> {
        self.script.stop().await
    }
}
