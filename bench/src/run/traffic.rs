//! Callers and receivers for whole verifications: one connection each, HTTP/1.1 written and read by hand, so that the load costs
//! as little as it can on the machine that it shares with the server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Longest body that is read: answers and reports have some hundreds of bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// A caller's kept connection.
pub(super) struct Caller {
    stream: BufStream<TcpStream>,
    head: String,
}

impl Caller {
    /// Connects to a server with an account's token.
    pub(super) async fn connect(server: SocketAddr, token: &str) -> Result<Self> {
        let stream = TcpStream::connect(server).await.context("connecting to the server")?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufStream::new(stream),
            head: format!("Host: {server}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"),
        })
    }

    /// Calls a method; answers the body.
    pub(super) async fn call(&mut self, method: &str, body: &str) -> Result<String> {
        Ok(self.exchange(method, body).await?.1)
    }

    /// The same, with the answer's head before it.
    pub(super) async fn exchange(&mut self, method: &str, body: &str) -> Result<(String, String)> {
        let length = body.len();
        let request = format!(
            "POST /{method} HTTP/1.1\r\n{}Content-Length: {length}\r\n\r\n{body}",
            self.head
        );
        self.stream.write_all(request.as_bytes()).await?;
        self.stream.flush().await?;
        message(&mut self.stream)
            .await?
            .context("the server closed a connection")
    }
}

/// Tells who waits for a report, by the number in its payload, when it came.
pub(super) type Arrivals = Arc<[mpsc::UnboundedSender<Instant>]>;

/// How a receiver treats its reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Answers 200 at once.
    Prompt,
    /// Takes them and never answers.
    Hanging,
}

/// A receiver of reports on a port of its own; dropped, it is gone.
pub(super) struct Sink {
    /// Where reports go.
    pub(super) url: String,
    _connections: JoinSet<()>,
}

impl Sink {
    /// Opens one.
    pub(super) async fn open(arrivals: Arrivals, manner: Manner) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("opening a sink")?;
        let url = format!("http://{}/r", listener.local_addr()?);
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let arrivals = Arc::clone(&arrivals);
                // A connection that ends, ends: the server opens another.
                open.spawn(async move { drop(receive(stream, &arrivals, manner).await) });
                while open.try_join_next().is_some() {}
            }
        });
        Ok(Self {
            url,
            _connections: connections,
        })
    }
}

async fn receive(stream: TcpStream, arrivals: &Arrivals, manner: Manner) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufStream::new(stream);
    while let Some((_, body)) = message(&mut stream).await? {
        let waiter = text_after(&body, r#""payload":""#).and_then(|number| number.parse::<usize>().ok());
        if manner == Manner::Hanging {
            // Held open until the server gives up.
            continue;
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await?;
        stream.flush().await?;
        if let Some(waiter) = waiter.and_then(|number| arrivals.get(number)) {
            // Who no longer waits doesn't care.
            let _ = waiter.send(Instant::now());
        }
    }
    Ok(())
}

/// Reads one HTTP message, its head and its body; `None` at the end of the connection.
async fn message(stream: &mut BufStream<TcpStream>) -> Result<Option<(String, String)>> {
    let (mut head, mut line, mut length) = (String::new(), String::new(), 0);
    if stream.read_line(&mut head).await? == 0 {
        return Ok(None);
    }
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            bail!("a message ended in its head");
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    if length > MAX_BODY_BYTES {
        bail!("a message of {length} bytes");
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Some((head, String::from_utf8(body)?)))
}

/// The text between a mark and the next quotation mark.
pub(super) fn text_after<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(mark)?;
    rest.split_once('"').map(|(found, _)| found)
}
