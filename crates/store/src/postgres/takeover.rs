//! Claims what an ended node left: requests that wait for something, and reports that are due. Bucket by bucket, some hundred rows a
//! statement, and rows that somebody else locks are passed over: so several survivors share the work, and none waits for another.
//!
//! What cannot wait goes first, in all buckets: what is due soon, and the latest messages that no channel has. A million that only wait
//! for their expiry come after it, since they take minutes.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::Shared;
use super::load::EPOCH_LOCKS;
use super::session::{COMMIT, Session, SessionError};
use crate::types::StoreError;

/// Rows claimed by one statement.
const CLAIM: i64 = 500;
/// How often the workers are told of what was claimed so far.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What is due within so many milliseconds can't wait until everything is claimed.
const SOON_MS: i64 = 60_000;
/// In the first turn, messages that no channel has are looked for among so many of a bucket: those that wait for the latest times, as
/// messages do that were sent last. No index knows them, and a look through a million would keep the heart from beating.
const LATEST: i64 = 10_000;

/// A table with work, what makes a row of it work, and which of that is meant.
struct Work {
    table: &'static str,
    due: &'static str,
    key: &'static str,
    which: Which,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    All,
    /// What is due soon.
    Soon,
    /// Some of the latest messages that no channel has: as many as one statement claims.
    Unsent,
}

impl Work {
    /// Columns after the bucket. A request without an owner that waits for a time alone (a hold) belongs to whoever looks when it has come.
    const fn requests(which: Which) -> Self {
        Self {
            table: "request",
            due: "wake_at",
            key: "account_id, created_at, random",
            which,
        }
    }

    const fn reports(which: Which) -> Self {
        Self {
            table: "report",
            due: "due_at",
            key: "account_id, created_at, random, number",
            which,
        }
    }

    fn is_of_requests(&self) -> bool {
        self.table == "request"
    }

    /// The rows of a bucket (`$1`) that are meant, and in which order.
    fn rows(&self, whose: &str) -> String {
        let Self { table, due, .. } = self;
        let all = format!("FROM {table} WHERE bucket = $1 AND {whose} AND {due} IS NOT NULL");
        match self.which {
            Which::All => format!("{all} ORDER BY {due}"),
            // The database's clock, as it stood when the transaction began: as good as a constant to an index.
            Which::Soon => {
                format!("{all} AND {due} <= (extract(epoch FROM now()) * 1000)::bigint + {SOON_MS} ORDER BY {due}")
            }
            Which::Unsent => format!(
                "{all} AND {UNSENT} AND {due} >= (SELECT min({due}) FROM (SELECT {due} {all} ORDER BY {due} DESC LIMIT {LATEST}) AS latest) \
                 ORDER BY {due} DESC"
            ),
        }
    }
}

/// A message that was sent and that no channel has accepted.
const UNSENT: &str = "delivery = 4 AND accepted = 0";

/// What is claimed of each bucket in the first turn.
static FIRST: [Work; 3] = [
    Work::requests(Which::Unsent),
    Work::requests(Which::Soon),
    Work::reports(Which::Soon),
];
/// And in the second, which leaves nothing.
static REST: [Work; 2] = [Work::requests(Which::All), Work::reports(Which::All)];

/// One epoch's rows on their way to another's.
pub(super) struct Takeover {
    /// Whose they were; `None` for what is nobody's.
    of: Option<i64>,
    /// Those still to be looked through, and for what; `None` before they were read.
    turns: Option<VecDeque<(i16, &'static [Work])>>,
    /// What is still to be claimed of the bucket at hand: of which table, and whose.
    claims: Vec<(i16, &'static Work, Option<i64>)>,
    requests: u64,
    reports: u64,
    /// Whether rows were passed over, since somebody locked them.
    left_some: bool,
    untold: bool,
    tell_at: Instant,
}

impl Takeover {
    pub(super) fn of(epoch: i64) -> Self {
        Self::new(Some(epoch))
    }

    /// Of rows that have no owner, or one that no node ever was.
    pub(super) fn of_strays() -> Self {
        Self::new(None)
    }

    fn new(of: Option<i64>) -> Self {
        Self {
            of,
            turns: None,
            claims: Vec::new(),
            requests: 0,
            reports: 0,
            left_some: false,
            untold: false,
            tell_at: Instant::now() + TELL_EVERY,
        }
    }

    /// Whose; 0 for nobody's.
    pub(super) fn epoch(&self) -> i64 {
        self.of.unwrap_or_default()
    }

    /// What was claimed, if anything: the epoch, requests, reports.
    pub(super) fn took(&self) -> Option<(i64, u64, u64)> {
        (self.requests + self.reports > 0).then(|| (self.epoch(), self.requests, self.reports))
    }

    /// Whether the workers are to be told now.
    pub(super) fn is_to_be_told(&mut self, at_end: bool) -> bool {
        if !self.untold || !(at_end || self.tell_at <= Instant::now()) {
            return false;
        }
        self.untold = false;
        self.tell_at = Instant::now() + TELL_EVERY;
        true
    }

    /// Claims some rows of one bucket; answers whether more are to be looked at. So few at once that the node's heart beats on, however
    /// many a bucket holds. At the end the epoch's own row goes, where nothing is left.
    pub(super) fn step(&mut self, session: &Session, shared: &Shared) -> Result<bool, StoreError> {
        if let Some((bucket, work, owner)) = self.claims.last().copied() {
            self.claim(session, shared, bucket, work, owner)?;
            return Ok(true);
        }
        let turns = if let Some(turns) = &mut self.turns {
            turns
        } else {
            let buckets = held_buckets(session)?;
            let of = |works: &'static [Work]| buckets.iter().map(move |bucket| (*bucket, works));
            self.turns.insert(of(&FIRST).chain(of(&REST)).collect())
        };
        let Some((bucket, works)) = turns.pop_front() else {
            if let Some(epoch) = self.of
                && !self.left_some
            {
                forget_node(session, shared, epoch)?;
            }
            return Ok(false);
        };
        let owners = match self.of {
            // One look at both tables spares most buckets of a small node the claims.
            Some(epoch) if holds_work(session, bucket, epoch)? => vec![Some(epoch)],
            Some(_) => Vec::new(),
            None => strays(session, bucket)?,
        };
        for owner in owners {
            // The last one goes first.
            self.claims.extend(works.iter().rev().map(|work| (bucket, work, owner)));
        }
        Ok(true)
    }

    /// Claims some of a bucket's rows of one owner; the claim is done with once fewer come than could.
    fn claim(
        &mut self,
        session: &Session,
        shared: &Shared,
        bucket: i16,
        work: &'static Work,
        owner: Option<i64>,
    ) -> Result<(), StoreError> {
        let claimed = claim_some(session, shared, bucket, work, owner)?;
        *if work.is_of_requests() {
            &mut self.requests
        } else {
            &mut self.reports
        } += claimed;
        self.untold |= claimed > 0;
        if claimed >= CLAIM.unsigned_abs() && work.which != Which::Unsent {
            return Ok(());
        }
        if let Some(owner) = owner
            && work.which == Which::All
        {
            let Work { table, due, .. } = work;
            let sql =
                format!("SELECT EXISTS (SELECT 1 FROM {table} WHERE bucket = $1 AND owner = $2 AND {due} IS NOT NULL)");
            let left = session.wait(session.client().query_one(judged(session, &sql)?, &[&bucket, &owner]))?;
            self.left_some |= left.get::<_, bool>(0);
        }
        self.claims.pop();
        Ok(())
    }
}

/// What isn't prepared isn't judged either, unless it says so here: see [`crate::sql::shards`].
#[cfg_attr(
    not(feature = "testing"),
    expect(clippy::unnecessary_wraps, reason = "tests alone refuse a statement")
)]
fn judged<'s>(session: &Session, sql: &'s str) -> Result<&'s str, SessionError> {
    #[cfg(feature = "testing")]
    if session.is_sharded() {
        crate::sql::shards::judge(sql).map_err(|why| SessionError::Local(std::io::Error::other(why)))?;
    }
    #[cfg(not(feature = "testing"))]
    let _ = session;
    Ok(sql)
}

/// Claims some rows in a transaction that its own epoch outlives: were it to end meanwhile, nobody would look for them.
///
/// The statement is planned each time, for the rows that are there now: one that was planned while a month was empty would scan it for ever.
/// And no scan is planned where an index leads there: how few of a month's rows are meant the planner can't know.
fn claim_some(
    session: &Session,
    shared: &Shared,
    bucket: i16,
    work: &Work,
    owner: Option<i64>,
) -> Result<u64, StoreError> {
    let Work { table, key, .. } = work;
    let (mut whose, joined) = (
        if owner.is_some() {
            "owner = $2".to_owned()
        } else {
            "owner IS NULL AND $2::bigint IS NULL".to_owned()
        },
        key.split(", ")
            .map(|column| format!("{table}.{column} = k.{column}"))
            .collect::<Vec<_>>()
            .join(" AND "),
    );
    // A hold waits for a time, and whoever looks then settles it; a message that nobody was given is somebody's.
    if owner.is_none() && work.is_of_requests() {
        whose = format!("{whose} AND {UNSENT}");
    }
    let rows = work.rows(&whose);
    let sql = format!(
        "UPDATE {table} SET owner = $3 FROM (SELECT {key} {rows} LIMIT $4 FOR UPDATE SKIP LOCKED) AS k \
         WHERE {table}.bucket = $1 AND {joined}"
    );
    let sql = judged(session, &sql)?;
    let lease = shared.node.lease();
    let epoch = i32::try_from(lease.0).unwrap_or(i32::MAX);
    let client = session.client();
    // In one round trip. The look comes after it, with a snapshot that is taken once the lock is there.
    let begin =
        format!("BEGIN; SET LOCAL enable_seqscan = off; SELECT pg_advisory_xact_lock_shared({EPOCH_LOCKS}, {epoch})");
    let claimed = (|| {
        session.batch_execute(&begin)?;
        let lives = session.wait(client.query_one(
            "SELECT EXISTS (SELECT 1 FROM node WHERE epoch = $1 AND ended_at IS NULL)",
            &[&lease.0],
        ))?;
        if !lives.get::<_, bool>(0) {
            shared.node.lost(lease);
            return Err(StoreError::Stale);
        }
        let claimed = session.wait(client.execute(sql, &[&bucket, &owner, &lease.0, &CLAIM]))?;
        Ok(claimed)
    })();
    match claimed {
        Ok(claimed) => {
            session.batch_execute(COMMIT)?;
            Ok(claimed)
        }
        Err(error) => {
            session.roll_back();
            Err(error)
        }
    }
}

/// Whether an epoch has work left in a bucket, be it locked or not.
fn holds_work(session: &Session, bucket: i16, epoch: i64) -> Result<bool, StoreError> {
    let any = REST.each_ref().map(|Work { table, due, .. }| {
        format!("EXISTS (SELECT 1 FROM {table} WHERE bucket = $1 AND owner = $2 AND {due} IS NOT NULL)")
    });
    let sql = format!("SELECT {}", any.join(" OR "));
    let row = session.wait(session.client().query_one(judged(session, &sql)?, &[&bucket, &epoch]))?;
    Ok(row.get(0))
}

/// Buckets that hold an account, from a random one on: so that survivors begin at different places.
fn held_buckets(session: &Session) -> Result<VecDeque<i16>, StoreError> {
    let rows = session.wait(session.client().query(
        "SELECT bucket, (random() * 256)::integer FROM held_bucket ORDER BY bucket",
        &[],
    ))?;
    let turn = rows
        .first()
        .map_or(0, |row| usize::try_from(row.get::<_, i32>(1)).unwrap_or(0));
    let mut buckets: VecDeque<i16> = rows.iter().map(|row| row.get(0)).collect();
    if !buckets.is_empty() {
        let places = turn % buckets.len();
        buckets.rotate_left(places);
    }
    Ok(buckets)
}

/// Owners of a bucket's work that are no nodes, and nobody.
fn strays(session: &Session, bucket: i16) -> Result<Vec<Option<i64>>, StoreError> {
    let mut owners: Vec<i64> = Vec::new();
    for Work { table, due, .. } in &REST {
        // One descent an owner, of which there are as many as nodes.
        let sql = format!(
            "SELECT owner FROM {table} WHERE bucket = $1 AND {due} IS NOT NULL AND owner > $2 ORDER BY owner LIMIT 1"
        );
        let sql = judged(session, &sql)?;
        let mut after = i64::MIN;
        while let Some(row) = session.wait(session.client().query_opt(sql, &[&bucket, &after]))? {
            after = row.get(0);
            owners.push(after);
        }
    }
    // Asked after the rows: a node is registered before it has any. By itself, since nodes may be listed on another machine than the rows.
    let nodes = session.wait(
        session
            .client()
            .query("SELECT epoch FROM node WHERE epoch = ANY ($1)", &[&owners]),
    )?;
    let nodes: BTreeSet<i64> = nodes.iter().map(|row| row.get(0)).collect();
    let strays: BTreeSet<i64> = owners.into_iter().filter(|owner| !nodes.contains(owner)).collect();
    Ok(std::iter::once(None).chain(strays.into_iter().map(Some)).collect())
}

/// Forgets a node of which nothing is left, with its lanes' markers. Nothing can be added any more: whoever claims looks first whether
/// its own epoch lives, and a lane whose marker is gone makes it anew for the next one.
fn forget_node(session: &Session, shared: &Shared, epoch: i64) -> Result<(), StoreError> {
    let marked = if shared.sharded {
        held_buckets(session)?.into()
    } else {
        vec![0_i16]
    };
    let sql = judged(
        session,
        "DELETE FROM batch_marker WHERE bucket = $1 AND writer IN \
         (SELECT writer FROM batch_marker WHERE bucket = $1 AND epoch = $2 FOR UPDATE SKIP LOCKED)",
    )?;
    for bucket in marked {
        session.wait(session.client().execute(sql, &[&bucket, &epoch]))?;
    }
    session.wait(
        session
            .client()
            .execute("DELETE FROM node WHERE epoch = $1 AND ended_at IS NOT NULL", &[&epoch]),
    )?;
    Ok(())
}
