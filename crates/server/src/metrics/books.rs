//! The books: how loaded they are, and what their writers did.

use countersign_core::{Credits, LegName, UsageCount};
use countersign_store::{AttemptEnd, BooksLoad, Tally};

use super::text::{Exposition, Kind, seconds};

/// What becomes of verification requests, in the order of their steps.
const STEPS: [(&str, UsageCount); 9] = [
    ("requested", UsageCount::Requests),
    ("unreachable", UsageCount::Unreachable),
    ("sent", UsageCount::Sent),
    ("delivered", UsageCount::Delivered),
    ("read", UsageCount::Read),
    ("entered", UsageCount::Entered),
    ("valid", UsageCount::Valid),
    ("expired", UsageCount::Expired),
    ("revoked", UsageCount::Revoked),
];

const BATCH: &str = "countersign_batch_size";
const COMMIT: &str = "countersign_commit_duration_seconds";
const STEP: &str = "countersign_verifications_total";
const DELIVERY: &str = "countersign_deliveries_total";
const ATTEMPTS: &str = "countersign_report_attempts_total";
const LOW: &str = "countersign_low_balances_total";

/// How loaded they are at this moment.
pub(super) fn load(load: &BooksLoad, to: &mut Exposition) {
    for (name, help, value) in [
        (
            "countersign_books_queued",
            "Commands and settings that wait for the books' writer, or its lanes.",
            load.queued as u64,
        ),
        (
            "countersign_books_queue_limit",
            "How many may wait; beyond it, callers are told to come again.",
            load.queue_length as u64,
        ),
        (
            "countersign_dispatch_queued",
            "Committed messages on their way to the dispatcher.",
            load.handed_over as u64,
        ),
        (
            "countersign_reports_handed_over",
            "New delivery reports on their way to their worker.",
            load.reports_handed_over as u64,
        ),
        (
            "countersign_books_log_bytes",
            "Size of SQLite's write-ahead log; 0 on PostgreSQL.",
            load.log_bytes,
        ),
        (
            "countersign_books_database_bytes",
            "Size of SQLite's database file; 0 on PostgreSQL.",
            load.database_bytes,
        ),
    ] {
        to.gauge(name, help, value);
    }
}

/// What this process's writers did since it started.
pub(super) fn tally(tally: &Tally, to: &mut Exposition) {
    to.family(
        BATCH,
        Kind::Histogram,
        "Commands and attempts of reports in a committed batch.",
    );
    to.histogram(
        BATCH,
        &[],
        tally.batches.up_to(),
        tally.batches.count(),
        tally.batches.sum(),
    );
    let help = "From a batch's first row read to its commit's being durable.";
    to.family(COMMIT, Kind::Histogram, help);
    let commits = &tally.commits_us;
    let up_to = commits.up_to().map(|(us, count)| (seconds(us), count));
    to.histogram(COMMIT, &[], up_to, commits.count(), seconds(commits.sum()));

    to.family(
        STEP,
        Kind::Counter,
        "Verification requests that came to a step; valid of sent is the conversion.",
    );
    for (step, count) in STEPS {
        to.sample(STEP, &[("step", step)], tally.usage[count as usize]);
    }
    for (name, help, count) in [
        (
            "countersign_charged_credits_total",
            "Credits that were charged.",
            UsageCount::ChargedMicros,
        ),
        (
            "countersign_refunded_credits_total",
            "Credits that were given back.",
            UsageCount::RefundedMicros,
        ),
    ] {
        to.family(name, Kind::Counter, help);
        to.sample(name, &[], Credits::from_micros(tally.usage[count as usize]));
    }
    to.family(
        DELIVERY,
        Kind::Counter,
        "Messages that came into a state, by the leg that told of it; without a leg what the time or the account did.",
    );
    for ((leg, state), count) in &tally.deliveries {
        let leg = leg.as_ref().map_or("", LegName::as_str);
        to.sample(
            DELIVERY,
            &[("leg", leg), ("state", state.wire_name().unwrap_or_default())],
            count,
        );
    }
    to.family(
        ATTEMPTS,
        Kind::Counter,
        "Attempts to send delivery reports, by their end.",
    );
    for end in AttemptEnd::ALL {
        to.sample(ATTEMPTS, &[("end", end.name())], tally.attempts[end as usize]);
    }
    to.family(
        LOW,
        Kind::Counter,
        "Balances that came below what their accounts want to be told of.",
    );
    to.sample(LOW, &[], tally.low_balances);
}
