//! `ceiling`: the real server's HTTP stack, router, parsing, token look-up and answers, over books that keep nothing
//! ([`store`]). How fast the real server could be if its books cost nothing; no workers, no disk.

mod store;

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use countersign_channels::Inbox;
use countersign_server::http::{HttpLimits, HttpServer, allow_open_files, bind};
use countersign_server::operator::OperatorKey;
use countersign_server::settings::Settings;
use countersign_server::{App, Mode, random, start};
use countersign_store::{MasterKey, SqliteOptions, SqliteStore};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::run::books::hex;
use store::CeilingStore;

/// Serves until SIGTERM or Ctrl-C. Prints one line of JSON with its address when it is ready, like `countersign serve --json`.
pub(crate) fn serve(listen: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    runtime.block_on(serve_on_runtime(listen))
}

async fn serve_on_runtime(listen: SocketAddr) -> Result<()> {
    countersign_core::load_numbering_plans();
    let settings = Settings::defaults(Mode::Sandbox);
    let max_connections = allow_open_files(settings.server.max_connections);
    let limits = HttpLimits::new(max_connections, settings.server.request_timeout);
    // Nobody sends on either channel: they stand there because an App has them.
    let (news, _news) = mpsc::channel(1);
    let (_draining, draining) = watch::channel(false);
    // The pages' books, real and empty: the ceiling is asked for none of its pages.
    let directory = tempfile::tempdir().context("making a directory")?;
    let (site, _work) = SqliteStore::open(SqliteOptions {
        path: directory.path().to_owned(),
        master_key: MasterKey::from_bytes(random::bytes()),
        rules: settings.rules(),
    })
    .context("opening the pages' books")?;
    let app = Arc::new(App {
        store: Arc::new(CeilingStore::new()),
        site,
        mode: Mode::Sandbox,
        routes: countersign_server::Routes::built_in(&settings, None),
        inbox: Some(Inbox::new(news)),
        texts: settings.open_texts().context("reading the texts")?,
        login: countersign_server::LoginDesk::new(&settings).context("reading the terms")?,
        operator_key: operator_key()?,
        settings,
        onlookers: Arc::default(),
        vitals: Arc::default(),
        draining,
    });
    let mut terminated = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let listener = bind(listen).with_context(|| format!("listening on {listen}"))?;
    let address = listener.local_addr().context("asking for the address")?;
    let http = HttpServer::new(start::router(&app), limits);
    http.listen(listener, None);
    let ready = json!({ "api_url": format!("http://{address}") });
    writeln!(std::io::stdout(), "{ready}").context("printing the address")?;
    tokio::select! {
        _ = terminated.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted.context("listening for Ctrl-C")?,
    }
    http.drain().await;
    Ok(())
}

/// A key that nobody knows: there is nothing to operate.
fn operator_key() -> Result<OperatorKey> {
    OperatorKey::new(&hex(&random::bytes::<32>())).context("making a key")
}
