//! Puts the rooms together: from [`Settings`] to a running server, and from a running server to its orderly end.

mod database;
pub(crate) mod files;
mod first_account;

pub use first_account::FirstAccount;

use std::fs::File;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use axum::Extension;
use countersign_channels::{ConfigError, Inbox, TextsError};
use countersign_store::{SiteStore, Store, StoreError, StoreOptions};
use thiserror::Error;
use tokio::sync::{mpsc, watch};

use crate::http::{HttpLimits, HttpServer, allow_open_files, bind, tls};
use crate::operator::{OperatorKey, OperatorKeyError};
use crate::reports::ping::Pings;
use crate::routes::{self, DESK_QUEUE, Desk, Routes};
use crate::settings::Settings;
use crate::traces::{Traces, TracesError};
use crate::vitals::Vitals;
use crate::workers::{self, Workers, WorkersError};
use crate::{App, LoginDesk, Mode, account, api, inbox, key_rotation, metrics, operator, site};

/// News of channels that may wait for the books; beyond it channels wait.
const NEWS_LENGTH: usize = 4_096;

/// Who reads metrics: one or two Prometheus servers, and a person now and then.
const METRICS_CONNECTIONS: usize = 16;

/// Why a server can't start. Each is a sentence for the operator.
#[derive(Debug, Error)]
pub enum StartError {
    /// The data directory, or a file in it, can't be used.
    #[error("can't use {path}: {source}. Name another data directory with --data-dir")]
    DataDir {
        /// The directory or the file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another server uses the data directory.
    #[error("another server uses the data directory {0}: end it first, or start this one with another --data-dir")]
    InUse(PathBuf),
    /// The master key can't be used.
    #[error("the master key {path} can't be used: {reason}")]
    MasterKey {
        /// Its file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The operator's key can't be used.
    #[error(transparent)]
    OperatorKey(#[from] OperatorKeyError),
    /// The terms for the pages can't be read.
    #[error("the terms {path} (site.terms_file) can't be read: {source}")]
    Terms {
        /// Their file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An address can't be listened on.
    #[error("can't listen on {address}: {source}. Another server may be there: choose another address with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// TLS can't be served.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// The database can't be reached.
    #[error(
        "the database {place} can't be reached, and was tried for {seconds} s: {reason}. Start it, or name another with --database \
         or database.url"
    )]
    NoDatabase {
        /// Its hosts and name.
        place: String,
        /// How long it was tried.
        seconds: u64,
        /// Why the last attempt failed.
        reason: String,
    },
    /// The books can't be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Traces can't be sent as it was set.
    #[error(transparent)]
    Traces(#[from] TracesError),
    /// A channel can't be made as it was set.
    #[error(transparent)]
    Channel(#[from] ConfigError),
    /// Texts can’t be read.
    #[error(transparent)]
    Texts(#[from] TextsError),
    /// The workers can't start.
    #[error(transparent)]
    Workers(#[from] WorkersError),
}

/// A server that takes calls.
pub struct RunningServer {
    /// Where the API listens.
    pub api_address: SocketAddr,
    /// How callers write its address.
    pub api_url: String,
    /// Where the sandbox speaks TLS as `gatewayapi.telegram.org`.
    pub tls_address: Option<SocketAddr>,
    /// The certificate by which clients trust that.
    pub sandbox_ca: Option<PathBuf>,
    /// Where Prometheus reads, if anywhere.
    pub metrics_address: Option<SocketAddr>,
    /// The built-in inbox's page.
    pub inbox_url: Option<String>,
    /// The sandbox's own account.
    pub first_account: Option<FirstAccount>,
    http: HttpServer,
    /// Apart, so that Prometheus neither takes a caller's place nor waits for one.
    metrics: HttpServer,
    traces: Traces,
    workers: Workers,
    store: Arc<dyn Store>,
    draining: watch::Sender<bool>,
    /// Keeps other servers off the data directory until all else has ended.
    _lock: File,
}

/// Starts a server. It takes calls when this returns; what a crash left undone is taken up again beside them.
///
/// Needs a tokio runtime.
pub async fn start(settings: Settings) -> Result<RunningServer, StartError> {
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    // 15 ms that the first request would otherwise pay; nothing waits for it. Where no thread can be had, it does pay.
    let plans = std::thread::Builder::new().name("numbering-plans".to_owned());
    let _ = plans.spawn(countersign_core::load_numbering_plans);

    let texts = settings.open_texts()?;
    files::make_data_dir(&settings.data_dir)?;
    let lock = files::lock(&settings.data_dir)?;
    let database = settings.database();
    // Before anybody may connect here: until the books are open, nobody is answered.
    database::wait_for(&database).await?;
    let listeners = Listeners::open(&settings)?;
    let operator_key = OperatorKey::load_or_create(&settings.operator_key_file())?;
    let key_file = settings.master_key_file();
    let key_is_new = !key_file.exists();
    let master_key = files::master_keys(&key_file, &settings.data_dir, settings.mode)?;
    let options = StoreOptions {
        database: database.clone(),
        master_key,
        rules: settings.rules(),
    };
    let (store, committed) = countersign_store::open(options)
        .map_err(|error| database::explained(error, &database, &key_file, key_is_new))?;
    let site: Arc<dyn SiteStore> = Arc::clone(&store) as Arc<dyn SiteStore>;
    let store: Arc<dyn Store> = store;
    let first_account = match settings.mode {
        Mode::Sandbox => first_account::find_or_make(store.as_ref(), site.as_ref()).await?,
        Mode::Production => None,
    };

    let traces = Traces::start(&settings.traces)?;
    let login = LoginDesk::new(&settings).map_err(|source| StartError::Terms {
        path: settings.site.terms_file.clone().unwrap_or_default(),
        source,
    })?;
    let (draining, is_draining) = watch::channel(false);
    let (news, news_queue) = mpsc::channel(NEWS_LENGTH);
    let (logins, login_queue) = mpsc::channel(DESK_QUEUE);
    let (costs, cost_queue) = mpsc::channel(DESK_QUEUE);
    let inbox = settings.inbox.enabled.then(|| Inbox::new(news.clone()));
    let ports = routes::channel_ports(&settings, &site, news, logins, costs, Arc::clone(&texts));
    let channels = settings
        .channels
        .iter()
        .map(|channel| countersign_channels::make(channel.config.clone(), ports.clone()));
    let channels = channels.collect::<Result<Vec<_>, _>>()?;
    drop(ports);
    let app = Arc::new(App {
        store: Arc::clone(&store),
        site,
        mode: settings.mode,
        routes: Arc::new(Routes::new(&settings, inbox.as_ref(), channels)),
        inbox,
        onlookers: Arc::default(),
        texts,
        login,
        operator_key,
        settings,
        vitals: Arc::new(Vitals::with(traces)),
        draining: is_draining,
    });
    let workers = workers::start(&app, committed, news_queue)?;
    let desk = Desk {
        logins: login_queue,
        costs: cost_queue,
    };
    desk.attend(&app);
    key_rotation::attend(&app);
    let http = HttpServer::new(router(&app), http_limits(&app.settings));
    app.vitals.count_connections(http.gauge());
    let api_address = listeners.api.address;
    let tls_address = listeners.sandbox_tls.as_ref().map(|listener| listener.address);
    let api_url = listeners.api_url(&app.settings);
    let metrics = HttpServer::new(
        metrics::router(Arc::clone(&app)),
        HttpLimits::new(METRICS_CONNECTIONS, app.settings.server.request_timeout),
    );
    let metrics_address = listeners.metrics.as_ref().map(|listener| listener.address);
    if let Some(certificate) = listeners.certificate.clone() {
        certificate.attend(app.draining.clone());
    }
    listeners.serve(&http, &metrics);
    Ok(RunningServer {
        api_address,
        tls_address,
        metrics_address,
        sandbox_ca: tls_address.map(|_| app.settings.data_dir.join(tls::CA_CERTIFICATE_FILE)),
        inbox_url: app.inbox.as_ref().map(|_| format!("{api_url}/inbox")),
        api_url,
        first_account,
        http,
        metrics,
        traces: app.vitals.traces.clone(),
        workers,
        store,
        draining,
        _lock: lock,
    })
}

/// All that can be asked: what isn't a page's, an owner's or the operator's path is a method of the API.
pub fn router(app: &Arc<App>) -> axum::Router {
    // By the page or by the API: the limits on pings are the same ones.
    let pings = Arc::<Pings>::default();
    axum::Router::new()
        .merge(site::router(Arc::clone(app)).layer(Extension(Arc::clone(&pings))))
        .merge(inbox::router(Arc::clone(app)))
        .merge(account::router_with(Arc::clone(app), pings))
        .merge(operator::router(Arc::clone(app)))
        .merge(routes::router(Arc::clone(app)))
        // Merged, not nested as a service: its only route is its fallback, which costs a call one router less this way.
        .merge(api::router(Arc::clone(app)))
}

fn http_limits(settings: &Settings) -> HttpLimits {
    let wanted = settings.server.max_connections;
    let allowed = allow_open_files(wanted);
    // A sandbox never comes near either number: no word about it to somebody who just tries.
    if allowed < wanted && settings.mode == Mode::Production {
        tracing::warn!(
            "the system's limit on open files leaves room for {allowed} connections, not for the {wanted} of \
             server.max_connections: raise it (`ulimit -n`, or LimitNOFILE of the service)"
        );
    }
    HttpLimits::new(allowed, settings.server.request_timeout)
}

/// The sockets that a server listens on.
struct Listeners {
    api: Listener,
    /// The operator's, where TLS is spoken with one.
    certificate: Option<Arc<tls::OperatorCertificate>>,
    sandbox_tls: Option<Listener>,
    metrics: Option<Listener>,
}

struct Listener {
    socket: tokio::net::TcpListener,
    address: SocketAddr,
    tls: Option<Arc<rustls::ServerConfig>>,
}

impl Listeners {
    fn open(settings: &Settings) -> Result<Self, StartError> {
        let server = &settings.server;
        let tls = match (&server.tls_cert_file, &server.tls_key_file) {
            (Some(certificate), Some(key)) => Some(tls::OperatorCertificate::load(certificate, key)?),
            _ => None,
        };
        let config = tls.as_ref().map(tls::OperatorCertificate::config).transpose()?;
        let api = Listener::open(server.listen, config)?;
        let sandbox_tls = if settings.sandbox.tls {
            Some(Listener::open(
                settings.sandbox.tls_listen,
                Some(tls::sandbox_config(&settings.data_dir)?),
            )?)
        } else {
            None
        };
        let metrics = settings
            .metrics
            .listen
            .map(|address| Listener::open(address, None))
            .transpose()?;
        Ok(Self {
            api,
            certificate: tls,
            sandbox_tls,
            metrics,
        })
    }

    fn api_url(&self, settings: &Settings) -> String {
        let scheme = if self.api.tls.is_some() { "https" } else { "http" };
        let listened = || format!("{scheme}://{}", reachable(self.api.address));
        settings.server.public_url.clone().unwrap_or_else(listened)
    }

    fn serve(self, http: &HttpServer, metrics: &HttpServer) {
        if let Some(listener) = self.metrics {
            metrics.listen(listener.socket, listener.tls);
        }
        for listener in [Some(self.api), self.sandbox_tls].into_iter().flatten() {
            http.listen(listener.socket, listener.tls);
        }
    }
}

impl Listener {
    fn open(address: SocketAddr, tls: Option<Arc<rustls::ServerConfig>>) -> Result<Self, StartError> {
        let failed = |source| StartError::Listen { address, source };
        let socket = bind(address).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket, address, tls })
    }
}

/// "All addresses" is nowhere that a client could call; loopback is among them.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    address
}

impl RunningServer {
    /// Runs until the future ends, then shuts down in order.
    pub async fn run_until(self, end: impl Future<Output = ()>) -> Result<(), StoreError> {
        end.await;
        self.shutdown().await
    }

    /// Ends the server: takes no new work, gives the answers in flight, lets the workers reach a safe point, and closes the
    /// books. Bounded in time; what can't be finished stands in the books and goes on after the next start.
    pub async fn shutdown(self) -> Result<(), StoreError> {
        self.draining.send_replace(true);
        self.http.drain().await;
        self.workers.finish().await;
        self.traces.end().await;
        // Until here it tells how the end goes.
        self.metrics.drain().await;
        self.store.close().await
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.http.connections()
    }
}

/// Waits until the process is asked to end: SIGTERM from a supervisor, SIGINT from a keyboard.
pub async fn end_signal() -> io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}
