//! A batch's delivery reports: new ones, and what became of attempts to send others. What is open of their requests is read in one round
//! trip, all is worked out in memory, and the rows go out with the batch's others. Of a request's reports only the first open one has a
//! due time: so order is kept in the books.

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign_core::{CallbackUrl, DeliveryReport, Timestamp, TokenKind};
use tokio_postgres::types::ToSql;

use super::Shared;
use super::lane::Job;
use super::load::Buckets;
use super::session::Session;
use crate::batch::Batch;
use crate::reports::{DueReport, ReportAttempt, ReportKey, ReportKind, ReportOutcome, ReportState};
use crate::sql::codec::{
    account_key, report_kind_number, report_kind_of, report_state_number, request_id, request_place, token_claim,
};
use crate::sql::reports::seal_response;
use crate::sql::{Connection, Row, reports};
use crate::types::{Lease, RequestRef, StoreError};
use crate::vault::{Purpose, Vault};

/// A report that is pending, or was when the batch began.
pub(super) struct OpenReport {
    pub(super) place: [i64; 4],
    pub(super) number: u16,
    pub(super) kind: i64,
    pub(super) state: ReportState,
    pub(super) attempts: u16,
    pub(super) tries: u32,
    pub(super) due_at: Option<i64>,
    pub(super) made_at: i64,
    pub(super) finished_at: Option<i64>,
    pub(super) host: String,
    pub(super) callback_url: String,
    pub(super) body_sealed: Vec<u8>,
    pub(super) test: bool,
    pub(super) generation: u32,
    /// Whether it must be written.
    changed: bool,
}

/// A row for an attempt.
pub(super) struct AttemptRow {
    pub(super) place: [i64; 4],
    pub(super) number: u16,
    pub(super) try_number: u32,
    pub(super) at: i64,
    pub(super) duration_ms: i64,
    pub(super) status: Option<u16>,
    pub(super) error: Option<String>,
    pub(super) response_sealed: Option<Vec<u8>>,
}

/// What a batch writes of reports, and what it answers.
#[derive(Default)]
pub(super) struct ReportRows {
    pub(super) reports: Vec<OpenReport>,
    pub(super) attempts: Vec<AttemptRow>,
    /// Due at once, to be handed over after the commit.
    pub(super) due: Vec<DueReport>,
    /// For each attempt that is this node's, in their order: the request's next report.
    pub(super) next: Vec<Option<DueReport>>,
}

const OPEN: &str = "SELECT r.bucket, r.account_id, r.created_at, r.random, r.number, r.kind, r.attempts, r.tries, r.due_at, \
     r.made_at, r.host, r.callback_url, r.body_sealed, r.test, r.generation";
const OPEN_FROM: &str = "FROM unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::bigint[]) AS k (b, a, c, n) \
     CROSS JOIN LATERAL (SELECT * FROM report WHERE bucket = k.b AND account_id = k.a AND created_at = k.c \
     AND random = k.n AND created_at BETWEEN $5 AND $6 AND state = 0 OFFSET 0) AS r ORDER BY r.number";
const OPEN_FROM_BUCKET: &str = "FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS k (a, c, n) \
     CROSS JOIN LATERAL (SELECT * FROM report WHERE bucket = $1 AND account_id = k.a AND created_at = k.c \
     AND random = k.n AND created_at BETWEEN $5 AND $6 AND state = 0 OFFSET 0) AS r ORDER BY r.number";

type Open = BTreeMap<RequestRef, Vec<OpenReport>>;

/// Works out what a batch writes of reports.
pub(super) fn gather(
    shared: &Shared,
    session: &Session,
    batch: &Batch,
    jobs: &[Job],
    lease: Lease,
) -> Result<ReportRows, StoreError> {
    let vault = &shared.vault;
    let mut rows = ReportRows::default();
    let attempts: Vec<(ReportKey, &ReportAttempt, ReportOutcome)> = jobs
        .iter()
        .filter_map(|job| match job {
            Job::Report {
                lease: held,
                key,
                attempt,
                outcome,
                ..
            } if *held == lease => Some((*key, attempt, *outcome)),
            _ => None,
        })
        .collect();
    let mut requests: Vec<RequestRef> = attempts
        .iter()
        .filter(|(_, _, outcome)| !is_held(*outcome))
        .map(|(key, ..)| key.request)
        .collect();
    // A request that this batch made has no older reports.
    let is_stored =
        |request: &RequestRef| !matches!(batch.requests.get(request), Some(Some(touched)) if !touched.stored);
    requests.extend(batch.reports.iter().map(|(request, _)| *request).filter(is_stored));
    // One that is held back stays under way: it neither ends nor lets another go, so it is written by itself.
    let connection = Connection::Postgres(session);
    for (key, attempt, outcome) in attempts.iter().filter(|(_, _, outcome)| is_held(*outcome)) {
        reports::record(connection, vault, *key, attempt, *outcome, lease)?;
    }
    requests.sort_unstable();
    requests.dedup();
    let mut open = read_open(shared, session, &requests)?;
    for (kind, new) in [
        (ReportKind::Delivery, &batch.reports),
        (ReportKind::LowBalance, &batch.low_balances),
        (ReportKind::DailyBudget, &batch.budgets),
    ] {
        for (request, report) in new {
            rows.due.extend(add(vault, &mut open, *request, kind, report, lease)?);
        }
    }
    for (key, attempt, outcome) in &attempts {
        let next = if is_held(*outcome) {
            None
        } else {
            record(vault, &mut open, &mut rows.attempts, *key, attempt, *outcome, lease)?
        };
        rows.next.push(next);
    }
    rows.reports = open.into_values().flatten().filter(|report| report.changed).collect();
    Ok(rows)
}

const fn is_held(outcome: ReportOutcome) -> bool {
    matches!(outcome, ReportOutcome::Held { .. })
}

fn read_open(shared: &Shared, session: &Session, requests: &[RequestRef]) -> Result<Open, StoreError> {
    let mut open = Open::new();
    if requests.is_empty() {
        return Ok(open);
    }
    let statement = session.prepare(&format!(
        "{OPEN} {}",
        if shared.sharded { OPEN_FROM_BUCKET } else { OPEN_FROM }
    ))?;
    let places: Vec<[i64; 4]> = requests.iter().map(|request| request_place(*request)).collect();
    let buckets = Buckets::new(shared.sharded, requests.iter().map(|request| request.account.bucket.0));
    let [ids, times, randoms] = [1, 2, 3].map(|part| places.iter().map(|place| place[part]).collect::<Vec<i64>>());
    let first = times.iter().copied().min().unwrap_or_default();
    let last = times.iter().copied().max().unwrap_or_default();
    let values: [&(dyn ToSql + Sync); 6] = [buckets.parameter(), &ids, &times, &randoms, &first, &last];
    for row in session.wait(session.client().query(&statement, &values))? {
        let row = Row::Postgres(&row);
        let place: [i64; 4] = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?];
        let request = RequestRef {
            account: account_key(place[0], place[1])?,
            id: request_id(place[2], place[3]),
        };
        open.entry(request).or_default().push(OpenReport {
            place,
            number: row.get(4)?,
            kind: report_kind_number(report_kind_of(row.get(5)?)?),
            state: ReportState::Pending,
            attempts: row.get(6)?,
            tries: row.get(7)?,
            due_at: row.get(8)?,
            made_at: row.get(9)?,
            finished_at: None,
            host: row.get(10)?,
            callback_url: row.get(11)?,
            body_sealed: row.get(12)?,
            test: row.get(13)?,
            generation: row.get(14)?,
            changed: false,
        });
    }
    Ok(open)
}

/// Adds a new report; answers it where it is due at once. Behind a pending report of its request it waits.
fn add(
    vault: &Vault,
    open: &mut Open,
    request: RequestRef,
    kind: ReportKind,
    report: &DeliveryReport,
    lease: Lease,
) -> Result<Option<DueReport>, StoreError> {
    let place = request_place(request);
    let of_request = open.entry(request).or_default();
    let is_first = !of_request.iter().any(|open| open.state == ReportState::Pending);
    let host = report.callback_url.destination();
    let due = is_first.then(|| DueReport {
        key: ReportKey {
            request,
            number: report.number,
        },
        host: Arc::from(host.as_str()),
        callback_url: report.callback_url.clone(),
        body: report.body.clone(),
        token: report.token,
        attempts: 0,
        due_at: report.created_at,
        lease,
    });
    of_request.push(OpenReport {
        place,
        number: report.number,
        kind: report_kind_number(kind),
        state: ReportState::Pending,
        attempts: 0,
        tries: 0,
        due_at: is_first.then_some(report.created_at.millis()),
        made_at: report.created_at.millis(),
        finished_at: None,
        host,
        callback_url: report.callback_url.as_str().to_owned(),
        body_sealed: vault.seal(Purpose::Report, &place, &report.body)?,
        test: report.token.kind == TokenKind::Test,
        generation: report.token.generation,
        changed: true,
    });
    Ok(due)
}

/// Notes an attempt; once its report is done, answers the request's next one, which is due from now on.
fn record(
    vault: &Vault,
    open: &mut Open,
    attempts: &mut Vec<AttemptRow>,
    key: ReportKey,
    attempt: &ReportAttempt,
    outcome: ReportOutcome,
    lease: Lease,
) -> Result<Option<DueReport>, StoreError> {
    let of_request = open.entry(key.request).or_default();
    // One that isn't due is not under way either: what is said of it is old.
    let Some(report) = of_request
        .iter_mut()
        .find(|report| report.number == key.number && report.state == ReportState::Pending && report.due_at.is_some())
    else {
        return Ok(None);
    };
    // Said once more, since nobody could tell whether it was written: the report already waits for what came of this attempt, which
    // began before. One attempt must not count as two.
    if let ReportOutcome::Retry { due_at } = outcome
        && report.due_at == Some(due_at.millis())
        && attempt.at < due_at
    {
        return Ok(None);
    }
    (report.state, report.due_at) = match outcome {
        ReportOutcome::Acknowledged => (ReportState::Acknowledged, None),
        ReportOutcome::Retry { due_at } | ReportOutcome::Held { due_at } => {
            (ReportState::Pending, Some(due_at.millis()))
        }
        ReportOutcome::Lost => (ReportState::Lost, None),
    };
    report.finished_at = report.due_at.is_none().then_some(attempt.at.millis());
    report.attempts = report.attempts.saturating_add(1);
    report.tries = report.tries.saturating_add(1);
    report.changed = true;
    attempts.push(AttemptRow {
        place: report.place,
        number: key.number,
        try_number: report.tries,
        at: attempt.at.millis(),
        duration_ms: i64::from(attempt.duration_ms),
        status: attempt.status,
        error: attempt.error.clone(),
        response_sealed: seal_response(vault, key, report.tries, attempt)?,
    });
    let Some(at) = report.finished_at else { return Ok(None) };
    Ok(release_next(vault, of_request, key.request, at, lease))
}

/// Makes the request's first open report due.
fn release_next(
    vault: &Vault,
    of_request: &mut [OpenReport],
    request: RequestRef,
    at: i64,
    lease: Lease,
) -> Option<DueReport> {
    let next = of_request
        .iter_mut()
        .filter(|report| report.state == ReportState::Pending)
        .min_by_key(|report| report.number)?;
    next.due_at = Some(at);
    next.changed = true;
    // A body that doesn't open is this report's trouble, not the batch's: whoever reads the lane says so.
    let body = vault.open(Purpose::Report, &next.place, &next.body_sealed).ok()?;
    Some(DueReport {
        key: ReportKey {
            request,
            number: next.number,
        },
        host: Arc::from(next.host.as_str()),
        callback_url: CallbackUrl::from_stored(next.callback_url.clone()),
        body,
        token: token_claim(next.test, next.generation),
        attempts: next.attempts,
        due_at: Timestamp::from_millis(at),
        lease,
    })
}

impl OpenReport {
    /// Its state's number in the column.
    pub(super) const fn state_number(&self) -> i64 {
        report_state_number(self.state)
    }
}
