//! For tests: judges each statement that is prepared on a sharded database. What it says of tables that are distributed by bucket must
//! concern one bucket, which is a parameter; the few questions that may go through all of them are listed here by name. Citus refuses
//! locks over several shards, and answers a question over all of them from every machine.

use std::collections::BTreeSet;
use std::sync::{LazyLock, Mutex, PoisonError};

/// Questions that go through all buckets. Such a statement says `/* spans buckets: NAME */`. None of them locks or writes.
const SPANNING: [(&str, &str); 4] = [
    (
        "open reports",
        "the operator's overview counts what waits and what was lost",
    ),
    ("accounts by name", "the operator's search"),
    (
        "orders",
        "the operator's list of orders of all accounts, by time or by state",
    ),
    ("all entries", "how long an audit will take"),
];
const MARK: &str = "/* spans buckets: ";

/// Tables whose rows lie by their bucket.
static BY_BUCKET: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let sql = include_str!("../postgres/distribute.sql");
    let calls = sql.split("create_distributed_table('").skip(1);
    calls
        .filter_map(|call| call.split_once("', 'bucket'"))
        .map(|(table, _)| table)
        .filter(|table| table.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
        .collect()
});

/// What was judged in this process.
static JUDGED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// All statements that were judged in this process.
pub(crate) fn judged() -> BTreeSet<String> {
    JUDGED.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Says what is wrong with a statement, as PostgreSQL gets it.
pub(crate) fn judge(sql: &str) -> Result<(), String> {
    JUDGED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(sql.to_owned());
    verdict(sql).map_err(|why| format!("{why}: {sql}"))
}

fn verdict(sql: &str) -> Result<(), String> {
    let words: Vec<&str> = sql
        .split(|c: char| c.is_whitespace() || "(),;".contains(c))
        .filter(|word| !word.is_empty())
        .collect();
    let after = |keyword: &str| -> usize {
        let pairs = words.windows(2).filter(|pair| pair[0] == keyword);
        pairs.filter(|pair| BY_BUCKET.contains(&pair[1])).count()
    };
    let read = after("FROM") + after("JOIN") + after("UPDATE");
    if let Some((_, rest)) = sql.split_once(MARK) {
        let name = rest.split(" */").next().unwrap_or_default();
        if !SPANNING.iter().any(|(listed, _)| *listed == name) {
            return Err(format!("{name:?} isn't listed"));
        }
        let writes = ["UPDATE", "DELETE", "INSERT", "SHARE"];
        if words.iter().any(|word| writes.contains(word)) {
            return Err("it locks rows of several buckets".to_owned());
        }
        return Ok(());
    }
    if after("INTO") > 0 && !inserts_one_bucket(sql) {
        return Err("the bucket of what it inserts is no parameter".to_owned());
    }
    let one_bucket = sql.matches("bucket = $").count();
    let joined: usize = words
        .windows(3)
        .filter(|three| three[0].ends_with(".bucket") && three[1] == "=" && three[2].ends_with(".bucket"))
        .count();
    if read > 0 && (one_bucket == 0 || one_bucket + joined < read) {
        return Err("it isn't kept to one bucket".to_owned());
    }
    Ok(())
}

/// Whether what stands in the bucket's place of an INSERT is a parameter.
fn inserts_one_bucket(sql: &str) -> bool {
    let Some((_, rest)) = sql.split_once("INSERT INTO") else {
        return false;
    };
    let Some((columns, rest)) = rest.split_once('(').and_then(|(_, rest)| rest.split_once(')')) else {
        return false;
    };
    let Some(place) = columns.split(',').position(|column| column.trim() == "bucket") else {
        return false;
    };
    let rest = rest.trim_start();
    let values = rest
        .strip_prefix("VALUES")
        .map(|values| values.trim_start().trim_start_matches('('))
        .or_else(|| rest.strip_prefix("SELECT"));
    let value = values.and_then(|values| values.split(',').nth(place));
    value.is_some_and(|value| value.trim_start().starts_with('$'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_by_bucket_are_those_that_are_distributed_so() {
        assert_eq!(BY_BUCKET.len(), 19);
        assert!(BY_BUCKET.contains(&"account") && BY_BUCKET.contains(&"channel_handle"));
        assert!(!BY_BUCKET.contains(&"order_place") && !BY_BUCKET.contains(&"upstream_cost"));
    }

    #[test]
    fn a_statement_that_keeps_to_one_bucket_passes() {
        for sql in [
            "SELECT a FROM account WHERE bucket = $1 AND account_id = $2",
            "SELECT p.entry FROM purchase p LEFT JOIN ledger_entry e ON e.bucket = p.bucket AND e.number = p.entry \
             WHERE p.bucket = $1",
            "DELETE FROM first_answer WHERE bucket = $3 AND (bucket, account_id) IN \
             (SELECT bucket, account_id FROM first_answer WHERE bucket = $3 AND at < $1 LIMIT $2)",
            "INSERT INTO report (account_id, bucket) VALUES ($2, $1)",
            "INSERT INTO request (bucket, phone) SELECT $1::smallint, phone FROM unnest($2::bigint[]) AS k (phone)",
            "SELECT bucket FROM held_bucket",
            "SELECT count(*) FROM (SELECT state FROM report /* spans buckets: open reports */ LIMIT $1) AS open",
        ] {
            assert_eq!(verdict(sql), Ok(()), "{sql}");
        }
    }

    #[test]
    fn a_statement_that_spans_buckets_is_refused() {
        for sql in [
            "SELECT a FROM account WHERE account_id = $1",
            "SELECT a FROM account WHERE bucket = k.b",
            "UPDATE account SET name = $1 WHERE account_id = $2",
            "DELETE FROM first_answer WHERE (bucket, account_id) IN \
             (SELECT bucket, account_id FROM first_answer WHERE bucket = $3 AND at < $1 LIMIT $2)",
            "INSERT INTO report (account_id, bucket) VALUES ($2, 0)",
            "INSERT INTO request (bucket, phone) SELECT bucket, phone FROM unnest($1::smallint[], $2::bigint[])",
            "SELECT a FROM account /* spans buckets: something else */ WHERE account_id = $1",
            "SELECT a FROM account /* spans buckets: orders */ WHERE account_id = $1 FOR UPDATE",
        ] {
            assert!(verdict(sql).is_err(), "{sql}");
        }
    }
}
