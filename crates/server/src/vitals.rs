//! What the operator's console and Prometheus are shown of a running server: numbers that the rooms keep anyway, asked for when a page wants
//! them. Nothing here is stored; a restart begins anew.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use countersign_core::AccountKey;
use tokio::sync::{mpsc, oneshot};

use crate::guard::Guard;
use crate::key_rotation::RotationDesk;
use crate::metrics::Calls;
use crate::traces::Traces;

/// Questions that may wait for the reports' worker.
const QUESTIONS: usize = 16;
/// How long a page waits for its answer: the worker answers between two attempts.
const PATIENCE: Duration = Duration::from_secs(1);
/// Open circuits that are named; the others are counted.
pub(crate) const NAMED_CIRCUITS: usize = 20;

/// A destination whose reports are held back, since it failed several times in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OpenCircuit {
    pub(crate) account: AccountKey,
    pub(crate) host: Arc<str>,
    /// Until a report is tried there again; zero while one is.
    pub(crate) rest: Duration,
}

/// What the reports' worker has to do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ReportFigures {
    pub(crate) lanes: usize,
    pub(crate) waiting: usize,
    pub(crate) under_way: usize,
    pub(crate) open_circuits: usize,
    /// The first [`NAMED_CIRCUITS`] of them, the longest rest first.
    pub(crate) named: Vec<OpenCircuit>,
}

/// A page's question to the reports' worker.
pub(crate) type ReportQuestion = oneshot::Sender<ReportFigures>;

type Gauge = Box<dyn Fn() -> usize + Send + Sync>;

/// The numbers of one running server.
pub struct Vitals {
    started: Instant,
    /// Calls of the Gateway methods.
    pub(crate) calls: Calls,
    /// Where spans go.
    pub(crate) traces: Traces,
    /// The change of the master key.
    pub(crate) key_rotation: RotationDesk,
    /// What this node knows of where codes come back from, and why sends were refused.
    pub(crate) guard: Guard,
    /// Set once the listeners are there.
    connections: OnceLock<Gauge>,
    questions: mpsc::Sender<ReportQuestion>,
    /// Taken by the reports' worker.
    asked: Mutex<Option<mpsc::Receiver<ReportQuestion>>>,
}

impl Default for Vitals {
    fn default() -> Self {
        let (questions, asked) = mpsc::channel(QUESTIONS);
        Self {
            started: Instant::now(),
            calls: Calls::default(),
            traces: Traces::default(),
            key_rotation: RotationDesk::default(),
            guard: Guard::default(),
            connections: OnceLock::new(),
            questions,
            asked: Mutex::new(Some(asked)),
        }
    }
}

impl Vitals {
    /// With traces that go there.
    pub(crate) fn with(traces: Traces) -> Self {
        Self {
            traces,
            ..Self::default()
        }
    }

    /// How long the server has been running.
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Says how connections are counted.
    pub(crate) fn count_connections(&self, gauge: impl Fn() -> usize + Send + Sync + 'static) {
        // There is one HTTP server: a second would be told of by its own process.
        let _ = self.connections.set(Box::new(gauge));
    }

    /// How many connections there are; `None` where nobody counts.
    pub(crate) fn connections(&self) -> Option<usize> {
        self.connections.get().map(|gauge| gauge())
    }

    /// The questions' other end, for the reports' worker; `None` after the first time.
    pub(crate) fn take_questions(&self) -> Option<mpsc::Receiver<ReportQuestion>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What the reports' worker has to do; `None` where it doesn't answer in time.
    pub(crate) async fn reports(&self) -> Option<ReportFigures> {
        let (reply, answer) = oneshot::channel();
        self.questions.try_send(reply).ok()?;
        tokio::time::timeout(PATIENCE, answer).await.ok()?.ok()
    }
}
