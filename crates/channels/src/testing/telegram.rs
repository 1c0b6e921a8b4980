//! Telegram for tests: the Bot API and its users as the npm package `telegram-test-api` emulates them. It knows what works; what
//! goes wrong (throttling, blocked bots, broken answers) it doesn't.

use std::io;

use serde_json::{Value, json};

use super::node::Script;

/// A running emulator with one bot. It ends when this is dropped.
#[derive(Debug)]
pub struct Telegram {
    script: Script,
    url: String,
}

/// A message that the bot sent.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Names it in its chat.
    pub id: i64,
    /// Its parameters, as the bot called `sendMessage`.
    pub message: Value,
}

impl Sent {
    /// What is to be read.
    pub fn text(&self) -> &str {
        self.message["text"].as_str().unwrap_or_default()
    }

    /// What stands behind the inline button with that text.
    pub fn data(&self, button: &str) -> Option<&str> {
        let rows = self.message["reply_markup"]["inline_keyboard"].as_array()?;
        let mut buttons = rows.iter().filter_map(Value::as_array).flatten();
        buttons.find(|found| found["text"] == button)?["callback_data"].as_str()
    }
}

impl Telegram {
    /// Starts one for the bot with that token, and waits until it listens.
    pub async fn start(token: &str) -> io::Result<Self> {
        let mut script = Script::start("telegram.js", token, "telegram-test-api")?;
        let listening = script.event("listening").await?;
        let url = listening["url"].as_str().unwrap_or_default().to_owned();
        Ok(Self { script, url })
    }

    /// What to set as a channel's `base_url`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The user of a private chat writes something.
    pub async fn write(&mut self, chat: i64, text: &str) -> io::Result<()> {
        let action = json!({ "do": "write", "chat": chat, "text": text });
        self.script.tell(&action).await
    }

    /// The user of a private chat shares a contact with that number; `owner` is whose number Telegram knows it to be.
    pub async fn share_contact(&mut self, chat: i64, phone_number: &str, owner: i64) -> io::Result<()> {
        let contact = json!({ "phone_number": phone_number, "first_name": "Ada", "user_id": owner });
        let action = json!({ "do": "share", "chat": chat, "contact": contact });
        self.script.tell(&action).await
    }

    /// The user of a private chat presses an inline button.
    pub async fn press(&mut self, chat: i64, message: i64, data: &str) -> io::Result<()> {
        let action = json!({ "do": "press", "chat": chat, "message": message, "data": data });
        self.script.tell(&action).await
    }

    /// The next message that the bot sent.
    pub async fn sent(&mut self) -> io::Result<Sent> {
        let event = self.script.event("sent").await?;
        Ok(Sent {
            id: event["id"].as_i64().unwrap_or_default(),
            message: event["message"].clone(),
        })
    }

    /// The next message that the bot changed, as it is now.
    pub async fn edited(&mut self) -> io::Result<Value> {
        let event = self.script.event("edited").await?;
        Ok(event["message"].clone())
    }

    /// The webhook that the bot set; null where there is none.
    pub async fn webhook(&mut self) -> io::Result<Value> {
        self.script.tell(&json!({ "do": "webhook" })).await?;
        let event = self.script.event("webhook").await?;
        Ok(event["webhook"].clone())
    }
}
