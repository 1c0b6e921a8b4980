//! WhatsApp's Cloud API for tests of the channel `whatsapp`: `e2e/python/cloud_api.py`, which judges what it gets, and reads and signs
//! updates, with the library `pywa`.

use std::io;

use serde_json::{Value, json};

use super::node::Script;

/// A running Cloud API. It ends when this is dropped.
#[derive(Debug)]
pub struct CloudApi {
    script: Script,
    url: String,
}

/// An update as Meta would post it.
#[derive(Debug, Clone)]
pub struct Signed {
    /// The body, byte for byte.
    pub body: String,
    /// The signature's header, in lower case, and its value.
    pub header: (String, String),
    /// What `pywa` reads out of the update: an object for each handler that it called.
    pub read: Vec<Value>,
}

impl CloudApi {
    /// Starts one and waits until it listens on 127.0.0.1. `options`: `phone_number_id`, `access_token`, `app_secret`,
    /// `verify_token`.
    pub async fn start(options: &Value) -> io::Result<Self> {
        let mut script = Script::start_python("cloud_api.py", &options.to_string())?;
        let listening = script.event("listening").await?;
        let url = text(&listening, "url");
        Ok(Self { script, url })
    }

    /// What to set as a channel's `base_url`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The next message that was posted: `ours` and `theirs`, what `pywa` posts for the same, with `path`, `authorization` and
    /// `content_type`.
    pub async fn sent(&mut self) -> io::Result<Value> {
        self.script.event("sent").await
    }

    /// The next message is refused with that code. How `pywa` calls such an error: its own name first, then its families.
    pub async fn refuses(&mut self, status: u16, code: i64) -> io::Result<Vec<String>> {
        let command = json!({ "do": "refuse", "status": status, "code": code });
        self.script.tell(&command).await?;
        let error = self.script.event("error").await?;
        let names = error["names"].as_array().into_iter().flatten();
        Ok(names.filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// An update with its signature.
    pub async fn signs(&mut self, update: &Value) -> io::Result<Signed> {
        self.script.tell(&json!({ "do": "sign", "update": update })).await?;
        let signed = self.script.event("signed").await?;
        Ok(Signed {
            body: text(&signed, "body"),
            header: (text(&signed, "header"), text(&signed, "signature")),
            read: signed["read"].as_array().cloned().unwrap_or_default(),
        })
    }

    /// Whether `pywa` takes a body with that signature for genuine.
    pub async fn believes(&mut self, body: &str, signature: &str) -> io::Result<bool> {
        let command = json!({ "do": "judge", "body": body, "signature": signature });
        self.script.tell(&command).await?;
        Ok(self.script.event("judged").await?["refused"].is_null())
    }

    /// The status and the text by which `pywa` answers a handshake.
    pub async fn handshake(&mut self, token: &str, challenge: &str) -> io::Result<(u64, String)> {
        let command = json!({ "do": "handshake", "token": token, "challenge": challenge });
        self.script.tell(&command).await?;
        let answered = self.script.event("answered").await?;
        Ok((answered["status"].as_u64().unwrap_or_default(), text(&answered, "text")))
    }

    /// What `pywa` posts to create the template that the docs page creates.
    pub async fn creates(&mut self, name: &str, language: &str) -> io::Result<Value> {
        let command = json!({ "do": "template", "name": name, "language": language });
        self.script.tell(&command).await?;
        Ok(self.script.event("created").await?["body"].clone())
    }
}

fn text(event: &Value, key: &str) -> String {
    event[key].as_str().unwrap_or_default().to_owned()
}
