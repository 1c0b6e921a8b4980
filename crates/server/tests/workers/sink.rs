//! A receiver of delivery reports: keeps what it got, and answers what the test says, in plain HTTP or over TLS.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use countersign_core::{ApiToken, RequestStatus};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::support::PATIENCE;

/// What the receiver does with a report.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Answers with this status and no body.
    Status(u16),
    /// Answers with this status and body.
    Text(u16, String),
    /// Answers 200 and closes the connection.
    Farewell,
    /// Answers with this status and a `Location`.
    Redirect(u16, String),
    /// Never answers.
    Silence,
    /// Answers 200 and then sends a body without end.
    EndlessBody,
}

/// A report as it came.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("no header {name}"))
            .to_str()
            .unwrap()
    }

    pub(crate) fn status(&self) -> RequestStatus {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn delivery(&self) -> String {
        self.status().delivery_status.unwrap().status
    }

    /// Checks the signature by the words of docs/delivery-reports.md, with nothing of ours but the token.
    pub(crate) fn is_signed_with(&self, token: &ApiToken) -> bool {
        let key = ring::digest::digest(&ring::digest::SHA256, token.as_str().as_bytes());
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key.as_ref());
        let mut signed = self.header("X-Request-Timestamp").as_bytes().to_vec();
        signed.push(b'\n');
        signed.extend_from_slice(&self.body);
        let tag = ring::hmac::sign(&key, &signed);
        let mut hex = String::new();
        for byte in tag.as_ref() {
            write!(hex, "{byte:02x}").unwrap();
        }
        hex == self.header("X-Request-Signature")
    }
}

/// The receiver. It ends when it is dropped.
pub(crate) struct Sink {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    received: watch::Sender<Vec<Received>>,
    /// The last one is repeated.
    replies: Mutex<VecDeque<Reply>>,
    /// Connections that were ever made.
    connections: AtomicUsize,
    /// Ends all connections that there are.
    close: watch::Sender<usize>,
}

impl Sink {
    /// Answers in turn, and the last answer for ever.
    pub(crate) async fn answering(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, None, replies)
    }

    pub(crate) async fn ok() -> Self {
        Self::answering([Reply::Status(200)]).await
    }

    /// Over TLS with a certificate for 127.0.0.1 from a private authority, whose PEM comes with it.
    pub(crate) async fn tls() -> (Self, String) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().unwrap();
        let pem = authority.self_signed(&authority_key).unwrap().pem();
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = leaf.signed_by(&key, &issuer).unwrap();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        (Self::on(listener, Some(acceptor), [Reply::Status(200)]), pem)
    }

    fn on(listener: TcpListener, tls: Option<TlsAcceptor>, replies: impl IntoIterator<Item = Reply>) -> Self {
        let address = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared {
            received: watch::Sender::new(Vec::new()),
            replies: Mutex::new(replies.into_iter().collect()),
            connections: AtomicUsize::new(0),
            close: watch::Sender::new(0),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, tls, Arc::clone(&shared)));
        Self {
            address,
            scheme,
            shared,
            _tasks: tasks,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// Waits until so many reports came, and answers them all.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Received> {
        let mut watched = self.shared.received.subscribe();
        let waited = tokio::time::timeout(PATIENCE, watched.wait_for(|received| received.len() >= count)).await;
        let Ok(received) = waited else {
            panic!("{} of {count} reports came", self.count());
        };
        received.unwrap().clone()
    }

    /// Waits until a report of this state came, and answers all.
    pub(crate) async fn wait_for_state(&self, state: &str) -> Vec<Received> {
        let mut watched = self.shared.received.subscribe();
        let came = watched.wait_for(|received| received.iter().any(|report| report.delivery() == state));
        tokio::time::timeout(PATIENCE, came).await.unwrap().unwrap().clone()
    }

    /// Gives this answer from now on.
    pub(crate) fn answer_now(&self, reply: Reply) {
        *self.shared.replies.lock().unwrap() = VecDeque::from([reply]);
    }

    pub(crate) fn count(&self) -> usize {
        self.shared.received.borrow().len()
    }

    /// How many connections were ever made.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Acquire)
    }

    /// Closes all connections, and returns once they are closed.
    pub(crate) async fn close_connections(&self) {
        self.shared.close.send_modify(|times| *times += 1);
        self.shared.close.closed().await;
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        shared.connections.fetch_add(1, Ordering::AcqRel);
        let mut closing = shared.close.subscribe();
        connections.spawn(async move {
            let serving = async {
                match tls {
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            serve(TokioIo::new(stream), shared).await;
                        }
                    }
                    None => serve(TokioIo::new(stream), shared).await,
                }
            };
            tokio::select! {
                () = serving => {}
                _ = closing.changed() => {}
            }
        });
    }
}

async fn serve(io: impl hyper::rt::Read + hyper::rt::Write + Unpin + 'static, shared: Arc<Shared>) {
    let service = hyper::service::service_fn(move |request| answer(request, Arc::clone(&shared)));
    // A caller who hangs up is part of the tests.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(io, service)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let received = Received {
        method: parts.method,
        path: parts.uri.to_string(),
        headers: parts.headers,
        body,
    };
    let reply = {
        let mut replies = shared.replies.lock().unwrap();
        if replies.len() > 1 {
            replies.pop_front()
        } else {
            replies.front().cloned()
        }
    };
    shared.received.send_modify(|all| all.push(received));
    let empty = || Full::new(Bytes::new()).boxed();
    let builder = Response::builder();
    Ok(match reply.unwrap() {
        Reply::Status(status) => builder.status(status).body(empty()).unwrap(),
        Reply::Text(status, text) => builder
            .status(status)
            .body(Full::new(Bytes::from(text)).boxed())
            .unwrap(),
        Reply::Farewell => builder.header("Connection", "close").body(empty()).unwrap(),
        Reply::Redirect(status, to) => builder.status(status).header("Location", to).body(empty()).unwrap(),
        Reply::Silence => std::future::pending().await,
        Reply::EndlessBody => {
            let chunks = futures_util::stream::unfold((), |()| async {
                tokio::time::sleep(Duration::from_millis(1)).await;
                Some((Ok(Frame::data(Bytes::from_static(&[b'x'; 1024]))), ()))
            });
            builder
                .status(StatusCode::OK)
                .body(BodyExt::boxed(StreamBody::new(chunks)))
                .unwrap()
        }
    })
}
