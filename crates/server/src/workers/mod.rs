//! What happens after an answer was given: messages go out (`dispatch`), what is due expires (`expiry`), delivery reports
//! are sent (`reports`, with the book-keeping in `lanes` and the sending in `postman`), channels' news goes to the books (`news`), and
//! what other nodes do is shown here (`elsewhere`). Nothing here is true on its own: all work stands
//! in the books, so a worker may stop at any moment, and a restart goes on from there.

mod addresses;
mod channels;
mod circuit;
mod clocks;
mod codes;
mod connections;
mod dispatch;
mod elsewhere;
mod expiry;
mod housekeeping;
mod lane;
mod lanes;
mod leg_log;
mod limiter;
mod lookups;
mod news;
mod postman;
mod reports;
mod retention;
mod retry;
mod summaries;
mod sweep;
mod wakes;

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use countersign_channels::{ChannelNews, Inbox};
use countersign_core::PlainHttp;
use countersign_store::{CommittedWork, Lease, SiteStore, Store};
use futures_util::FutureExt as _;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

pub(crate) use circuit::Circuit;
pub use circuit::CircuitSettings;
pub use connections::{Network, SystemNetwork};
pub use postman::{Attempt, AttemptFailure, Postman, PostmanError};
pub use retry::{MAX_RETRIES, RetrySchedule};

use crate::routes::Routes;
use crate::settings::Settings;
use crate::vitals::Vitals;
use crate::{App, Mode};

/// How long [`Workers::finish`] waits in all. What isn't done then is done after the next start.
const FINISH_LIMIT: Duration = Duration::from_secs(8);
/// How many follow-ups of the dispatcher may wait for the books. Beyond it the dispatcher waits.
const FOLLOW_UP_QUEUE: usize = 4_096;
/// How often it is looked whether work under way is still this node's.
const LOOK_AT_LEASE: Duration = Duration::from_millis(250);
/// How long a worker that panicked rests before it starts again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Why the workers could not start.
#[derive(Debug, Error)]
pub enum WorkersError {
    /// Delivery reports can't be sent as it was set.
    #[error(transparent)]
    Postman(#[from] PostmanError),
}

/// What the workers work with. [`start`] takes it from the [`App`]; tests make their own.
pub struct WorkerParts {
    /// The books.
    pub store: Arc<dyn Store>,
    /// What the pages keep in the same books.
    pub site: Arc<dyn SiteStore>,
    /// Sandbox or production: only the sandbox has clocks that differ from real time.
    pub mode: Mode,
    /// The built-in messenger, where it is switched on.
    pub inbox: Option<Arc<Inbox>>,
    /// All channels and routes.
    pub routes: Arc<Routes>,
    /// What the operator's console shows of the workers.
    pub vitals: Arc<Vitals>,
    /// How delivery reports are sent.
    pub reports: ReportSettings,
    /// Turns `true` when the server begins to end.
    pub draining: watch::Receiver<bool>,
}

/// How delivery reports are sent.
#[derive(Debug, Clone)]
pub struct ReportSettings {
    /// A PEM file with certificates of authorities to trust besides the platform's.
    pub extra_ca_file: Option<PathBuf>,
    /// The longest that one attempt may take, from the connection to the end of the answer.
    pub attempt_timeout: Duration,
    /// Reports may go to every address: where an operator's customers are in-house.
    pub allow_private_addresses: bool,
    /// Reports may go to this machine: in the sandbox.
    pub allow_loopback: bool,
    /// Reports may go by plain `http://`: in the sandbox.
    pub plain_http: PlainHttp,
    /// When a failed report is tried again.
    pub retries: RetrySchedule,
    /// When a destination that fails is left alone for a while.
    pub circuits: CircuitSettings,
}

impl ReportSettings {
    /// What the operator set.
    pub(crate) fn of(settings: &Settings) -> Self {
        let callbacks = &settings.callbacks;
        Self {
            extra_ca_file: callbacks.extra_ca_file.clone(),
            attempt_timeout: callbacks.timeout,
            allow_private_addresses: callbacks.allow_private_addresses,
            allow_loopback: settings.mode == Mode::Sandbox,
            plain_http: match settings.mode {
                Mode::Sandbox => PlainHttp::Accepted,
                Mode::Production => PlainHttp::Refused,
            },
            retries: callbacks.retries.clone(),
            circuits: CircuitSettings::default(),
        }
    }
}

impl Default for ReportSettings {
    fn default() -> Self {
        Self {
            extra_ca_file: None,
            attempt_timeout: Duration::from_secs(10),
            allow_private_addresses: false,
            allow_loopback: false,
            plain_http: PlainHttp::Refused,
            retries: RetrySchedule::default(),
            circuits: CircuitSettings::default(),
        }
    }
}

/// The running workers. Dropping them stops them where they are, which is safe: all work stands in the books.
pub struct Workers {
    /// All but the news worker; each ends by itself once the server drains.
    tasks: JoinSet<&'static str>,
    /// The news worker, which outlives the others and the last HTTP answers: both can still make news.
    news: JoinSet<&'static str>,
    /// Tells the news worker that no more news will come.
    end_news: watch::Sender<bool>,
}

/// Starts all workers. `news` is the other end of the channels' sender.
pub fn start(
    app: &Arc<App>,
    mut committed: CommittedWork,
    news: mpsc::Receiver<ChannelNews>,
) -> Result<Workers, WorkersError> {
    let parts = WorkerParts {
        store: Arc::clone(&app.store),
        site: Arc::clone(&app.site),
        mode: app.mode,
        inbox: app.inbox.clone(),
        routes: Arc::clone(&app.routes),
        vitals: Arc::clone(&app.vitals),
        reports: ReportSettings::of(&app.settings),
        draining: app.draining.clone(),
    };
    let elsewhere = committed.take_elsewhere();
    let mut workers = start_with(parts, committed, news)?;
    if let Some(elsewhere) = elsewhere {
        let from_elsewhere = elsewhere::FromElsewhere::new(Arc::clone(app), elsewhere);
        workers.tasks.spawn(supervise(from_elsewhere));
    }
    if let Some(days) = app.settings.keep_requests_days {
        let (store, site) = (Arc::clone(&app.store), Arc::clone(&app.site));
        let retention = retention::Retention::new(store, site, days, app.draining.clone());
        workers.tasks.spawn(supervise(retention));
    }
    Ok(workers)
}

/// Starts all workers from their parts. Needs a tokio runtime.
pub fn start_with(
    parts: WorkerParts,
    mut committed: CommittedWork,
    channel_news: mpsc::Receiver<ChannelNews>,
) -> Result<Workers, WorkersError> {
    let WorkerParts {
        store,
        site,
        mode,
        inbox,
        routes,
        vitals,
        reports,
        draining,
    } = parts;
    let postman = Postman::new(&reports)?;
    let (follow_ups, follow_up_queue) = mpsc::channel(FOLLOW_UP_QUEUE);
    let (end_news, news_ending) = watch::channel(false);
    let new_reports = committed.take_reports();
    let mut tasks = JoinSet::new();
    let mut news = JoinSet::new();
    news.spawn(supervise(news::News::new(
        Arc::clone(&store),
        channel_news,
        follow_up_queue,
        news_ending,
    )));
    let mut lanes = BTreeMap::new();
    for channel in routes.channels() {
        let name = channel.name().clone();
        let (lane, entry) = lane::Lane::new(
            name.clone(),
            Arc::clone(&routes),
            vitals.traces.clone(),
            Arc::clone(&store),
            Arc::clone(&site),
            draining.clone(),
        );
        lanes.insert(name, entry);
        tasks.spawn(supervise(lane));
        tasks.spawn(supervise(channels::Running::new(
            Arc::clone(channel),
            Arc::clone(&store),
            draining.clone(),
        )));
    }
    let dispatch = dispatch::Dispatch::new(
        dispatch::DispatchParts {
            store: Arc::clone(&store),
            site: Arc::clone(&site),
            inbox,
            lanes,
            mode,
            follow_ups,
            draining: draining.clone(),
        },
        committed,
    );
    tasks.spawn(supervise(dispatch));
    tasks.spawn(supervise(expiry::Expiry::new(Arc::clone(&store), draining.clone())));
    tasks.spawn(supervise(codes::Codes::new(
        Arc::clone(&store),
        Arc::clone(&site),
        draining.clone(),
    )));
    tasks.spawn(supervise(housekeeping::Housekeeping::new(
        Arc::clone(&store),
        site,
        draining.clone(),
    )));
    tasks.spawn(supervise(summaries::Summaries::new(
        Arc::clone(&store),
        draining.clone(),
    )));
    tasks.spawn(supervise(reports::Reports::new(
        store,
        postman,
        reports.retries,
        reports.circuits,
        new_reports,
        &vitals,
        draining,
    )));
    Ok(Workers { tasks, news, end_news })
}

impl Workers {
    /// Waits until every worker has reached a safe point; at most 8 s, then the rest is stopped where it is. Call it
    /// once `draining` is `true` and the last HTTP answer was given, before the books are closed.
    pub async fn finish(mut self) {
        let deadline = Instant::now() + FINISH_LIMIT;
        all_ended(&mut self.tasks, deadline).await;
        // Nobody is left who listens only if the news worker is gone already; then there is nothing to tell.
        let _ = self.end_news.send(true);
        all_ended(&mut self.news, deadline).await;
    }
}

async fn all_ended(tasks: &mut JoinSet<&'static str>, deadline: Instant) {
    loop {
        match tokio::time::timeout_at(deadline, tasks.join_next()).await {
            Ok(Some(Ok(worker))) => tracing::debug!(worker, "ended"),
            Ok(Some(Err(error))) => tracing::error!(%error, "a worker did not end in order"),
            Ok(None) => return,
            Err(_) => {
                tracing::warn!(
                    "{} workers were stopped before they were done: a restart goes on",
                    tasks.len()
                );
                tasks.shutdown().await;
                return;
            }
        }
    }
}

/// One worker: it runs until its signal, and handles its own errors.
trait Worker: Send + 'static {
    /// Its name in the log.
    const NAME: &'static str;
    /// Runs to the signal. After a panic it is called again on the same state.
    fn run(&mut self) -> impl Future<Output = ()> + Send;
}

/// Runs a worker and starts it again should it panic: one odd message must not end all delivery.
async fn supervise<W: Worker>(mut worker: W) -> &'static str {
    while AssertUnwindSafe(worker.run()).catch_unwind().await.is_err() {
        tracing::error!(
            worker = W::NAME,
            "a worker failed and starts again: please report this bug"
        );
        tokio::time::sleep(RESTART_PAUSE).await;
    }
    W::NAME
}

/// Waits until work that was handed over under that lease isn't this node's any more; for ever where there is but one.
async fn until_lost(store: &dyn Store, lease: Lease) {
    while store.holds(lease) {
        tokio::time::sleep(LOOK_AT_LEASE).await;
    }
}

/// Waits for the signal. A sender that is gone counts as given: nobody could give it any more.
async fn signalled(signal: &mut watch::Receiver<bool>) {
    // An error says that the sender is gone.
    let _ = signal.wait_for(|given| *given).await;
}

/// Sleeps, or ends early with `true` at the signal.
async fn rest(duration: Duration, signal: &mut watch::Receiver<bool>) -> bool {
    tokio::time::timeout(duration, signalled(signal)).await.is_ok()
}
