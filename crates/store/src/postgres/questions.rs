//! The texts of the questions with which a batch begins, in both modes.

use std::sync::LazyLock;

use crate::sql::codec::{ACCOUNT_COLUMNS, REQUEST_COLUMNS};

/// Where the rows of a batch lie. LATERAL with OFFSET 0 keeps PostgreSQL from joining the other way round: a statement that is planned while
/// a month is empty would otherwise scan all of it, and go on so when it is full. Keys come sorted, so rows are locked in their order.
const ACCOUNTS: &str = "FROM unnest($1::smallint[], $2::bigint[]) AS k (b, a) CROSS JOIN LATERAL (SELECT * FROM account \
     WHERE bucket = k.b AND account_id = k.a OFFSET 0 FOR UPDATE) AS r";
const ACCOUNTS_OF_BUCKET: &str = "FROM unnest($2::bigint[]) AS k (a) CROSS JOIN LATERAL (SELECT * FROM account \
     WHERE bucket = $1 AND account_id = k.a OFFSET 0 FOR UPDATE) AS r";
const REQUESTS: &str = "FROM unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::bigint[]) AS k (b, a, c, n) \
     CROSS JOIN LATERAL (SELECT * FROM request WHERE bucket = k.b AND account_id = k.a AND created_at = k.c \
     AND random = k.n AND created_at BETWEEN $5 AND $6 OFFSET 0) AS r";
const REQUESTS_OF_BUCKET: &str = "FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS k (a, c, n) \
     CROSS JOIN LATERAL (SELECT * FROM request WHERE bucket = $1 AND account_id = k.a AND created_at = k.c \
     AND random = k.n AND created_at BETWEEN $5 AND $6 OFFSET 0) AS r";
pub(super) const FLOOD: &str = "SELECT f.bucket, f.account_id, f.test, f.phone, f.spread_until_us \
     FROM unnest($1::smallint[], $2::bigint[], $3::smallint[], $4::bigint[]) AS k (b, a, t, p) CROSS JOIN LATERAL \
     (SELECT * FROM flood_counter WHERE bucket = k.b AND account_id = k.a AND test = k.t AND phone = k.p OFFSET 0) AS f";
pub(super) const FLOOD_OF_BUCKET: &str = "SELECT f.bucket, f.account_id, f.test, f.phone, f.spread_until_us \
     FROM unnest($2::bigint[], $3::smallint[], $4::bigint[]) AS k (a, t, p) CROSS JOIN LATERAL \
     (SELECT * FROM flood_counter WHERE bucket = $1 AND account_id = k.a AND test = k.t AND phone = k.p OFFSET 0) AS f";
pub(super) const SENDERS: &str =
    "SELECT username, account_id, verified_at IS NOT NULL FROM sender WHERE username = ANY($1::text[])";
pub(super) const ANSWERS: &str = "SELECT f.bucket, f.account_id, f.idempotency_key, f.fingerprint, f.result_sealed, f.at \
     FROM unnest($1::smallint[], $2::bigint[], $3::text[]) AS k (b, a, i) CROSS JOIN LATERAL \
     (SELECT * FROM first_answer WHERE bucket = k.b AND account_id = k.a AND idempotency_key = k.i OFFSET 0) AS f";
pub(super) const ANSWERS_OF_BUCKET: &str = "SELECT f.bucket, f.account_id, f.idempotency_key, f.fingerprint, f.result_sealed, f.at \
     FROM unnest($2::bigint[], $3::text[]) AS k (a, i) CROSS JOIN LATERAL \
     (SELECT * FROM first_answer WHERE bucket = $1 AND account_id = k.a AND idempotency_key = k.i OFFSET 0) AS f";
pub(super) const LIVE_CODES: &str = "SELECT l.bucket, l.account_id, l.phone, l.sender, l.test, l.created_at, l.random \
     FROM unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::text[], $5::smallint[]) AS k (b, a, p, s, t) \
     CROSS JOIN LATERAL (SELECT * FROM live_code WHERE bucket = k.b AND account_id = k.a AND phone = k.p \
     AND sender = k.s AND test = k.t OFFSET 0) AS l";
pub(super) const LIVE_CODES_OF_BUCKET: &str = "SELECT l.bucket, l.account_id, l.phone, l.sender, l.test, l.created_at, l.random \
     FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::smallint[]) AS k (a, p, s, t) \
     CROSS JOIN LATERAL (SELECT * FROM live_code WHERE bucket = $1 AND account_id = k.a AND phone = k.p \
     AND sender = k.s AND test = k.t OFFSET 0) AS l";

/// The text of the accounts' question, in both modes.
pub(super) static ACCOUNTS_SQL: LazyLock<[String; 2]> = LazyLock::new(|| {
    let columns = prefixed(ACCOUNT_COLUMNS);
    [ACCOUNTS, ACCOUNTS_OF_BUCKET]
        .map(|from| format!("SELECT r.bucket, r.account_id, r.usage_writer, r.number_tail, {columns} {from}"))
});
pub(super) static REQUESTS_SQL: LazyLock<[String; 2]> = LazyLock::new(|| {
    let columns = prefixed(REQUEST_COLUMNS);
    [REQUESTS, REQUESTS_OF_BUCKET].map(|from| format!("SELECT {columns} {from}"))
});

fn prefixed(columns: &str) -> String {
    let columns: Vec<String> = columns
        .split(',')
        .map(|column| format!("r.{}", column.trim()))
        .collect();
    columns.join(", ")
}
