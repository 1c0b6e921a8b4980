//! The books in a PostgreSQL database, for several nodes at once: each node has writer lanes that commit in batches, and readers
//! beside them. Correctness comes from the locks of accounts' rows; everything that a node keeps in memory may be wrong for a moment
//! without harm.
//!
//! `address` and `settings` say how the server is reached, `reach` whether it can be, and `facts` what a doctor wants to know of it.
//! `session` is one connection, for code that waits for its answers, `value` how columns and parameters travel, `pool` the connections
//! for questions and settings. `lane` takes commands from its bounded queue and commits them: `load` and `write` are its SQL, `usage` and
//! `reports` what goes with a batch. `nodes` says which node lives, `takeover` claims the work of those that don't, and by `events` they
//! tell each other what changed. `schema` makes and changes the tables, `partitions` their months. Most SQL is in [`crate::sql`], which
//! both backends share.

mod address;
mod arrays;
mod backend;
mod batch;
mod care;
mod events;
mod facts;
mod keys;
mod lane;
mod load;
mod nodes;
mod partitions;
mod past;
mod pool;
mod questions;
mod reach;
mod reports;
mod schema;
mod session;
mod settings;
mod source;
mod statements;
mod takeover;
mod usage;
mod usage_rows;
mod value;
mod write;

use std::sync::atomic::{AtomicBool, AtomicI64};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use countersign_core::Rules;

pub(crate) use care::connect_for_tools;
pub use care::{DatabaseStatus, Migrated, MonthStatus, NodeStatus, Retained};
pub use facts::DatabaseFacts;
pub(crate) use past::{put_past, read_past};
pub use reach::ReachError;
pub(crate) use reach::connect_for_long;
#[cfg(feature = "testing")]
pub(crate) use schema::MIGRATIONS;
pub(crate) use schema::{COPY_UNDER_WAY, is_sharded, make_partitions_between, migrate, require_books};
pub(crate) use session::{COMMIT, RowStream, Session, SessionError};
pub use settings::{NodeTimes, PostgresSettings};
pub(crate) use usage::tail_of;
pub(crate) use value::{Parameter, PostgresColumn};

use crate::sql::access::AccessCache;
use crate::tally::TallyBook;
use crate::types::{CommittedWork, HandOverGauge, StoreError};
use crate::vault::{MasterKey, Vault};
use crate::watches::Watches;
use events::Events;
use lane::{LaneEntry, LaneParts};
use nodes::Node;
use pool::Pool;

/// The operator's rules with the price list of a moment.
#[derive(Debug, Clone)]
pub(crate) struct RulesNow {
    pub(crate) rules: Rules,
    /// The number of the newest row of the price list that is in them.
    pub(crate) newest_price: i64,
}

/// What all parts of a node share.
pub(crate) struct Shared {
    pub(crate) vault: Arc<Vault>,
    pub(crate) rules: RwLock<Arc<RulesNow>>,
    pub(crate) access: AccessCache,
    pub(crate) watches: Arc<Watches>,
    pub(crate) node: Node,
    pub(crate) events: Events,
    /// Whether a batch, a claim and a sweep concern one bucket each: the tables are distributed.
    pub(crate) sharded: bool,
    /// Whether the database could not be reached when it was last asked for a batch.
    pub(crate) unreachable: AtomicBool,
    /// What the lanes did.
    pub(crate) tally: TallyBook,
}

impl Shared {
    pub(crate) fn rules(&self) -> Arc<RulesNow> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_rules(&self, rules: Arc<RulesNow>) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }
}

/// The books in a PostgreSQL database. See the module's documentation.
pub struct PostgresStore {
    shared: Arc<Shared>,
    pool: Arc<Pool>,
    /// Writer lanes; an account's commands always take the same.
    lanes: Vec<LaneEntry>,
    /// Whose setting it is: those that wait for their turn hold no connection that questions need.
    turn: tokio::sync::Mutex<()>,
    handed_over: HandOverGauge,
    /// When requests of all months were last asked for that are due, in milliseconds.
    looked_back_at: AtomicI64,
    lane_threads: Mutex<Vec<JoinHandle<()>>>,
    /// These end last: the epoch must outlive the last batch.
    node_threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Without [`crate::Store::close`], too, the others needn't wait until this node counts as dead.
impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.shared.node.close();
        self.shared.events.close();
    }
}

impl PostgresStore {
    /// Opens the books, or makes them. Fails on a newer schema or another master key. It waits for the database; it may be called within a runtime.
    pub fn open(
        settings: &PostgresSettings,
        master_key: &MasterKey,
        rules: Rules,
    ) -> Result<(Arc<Self>, CommittedWork), StoreError> {
        let vault = Arc::new(Vault::new(master_key)?);
        // Where callers wait for their answers.
        let runtime = tokio::runtime::Handle::try_current().ok();
        // Sessions wait on runtimes of their own, which must not begin within another's thread.
        std::thread::scope(|scope| {
            scope
                .spawn(|| Self::open_here(settings, vault, rules, runtime.as_ref()))
                .join()
                .map_err(|_| StoreError::Lost)?
        })
    }

    /// Ends this node as a loss of power would: nothing more is said to the database, and the others find out.
    #[cfg(feature = "testing")]
    pub fn crash(&self) {
        self.shared.node.crash();
        self.shared.events.close();
    }

    fn open_here(
        settings: &PostgresSettings,
        vault: Arc<Vault>,
        rules: Rules,
        runtime: Option<&tokio::runtime::Handle>,
    ) -> Result<(Arc<Self>, CommittedWork), StoreError> {
        let mut access = settings.access()?;
        let first = Session::connect(&access)?;
        reach::examine(&first)?;
        schema::migrate(&first)?;
        let connection = crate::sql::Connection::Postgres(&first);
        crate::sql::keys::check_master_key(connection, &vault)?;
        schema::require_whole(&first)?;
        let is_sharded = schema::is_sharded(&first)?;
        access.sharded = is_sharded;
        first.set_sharded(is_sharded);
        let rules = schema::with_prices(connection, rules)?;
        let node = Node::register(&first, &settings.node_name, settings.times)?;
        let (events, events_queue) = Events::channel();
        let shared = Arc::new(Shared {
            vault,
            rules: RwLock::new(Arc::new(rules)),
            access: AccessCache::that_asks_again(),
            watches: Arc::default(),
            node,
            events,
            sharded: is_sharded,
            unreachable: AtomicBool::new(false),
            tally: TallyBook::default(),
        });
        // Once more, now that whoever begins a change of the master key sees this node.
        keys::attend(&first, &shared, &mut None)?;
        nodes::take_what_is_left(&first, &shared);
        let (committed, work) = CommittedWork::channel();
        let handed_over = committed.gauge();
        let committed = Arc::new(committed);
        let pool = Arc::new(Pool::new(access.clone(), settings.readers, first));
        let mut lanes = Vec::new();
        let mut lane_threads = Vec::new();
        for number in 0..settings.lanes.max(1) {
            let parts = LaneParts {
                shared: Arc::clone(&shared),
                access: access.clone(),
                committed: Arc::clone(&committed),
                runtime: runtime.cloned(),
            };
            let (entry, thread) = lane::start(number, parts)?;
            lanes.push(entry);
            lane_threads.push(thread);
        }
        let node_thread = nodes::keep_alive(Arc::clone(&shared), access.clone(), Arc::clone(&committed))?;
        let events_thread = events::start(Arc::clone(&shared), access, committed, events_queue)?;
        Ok((
            Arc::new(Self {
                shared,
                pool,
                lanes,
                turn: tokio::sync::Mutex::default(),
                handed_over,
                looked_back_at: AtomicI64::new(i64::MIN),
                lane_threads: Mutex::new(lane_threads),
                node_threads: Mutex::new(vec![node_thread, events_thread]),
            }),
            work,
        ))
    }
}
