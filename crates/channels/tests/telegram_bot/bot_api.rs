//! A Bot API in the test's own process, which speaks whatever a test wants to hear: refusals, silence, rubbish, broken connections.
//! Where nothing else was said it answers as Telegram does; `getUpdates` keeps what was not confirmed, and waits while there is
//! nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::support::{CHAT, NOW_S, TOKEN, soon};

/// What a call is answered.
#[derive(Clone)]
pub(crate) enum Reply {
    /// An HTTP status and JSON.
    Json(u16, Value),
    /// These bytes instead of HTTP, then the end.
    Bytes(Vec<u8>),
    /// The connection ends without an answer.
    Break,
    /// Nothing, ever.
    Silence,
}

/// What Telegram answers to refuse a call.
pub(crate) fn refusal(code: u16, description: &str) -> Reply {
    Reply::Json(
        code,
        json!({ "ok": false, "error_code": code, "description": description }),
    )
}

/// What it answers to throttle.
pub(crate) fn throttling(seconds: u64) -> Reply {
    let parameters = json!({ "retry_after": seconds });
    let description = format!("Too Many Requests: retry after {seconds}");
    Reply::Json(
        429,
        json!({ "ok": false, "error_code": 429, "description": description, "parameters": parameters }),
    )
}

#[derive(Default)]
struct State {
    calls: Vec<(String, Value)>,
    script: BTreeMap<String, VecDeque<Reply>>,
    updates: Vec<Value>,
    next_message: i64,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

/// A running Bot API; it ends when it is dropped.
pub(crate) struct BotApi {
    url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for BotApi {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl BotApi {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared::default());
        let ours = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&ours)));
            }
        });
        Self { url, shared, task }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The next call of a method without an answer yet is answered so.
    pub(crate) fn will(&self, method: &str, reply: Reply) {
        let mut state = self.shared.state.lock().unwrap();
        state.script.entry(method.to_owned()).or_default().push_back(reply);
    }

    /// Something happens that bots are told.
    pub(crate) fn happens(&self, update: Value) {
        self.shared.state.lock().unwrap().updates.push(update);
        self.shared.changed.notify_waiters();
    }

    /// The parameters of each call of a method.
    pub(crate) fn calls(&self, method: &str) -> Vec<Value> {
        let state = self.shared.state.lock().unwrap();
        let calls = state.calls.iter().filter(|(called, _)| called == method);
        calls.map(|(_, parameters)| parameters.clone()).collect()
    }

    /// The parameters of the n-th call of a method (from one), once it came.
    pub(crate) async fn call(&self, method: &str, number: usize) -> Value {
        soon(async {
            loop {
                let changed = self.shared.changed.notified();
                if let Some(call) = self.calls(method).into_iter().nth(number - 1) {
                    return call;
                }
                changed.await;
            }
        })
        .await
    }

    /// Until everything that happened was confirmed.
    pub(crate) async fn all_confirmed(&self) {
        soon(async {
            loop {
                let changed = self.shared.changed.notified();
                if self.shared.state.lock().unwrap().updates.is_empty() {
                    return;
                }
                changed.await;
            }
        })
        .await;
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut buffer = Vec::new();
    while let Some((method, parameters)) = request(&mut stream, &mut buffer).await {
        let scripted = {
            let mut state = shared.state.lock().unwrap();
            state.calls.push((method.clone(), parameters.clone()));
            let scripted = state.script.get_mut(&method).and_then(VecDeque::pop_front);
            if !matches!(scripted, Some(Reply::Silence | Reply::Break)) {
                confirm(&mut state, &parameters);
            }
            scripted
        };
        shared.changed.notify_waiters();
        let reply = match scripted {
            Some(reply) => reply,
            None if method == "getUpdates" => Reply::Json(200, updates(&shared, &parameters).await),
            None => Reply::Json(200, ordinary(&shared, &method)),
        };
        let bytes = match reply {
            Reply::Json(status, body) => {
                let body = body.to_string();
                format!(
                    "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                )
                .into_bytes()
            }
            Reply::Bytes(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Reply::Break => return,
            Reply::Silence => std::future::pending().await,
        };
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// The method and the parameters of the next request.
async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(String, Value)> {
    loop {
        let text = String::from_utf8_lossy(buffer);
        if let Some((head, rest)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.unwrap_or("0").trim().parse().ok()?;
            if rest.len() >= length {
                let path = text.split(' ').nth(1)?.to_owned();
                let method = path.strip_prefix(&format!("/bot{TOKEN}/"))?.to_owned();
                let parameters = serde_json::from_str(&rest[..length]).unwrap_or(Value::Null);
                buffer.drain(..head.len() + 4 + length);
                return Some((method, parameters));
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// Forgets what was taken.
fn confirm(state: &mut State, parameters: &Value) {
    if let Some(offset) = parameters["offset"].as_i64() {
        let is_left = |update: &Value| update["update_id"].as_i64() >= Some(offset);
        state.updates.retain(is_left);
    }
}

async fn updates(shared: &Shared, parameters: &Value) -> Value {
    let waits = Duration::from_secs(parameters["timeout"].as_u64().unwrap_or(0));
    let found = tokio::time::timeout(waits, async {
        loop {
            let changed = shared.changed.notified();
            let updates = shared.state.lock().unwrap().updates.clone();
            if !updates.is_empty() {
                return updates;
            }
            changed.await;
        }
    });
    json!({ "ok": true, "result": found.await.unwrap_or_default() })
}

fn ordinary(shared: &Shared, method: &str) -> Value {
    let result = match method {
        "getMe" => json!({ "id": 123_456, "is_bot": true, "first_name": "Codes", "username": "codes_bot" }),
        "getWebhookInfo" => json!({ "url": "", "has_custom_certificate": false, "pending_update_count": 0 }),
        "sendMessage" => {
            let mut state = shared.state.lock().unwrap();
            state.next_message += 1;
            json!({ "message_id": state.next_message, "date": NOW_S, "chat": { "id": CHAT, "type": "private" } })
        }
        _ => json!(true),
    };
    json!({ "ok": true, "result": result })
}

/// A private message of that chat's person.
pub(crate) fn written(update: i64, seconds: i64, chat: i64, message: Value) -> Value {
    let mut message = message;
    message["message_id"] = json!(update);
    message["date"] = json!(seconds);
    message["chat"] = json!({ "id": chat, "type": "private", "first_name": "Ada" });
    message["from"] = json!({ "id": chat, "is_bot": false, "first_name": "Ada" });
    json!({ "update_id": update, "message": message })
}

/// That chat's person writes.
pub(crate) fn text(update: i64, seconds: i64, chat: i64, text: &str) -> Value {
    written(update, seconds, chat, json!({ "text": text }))
}

/// That chat's person shares a contact of their own.
pub(crate) fn contact(update: i64, seconds: i64, chat: i64, phone_number: &str) -> Value {
    let contact = json!({ "phone_number": phone_number, "first_name": "Ada", "user_id": chat });
    written(update, seconds, chat, json!({ "contact": contact }))
}

/// Somebody presses a button of a message in a chat.
pub(crate) fn press(update: i64, chat: i64, message: i64, data: &str) -> Value {
    json!({ "update_id": update, "callback_query": {
        "id": format!("query-{update}"),
        "from": { "id": chat, "is_bot": false, "first_name": "Ada" },
        "chat_instance": "1",
        "message": { "message_id": message, "date": NOW_S, "chat": { "id": chat, "type": "private" } },
        "data": data,
    } })
}

/// That chat's person blocks the bot.
pub(crate) fn blocked(update: i64, seconds: i64, chat: i64) -> Value {
    json!({ "update_id": update, "my_chat_member": {
        "chat": { "id": chat, "type": "private" },
        "from": { "id": chat, "is_bot": false, "first_name": "Ada" },
        "date": seconds,
        "old_chat_member": { "status": "member", "user": { "id": 123_456, "is_bot": true, "first_name": "Codes" } },
        "new_chat_member": { "status": "kicked", "until_date": 0, "user": { "id": 123_456, "is_bot": true, "first_name": "Codes" } },
    } })
}

/// What stands behind the n-th inline button of a message.
pub(crate) fn data(message: &Value, button: usize) -> String {
    let data = &message["reply_markup"]["inline_keyboard"][0][button]["callback_data"];
    data.as_str().unwrap().to_owned()
}
