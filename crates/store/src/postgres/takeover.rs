//! Claims what an ended node left: requests that wait for something, and reports that are due. Bucket by bucket, some hundred rows a
//! statement, and rows that somebody else locks are passed over: so several survivors share the work, and none waits for another.

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

/// A table with work, and what makes a row of it work.
struct Work {
    table: &'static str,
    due: &'static str,
    key: &'static str,
}

/// Columns after the bucket. A request without an owner that waits for a time alone (a hold) belongs to whoever looks when it has come.
static REQUESTS: Work = Work {
    table: "request",
    due: "wake_at",
    key: "account_id, created_at, random",
};
static REPORTS: Work = Work {
    table: "report",
    due: "due_at",
    key: "account_id, created_at, random, number",
};

/// One epoch's rows on their way to another's.
pub(super) struct Takeover {
    /// Whose they were; `None` for what is nobody's.
    of: Option<i64>,
    /// Those still to be looked through; `None` before they were read.
    buckets: Option<VecDeque<i16>>,
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
            buckets: None,
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
        let buckets = match &mut self.buckets {
            Some(buckets) => buckets,
            None => self.buckets.insert(held_buckets(session)?),
        };
        let Some(bucket) = buckets.pop_front() else {
            if let Some(epoch) = self.of
                && !self.left_some
            {
                forget_node(session, shared, epoch)?;
            }
            return Ok(false);
        };
        let owners = match self.of {
            Some(epoch) => vec![Some(epoch)],
            None => strays(session, bucket)?,
        };
        for owner in owners {
            self.claims
                .extend([(bucket, &REPORTS, owner), (bucket, &REQUESTS, owner)]);
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
        *if work.table == REQUESTS.table {
            &mut self.requests
        } else {
            &mut self.reports
        } += claimed;
        self.untold |= claimed > 0;
        if claimed >= CLAIM.unsigned_abs() {
            return Ok(());
        }
        if let Some(owner) = owner {
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
fn claim_some(
    session: &Session,
    shared: &Shared,
    bucket: i16,
    work: &Work,
    owner: Option<i64>,
) -> Result<u64, StoreError> {
    let Work { table, due, key } = work;
    let (whose, joined) = (
        if owner.is_some() {
            "owner = $2"
        } else {
            "owner IS NULL AND $2::bigint IS NULL"
        },
        key.split(", ")
            .map(|column| format!("{table}.{column} = k.{column}"))
            .collect::<Vec<_>>()
            .join(" AND "),
    );
    // A hold waits for a time, and whoever looks then settles it; a message that nobody was given is somebody's.
    let open = if owner.is_none() && *table == REQUESTS.table {
        "AND delivery = 4 AND accepted = 0"
    } else {
        ""
    };
    let sql = format!(
        "UPDATE {table} SET owner = $3 FROM (SELECT {key} FROM {table} WHERE bucket = $1 AND {whose} AND {due} IS NOT NULL {open} \
         ORDER BY {due} LIMIT $4 FOR UPDATE SKIP LOCKED) AS k WHERE {table}.bucket = $1 AND {joined}"
    );
    let sql = judged(session, &sql)?;
    let lease = shared.node.lease();
    let epoch = i32::try_from(lease.0).unwrap_or(i32::MAX);
    let client = session.client();
    session.batch_execute("BEGIN")?;
    let claimed = (|| {
        session.wait(client.execute("SELECT pg_advisory_xact_lock_shared($1, $2)", &[&EPOCH_LOCKS, &epoch]))?;
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
    for Work { table, due, .. } in [&REQUESTS, &REPORTS] {
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
    let sql = judged(session, "DELETE FROM batch_marker WHERE bucket = $1 AND epoch = $2")?;
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
