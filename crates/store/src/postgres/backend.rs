//! What this database lends to the SQL that both share.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use countersign_core::{AccountKey, Command, DAY_MS, Timestamp};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::care::let_months_go;
use super::events::Event;
use super::lane::Job;
use super::schema::{SETTINGS_LOCK, newer_prices};
use super::session::{COMMIT, Session};
use super::{PostgresStore, Shared};
use crate::Outcome;
use crate::backup::{BackupDone, BackupError, BackupProgress};
use crate::console::BooksLoad;
use crate::reports::{DueReport, ReportAttempt, ReportKey, ReportOutcome, ReportProfile};
use crate::sql::Connection;
use crate::sql::access::AccessCache;
use crate::sql::backend::{Backend, Part};
use crate::sql::read::{Reader, buckets};
use crate::sql::settings::Settings;
use crate::tally::TallyBook;
use crate::types::{Actor, Lease, StoreError, Trouble};
use crate::vault::Vault;
use crate::watches::Watches;

/// A request that waits for a time is younger, unless nobody looked for days: it waits for its admission and its message's life, which are
/// hours at most. Of some days, since whole months are left out.
const OPEN_FOR_MS: i64 = 3 * DAY_MS;
/// How often older ones are looked for.
const LOOK_BACK_EVERY_MS: u64 = 60_000;

/// Whether settings take turns across nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// One at a time.
    Taken,
    /// Each statement is right beside any other.
    None,
}

impl PostgresStore {
    async fn write<T: Send + 'static>(
        &self,
        turn: Turn,
        write: impl FnOnce(&mut Settings<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        let pool = Arc::clone(&self.pool);
        let _turn = match turn {
            Turn::None => None,
            Turn::Taken => {
                let waited = tokio::time::timeout(self.pool.timeout(), self.turn.lock()).await;
                Some(waited.map_err(|_| StoreError::Busy)?)
            }
        };
        pool.with(move |session| write_in_transaction(&shared, session, turn, write))
            .await
    }

    fn lane_of(&self, account: AccountKey) -> &super::LaneEntry {
        // There is at least one.
        &self.lanes[usize::from(account.bucket.0) % self.lanes.len()]
    }
}

fn write_in_transaction<T>(
    shared: &Shared,
    session: &Session,
    turn: Turn,
    write: impl FnOnce(&mut Settings<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    session.batch_execute("BEGIN")?;
    let connection = Connection::Postgres(session);
    let written = (|| {
        if turn == Turn::Taken {
            connection.query_row("SELECT pg_advisory_xact_lock(?1) IS NULL", [SETTINGS_LOCK], |_| Ok(()))?;
        }
        // What takes no turn asks for no price.
        let rules = match turn {
            Turn::Taken => newer_prices(connection, &shared.rules())?,
            Turn::None => shared.rules(),
        };
        let mut settings = Settings::new(connection, &shared.vault, &rules.rules, shared.node.lease());
        let answer = write(&mut settings)?;
        Ok((answer, settings.changed()))
    })();
    let (answer, changed) = match written {
        Ok(written) => written,
        Err(error) => {
            session.roll_back();
            return Err(error);
        }
    };
    // Without an answer to COMMIT nobody can say whether it was done.
    session.batch_execute(COMMIT).map_err(|error| {
        if error.ends_connection() {
            StoreError::Lost
        } else {
            session.roll_back();
            StoreError::from(error)
        }
    })?;
    // What was committed is done, even where the connection is lost just now: the next batch finds that the list is newer.
    if changed.prices.is_some()
        && let Ok(rules) = newer_prices(connection, &shared.rules())
    {
        shared.set_rules(rules);
    }
    for id in &changed.accounts {
        shared.access.drop_entry(*id);
    }
    if !shared.node.is_alone() {
        let accounts = changed.accounts.into_iter().map(Event::Account);
        shared
            .events
            .tell(accounts.chain(changed.logins.into_iter().map(Event::LoginAnswered)));
    }
    Ok(answer)
}

impl Backend for PostgresStore {
    fn vault(&self) -> &Vault {
        &self.shared.vault
    }

    fn access(&self) -> &AccessCache {
        &self.shared.access
    }

    fn watches(&self) -> &Arc<Watches> {
        &self.shared.watches
    }

    fn read<T: Send + 'static>(
        &self,
        ask: impl FnOnce(Reader<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        let shared = Arc::clone(&self.shared);
        Arc::clone(&self.pool)
            .with(move |session| {
                ask(Reader {
                    connection: Connection::Postgres(session),
                    vault: &shared.vault,
                    lease: shared.node.lease(),
                })
            })
            .boxed()
    }

    fn aside<T: Send + 'static>(
        &self,
        ask: impl FnOnce(Reader<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        self.read(ask)
    }

    fn parts(&self) -> BoxFuture<'_, Result<Vec<Part>, StoreError>> {
        self.read(|reader| Ok(buckets(reader.connection)?.into_iter().map(Part::bucket).collect()))
    }

    fn let_parts_go(&self, before: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        let pool = Arc::clone(&self.pool);
        Box::pin(pool.with(move |session| let_months_go(session, before)))
    }

    fn set<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Settings<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        self.write(Turn::Taken, write).boxed()
    }

    fn note<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Settings<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        self.write(Turn::None, write).boxed()
    }

    fn note_later(&self, write: impl FnOnce(&mut Settings<'_>) -> Result<(), StoreError> + Send + 'static) {
        let shared = Arc::clone(&self.shared);
        let pool = Arc::clone(&self.pool);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(pool.with(move |session| write_in_transaction(&shared, session, Turn::None, write)));
        }
    }

    fn settle_keys(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        // Its thread waits for the batches that are under way; who must know when it is done looks in the books.
        self.shared.node.hurry();
        std::future::ready(Ok(())).boxed()
    }

    fn admits_callers(&self, account: AccountKey) -> bool {
        self.lane_of(account).admits()
    }

    fn command(
        &self,
        lease: Option<Lease>,
        account: AccountKey,
        command: Command,
        by: Option<Actor>,
    ) -> BoxFuture<'_, Result<Outcome, StoreError>> {
        let lane = self.lane_of(account);
        async move {
            let job = move |reply| Job::Command {
                lease,
                account,
                command,
                by,
                reply,
            };
            lane.ask(job).await
        }
        .boxed()
    }

    fn report_attempt(
        &self,
        lease: Lease,
        key: ReportKey,
        attempt: ReportAttempt,
        outcome: ReportOutcome,
    ) -> BoxFuture<'_, Result<Option<DueReport>, StoreError>> {
        self.lane_of(key.request.account)
            .ask(move |reply| Job::Report {
                lease,
                key,
                attempt,
                outcome,
                reply,
            })
            .boxed()
    }

    fn redeliver(&self, key: ReportKey, now: Timestamp, by: Actor) -> BoxFuture<'_, Result<ReportProfile, StoreError>> {
        self.lane_of(key.request.account)
            .ask(move |reply| Job::Redeliver { key, now, by, reply })
            .boxed()
    }

    fn present_lease(&self) -> Lease {
        self.shared.node.lease()
    }

    fn still_holds(&self, lease: Lease) -> bool {
        self.shared.node.holds(lease)
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn has_no_others(&self) -> bool {
        self.shared.node.is_alone()
    }

    fn tell_login_asked(&self, attempt: i64) {
        if !self.shared.node.is_alone() {
            self.shared.events.tell([Event::LoginAsked(attempt)]);
        }
    }

    fn due_since(&self, now: Timestamp) -> Timestamp {
        let looked_back_at = self.looked_back_at.load(Ordering::Relaxed);
        if now.millis().abs_diff(looked_back_at) >= LOOK_BACK_EVERY_MS {
            self.looked_back_at.store(now.millis(), Ordering::Relaxed);
            return Timestamp::from_millis(i64::MIN);
        }
        now.plus_millis(-OPEN_FOR_MS)
    }

    fn present_trouble(&self) -> Option<Trouble> {
        self.shared
            .unreachable
            .load(Ordering::Relaxed)
            .then_some(Trouble::Unreachable)
    }

    fn tally_book(&self) -> &TallyBook {
        &self.shared.tally
    }

    fn present_load(&self) -> BooksLoad {
        let [handed_over, reports_handed_over] = self.handed_over.waiting();
        let (queued, queue_length) = self
            .lanes
            .iter()
            .map(super::LaneEntry::queued)
            .fold((0, 0), |sum, lane| (sum.0 + lane.0, sum.1 + lane.1));
        BooksLoad {
            queued,
            queue_length,
            handed_over,
            reports_handed_over,
            log_bytes: 0,
            database_bytes: 0,
        }
    }

    fn copy_to(
        &self,
        _file: PathBuf,
        _force: bool,
        _progress: Arc<BackupProgress>,
    ) -> BoxFuture<'_, Result<BackupDone, BackupError>> {
        std::future::ready(Err(BackupError::OfTheDatabase)).boxed()
    }

    fn end(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            for lane in &self.lanes {
                lane.close();
            }
            let lanes = join_all(&self.lane_threads).await;
            self.shared.node.close();
            self.shared.events.close();
            let node = join_all(&self.node_threads).await;
            self.pool.close();
            lanes.and(node)
        }
        .boxed()
    }
}

async fn join_all(threads: &Mutex<Vec<JoinHandle<()>>>) -> Result<(), StoreError> {
    let threads = std::mem::take(&mut *threads.lock().unwrap_or_else(PoisonError::into_inner));
    let ended = tokio::task::spawn_blocking(move || {
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| StoreError::Lost))
    });
    ended.await.map_err(|_| StoreError::Lost)?
}
