//! Twilio's Messages API for tests, by programs that others wrote: Prism holds each request against Twilio's own OpenAPI description, and
//! Twilio's helper library makes and judges the signatures of calls. What is told is said in `e2e/node/twilio.js`.

use std::collections::BTreeMap;
use std::io;

use serde_json::{Value, json};

use super::node::Script;

/// A running mock server. It ends when this is dropped.
#[derive(Debug)]
pub struct Twilio {
    script: Script,
    port: u16,
}

impl Twilio {
    /// Starts one and waits until it listens on a free port of 127.0.0.1.
    pub async fn start() -> io::Result<Self> {
        let mut script = Script::start("twilio.js", "{}", "@stoplight/prism-http-server")?;
        let listening = script.event("listening").await?;
        let port = listening.get("port").and_then(Value::as_u64);
        let port = port.and_then(|port| u16::try_from(port).ok());
        let port = port.ok_or_else(|| io::Error::other("it listens on no port"))?;
        Ok(Self { script, port })
    }

    /// What stands before `/2010-04-01`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The next request that came, or comes: an object with its `method`, `path`, `parameters`, the `status` of its answer, and the
    /// `violations` of the description that Prism found; empty where there are none.
    pub async fn request(&mut self) -> io::Result<Value> {
        self.script.event("request").await
    }

    /// Twilio's signature of a call, as its helper library makes it.
    pub async fn sign(&mut self, token: &str, url: &str, parameters: &BTreeMap<&str, &str>) -> io::Result<String> {
        let command = json!({"do": "sign", "token": token, "url": url, "parameters": parameters});
        self.script.tell(&command).await?;
        let signed = self.script.event("signed").await?;
        let signature = signed.get("signature").and_then(Value::as_str);
        signature
            .map(str::to_owned)
            .ok_or_else(|| io::Error::other("it told no signature"))
    }

    /// Whether Twilio's helper library takes a signature for genuine.
    pub async fn validate(
        &mut self,
        token: &str,
        url: &str,
        parameters: &BTreeMap<&str, &str>,
        signature: &str,
    ) -> io::Result<bool> {
        let command =
            json!({"do": "validate", "token": token, "url": url, "parameters": parameters, "signature": signature});
        self.script.tell(&command).await?;
        let validated = self.script.event("validated").await?;
        Ok(validated.get("genuine").and_then(Value::as_bool) == Some(true))
    }

    /// Ends it, and waits until it has ended.
    pub async fn stop(self) -> io::Result<()> {
        self.script.stop().await
    }
}
