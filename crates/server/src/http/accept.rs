//! Listeners, the cap on connections, and the orderly end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::connection::{Stage, dialect, serve};
use super::{HttpLimits, request_id};

/// Connections that the system keeps for us until they are accepted; it may allow fewer (`net.core.somaxconn`).
const BACKLOG: u32 = 4096;
/// Callers that are being told at once that the server is full; above it they are closed without a word.
const MAX_REFUSALS: usize = 128;
/// How long a refused caller may take to hear it.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long to wait before accepting again after a failure; nearly always the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What is said where there is no room. Nobody has read a request, so its id is ours.
fn refusal() -> Vec<u8> {
    let head = b"HTTP/1.1 503 Service Unavailable\r\n\
        content-type: application/json\r\n\
        content-length: 34\r\n\
        retry-after: 1\r\n\
        connection: close\r\n\
        x-request-id: ";
    let body = b"\r\n\r\n{\"ok\":false,\"error\":\"UNAVAILABLE\"}";
    [head, request_id::made().as_bytes(), body].concat()
}

/// Opens a listening socket. Connections queue there from now on; they are accepted from [`HttpServer::listen`] on.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // A restart must not wait for connections of the process before it to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A server: its listeners and its connections, all of one router.
pub struct HttpServer {
    shared: Arc<Shared>,
    stage: watch::Sender<Stage>,
}

struct Shared {
    router: axum::Router,
    limits: HttpLimits,
    dialect: http1::Builder,
    /// One permit per connection.
    room: Arc<Semaphore>,
    /// One permit per refusal under way.
    refusals: Arc<Semaphore>,
}

impl HttpServer {
    /// A server without listeners.
    pub fn new(router: axum::Router, limits: HttpLimits) -> Self {
        let limits = HttpLimits {
            // The semaphore's own bound, and `drain` asks for all permits in one 32-bit number.
            max_connections: limits.max_connections.clamp(1, 1 << 24),
            ..limits
        };
        let shared = Shared {
            router,
            limits,
            dialect: dialect(),
            room: Arc::new(Semaphore::new(limits.max_connections)),
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
        };
        Self {
            shared: Arc::new(shared),
            stage: watch::Sender::new(Stage::Serving),
        }
    }

    /// Accepts connections from a listener, with TLS where a configuration is given, until [`Self::drain`].
    pub fn listen(&self, listener: TcpListener, tls: Option<Arc<ServerConfig>>) {
        let shared = Arc::clone(&self.shared);
        let stage = self.stage.subscribe();
        tokio::spawn(accept_all(listener, tls.map(TlsAcceptor::from), shared, stage));
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.shared.limits.max_connections - self.shared.room.available_permits()
    }

    /// Counts connections without holding the server.
    pub(crate) fn gauge(&self) -> impl Fn() -> usize + Send + Sync + 'static {
        let room = Arc::clone(&self.shared.room);
        let max_connections = self.shared.limits.max_connections;
        move || max_connections - room.available_permits()
    }

    /// Ends the server: closes the listeners and idle connections, lets what is in flight be answered, and cuts off what is
    /// still there after the limit's `drain_timeout`.
    pub async fn drain(self) {
        self.stage.send_replace(Stage::Draining);
        let all = u32::try_from(self.shared.limits.max_connections).unwrap_or(u32::MAX);
        let everyone_gone = self.shared.room.acquire_many(all);
        if tokio::time::timeout(self.shared.limits.drain_timeout, everyone_gone)
            .await
            .is_err()
        {
            tracing::warn!(
                connections = self.connections(),
                "cutting off connections that did not end in time"
            );
        }
        self.stage.send_replace(Stage::Ended);
    }
}

async fn accept_all(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    stage: watch::Receiver<Stage>,
) {
    let mut ending = stage.clone();
    let mut ending = std::pin::pin!(ending.wait_for(|stage| *stage != Stage::Serving));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut ending => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                // Answers are small and written at once: waiting for more to send would only delay them.
                let _ = stream.set_nodelay(true);
                if let Ok(permit) = Arc::clone(&shared.room).try_acquire_owned() {
                    let accepted = Accepted {
                        stream,
                        peer,
                        shared: Arc::clone(&shared),
                        stage: stage.clone(),
                        permit,
                    };
                    match &tls {
                        None => tokio::spawn(accepted.speak_plainly()),
                        Some(tls) => tokio::spawn(accepted.speak_tls(tls.clone())),
                    };
                } else {
                    refuse(stream, tls.is_some(), &shared);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "can't accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A connection that found room.
struct Accepted {
    stream: TcpStream,
    peer: SocketAddr,
    shared: Arc<Shared>,
    stage: watch::Receiver<Stage>,
    /// Given back when the connection has ended.
    permit: OwnedSemaphorePermit,
}

impl Accepted {
    async fn speak_plainly(self) {
        let Shared {
            router,
            limits,
            dialect,
            ..
        } = &*self.shared;
        serve(self.stream, self.peer, router.clone(), dialect, *limits, self.stage).await;
        drop(self.permit);
    }

    async fn speak_tls(mut self, acceptor: TlsAcceptor) {
        let Shared {
            router,
            limits,
            dialect,
            ..
        } = &*self.shared;
        let handshake = tokio::time::timeout(limits.request_timeout, acceptor.accept(self.stream));
        // A handshake is nothing that a caller could miss: at the end of the server it is broken off.
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            _ = self.stage.wait_for(|stage| *stage != Stage::Serving) => return,
        };
        if let Ok(Ok(stream)) = shaken {
            serve(stream, self.peer, router.clone(), dialect, *limits, self.stage).await;
        }
        drop(self.permit);
    }
}

/// Tells a caller that there is no room. Over TLS that would cost a handshake, so it is closed without a word.
fn refuse(mut stream: TcpStream, is_tls: bool, shared: &Shared) {
    if is_tls {
        return;
    }
    let Ok(permit) = Arc::clone(&shared.refusals).try_acquire_owned() else {
        return;
    };
    tokio::spawn(async move {
        let tell = async {
            stream.write_all(&refusal()).await?;
            stream.shutdown().await?;
            // Its request is read and thrown away, or closing would reset the connection under the answer.
            let mut scratch = [0; 4096];
            while stream.read(&mut scratch).await? > 0 {}
            io::Result::Ok(())
        };
        // A caller that doesn't want to hear it is no matter of ours.
        let _ = tokio::time::timeout(REFUSAL_TIMEOUT, tell).await;
        drop(permit);
    });
}
