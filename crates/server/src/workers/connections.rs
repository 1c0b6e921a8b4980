//! Connections to the receivers of delivery reports: a name is looked up once, each address is judged, and the connection goes
//! to an address that was judged, so that a name which changes its address between question and call gains nothing.
//! Connections that are free again are kept for a while, within bounds; a burst of reports shares its TLS handshakes.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use countersign_core::AccountId;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::ReportSettings;
use super::addresses::{ForbiddenAddress, is_public};
use super::lookups::Lookups;

/// Kept connections in all, and how long one is kept. Each is an open file and a task.
const MAX_IDLE: usize = 512;
const IDLE_LIFE: Duration = Duration::from_secs(20);
/// How long one of several addresses may take to accept, before the next is tried.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// Addresses of a name that are tried.
const MAX_ADDRESSES: usize = 8;
/// Most bytes of an answer's head that are buffered.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// How names and addresses are reached: the operating system's way, or a test's.
pub trait Network: Send + Sync + 'static {
    /// The addresses of a name. The answer is waited for to its end, so that a thread that hangs is counted.
    fn look_up<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
    /// A connection to exactly this address.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>>;
}

/// The operating system's resolver and sockets.
#[derive(Debug, Clone, Copy)]
pub struct SystemNetwork;

impl Network for SystemNetwork {
    fn look_up<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        }
        .boxed()
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        TcpStream::connect(address).boxed()
    }
}

/// An HTTP/1.1 connection that takes one request at a time.
pub(super) type Connection = http1::SendRequest<Full<Bytes>>;

/// What a URL leads to: scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    tls: bool,
    host: Host<String>,
    port: u16,
}

impl Origin {
    /// `None` where it isn't `http://` or `https://`.
    pub(super) fn of(url: &Url) -> Option<Self> {
        let tls = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        Some(Self {
            tls,
            host: url.host()?.to_owned(),
            port: url.port_or_known_default()?,
        })
    }

    pub(super) const fn is_tls(&self) -> bool {
        self.tls
    }
}

/// Makes connections and keeps those that are free.
pub(super) struct Connections {
    lookups: Lookups,
    network: Arc<dyn Network>,
    tls: TlsConnector,
    allow_private_addresses: bool,
    allow_loopback: bool,
    idle: Mutex<Idle>,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let allowed = &self.allow_private_addresses;
        f.debug_struct("Connections")
            .field("allow_private_addresses", allowed)
            .finish_non_exhaustive()
    }
}

impl Connections {
    pub(super) fn new(network: Arc<dyn Network>, tls: TlsConnector, settings: &ReportSettings) -> Self {
        Self {
            lookups: Lookups::new(Arc::clone(&network)),
            network,
            tls,
            allow_private_addresses: settings.allow_private_addresses,
            allow_loopback: settings.allow_loopback,
            idle: Mutex::default(),
        }
    }

    /// A kept connection, if there is one.
    pub(super) fn take(&self, origin: &Origin) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.take(origin, Instant::now())
    }

    /// Keeps a connection that is free again.
    pub(super) fn keep(&self, origin: Origin, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.keep(origin, connection, Instant::now());
    }

    /// Closes connections that nobody has used for a while.
    pub(super) fn close_old(&self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.close_old(Instant::now());
    }

    /// A new connection for a report of this account. The error's text names no URL.
    pub(super) async fn open(&self, account: AccountId, origin: &Origin) -> io::Result<Connection> {
        let stream = self.reach(account, origin).await?;
        // Reports are small and wait for nothing: they go out at once. Where that can't be set, they only go later.
        let _ = stream.set_nodelay(true);
        if !origin.tls {
            return handshake(stream).await;
        }
        let name = match &origin.host {
            Host::Domain(name) => ServerName::try_from(name.clone()).map_err(io::Error::other)?,
            Host::Ipv4(address) => ServerName::IpAddress(IpAddr::V4(*address).into()),
            Host::Ipv6(address) => ServerName::IpAddress(IpAddr::V6(*address).into()),
        };
        handshake(self.tls.connect(name, stream).await?).await
    }

    /// The first of the host's permitted addresses that accepts.
    async fn reach(&self, account: AccountId, origin: &Origin) -> io::Result<TcpStream> {
        let mut addresses = match &origin.host {
            Host::Ipv4(address) => vec![IpAddr::V4(*address)],
            Host::Ipv6(address) => vec![IpAddr::V6(*address)],
            Host::Domain(name) => self.lookups.look_up(account, name).await?,
        };
        if addresses.is_empty() {
            return Err(io::Error::other("its name has no address"));
        }
        if !self.allow_private_addresses {
            let loopback = |address: &IpAddr| self.allow_loopback && address.to_canonical().is_loopback();
            addresses.retain(|address| is_public(*address) || loopback(address));
        }
        addresses.truncate(MAX_ADDRESSES);
        let Some((last, others)) = addresses.split_last() else {
            return Err(io::Error::other(ForbiddenAddress));
        };
        for address in others {
            let connecting = self.network.connect(SocketAddr::new(*address, origin.port));
            if let Ok(Ok(stream)) = tokio::time::timeout(CONNECT_LIMIT, connecting).await {
                return Ok(stream);
            }
        }
        self.network.connect(SocketAddr::new(*last, origin.port)).await
    }
}

async fn handshake(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> io::Result<Connection> {
    let (connection, driver) = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(async move {
        // What went wrong is told to whoever waits for an answer; a free connection may end as it likes.
        let _ = driver.await;
    });
    Ok(connection)
}

/// Free connections: by origin, the one used last first, and all of them by age.
#[derive(Default)]
struct Idle {
    origins: HashMap<Arc<Origin>, VecDeque<IdleConnection>>,
    by_age: BTreeMap<u64, Arc<Origin>>,
    next: u64,
}

struct IdleConnection {
    number: u64,
    since: Instant,
    connection: Connection,
}

impl Idle {
    fn take(&mut self, origin: &Origin, now: Instant) -> Option<Connection> {
        loop {
            let kept = self.origins.get_mut(origin)?.pop_back()?;
            self.by_age.remove(&kept.number);
            if self.origins.get(origin).is_some_and(VecDeque::is_empty) {
                self.origins.remove(origin);
            }
            if !kept.connection.is_closed() && now.duration_since(kept.since) < IDLE_LIFE {
                return Some(kept.connection);
            }
        }
    }

    fn keep(&mut self, origin: Origin, connection: Connection, now: Instant) {
        if connection.is_closed() {
            return;
        }
        self.close_old(now);
        if self.by_age.len() >= MAX_IDLE {
            self.close_oldest();
        }
        let origin = match self.origins.get_key_value(&origin) {
            Some((origin, _)) => Arc::clone(origin),
            None => Arc::new(origin),
        };
        self.by_age.insert(self.next, Arc::clone(&origin));
        self.origins.entry(origin).or_default().push_back(IdleConnection {
            number: self.next,
            since: now,
            connection,
        });
        self.next += 1;
    }

    fn close_old(&mut self, now: Instant) {
        while let Some((_, origin)) = self.by_age.first_key_value() {
            let oldest = self.origins.get(origin).and_then(VecDeque::front);
            if oldest
                .is_some_and(|oldest| now.duration_since(oldest.since) < IDLE_LIFE && !oldest.connection.is_closed())
            {
                return;
            }
            self.close_oldest();
        }
    }

    fn close_oldest(&mut self) {
        let Some((_, origin)) = self.by_age.pop_first() else {
            return;
        };
        // Of one origin the oldest stands in front, so it is the one that was meant.
        if let Some(kept) = self.origins.get_mut(&origin) {
            kept.pop_front();
            if kept.is_empty() {
                self.origins.remove(&origin);
            }
        }
    }
}
