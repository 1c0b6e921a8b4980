//! One connection to the mail server: how it is opened (TCP, TLS or STARTTLS, EHLO, AUTH), and one message over it, step by step, so that
//! it is known how far a message had come when something went wrong. `lettre` speaks the protocol; the stream below it is opened here,
//! since its own doesn't bound what a server sends and keeps what was sent in the clear before TLS began.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use lettre::address::Address;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::commands::{Data, Ehlo, Mail, Quit, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, MailBodyParameter, MailParameter, RcptParameter};
use lettre::transport::smtp::response::Response;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::settings::{Security, Settings};

/// What a server may send in all over one connection, in bytes: it answers a message with less than a thousand.
const MAX_READ: usize = 512 * 1024;
/// What a server may send before TLS begins.
const MAX_PLAIN_READ: usize = 16 * 1024;
/// Of a reply's line: `250-`.
const STATUS_LENGTH: usize = 4;
/// How long a good-bye may take.
const QUIT_TIMEOUT: Duration = Duration::from_secs(2);

/// What is needed to open connections.
pub(super) struct Dialer {
    settings: Arc<Settings>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// What a server can do besides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Offers {
    /// Delivery status notifications (RFC 3461).
    pub(super) reports: bool,
    /// Addresses beyond ASCII (RFC 6531).
    pub(super) utf8: bool,
    /// Bytes beyond ASCII in messages (RFC 6152).
    pub(super) eight_bits: bool,
    /// Wants to know sizes (RFC 1870), and takes messages up to that one; zero where it has no limit.
    pub(super) size: Option<u64>,
}

/// An open connection, ready for a message.
pub(super) struct Connection {
    smtp: AsyncSmtpConnection,
    offers: Offers,
    /// How many messages it has carried.
    pub(super) carried: u32,
    /// Since when it waits for one.
    pub(super) idle_since: Instant,
    timeout: Duration,
}

/// What a server answered, or that it didn't.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It said no, with that code (4xx or 5xx).
    Reply { code: u16, text: String },
    /// The connection broke off, or couldn't be opened.
    Lost(String),
    /// Nothing came in time.
    TimedOut,
    /// What came is no SMTP.
    Garbage,
    /// It doesn't offer what is needed.
    NotOffered(&'static str),
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DialError {
    pub(super) step: Step,
    pub(super) trouble: Trouble,
}

/// How far the opening of a connection came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Resolve,
    Connect,
    Greeting,
    /// The server doesn't offer STARTTLS, or refuses it.
    StartTls,
    Tls,
    Hello,
    Authenticate,
}

/// How far a message had come. Before its content nothing of it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Sender,
    Recipient,
    BeforeContent,
    Content,
}

/// A message's way, for the server.
pub(super) struct Envelope<'a> {
    pub(super) from: &'a Address,
    pub(super) to: &'a Address,
    /// Names it in reports; asks for them where they are offered.
    pub(super) id: Option<&'a str>,
}

impl Dialer {
    /// `trust` is needed unless connections are in the clear. `None`: `host` can't stand in a certificate.
    pub(super) fn new(settings: Arc<Settings>, trust: Option<rustls::ClientConfig>) -> Option<Self> {
        let tls = match trust {
            None => None,
            Some(trust) => {
                let name = ServerName::try_from(settings.host.clone()).ok()?;
                Some((TlsConnector::from(Arc::new(trust)), name))
            }
        };
        Some(Self { settings, tls })
    }

    /// Opens a connection and signs in, all within the time-out.
    pub(super) async fn dial(&self) -> Result<Connection, DialError> {
        let mut step = Step::Resolve;
        let opened = tokio::time::timeout(self.settings.timeout, self.open(&mut step)).await;
        let opened = opened.unwrap_or(Err(Trouble::TimedOut));
        opened.map_err(|trouble| DialError { step, trouble })
    }

    async fn open(&self, step: &mut Step) -> Result<Connection, Trouble> {
        let settings = &self.settings;
        let addresses = tokio::net::lookup_host((settings.host.as_str(), settings.port));
        let addresses: Vec<_> = addresses.await.map_err(|error| lost(&error))?.collect();
        *step = Step::Connect;
        let mut tcp = TcpStream::connect(&addresses[..]).await.map_err(|error| lost(&error))?;
        // A command is small and waited for.
        let _ = tcp.set_nodelay(true);
        let peer = tcp.peer_addr().map_err(|error| lost(&error))?;
        *step = Step::Greeting;
        let greeting = match settings.security {
            Security::StartTls => start_tls(&mut tcp, &settings.hello, step).await?,
            Security::Tls | Security::None => Vec::new(),
        };
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(tcp),
            Some((connector, name)) => {
                *step = Step::Tls;
                Box::new(
                    connector
                        .connect(name.clone(), tcp)
                        .await
                        .map_err(|error| lost(&error))?,
                )
            }
        };
        *step = Step::Hello;
        let hello = Arc::new(AtomicBool::new(true));
        let wire = Wire {
            first: greeting,
            stream,
            peer,
            left: MAX_READ,
            line: Line::default(),
            hello: Arc::clone(&hello),
        };
        let smtp = AsyncSmtpConnection::connect_with_transport(Box::new(wire), &settings.hello).await;
        let mut smtp = smtp.map_err(|error| trouble(&error))?;
        // What `lettre` doesn't know of what is offered, it forgets.
        let offered = smtp.command(Ehlo::new(settings.hello.clone())).await;
        let offers = Offers::read(&offered.map_err(|error| trouble(&error))?);
        hello.store(false, Ordering::Relaxed);
        if let Some((user, password)) = &settings.credentials {
            *step = Step::Authenticate;
            let credentials = Credentials::new(user.clone(), password.reveal().to_owned());
            let answer = smtp.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await;
            // It is the client's own error where nothing fits.
            answer.map_err(|error| {
                if error.is_client() {
                    Trouble::NotOffered("AUTH PLAIN or LOGIN")
                } else {
                    trouble(&error)
                }
            })?;
        }
        Ok(Connection {
            smtp,
            offers,
            carried: 0,
            idle_since: Instant::now(),
            timeout: settings.timeout,
        })
    }
}

impl Connection {
    pub(super) const fn offers(&self) -> &Offers {
        &self.offers
    }

    /// Says who sends. Nothing was sent to anybody after it: [`Connection::reset`] takes it back.
    pub(super) async fn sender(&mut self, envelope: &Envelope<'_>, message: &[u8]) -> Result<(), Trouble> {
        let mut parameters = Vec::new();
        if self.offers.size.is_some() {
            parameters.push(MailParameter::Size(message.len()));
        }
        if !message.is_ascii() && self.offers.eight_bits {
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        if !(envelope.from.as_ref() as &str).is_ascii() || !(envelope.to.as_ref() as &str).is_ascii() {
            parameters.push(MailParameter::SmtpUtfEight);
        }
        if let Some(id) = envelope.id.filter(|_| self.offers.reports) {
            parameters.extend([mail_parameter("RET", "HDRS"), mail_parameter("ENVID", id)]);
        }
        let command = Mail::new(Some(envelope.from.clone()), parameters);
        self.command(command).await.map(drop)
    }

    /// Sends a message. Where it fails, says in which phase.
    pub(super) async fn send(&mut self, envelope: &Envelope<'_>, message: &[u8]) -> Result<Response, (Phase, Trouble)> {
        let timeout = self.timeout;
        let mut phase = Phase::Sender;
        let begun = tokio::time::timeout(timeout, async {
            self.sender(envelope, message).await?;
            phase = Phase::Recipient;
            let mut parameters = Vec::new();
            if envelope.id.is_some() && self.offers.reports {
                parameters.push(rcpt_parameter("NOTIFY", "SUCCESS,FAILURE,DELAY"));
                let to: &str = envelope.to.as_ref();
                if to.is_ascii() {
                    parameters.push(rcpt_parameter("ORCPT", &format!("rfc822;{to}")));
                }
            }
            self.command(Rcpt::new(envelope.to.clone(), parameters)).await?;
            phase = Phase::BeforeContent;
            let go_on = self.command(Data).await?;
            if go_on.has_code(354) {
                Ok(())
            } else {
                Err(Trouble::Garbage)
            }
        });
        let begun = begun.await.unwrap_or(Err(Trouble::TimedOut));
        begun.map_err(|trouble| (phase, trouble))?;
        let answered = tokio::time::timeout(timeout, self.smtp.message(message)).await;
        let answered = match answered {
            Ok(answered) => answered.map_err(|error| trouble(&error)),
            Err(_) => Err(Trouble::TimedOut),
        };
        let response = answered.map_err(|trouble| (Phase::Content, trouble))?;
        self.carried += 1;
        if response.has_code(250) {
            Ok(response)
        } else {
            Err((Phase::Content, Trouble::Garbage))
        }
    }

    /// Takes back what was begun; false where the connection is of no use any more.
    pub(super) async fn reset(&mut self) -> bool {
        let reset = tokio::time::timeout(QUIT_TIMEOUT, self.command(Rset)).await;
        matches!(reset, Ok(Ok(_)))
    }

    /// Ends it in good order, as far as the server lets.
    pub(super) async fn quit(mut self) {
        let _ = tokio::time::timeout(QUIT_TIMEOUT, self.command(Quit)).await;
    }

    async fn command(&mut self, command: impl fmt::Display) -> Result<Response, Trouble> {
        self.smtp.command(command).await.map_err(|error| trouble(&error))
    }
}

fn mail_parameter(keyword: &str, value: &str) -> MailParameter {
    MailParameter::Other {
        keyword: keyword.to_owned(),
        value: Some(value.to_owned()),
    }
}

fn rcpt_parameter(keyword: &str, value: &str) -> RcptParameter {
    RcptParameter::Other {
        keyword: keyword.to_owned(),
        value: Some(value.to_owned()),
    }
}

impl Offers {
    fn read(hello: &Response) -> Self {
        let mut offers = Self::default();
        // The first line is the server's name.
        for line in hello.message().skip(1) {
            let mut words = line.split_ascii_whitespace();
            match words.next().unwrap_or_default().to_ascii_uppercase().as_str() {
                "DSN" => offers.reports = true,
                "SMTPUTF8" => offers.utf8 = true,
                "8BITMIME" => offers.eight_bits = true,
                "SIZE" => offers.size = Some(words.next().and_then(|size| size.parse().ok()).unwrap_or(0)),
                _ => {}
            }
        }
        offers
    }
}

fn trouble(error: &SmtpError) -> Trouble {
    use std::error::Error as _;
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    if let Some(code) = error.status() {
        Trouble::Reply {
            code: code.into(),
            text: cause,
        }
    } else if error.is_response() && cause != "incomplete response" {
        Trouble::Garbage
    } else if error.is_response() {
        Trouble::Lost("the server closed it".to_owned())
    } else {
        Trouble::Lost(cause)
    }
}

/// Speaks in the clear up to the moment at which TLS begins. The greeting: what comes next expects to read it.
async fn start_tls(tcp: &mut TcpStream, hello: &ClientId, step: &mut Step) -> Result<Vec<u8>, Trouble> {
    let greeting = plain_reply(tcp).await?;
    positive(&greeting)?;
    let command = Ehlo::new(hello.clone()).to_string();
    tcp.write_all(command.as_bytes()).await.map_err(|error| lost(&error))?;
    let offered = plain_reply(tcp).await?;
    *step = Step::StartTls;
    positive(&offered)?;
    let offers_it = offered.lines().skip(1).any(|line| {
        let keyword = line.get(4..).unwrap_or_default().trim();
        keyword.eq_ignore_ascii_case("STARTTLS")
    });
    if !offers_it {
        return Err(Trouble::NotOffered("STARTTLS"));
    }
    tcp.write_all(b"STARTTLS\r\n").await.map_err(|error| lost(&error))?;
    // Whatever follows the answer in the clear would be taken for TLS, and refused there.
    positive(&plain_reply(tcp).await?)?;
    Ok(greeting.into_bytes())
}

fn lost(error: &io::Error) -> Trouble {
    Trouble::Lost(error.to_string())
}

/// A whole reply, byte by byte: not one more may be taken off the stream.
async fn plain_reply(tcp: &mut TcpStream) -> Result<String, Trouble> {
    let mut reply = Vec::new();
    let mut line_begins = 0;
    loop {
        if reply.len() >= MAX_PLAIN_READ {
            return Err(Trouble::Garbage);
        }
        let byte = match tcp.read_u8().await {
            Ok(byte) => byte,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Trouble::Lost("the server closed it".to_owned()));
            }
            Err(error) => return Err(lost(&error)),
        };
        reply.push(byte);
        if byte != b'\n' {
            continue;
        }
        let line = &reply[line_begins..];
        let has_code = line.len() >= 4 && line[..3].iter().all(u8::is_ascii_digit);
        match line.get(3) {
            Some(b'-') if has_code => line_begins = reply.len(),
            Some(b' ' | b'\r' | b'\n') if has_code => {
                return String::from_utf8(reply).map_err(|_| Trouble::Garbage);
            }
            _ => return Err(Trouble::Garbage),
        }
    }
}

fn positive(reply: &str) -> Result<(), Trouble> {
    let code = reply.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0);
    match code {
        200..=299 => Ok(()),
        400..=599 => Err(Trouble::Reply {
            code,
            text: reply.get(4..).unwrap_or_default().trim().to_owned(),
        }),
        _ => Err(Trouble::Garbage),
    }
}

/// What lies below: TCP, or TLS over it.
trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// A stream that first gives back what was read already, and doesn't carry more than a bound.
struct Wire {
    first: Vec<u8>,
    stream: Box<dyn Stream>,
    peer: SocketAddr,
    left: usize,
    line: Line,
    /// While greetings are read: `lettre` panics where a line of them holds nothing but blanks.
    hello: Arc<AtomicBool>,
}

/// The line of a reply that is being read.
#[derive(Default)]
struct Line {
    length: usize,
    /// Something that can be seen stands behind its status.
    is_seen: bool,
    ends: bool,
}

impl Line {
    /// Whether a line that these bytes end is one: it ends in CRLF, and behind its status there is nothing, or something to be seen.
    fn takes(&mut self, bytes: &[u8]) -> bool {
        for &byte in bytes {
            if byte == b'\n' {
                let is_blank = self.length > STATUS_LENGTH + 1 && !self.is_seen;
                if is_blank || !self.ends {
                    return false;
                }
                *self = Self::default();
                continue;
            }
            self.is_seen |= byte.is_ascii_graphic() && self.length >= STATUS_LENGTH;
            self.length += 1;
            self.ends = byte == b'\r';
        }
        true
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl AsyncTokioStream for Wire {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let count = self.first.len().min(buffer.remaining());
            let rest = self.first.split_off(count);
            buffer.put_slice(&self.first);
            self.first = rest;
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let read_now = buffer.filled().get(before..).unwrap_or_default();
        let count = read_now.len();
        if self.hello.load(Ordering::Relaxed) && !self.line.takes(read_now) {
            return Poll::Ready(Err(io::Error::other("the server’s greeting makes no sense")));
        }
        match self.left.checked_sub(count) {
            Some(left) => self.left = left,
            None => return Poll::Ready(Err(io::Error::other("the server sends too much"))),
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
