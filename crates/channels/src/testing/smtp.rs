//! A mail server for tests: the Python package `aiosmtpd` speaks the protocol. How it behaves and what it tells is said in
//! `e2e/python/smtp.py`; here is how it is started and asked.

use std::io;

use serde_json::Value;

use super::node::Script;

/// A running mail server. It ends when this is dropped.
#[derive(Debug)]
pub struct Smtp {
    script: Script,
    port: u16,
}

impl Smtp {
    /// Starts one and waits until it listens on 127.0.0.1. `options` are its settings, as an object.
    pub async fn start(options: Value) -> io::Result<Self> {
        let mut script = Script::start_python("smtp.py", &options.to_string())?;
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
}
