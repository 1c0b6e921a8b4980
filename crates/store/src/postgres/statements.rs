//! The texts of a batch's bulk statements, in both modes: with a bucket for each row, and with one for all where tables are distributed.

use std::sync::LazyLock;

/// `INSERT INTO table (columns) SELECT … FROM unnest(…)`: the first column is the bucket. `types` are those of the others.
fn insert_sql(sharded: bool, table: &str, columns: &[(&str, &str)], then: &str) -> String {
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let marks: Vec<String> = (2..)
        .zip(columns)
        .map(|(number, (_, kind))| format!("${number}::{kind}[]"))
        .collect();
    let names = names.join(", ");
    let marks = marks.join(", ");
    if sharded {
        format!(
            "INSERT INTO {table} (bucket, {names}) SELECT $1::smallint, {names} FROM unnest({marks}) AS k ({names}) {then}"
        )
    } else {
        format!(
            "INSERT INTO {table} (bucket, {names}) SELECT bucket, {names} FROM unnest($1::smallint[], {marks}) \
             AS k (bucket, {names}) {then}"
        )
    }
}

/// A statement's text in both modes.
pub(super) struct Both([String; 2]);

impl Both {
    fn insert(table: &str, columns: &[(&str, &str)], then: &str) -> Self {
        Self([false, true].map(|sharded| insert_sql(sharded, table, columns, then)))
    }

    pub(super) fn of(&self, sharded: bool) -> &str {
        &self.0[usize::from(sharded)]
    }
}

const REQUEST: [(&str, &str); 32] = [
    ("account_id", "bigint"),
    ("created_at", "bigint"),
    ("random", "bigint"),
    ("phone", "bigint"),
    ("delivery", "smallint"),
    ("delivery_at", "bigint"),
    ("fee", "bigint"),
    ("refunded", "smallint"),
    ("verification", "smallint"),
    ("verification_at", "bigint"),
    ("wrong_attempts", "smallint"),
    ("events", "integer"),
    ("wake_at", "bigint"),
    ("accepted", "smallint"),
    ("entered_sealed", "bytea"),
    ("test", "smallint"),
    ("leg", "smallint"),
    ("leg_at", "bigint"),
    ("open_legs", "smallint"),
    ("owner", "bigint"),
    ("generation", "integer"),
    ("code_sealed", "bytea"),
    ("code_origin", "smallint"),
    ("sent_at", "bigint"),
    ("expires_at", "bigint"),
    ("sender", "text"),
    ("callback_url", "text"),
    ("payload", "text"),
    ("plan", "text"),
    ("locale", "text"),
    ("email_sealed", "bytea"),
    ("used_sealed", "bytea"),
];
/// How a request goes on: what any change of its state may change.
const PROGRESS: &str = "delivery = excluded.delivery, delivery_at = excluded.delivery_at, fee = excluded.fee, \
     refunded = excluded.refunded, verification = excluded.verification, verification_at = excluded.verification_at, \
     wrong_attempts = excluded.wrong_attempts, events = excluded.events, wake_at = excluded.wake_at, \
     accepted = excluded.accepted, entered_sealed = excluded.entered_sealed, leg = excluded.leg, leg_at = excluded.leg_at, \
     open_legs = excluded.open_legs, used_sealed = excluded.used_sealed, owner = coalesce(excluded.owner, request.owner)";
/// Its message and plan, which change seldom.
const MESSAGE: &str = "code_sealed = excluded.code_sealed, code_origin = excluded.code_origin, sent_at = excluded.sent_at, \
     expires_at = excluded.expires_at, sender = excluded.sender, callback_url = excluded.callback_url, \
     payload = excluded.payload, generation = excluded.generation, plan = excluded.plan, locale = excluded.locale, \
     email_sealed = excluded.email_sealed";

pub(super) static PUT_REQUESTS: LazyLock<Both> = LazyLock::new(|| {
    let then = format!("ON CONFLICT (bucket, account_id, created_at, random) DO UPDATE SET {PROGRESS}, {MESSAGE}");
    Both::insert("request", &REQUEST, &then)
});
pub(super) static PUT_PROGRESS: LazyLock<Both> = LazyLock::new(|| {
    // Here an empty code stands for one that is gone, and NULL for one that stays as it is.
    let code = "code_sealed = nullif(coalesce(excluded.code_sealed, request.code_sealed), ''::bytea)";
    let then = format!("ON CONFLICT (bucket, account_id, created_at, random) DO UPDATE SET {PROGRESS}, {code}");
    Both::insert("request", &REQUEST, &then)
});
pub(super) static PUT_ENTRIES: LazyLock<Both> = LazyLock::new(|| {
    let columns = [
        ("account_id", "bigint"),
        ("number", "bigint"),
        ("kind", "smallint"),
        ("amount", "bigint"),
        ("balance_after", "bigint"),
        ("at", "bigint"),
        ("request_created_at", "bigint"),
        ("request_random", "bigint"),
        ("previous", "bytea"),
        ("reason", "text"),
    ];
    Both::insert("ledger_entry", &columns, "")
});
pub(super) static PUT_EVENTS: LazyLock<Both> = LazyLock::new(|| {
    let columns = [
        ("account_id", "bigint"),
        ("created_at", "bigint"),
        ("random", "bigint"),
        ("number", "integer"),
        ("kind", "smallint"),
        ("state", "smallint"),
        ("at", "bigint"),
        ("leg", "text"),
        ("detail", "text"),
    ];
    Both::insert("timeline", &columns, "")
});
pub(super) static PUT_LIVE_CODES: LazyLock<Both> = LazyLock::new(|| {
    let columns = [
        ("account_id", "bigint"),
        ("phone", "bigint"),
        ("sender", "text"),
        ("test", "smallint"),
        ("created_at", "bigint"),
        ("random", "bigint"),
    ];
    let then = "ON CONFLICT (bucket, account_id, phone, sender, test) DO UPDATE SET created_at = excluded.created_at, \
                random = excluded.random";
    Both::insert("live_code", &columns, then)
});
pub(super) static PUT_ANSWERS: LazyLock<Both> = LazyLock::new(|| {
    let columns = [
        ("account_id", "bigint"),
        ("idempotency_key", "text"),
        ("fingerprint", "bytea"),
        ("result_sealed", "bytea"),
        ("at", "bigint"),
    ];
    let then = "ON CONFLICT (bucket, account_id, idempotency_key) DO UPDATE SET fingerprint = excluded.fingerprint, \
                result_sealed = excluded.result_sealed, at = excluded.at";
    Both::insert("first_answer", &columns, then)
});

pub(super) static PUT_SUMS: LazyLock<Both> = LazyLock::new(|| {
    let columns = [
        ("account_id", "bigint"),
        ("quarter", "bigint"),
        ("country", "text"),
        ("route", "text"),
        ("sender", "text"),
        ("sums", "bytea"),
    ];
    let then = "ON CONFLICT (bucket, account_id, quarter, country, route, sender) DO UPDATE SET sums = excluded.sums";
    Both::insert("usage_recent", &columns, then)
});
pub(super) static PUT_SKETCHES: LazyLock<Both> = LazyLock::new(|| {
    let columns = [
        ("account_id", "bigint"),
        ("level", "smallint"),
        ("start", "bigint"),
        ("sketch", "bytea"),
    ];
    let then = "ON CONFLICT (bucket, account_id, level, start) DO UPDATE SET sketch = excluded.sketch";
    Both::insert("usage_numbers", &columns, then)
});
pub(super) static PUT_REPORTS: LazyLock<Both> = LazyLock::new(|| {
    let columns = [
        ("account_id", "bigint"),
        ("created_at", "bigint"),
        ("random", "bigint"),
        ("number", "bigint"),
        ("kind", "smallint"),
        ("state", "smallint"),
        ("attempts", "integer"),
        ("tries", "integer"),
        ("due_at", "bigint"),
        ("made_at", "bigint"),
        ("finished_at", "bigint"),
        ("host", "text"),
        ("callback_url", "text"),
        ("body_sealed", "bytea"),
        ("test", "smallint"),
        ("generation", "integer"),
        ("owner", "bigint"),
    ];
    let then = "ON CONFLICT (bucket, account_id, created_at, random, number) DO UPDATE SET state = excluded.state, \
                attempts = excluded.attempts, tries = excluded.tries, due_at = excluded.due_at, \
                finished_at = excluded.finished_at, owner = excluded.owner";
    Both::insert("report", &columns, then)
});
pub(super) static PUT_ATTEMPTS: LazyLock<Both> = LazyLock::new(|| {
    let columns = [
        ("account_id", "bigint"),
        ("created_at", "bigint"),
        ("random", "bigint"),
        ("number", "bigint"),
        ("try", "integer"),
        ("at", "bigint"),
        ("duration_ms", "bigint"),
        ("status", "integer"),
        ("error", "text"),
        ("response_sealed", "bytea"),
        ("held", "integer"),
    ];
    Both::insert("report_attempt", &columns, "")
});
pub(super) static PUT_FLOOD: LazyLock<Both> = LazyLock::new(|| {
    let columns = [
        ("account_id", "bigint"),
        ("test", "smallint"),
        ("phone", "bigint"),
        ("spread_until_us", "bigint"),
    ];
    let then = "ON CONFLICT (bucket, account_id, test, phone) DO UPDATE SET spread_until_us = excluded.spread_until_us";
    Both::insert("flood_counter", &columns, then)
});

const ACCOUNT: [(&str, &str); 19] = [
    ("balance", "bigint"),
    ("held", "bigint"),
    ("entries", "bigint"),
    ("purchased", "bigint"),
    ("consumed", "bigint"),
    ("next_lapse_at", "bigint"),
    ("clock_offset_ms", "bigint"),
    ("free_day", "bigint"),
    ("free_sends", "bigint"),
    ("head", "bytea"),
    ("last_entry_at", "bigint"),
    ("low_balance_told", "smallint"),
    ("low_balance_reports", "bigint"),
    ("spent_day", "bigint"),
    ("spent", "bigint"),
    ("budget_told", "smallint"),
    ("usage_writer", "bigint"),
    ("number_tail", "bytea"),
    ("account_id", "bigint"),
];
pub(super) static SET_ACCOUNTS: LazyLock<Both> = LazyLock::new(|| {
    Both([false, true].map(|sharded| {
        let names: Vec<&str> = ACCOUNT.iter().map(|(name, _)| *name).collect();
        // All but the key.
        let set: Vec<String> = names[..names.len() - 1]
            .iter()
            .map(|name| format!("{name} = k.{name}"))
            .collect();
        let marks: Vec<String> = (2..)
            .zip(ACCOUNT)
            .map(|(number, (_, kind))| format!("${number}::{kind}[]"))
            .collect();
        let (set, marks, names) = (set.join(", "), marks.join(", "), names.join(", "));
        if sharded {
            format!(
                "UPDATE account SET {set} FROM unnest({marks}) AS k ({names}) \
                 WHERE account.bucket = $1 AND account.account_id = k.account_id"
            )
        } else {
            format!(
                "UPDATE account SET {set} FROM unnest($1::smallint[], {marks}) AS k (bucket, {names}) \
                 WHERE account.bucket = k.bucket AND account.account_id = k.account_id"
            )
        }
    }))
});
