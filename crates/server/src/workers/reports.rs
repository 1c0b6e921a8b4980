//! Sends the delivery reports that stand in the books: signed, in each request's order, tried again with growing delays and
//! lost after the tenth retry (P4). The books say what is due; this worker keeps only what it read and has not recorded yet.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use countersign_core::ApiToken;
use countersign_store::{DueReport, Handed, NewReports, ReportAttempt, ReportKey, ReportOutcome, Store, StoreError};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::watch;
use tokio::time::Instant;

use super::report_queue::{Host, ReportQueue};
use super::{AttemptFailure, Postman, RetrySchedule, Worker, signalled};
use crate::{clock, random};

/// Attempts under way at once, to all receivers together.
const MAX_UNDER_WAY: usize = 64;
/// Reports read at once.
const PAGE: usize = 256;
/// Most reports in memory; what is due beyond it waits in the books.
const MAX_KNOWN: usize = 4_096;
/// How often the books are asked where nothing else says that something is due.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The shortest time between two reads. It grows with what is in memory, since a read meets all of that again.
const MIN_READ_GAP: Duration = Duration::from_millis(5);
/// How long attempts under way may go on once the server drains. One that is cut off is made again after the next start.
const DRAIN_LIMIT: Duration = Duration::from_secs(3);
/// Waits between tries to record an attempt, the first and the longest, and how many tries there are.
const FIRST_RECORD_BACKOFF: Duration = Duration::from_millis(10);
const MAX_RECORD_BACKOFF: Duration = Duration::from_secs(1);
const MAX_RECORD_TRIES: u32 = 30;

pub(super) struct Reports {
    store: Arc<dyn Store>,
    postman: Postman,
    retries: RetrySchedule,
    /// A batch with new reports was committed.
    new_reports: Option<NewReports>,
    draining: watch::Receiver<bool>,
}

/// An attempt that has ended.
struct Attempted {
    host: Host,
    key: ReportKey,
    /// What became of it; `None` where nothing was sent.
    outcome: Option<(ReportAttempt, ReportOutcome)>,
}

impl Reports {
    pub(super) fn new(
        store: Arc<dyn Store>,
        postman: Postman,
        retries: RetrySchedule,
        new_reports: Option<NewReports>,
        draining: watch::Receiver<bool>,
    ) -> Self {
        Self {
            store,
            postman,
            retries,
            new_reports,
            draining,
        }
    }

    /// Reads what is due into the queue; answers how long to wait for the next read where nothing happens.
    async fn read(&self, queue: &mut ReportQueue) -> Duration {
        if queue.len() >= MAX_KNOWN {
            return POLL_INTERVAL;
        }
        // What is known already is still due in the books, and is read again.
        let limit = queue.len() + PAGE;
        match self.due(limit).await {
            Ok(due) => {
                let page_was_full = due.len() >= limit;
                let known_before = queue.len();
                for report in due {
                    queue.add(report);
                }
                if page_was_full && queue.len() > known_before {
                    Duration::ZERO
                } else {
                    POLL_INTERVAL
                }
            }
            Err(error) => {
                tracing::error!(%error, "due delivery reports could not be read; it is tried again");
                POLL_INTERVAL
            }
        }
    }

    /// What is due in all lanes.
    async fn due(&self, limit: usize) -> Result<Vec<DueReport>, StoreError> {
        let now = clock::now();
        let mut due = Vec::new();
        for account in self.store.report_accounts(None, limit).await? {
            for (lane, _) in self.store.report_lanes(account, None, limit).await? {
                due.extend(self.store.due_reports(lane, now, None, limit).await?);
            }
        }
        Ok(due)
    }

    /// Makes one attempt.
    async fn attempt(&self, host: Host, report: DueReport) -> Attempted {
        let key = report.key;
        let outcome = match self.store.token(key.request.account).await {
            Ok(token) => Some(self.outcome(report, &token).await),
            Err(error) => {
                // Nothing was sent, so it is no attempt: the report stays due.
                tracing::warn!(%error, request = %key.request.id, "a delivery report could not be signed");
                None
            }
        };
        Attempted { host, key, outcome }
    }

    async fn outcome(&self, report: DueReport, token: &ApiToken) -> (ReportAttempt, ReportOutcome) {
        let began_at = clock::now();
        let request = report.key.request.id;
        let attempt = self
            .postman
            .send(&report.callback_url, Bytes::from(report.body), token, clock::now());
        // A panic over one report counts as its failed attempt, lest it should stop and repeat all others.
        let sent = AssertUnwindSafe(attempt).catch_unwind().await;
        let now = clock::now();
        let failure = match sent {
            Ok(sent) => sent.err(),
            Err(_) => {
                tracing::error!(%request, "a delivery report could not be sent: please report this bug");
                Some(AttemptFailure::Transport("an error of the gateway itself".to_owned()))
            }
        };
        let attempt = ReportAttempt {
            at: began_at,
            duration_ms: u32::try_from(now.millis().saturating_sub(began_at.millis())).unwrap_or(0),
            status: match &failure {
                None => Some(200),
                Some(AttemptFailure::Status(status)) => Some(*status),
                Some(_) => None,
            },
            error: failure.as_ref().map(ToString::to_string),
            response: Vec::new(),
        };
        if failure.is_none() {
            return (attempt, ReportOutcome::Acknowledged);
        }
        let entropy = u64::from_ne_bytes(random::bytes());
        let Some(delay_ms) = self.retries.delay_ms(report.attempts, entropy) else {
            tracing::warn!(%request, error = attempt.error, "a delivery report is lost after its last retry");
            return (attempt, ReportOutcome::Lost);
        };
        tracing::debug!(%request, attempts = report.attempts + 1, error = attempt.error, "a delivery report is tried again");
        let due_at = now.plus_millis(delay_ms);
        (attempt, ReportOutcome::Retry { due_at })
    }

    /// Records an attempt, patiently: until it is written, the report stays known and isn't sent again. Answers its name and
    /// how long it takes until something of its request is due, if anything is.
    async fn record(&self, key: ReportKey, attempt: ReportAttempt, outcome: ReportOutcome) -> (ReportKey, Duration) {
        let due_again = match &outcome {
            ReportOutcome::Retry { due_at } | ReportOutcome::Held { due_at } => *due_at,
            ReportOutcome::Acknowledged | ReportOutcome::Lost => attempt.at,
        };
        let mut backoff = FIRST_RECORD_BACKOFF;
        let mut tries = 0;
        while tries < MAX_RECORD_TRIES {
            tries += 1;
            match self.store.record_report(key, attempt.clone(), outcome).await {
                Ok(_) | Err(StoreError::NotFound(_)) => {
                    let wait_ms = due_again.millis().saturating_sub(clock::now().millis());
                    return (key, Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0)));
                }
                Err(StoreError::Closing) => break,
                // However long it takes: an attempt that is given up is made again, once for each try.
                Err(StoreError::DiskFull) => tries = 0,
                Err(error) => tracing::debug!(%error, "an attempt is not recorded yet"),
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(MAX_RECORD_BACKOFF);
        }
        tracing::warn!(request = %key.request.id, "an attempt to send a delivery report could not be recorded: it is made again");
        (key, POLL_INTERVAL)
    }
}

impl Worker for Reports {
    const NAME: &'static str = "reports";

    async fn run(&mut self) {
        let mut draining = self.draining.clone();
        let mut new_reports = self.new_reports.take();
        let this = &*self;
        let mut queue = ReportQueue::default();
        let mut under_way = FuturesUnordered::new();
        // As many at most as the queue knows. A receiver's place is free as soon as it answered.
        let mut recording = FuturesUnordered::new();
        let mut last_read: Option<Instant> = None;
        let mut read_at = Instant::now();
        loop {
            while under_way.len() < MAX_UNDER_WAY {
                let Some((host, report)) = queue.take() else { break };
                under_way.push(this.attempt(host, report));
            }
            let earliest = last_read.map_or_else(Instant::now, |last| last + read_gap(queue.len()));
            tokio::select! {
                biased;
                () = signalled(&mut draining) => break,
                Some((key, due_in)) = recording.next(), if !recording.is_empty() => {
                    queue.forget(key);
                    read_at = read_at.min(Instant::now() + due_in);
                }
                Some(Attempted { host, key, outcome }) = under_way.next(), if !under_way.is_empty() => {
                    queue.free(host);
                    match outcome {
                        Some((attempt, outcome)) => recording.push(this.record(key, attempt, outcome)),
                        None => queue.forget(key),
                    }
                }
                Some(handed) = next_new(&mut new_reports) => {
                    drop(handed);
                    read_at = Instant::now();
                }
                () = tokio::time::sleep_until(read_at.max(earliest)) => {
                    let pause = this.read(&mut queue).await;
                    let now = Instant::now();
                    last_read = Some(now);
                    read_at = now + pause;
                }
            }
        }
        let finish = async {
            while !under_way.is_empty() || !recording.is_empty() {
                tokio::select! {
                    Some(_) = recording.next() => {}
                    Some(Attempted { key, outcome, .. }) = under_way.next() => {
                        recording.extend(outcome.map(|(attempt, outcome)| this.record(key, attempt, outcome)));
                    }
                }
            }
        };
        if tokio::time::timeout(DRAIN_LIMIT, finish).await.is_err() {
            tracing::debug!("delivery reports under way were cut off: they are sent again after the next start");
        }
    }
}

/// 5 ms, and 1 ms more for every 20 reports that a read meets again.
fn read_gap(known: usize) -> Duration {
    MIN_READ_GAP + Duration::from_millis(u64::try_from(known / 20).unwrap_or(0))
}

async fn next_new(new_reports: &mut Option<NewReports>) -> Option<Handed<DueReport>> {
    new_reports.as_mut()?.next().await
}
