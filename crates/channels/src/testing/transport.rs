//! An operator's transport for tests of the channel `webhook`: `e2e/python/transport.py`, which checks and makes signatures with the
//! library that the Standard Webhooks project publishes.

use std::io;

use serde_json::{Value, json};

use super::node::Script;

/// A running transport. It ends when this is dropped.
#[derive(Debug)]
pub struct Transport {
    script: Script,
    port: u16,
}

impl Transport {
    /// Starts one and waits until it listens on 127.0.0.1. `options`: `secret`, and `news_secret` where news is signed by another.
    pub async fn start(options: Value) -> io::Result<Self> {
        let mut script = Script::start_python("transport.py", &options.to_string())?;
        let listening = script.event("listening").await?;
        let port = listening.get("port").and_then(Value::as_u64);
        let port = port.and_then(|port| u16::try_from(port).ok());
        let port = port.ok_or_else(|| io::Error::other("it listens on no port"))?;
        Ok(Self { script, port })
    }

    /// Where it takes calls.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// From now on it answers calls of that type so.
    pub async fn answers(&mut self, kind: &str, status: u16, body: Value) -> io::Result<()> {
        let command = json!({"do": "answer", "type": kind, "status": status, "body": body});
        self.script.tell(&command).await
    }

    /// It posts news, signed; what the answer was: its status and its text.
    pub async fn posts(&mut self, url: &str, kind: &str, data: Value) -> io::Result<(u64, String)> {
        let command = json!({"do": "news", "url": url, "type": kind, "data": data});
        self.script.tell(&command).await?;
        let posted = self.script.event("posted").await?;
        let status = posted.get("status").and_then(Value::as_u64).unwrap_or_default();
        let text = posted.get("text").and_then(Value::as_str).unwrap_or_default();
        Ok((status, text.to_owned()))
    }

    /// Waits for the next event of a kind: `call`, `forged`.
    pub async fn event(&mut self, kind: &str) -> io::Result<Value> {
        self.script.event(kind).await
    }
}
