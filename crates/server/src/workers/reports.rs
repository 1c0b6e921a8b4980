//! Sends the delivery reports that stand in the books: signed, in each request's order, tried again with growing delays and
//! lost after the tenth retry (P4). `lanes` decides what goes next; this worker reads, sends and records. New reports come
//! from the writer in memory; after an overflow or a restart they are read from the books.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use countersign_core::{ApiToken, Timestamp};
use countersign_store::{
    DueReport, Handed, Lease, NewReports, ReportAttempt, ReportKey, ReportLane, ReportOutcome, Store, StoreError,
};
use futures_util::FutureExt as _;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::lanes::{Bounds, Ended, HeldBack, Lanes, Offered, Start, Ticket};
use super::sweep::Sweep;
use super::wakes::Wakes;
use super::{Attempt, AttemptFailure, CircuitSettings, Postman, RetrySchedule, Worker, signalled, until_lost};
use crate::traces::{Called, Traces};
use crate::vitals::{ReportQuestion, Vitals};
use crate::{clock, random};

/// Pages read between two looks at what has ended: some milliseconds of work.
const READS_AT_ONCE: usize = 4;
/// Attempts that may wait to be recorded before others begin.
const MAX_RECORDING: usize = 4_096;
/// A retry that the books hold is waited for in memory where it is due within this time; others are found by later rounds.
const WAKES_AHEAD_MS: i64 = 60_000;
/// How often free connections and quiet lanes are looked through.
const TIDY_EVERY: Duration = Duration::from_secs(1);
/// When a report goes again that could not be signed, or not be recorded.
const AGAIN_AFTER_MS: i64 = 1_000;
/// How long attempts under way may go on once the server drains. One that is cut off is made again after the next start.
const DRAIN_LIMIT: Duration = Duration::from_secs(3);
/// Waits between tries to record an attempt, the first and the longest, and how many tries there are.
const FIRST_RECORD_BACKOFF: Duration = Duration::from_millis(10);
const MAX_RECORD_BACKOFF: Duration = Duration::from_secs(1);
const MAX_RECORD_TRIES: u32 = 30;

/// Attempts being recorded at once, an eighth of what the writer's queue takes: a circuit that opens over thousands of reports
/// leaves the rest of it to those who call.
const RECORDS_AT_ONCE: usize = 1_024;

/// The worker.
pub(super) struct Reports {
    sender: Arc<Sender>,
    /// The hand-over from the writer; none where somebody else takes it.
    fresh: Option<NewReports>,
    /// What the operator's console asks; none where somebody else answers.
    questions: Option<mpsc::Receiver<ReportQuestion>>,
    circuits: CircuitSettings,
    draining: watch::Receiver<bool>,
}

/// What an attempt needs.
struct Sender {
    store: Arc<dyn Store>,
    postman: Postman,
    retries: RetrySchedule,
    traces: Traces,
}

/// An attempt that has ended, with what to record of it.
struct Attempted {
    ticket: Ticket,
    ended: Ended,
    record: Option<(ReportAttempt, ReportOutcome)>,
    lease: Lease,
}

/// An attempt, or that a report was held back, before it is written down.
struct ToRecord {
    key: ReportKey,
    lane: ReportLane,
    attempt: ReportAttempt,
    outcome: ReportOutcome,
    /// Under which it was made.
    lease: Lease,
}

/// A report that was recorded.
struct Recorded {
    key: ReportKey,
    lane: ReportLane,
    /// When its lane is to be looked at again.
    again_at: Option<Timestamp>,
    /// The request's next report, due now.
    next: Option<DueReport>,
}

/// What a run keeps.
struct Run {
    sender: Arc<Sender>,
    lanes: Lanes,
    wakes: Wakes,
    sweep: Sweep,
    tidy_at: Instant,
    under_way: FuturesUnordered<BoxFuture<'static, Attempted>>,
    recording: FuturesUnordered<BoxFuture<'static, Recorded>>,
    /// What is recorded after those; with them as many at most as the lanes know.
    to_record: VecDeque<ToRecord>,
}

impl Reports {
    pub(super) fn new(
        store: Arc<dyn Store>,
        postman: Postman,
        retries: RetrySchedule,
        circuits: CircuitSettings,
        fresh: Option<NewReports>,
        vitals: &Vitals,
        draining: watch::Receiver<bool>,
    ) -> Self {
        let sender = Arc::new(Sender {
            store,
            postman,
            retries,
            traces: vitals.traces.clone(),
        });
        Self {
            sender,
            fresh,
            questions: vitals.take_questions(),
            circuits,
            draining,
        }
    }
}

impl Worker for Reports {
    const NAME: &'static str = "reports";

    async fn run(&mut self) {
        let mut draining = self.draining.clone();
        let mut run = Run::new(Arc::clone(&self.sender), self.circuits);
        loop {
            run.start_all();
            let reads_on = run.read_some().await;
            let next_look = run.next_look();
            tokio::select! {
                biased;
                () = signalled(&mut draining) => break,
                Some(handed) = next_fresh(&mut self.fresh) => run.take_in(handed),
                Some(question) = next_question(&mut self.questions) => {
                    // A page that went away needs no answer.
                    let _ = question.send(run.lanes.figures(Instant::now()));
                }
                Some(recorded) = run.recording.next() => {
                    // What was handed over before that commit comes first, lest a report that is done be taken for new.
                    while let Some(handed) = self.fresh.as_mut().and_then(NewReports::try_next) {
                        run.take_in(handed);
                    }
                    run.recorded(recorded);
                }
                Some(attempted) = run.under_way.next() => run.attempted(attempted),
                () = tokio::task::yield_now(), if reads_on => {}
                () = tokio::time::sleep_until(next_look), if !reads_on => run.look().await,
            }
        }
        run.finish().await;
    }
}

/// The next hand-over; waits for ever where there is none to come.
async fn next_fresh(fresh: &mut Option<NewReports>) -> Option<Handed<DueReport>> {
    fresh.as_mut()?.next().await
}

/// The console's next question; waits for ever where nobody asks.
async fn next_question(questions: &mut Option<mpsc::Receiver<ReportQuestion>>) -> Option<ReportQuestion> {
    questions.as_mut()?.recv().await
}

impl Run {
    fn new(sender: Arc<Sender>, circuits: CircuitSettings) -> Self {
        let now = Instant::now();
        Self {
            sender,
            lanes: Lanes::new(Bounds::default(), circuits),
            wakes: Wakes::default(),
            sweep: Sweep::new(now),
            tidy_at: now + TIDY_EVERY,
            under_way: FuturesUnordered::new(),
            recording: FuturesUnordered::new(),
            to_record: VecDeque::new(),
        }
    }

    /// Starts every attempt that may go. While the books don't take notes, none does: they would pile up here.
    fn start_all(&mut self) {
        let now = Instant::now();
        while self.recording.len() < MAX_RECORDING
            && let Some(Start { report, ticket }) = self.lanes.start(now)
        {
            let sender = Arc::clone(&self.sender);
            self.under_way
                .push(async move { sender.attempt(ticket, report).await }.boxed());
        }
    }

    /// Reads some pages of what waits in the books; answers whether there is more to read at once.
    async fn read_some(&mut self) -> bool {
        for _ in 0..READS_AT_ONCE {
            let Some(read) = self.lanes.next_read(Instant::now()) else {
                return false;
            };
            let due = self
                .sender
                .store
                .due_reports(read.lane.clone(), clock::now(), read.after, read.limit);
            match due.await {
                Ok(page) => self.lanes.was_read(&read, page, Instant::now()),
                Err(error) => {
                    tracing::error!(%error, "due delivery reports could not be read; it is tried again");
                    self.wakes.add(clock::now().plus_millis(AGAIN_AFTER_MS), read.lane);
                }
            }
            self.start_all();
        }
        true
    }

    fn take_in(&mut self, handed: Handed<DueReport>) {
        match handed {
            Handed::Batch(reports) => {
                for report in reports {
                    self.offer(report);
                }
            }
            Handed::Missed => {
                tracing::debug!("more delivery reports were made than could be handed over; the rest is read");
                self.sweep.start_over(Instant::now());
            }
        }
    }

    fn offer(&mut self, report: DueReport) {
        let now = Instant::now();
        if let (Offered::Held { until }, Some(report)) = self.lanes.offer(report, now) {
            self.hold_back(&report, until, now);
        }
    }

    fn hold_back(&mut self, report: &DueReport, until: Instant, now: Instant) {
        let at = clock::now();
        let wait_ms = i64::try_from(until.duration_since(now).as_millis()).unwrap_or(i64::MAX);
        let due_at = at.plus_millis(wait_ms);
        let attempt = ReportAttempt {
            at,
            duration_ms: 0,
            status: None,
            error: Some("held back: its destination failed several times in a row".to_owned()),
            response: Vec::new(),
        };
        let outcome = ReportOutcome::Held { due_at };
        self.record(report.key, report.lane(), attempt, outcome, report.lease);
    }

    fn record(
        &mut self,
        key: ReportKey,
        lane: ReportLane,
        attempt: ReportAttempt,
        outcome: ReportOutcome,
        lease: Lease,
    ) {
        self.to_record.push_back(ToRecord {
            key,
            lane,
            attempt,
            outcome,
            lease,
        });
        self.record_some();
    }

    /// Begins to record what waits for it, where there is a place.
    fn record_some(&mut self) {
        while self.recording.len() < RECORDS_AT_ONCE
            && let Some(next) = self.to_record.pop_front()
        {
            let sender = Arc::clone(&self.sender);
            self.recording.push(async move { sender.record(next).await }.boxed());
        }
    }

    fn attempted(&mut self, attempted: Attempted) {
        let Attempted {
            ticket,
            ended,
            record,
            lease,
        } = attempted;
        let now = Instant::now();
        let held_back = self.lanes.ended(&ticket, ended, now);
        if let Some((attempt, outcome)) = record {
            self.record(ticket.key, ticket.lane.clone(), attempt, outcome, lease);
        } else {
            let again_at = clock::now().plus_millis(AGAIN_AFTER_MS);
            self.wakes.add(again_at, ticket.lane.clone());
        }
        if let Some(HeldBack { until, reports }) = held_back {
            tracing::debug!(host = %ticket.lane.host, "a destination failed several times in a row: its reports are held back");
            let wait_ms = i64::try_from(until.duration_since(now).as_millis()).unwrap_or(i64::MAX);
            self.wakes.add(clock::now().plus_millis(wait_ms), ticket.lane);
            for report in reports {
                self.hold_back(&report, until, now);
            }
        }
    }

    fn recorded(&mut self, recorded: Recorded) {
        let Recorded {
            key,
            lane,
            again_at,
            next,
        } = recorded;
        self.record_some();
        self.lanes.recorded(key, &lane, Instant::now());
        if let Some(again_at) = again_at {
            self.wakes.add(again_at, lane);
        }
        if let Some(next) = next {
            self.offer(next);
        }
    }

    /// When something is due that nobody tells of.
    fn next_look(&self) -> Instant {
        let soonest = self.sweep.next().min(self.tidy_at);
        let Some(wake) = self.wakes.next() else { return soonest };
        let wait_ms = wake.millis().saturating_sub(clock::now().millis());
        soonest.min(Instant::now() + Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0)))
    }

    /// Looks at lanes whose time has come, goes on with the round over the books, and tidies up.
    async fn look(&mut self) {
        let now = Instant::now();
        while let Some(lane) = self.wakes.take(clock::now()) {
            self.lanes.note_due(&lane, false, now);
        }
        if self.sweep.next() <= now {
            let thorough = self.sweep.is_thorough();
            match self.sweep.step(&*self.sender.store).await {
                Ok(lanes) => {
                    let at = clock::now();
                    for (lane, due_at) in lanes {
                        if due_at <= at {
                            self.lanes.note_due(&lane, thorough, now);
                        } else if due_at <= at.plus_millis(WAKES_AHEAD_MS) {
                            self.wakes.add(due_at, lane);
                        }
                    }
                }
                Err(error) => tracing::error!(%error, "lanes of delivery reports could not be read; it is tried again"),
            }
        }
        if self.tidy_at <= now {
            self.tidy_at = now + TIDY_EVERY;
            self.lanes.forget_quiet(now);
            self.sender.postman.close_old_connections();
        }
    }

    /// Lets attempts under way end, and records them.
    async fn finish(mut self) {
        let all = async {
            while !self.under_way.is_empty() || !self.recording.is_empty() {
                tokio::select! {
                    Some(_) = self.recording.next() => self.record_some(),
                    Some(attempted) = self.under_way.next() => {
                        if let Some((attempt, outcome)) = attempted.record {
                            let Attempted { ticket, lease, .. } = attempted;
                            self.record(ticket.key, ticket.lane, attempt, outcome, lease);
                        }
                    }
                }
            }
        };
        if tokio::time::timeout(DRAIN_LIMIT, all).await.is_err() {
            tracing::debug!("delivery reports under way were cut off: they are sent again after the next start");
        }
    }
}

impl Sender {
    /// Makes one attempt.
    async fn attempt(&self, ticket: Ticket, report: DueReport) -> Attempted {
        let request = ticket.key.request;
        let (at, attempts, lease) = (clock::now(), report.attempts, report.lease);
        let nothing_sent = |ticket| Attempted {
            ticket,
            ended: Ended::NothingSent,
            record: None,
            lease,
        };
        let token = match self.store.signing_token(request.account, report.token, at).await {
            Ok(token) => token,
            Err(error) => {
                // Nothing was sent, so it is no attempt: the report stays due.
                tracing::warn!(%error, request = %request.id, "a delivery report could not be signed");
                return nothing_sent(ticket);
            }
        };
        if !self.store.holds(lease) {
            // It is another node's by now, or this one's again under a new lease: then it is read again.
            return nothing_sent(ticket);
        }
        let attempt = tokio::select! {
            attempt = self.post(report, &token, at) => attempt,
            () = until_lost(&*self.store, lease) => return nothing_sent(ticket),
        };
        let ended = match attempt.failure {
            None => Ended::Acknowledged(attempt.duration),
            Some(_) => Ended::Failed,
        };
        let record = Some(self.judge(&ticket, attempt, attempts, at));
        Attempted {
            ticket,
            ended,
            record,
            lease,
        }
    }

    async fn post(&self, report: DueReport, token: &ApiToken, now: Timestamp) -> Attempt {
        let request = report.key.request.id;
        let sending = self
            .postman
            .send(&report.callback_url, Bytes::from(report.body), token, now);
        // A panic over one report counts as its failed attempt, lest it should stop and repeat all others.
        let Ok(attempt) = AssertUnwindSafe(sending).catch_unwind().await else {
            tracing::error!(%request, "a delivery report could not be sent: please report this bug");
            return Attempt {
                status: None,
                failure: Some(AttemptFailure::Transport("an error of the gateway itself".to_owned())),
                response: Vec::new(),
                duration: Duration::ZERO,
            };
        };
        let status = attempt.status.map_or_else(String::new, |status| status.to_string());
        self.traces.called(Called {
            name: "delivery report",
            request,
            took: attempt.duration,
            more: &[("http.response.status_code", &status)],
            failure: attempt.failure.as_ref().map(ToString::to_string),
        });
        attempt
    }

    /// What to record of an attempt that began at `at`, after so many others.
    fn judge(&self, ticket: &Ticket, attempt: Attempt, attempts: u16, at: Timestamp) -> (ReportAttempt, ReportOutcome) {
        let request = ticket.key.request.id;
        let record = ReportAttempt {
            at,
            duration_ms: u32::try_from(attempt.duration.as_millis()).unwrap_or(u32::MAX),
            status: attempt.status,
            error: attempt.failure.as_ref().map(ToString::to_string),
            response: attempt.response,
        };
        let Some(failure) = attempt.failure else {
            return (record, ReportOutcome::Acknowledged);
        };
        let entropy = u64::from_ne_bytes(random::bytes());
        let Some(delay_ms) = self.retries.delay_ms(attempts, entropy) else {
            tracing::warn!(%request, reason = %failure, "a delivery report is lost after its last retry");
            return (record, ReportOutcome::Lost);
        };
        tracing::debug!(%request, attempts = attempts + 1, reason = %failure, "a delivery report is tried again");
        let due_at = clock::now().plus_millis(delay_ms);
        (record, ReportOutcome::Retry { due_at })
    }

    /// Records what became of a report, patiently: until it is written, the report stays known and isn't sent again.
    async fn record(&self, to_record: ToRecord) -> Recorded {
        let ToRecord {
            key,
            lane,
            attempt,
            outcome,
            lease,
        } = to_record;
        let again_at = match outcome {
            ReportOutcome::Retry { due_at } | ReportOutcome::Held { due_at } => Some(due_at),
            ReportOutcome::Acknowledged | ReportOutcome::Lost => None,
        };
        let mut recorded = Recorded {
            key,
            lane,
            again_at,
            next: None,
        };
        let mut backoff = FIRST_RECORD_BACKOFF;
        let mut tries = 0;
        while tries < MAX_RECORD_TRIES {
            tries += 1;
            match self.store.record_report(key, attempt.clone(), outcome, lease).await {
                Ok(next) => {
                    recorded.next = next;
                    return recorded;
                }
                // Another node has it by now, or nobody.
                Err(StoreError::NotFound(_) | StoreError::Stale) => return recorded,
                Err(StoreError::Closing) => break,
                // However long it takes: an attempt that is given up is made again, once for each try.
                Err(StoreError::DiskFull | StoreError::Unavailable | StoreError::TryAgain) => tries = 0,
                // Perhaps it was, where the outcome is unknown: the books know the same attempt again.
                Err(error) => tracing::debug!(%error, "an attempt is not recorded yet"),
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(MAX_RECORD_BACKOFF);
        }
        tracing::warn!(request = %key.request.id, "an attempt to send a delivery report could not be recorded: it is made again");
        recorded.again_at = Some(clock::now().plus_millis(AGAIN_AFTER_MS));
        recorded
    }
}
