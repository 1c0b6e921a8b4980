//! Which nodes live, and whose work is whose. A node registers under a new *epoch*, and tells the database every few seconds that it
//! lives; all times that count are the database's. Rows with work carry the epoch whose it is.
//!
//! Why a dead epoch's results never count: each batch takes its epoch's advisory lock, shared, and then looks whether the epoch has
//! ended. Whoever ends the epoch of another takes that lock alone: so all its batches are over by then, and none that begins later gets
//! past its look. Only after that are its rows claimed (`takeover`), and only once none is left does its own row go.
//!
//! One thread does all of it, on a connection of its own, which it makes anew by itself.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Shared;
use super::events::Event;
use super::keys::{self, KeysTold};
use super::load::EPOCH_LOCKS;
use super::schema::{self, SCHEMA};
use super::session::{Access, COMMIT, Session};
use super::settings::NodeTimes;
use super::takeover::Takeover;
use crate::sql::Connection;
use crate::types::{CommittedSender, Lease, StoreError};

/// How long the thread rests after the database could not be reached.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How soon it looks again after a dead node whose last batch is still under way.
const BUSY_PAUSE: Duration = Duration::from_millis(250);
/// After it could not reach the database itself, a node gives the others so many heartbeats to come back as well.
const SETTLING_HEARTBEATS: u32 = 2;
/// How often months' partitions are made.
const MONTHS_EVERY: Duration = Duration::from_hours(24);
/// How often work of nobody is looked for: there is none unless somebody edited tables by hand, or moved the books.
const STRAYS_EVERY: Duration = Duration::from_hours(1);

/// This node, as the database knows it.
pub(crate) struct Node {
    name: String,
    times: NodeTimes,
    standing: Mutex<Standing>,
    /// Wakes the node's thread.
    woken: Condvar,
    /// Other nodes that live.
    others: AtomicUsize,
    /// Whether another node wants to hear of every request that changes here.
    watched: AtomicBool,
    /// Whether this one wants to hear of the others'.
    watching: AtomicBool,
}

struct Standing {
    epoch: i64,
    /// Until when the epoch surely lives.
    holds_until: Instant,
    /// A batch found that it has ended.
    lost: bool,
    /// Something is to be told at once.
    hurry: bool,
    ending: Option<Ending>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// The epoch ends with the node, and others take its work at once.
    InOrder,
    /// As if the machine had lost its power.
    #[cfg(feature = "testing")]
    Crash,
}

impl Node {
    /// Registers this node under a new epoch.
    pub(crate) fn register(session: &Session, name: &str, times: NodeTimes) -> Result<Self, StoreError> {
        let node = Self {
            name: name.to_owned(),
            times,
            standing: Mutex::new(Standing {
                epoch: 0,
                holds_until: Instant::now(),
                lost: false,
                hurry: false,
                ending: None,
            }),
            woken: Condvar::new(),
            others: AtomicUsize::new(0),
            watched: AtomicBool::new(false),
            watching: AtomicBool::new(false),
        };
        node.begin_epoch(session)?;
        Ok(node)
    }

    fn begin_epoch(&self, session: &Session) -> Result<(), StoreError> {
        let asked_at = Instant::now();
        let schema = i32::try_from(SCHEMA).unwrap_or(i32::MAX);
        let watching = i16::from(self.watching.load(Ordering::Acquire));
        let row = session.wait(session.client().query_one(
            "INSERT INTO node (program_schema, name, watching) VALUES ($1, $2, $3) RETURNING epoch",
            &[&schema, &self.name, &watching],
        ))?;
        let mut standing = self.lock();
        standing.epoch = row.get(0);
        standing.holds_until = asked_at + self.times.holds_for;
        standing.lost = false;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Under which epoch this node works at present.
    pub(crate) fn lease(&self) -> Lease {
        Lease(self.lock().epoch)
    }

    /// Whether that epoch is this node's, and surely lives.
    pub(crate) fn holds(&self, lease: Lease) -> bool {
        let standing = self.lock();
        lease.0 == standing.epoch && !standing.lost && Instant::now() < standing.holds_until
    }

    /// A batch found that the epoch has ended: the thread begins a new one.
    pub(crate) fn lost(&self, lease: Lease) {
        let mut standing = self.lock();
        if standing.epoch == lease.0 {
            standing.lost = true;
            standing.hurry = true;
            self.woken.notify_all();
        }
    }

    /// The node ends, once its last batch is over: its thread ends the epoch, so that the others needn't wait until it counts as dead.
    pub(crate) fn close(&self) {
        self.end(Ending::InOrder);
    }

    /// The node ends without telling anybody.
    #[cfg(feature = "testing")]
    pub(crate) fn crash(&self) {
        self.end(Ending::Crash);
    }

    fn end(&self, ending: Ending) {
        let mut standing = self.lock();
        if ending != Ending::InOrder {
            standing.holds_until = Instant::now();
        }
        standing.ending.get_or_insert(ending);
        self.woken.notify_all();
    }

    /// Whether no other node lives, as far as this one knows.
    pub(crate) fn is_alone(&self) -> bool {
        self.others.load(Ordering::Acquire) == 0
    }

    /// Whether another node wants to hear of every request that changes.
    pub(crate) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Acquire)
    }

    /// Another node has just said that it is there.
    pub(super) fn is_not_alone(&self) {
        self.others.fetch_max(1, Ordering::AcqRel);
    }

    /// The same, and that it wants to hear of requests.
    pub(super) fn is_watched_from_now_on(&self) {
        self.is_not_alone();
        self.watched.store(true, Ordering::Release);
    }

    /// Tells the others whether this node wants to hear of every request that they change.
    pub(crate) fn watch_others(&self, watching: bool) {
        if self.watching.swap(watching, Ordering::AcqRel) != watching {
            self.lock().hurry = true;
            self.woken.notify_all();
        }
    }

    /// Something is to be told, or heard, at once.
    pub(crate) fn hurry(&self) {
        self.lock().hurry = true;
        self.woken.notify_all();
    }

    /// Sleeps until then, or until something happens.
    fn sleep_until(&self, until: Instant) {
        let mut standing = self.lock();
        while standing.ending.is_none() && !standing.hurry {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.woken.wait_timeout(standing, left);
            standing = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Takes over what ended nodes left, before this node begins: at a restart there is no wait for it. No longer than until the first
/// heartbeat is due, and nothing depends on it: what is left then, or could not be claimed, the node's thread finds at its first look.
pub(crate) fn take_what_is_left(session: &Session, shared: &Shared) {
    let until = Instant::now() + shared.node.times.heartbeat;
    if let Err(error) = take_until(session, shared, until) {
        tracing::debug!(%error, "what ended nodes left is taken over later");
    }
}

fn take_until(session: &Session, shared: &Shared, until: Instant) -> Result<(), StoreError> {
    let rows = session.wait(
        session
            .client()
            .query("SELECT epoch FROM node WHERE ended_at IS NOT NULL ORDER BY epoch", &[]),
    )?;
    for row in rows {
        let mut takeover = Takeover::of(row.get(0));
        if end_epoch(session, row.get(0), None)? {
            while takeover.step(session, shared)? {
                if until <= Instant::now() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// Ends an epoch that is dead or has said so itself. Answers whether nothing is committed under it any more; `false` where its last batch
/// is still under way, or where it lives after all.
fn end_epoch(session: &Session, epoch: i64, dead_after: Option<Duration>) -> Result<bool, StoreError> {
    let key = i32::try_from(epoch).unwrap_or(i32::MAX);
    let dead_after_ms = dead_after.map(|after| i64::try_from(after.as_millis()).unwrap_or(i64::MAX));
    session.batch_execute("BEGIN")?;
    let ended = (|| {
        let client = session.client();
        let locked =
            session.wait(client.query_one("SELECT pg_try_advisory_xact_lock($1, $2)", &[&EPOCH_LOCKS, &key]))?;
        if !locked.get::<_, bool>(0) {
            return Ok(false);
        }
        let ended = session.wait(client.execute(
            "UPDATE node SET ended_at = coalesce(ended_at, clock_timestamp()) WHERE epoch = $1 \
             AND (ended_at IS NOT NULL OR seen_at < clock_timestamp() - $2::bigint * interval '1 millisecond')",
            &[&epoch, &dead_after_ms],
        ))?;
        Ok(ended == 1)
    })();
    match ended {
        Ok(ended) => {
            session.batch_execute(COMMIT)?;
            Ok(ended)
        }
        Err(error) => {
            session.roll_back();
            Err(error)
        }
    }
}

/// Starts the thread that keeps the epoch alive and takes over from others.
pub(crate) fn keep_alive(
    shared: Arc<Shared>,
    access: Access,
    committed: Arc<CommittedSender>,
) -> Result<JoinHandle<()>, StoreError> {
    let now = Instant::now();
    let mut keeper = Keeper {
        times: shared.node.times,
        shared,
        access,
        committed,
        session: None,
        heartbeat_at: now,
        look_at: now,
        strays_at: now,
        months_at: now + MONTHS_EVERY,
        in_touch_since: Some(now),
        takeovers: Vec::new(),
        told_watching: false,
        keys_told: None,
        in_vain: 0,
    };
    std::thread::Builder::new()
        .name("node".into())
        .spawn(move || keeper.run())
        .map_err(|error| StoreError::Database(format!("could not start the node's thread: {error}")))
}

/// What the thread keeps.
struct Keeper {
    shared: Arc<Shared>,
    access: Access,
    committed: Arc<CommittedSender>,
    times: NodeTimes,
    session: Option<Session>,
    heartbeat_at: Instant,
    look_at: Instant,
    strays_at: Instant,
    months_at: Instant,
    /// Since when the database has answered without a break; `None` where it doesn't.
    in_touch_since: Option<Instant>,
    takeovers: Vec<Takeover>,
    /// Whether the others were told that this node wants to hear of requests.
    told_watching: bool,
    /// What the others know of this node's master keys.
    keys_told: Option<KeysTold>,
    /// Heartbeats in a row that didn't reach the database.
    in_vain: u32,
}

impl Keeper {
    fn run(&mut self) {
        loop {
            let ending = self.shared.node.lock().ending;
            if let Some(ending) = ending {
                self.end(ending);
                return;
            }
            let worked = self.work();
            if let Err(error) = &worked {
                self.out_of_touch(error);
            }
            let next = match worked {
                Ok(true) => continue,
                Ok(false) => self.heartbeat_at.min(self.look_at).min(self.months_at),
                Err(_) => Instant::now() + RETRY_PAUSE,
            };
            self.shared.node.sleep_until(next);
        }
    }

    fn out_of_touch(&mut self, error: &StoreError) {
        self.session = None;
        self.in_touch_since = None;
        self.in_vain += 1;
        // What was found before may be another's by the time that the database is back.
        self.takeovers.clear();
        self.heartbeat_at = Instant::now();
        self.shared.node.lock().hurry = false;
        // A batch under way when a connection breaks says nothing; two heartbeats do.
        if self.in_vain >= 2 && !self.shared.unreachable.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "the database can't be reached");
        }
    }

    /// Does what is due; answers whether there is more to do at once.
    fn work(&mut self) -> Result<bool, StoreError> {
        let session = match self.session.take() {
            Some(session) if session.is_still_open() => session,
            _ => Session::connect(&self.access)?,
        };
        let more = self.work_on(&session)?;
        if session.is_usable() {
            self.session = Some(session);
        }
        Ok(more)
    }

    fn work_on(&mut self, session: &Session) -> Result<bool, StoreError> {
        let now = Instant::now();
        let hurry = {
            let mut standing = self.shared.node.lock();
            std::mem::take(&mut standing.hurry) || standing.lost
        };
        if hurry || self.heartbeat_at <= now {
            self.heartbeat(session)?;
            self.heartbeat_at = now + self.times.heartbeat;
        }
        if self.look_at <= now {
            self.look_at = now + self.times.look;
            self.look(session)?;
        }
        if self.months_at <= now {
            self.months_at = now + MONTHS_EVERY;
            make_months(self.access.clone());
        }
        // Some hundred rows at a time: a million of a dead node's must not keep this one's heartbeat waiting.
        if let Some(takeover) = self.takeovers.last_mut() {
            let more = takeover.step(session, &self.shared)?;
            if takeover.is_to_be_told(!more) {
                self.committed.commands.miss();
                self.committed.reports.miss();
            }
            if !more {
                let done = self.takeovers.pop();
                if let Some((epoch, requests, reports)) = done.and_then(|done| done.took()) {
                    tracing::warn!(
                        epoch,
                        requests,
                        reports,
                        "the work of a node that has ended was taken over"
                    );
                }
            }
        }
        Ok(!self.takeovers.is_empty())
    }

    /// Says that this node lives; begins a new epoch where the old one was ended by others.
    fn heartbeat(&mut self, session: &Session) -> Result<(), StoreError> {
        let node = &self.shared.node;
        let asked_at = Instant::now();
        let epoch = node.lease().0;
        let watching = i16::from(node.watching.load(Ordering::Acquire));
        let changed = session.wait(session.client().execute(
            "UPDATE node SET seen_at = clock_timestamp(), watching = $2 WHERE epoch = $1 AND ended_at IS NULL",
            &[&epoch, &watching],
        ))?;
        // Those that look at the table seldom are told as well, now that it says so.
        if watching == 1 && !std::mem::replace(&mut self.told_watching, true) {
            self.shared.events.tell([Event::Watching]);
        }
        self.told_watching = watching == 1;
        self.in_touch_since.get_or_insert(asked_at);
        if self.shared.unreachable.swap(false, Ordering::Relaxed) {
            tracing::info!("the database can be reached again");
        }
        self.in_vain = 0;
        let lapsed = if changed == 1 {
            let mut standing = node.lock();
            let lapsed = Instant::now() >= standing.holds_until || standing.lost;
            standing.holds_until = asked_at + self.times.holds_for;
            standing.lost = false;
            lapsed
        } else {
            // The master key may have been changed without it: then it must not begin anew.
            crate::sql::keys::settle(Connection::Postgres(session), &self.shared.vault)?;
            node.begin_epoch(session)?;
            // Where it wasn't ended but deleted, nobody else claims its rows.
            self.strays_at = asked_at;
            tracing::warn!("the other nodes took this one for dead: it begins anew, and its work is read back");
            true
        };
        // What was let go meanwhile must be found again.
        if lapsed {
            self.committed.commands.miss();
            self.committed.reports.miss();
        }
        let attended = keys::attend(session, &self.shared, &mut self.keys_told);
        if matches!(attended, Err(StoreError::MissingNextKey | StoreError::WrongMasterKey)) {
            // What it would seal, nobody could open: it does nothing until it has the key.
            let node = &self.shared.node;
            node.lost(node.lease());
        }
        attended
    }

    /// Looks for nodes that have ended or are dead, and counts those that live.
    fn look(&mut self, session: &Session) -> Result<(), StoreError> {
        let own = self.shared.node.lease().0;
        let dead_after_ms = i64::try_from(self.times.dead_after.as_millis()).unwrap_or(i64::MAX);
        let rows = session.wait(session.client().query(
            "SELECT epoch, ended_at IS NOT NULL, seen_at < clock_timestamp() - $2::bigint * interval '1 millisecond', \
             watching <> 0 FROM node WHERE epoch <> $1 ORDER BY epoch",
            &[&own, &dead_after_ms],
        ))?;
        // After the database was away, all nodes seem dead: they get the time to say that they aren't.
        let settled = self
            .in_touch_since
            .is_some_and(|since| since.elapsed() >= self.times.heartbeat * SETTLING_HEARTBEATS);
        let (mut others, mut watched) = (0, false);
        for row in rows {
            let (epoch, ended, dead): (i64, bool, bool) = (row.get(0), row.get(1), row.get(2));
            if !ended && !dead {
                others += 1;
                watched |= row.get::<_, bool>(3);
            }
            let known = self.takeovers.iter().any(|takeover| takeover.epoch() == epoch);
            if known || !(ended || (dead && settled)) {
                continue;
            }
            if end_epoch(session, epoch, Some(self.times.dead_after))? {
                if !ended {
                    tracing::warn!(epoch, "a node is dead: its work is taken over");
                }
                self.takeovers.push(Takeover::of(epoch));
            } else {
                self.look_at = Instant::now() + BUSY_PAUSE;
            }
        }
        let node = &self.shared.node;
        node.others.store(others, Ordering::Release);
        node.watched.store(watched, Ordering::Release);
        if self.strays_at <= Instant::now() {
            self.strays_at = Instant::now() + STRAYS_EVERY;
            self.takeovers.push(Takeover::of_strays());
        }
        Ok(())
    }

    fn end(&mut self, ending: Ending) {
        let node = &self.shared.node;
        let epoch = {
            let mut standing = node.lock();
            standing.holds_until = Instant::now();
            standing.lost = true;
            standing.epoch
        };
        if ending != Ending::InOrder {
            return;
        }
        let told = (|| {
            let session = match self.session.take() {
                Some(session) if session.is_still_open() => session,
                _ => Session::connect(&self.access)?,
            };
            session.wait(session.client().execute(
                "UPDATE node SET ended_at = clock_timestamp() WHERE epoch = $1",
                &[&epoch],
            ))
        })();
        if let Err(error) = told {
            tracing::debug!(%error, "the other nodes could not be told that this one ends: they will find out");
        }
    }
}

/// Makes the months' partitions, on a thread and a connection of their own: it may take a while, and this node's heart must beat on.
fn make_months(access: Access) {
    let make = move || {
        let made = Session::connect(&access)
            .map_err(StoreError::from)
            .and_then(|session| schema::make_months_ahead(&session));
        if let Err(error) = made {
            tracing::warn!(%error, "the coming months' partitions could not be made; it is tried again tomorrow");
        }
    };
    if let Err(error) = std::thread::Builder::new().name("months".into()).spawn(make) {
        tracing::warn!(%error, "no thread could be had for the coming months' partitions");
    }
}
