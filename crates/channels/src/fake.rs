//! For tests of channels that call over HTTP: the other side, which does what a test tells it to, once for each call, and keeps what
//! it was asked. How a real one behaves is tested with programs that others wrote.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

/// Far above what anything takes here: a loaded machine is no error.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What the other side does with one call.
#[derive(Debug)]
pub(crate) enum Reaction {
    /// Answers with a status and a body.
    Say(u16, String),
    /// The same with a header.
    SayWith(u16, &'static str, String),
    /// The same once the test says so.
    SayAfter(Arc<Notify>, String),
    /// Writes these bytes, whatever they are, and closes.
    Write(Vec<u8>),
    /// Reads the call, closes and says nothing.
    Close,
    /// Reads the call and says nothing until the caller goes away.
    Hang,
}

/// What the other side was asked.
#[derive(Debug)]
pub(crate) struct Call {
    /// `POST`.
    pub(crate) verb: String,
    /// Path and query.
    pub(crate) target: String,
    /// By name in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Call {
    /// The last part of the path, without the query.
    pub(crate) fn method(&self) -> &str {
        let path = self.target.split('?').next().unwrap();
        path.rsplit('/').next().unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub(crate) struct Fake {
    pub(crate) url: String,
    reactions: Arc<Mutex<VecDeque<Reaction>>>,
    calls: mpsc::UnboundedReceiver<Call>,
    task: JoinHandle<()>,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let reactions = Arc::<Mutex<VecDeque<Reaction>>>::default();
        let (sender, calls) = mpsc::unbounded_channel();
        let told = Arc::clone(&reactions);
        let task = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (told, sender) = (Arc::clone(&told), sender.clone());
                tokio::spawn(async move {
                    // A caller who goes away is what some tests are about.
                    let _ = serve(connection, &told, &sender).await;
                });
            }
        });
        Self {
            url,
            reactions,
            calls,
            task,
        }
    }

    /// The next calls are answered so, in this order; a call beyond them is closed unanswered.
    pub(crate) fn will(&self, reactions: impl IntoIterator<Item = Reaction>) {
        self.reactions.lock().unwrap().extend(reactions);
    }

    /// The next call that came, or comes.
    pub(crate) async fn call(&mut self) -> Call {
        tokio::time::timeout(PATIENCE, self.calls.recv())
            .await
            .unwrap()
            .unwrap()
    }

    /// Whether no call came but those that were looked at.
    pub(crate) fn was_not_called(&mut self) -> bool {
        self.calls.try_recv().is_err()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut connection: TcpStream,
    reactions: &Mutex<VecDeque<Reaction>>,
    calls: &mpsc::UnboundedSender<Call>,
) -> std::io::Result<()> {
    let call = read_call(&mut connection).await?;
    let reaction = reactions.lock().unwrap().pop_front().unwrap_or(Reaction::Close);
    // The test may have ended.
    let _ = calls.send(call);
    let answer = match reaction {
        Reaction::Say(status, body) => answer(status, "", &body),
        Reaction::SayWith(status, header, body) => answer(status, header, &body),
        Reaction::SayAfter(signal, body) => {
            signal.notified().await;
            answer(200, "", &body)
        }
        Reaction::Write(bytes) => bytes,
        Reaction::Close => return Ok(()),
        Reaction::Hang => {
            // Ends when the caller closes.
            connection.read_to_end(&mut Vec::new()).await?;
            return Ok(());
        }
    };
    connection.write_all(&answer).await?;
    connection.shutdown().await
}

fn answer(status: u16, header: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} Said\r\n{header}connection: close\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

async fn read_call(connection: &mut TcpStream) -> std::io::Result<Call> {
    let mut read = Vec::new();
    let head_end = loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if connection.read_buf(&mut read).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    };
    let head = String::from_utf8_lossy(&read[..head_end]).into_owned();
    let mut lines = head.lines();
    let mut first = lines.next().unwrap().split(' ').map(str::to_owned);
    let (verb, target) = (first.next().unwrap(), first.next().unwrap());
    let headers: BTreeMap<_, _> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    while read.len() < head_end + 4 + length {
        if connection.read_buf(&mut read).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let body = read.split_off(head_end + 4);
    Ok(Call {
        verb,
        target,
        headers,
        body,
    })
}
