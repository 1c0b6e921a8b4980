//! SQL of the months that five tables are cut into: how a month's partitions are made, also where the default partition holds rows of
//! that month already, and how old months are dropped. Pure text: whoever runs it (at start, and once a day) owns the connection.
//!
//! A table is cut by the creation time of the request that a row belongs to, so a month's rows go together. Every statement here waits
//! for a lock that all traffic on the table holds for moments; `LOCK_TIMEOUT` bounds how long others queue behind it. What was given up
//! for that is tried again later: the default partition takes rows meanwhile.

use countersign_core::{DAY_MS, Timestamp, civil_date, days_of_date};

/// How long a change of partitions waits for its locks, and with it everybody who comes after it.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '1s'";

/// A table, and what its partitions are stored like. The parent is an empty shell, which can't have parameters.
struct Partitioned {
    table: &'static str,
    storage: &'static str,
}

/// The tables, in the order in which their locks are taken.
///
/// A request is changed some three times soon after it was made, and only where it stops waiting for a time does an index change. Half
/// of a page is left free for the other changes. Measured with whole batches of changes: all of them then stay on their page, for
/// 3.5 µs of CPU a row, and the table with its dead rows is half as large as where a tenth was left free, at 8 µs. A report's changes
/// always change an index. Vacuum comes after a hundredth of the rows instead of a fifth, since what is due is found in an index that
/// dead rows make long.
const TABLES: [Partitioned; 5] = [
    Partitioned {
        table: "request",
        storage: " WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 10000)",
    },
    Partitioned {
        table: "timeline",
        storage: "",
    },
    Partitioned {
        table: "report",
        storage: " WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 10000)",
    },
    Partitioned {
        table: "report_attempt",
        storage: "",
    },
    Partitioned {
        table: "channel_handle",
        storage: " WITH (autovacuum_vacuum_scale_factor = 0.05)",
    },
];

/// A month of the calendar, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Month {
    year: i64,
    /// 1 to 12.
    month: i64,
}

impl Month {
    /// The month that a time falls into.
    pub(super) const fn of(at: Timestamp) -> Self {
        let (year, month, _) = civil_date(at.millis().div_euclid(DAY_MS));
        Self { year, month }
    }

    /// The month after this one.
    #[must_use]
    pub(super) const fn next(self) -> Self {
        match self.month {
            12 => Self {
                year: self.year + 1,
                month: 1,
            },
            month => Self {
                year: self.year,
                month: month + 1,
            },
        }
    }

    /// As people write it: `2026-11`.
    pub(super) fn name(self) -> String {
        format!("{:04}-{:02}", self.year, self.month)
    }

    /// The first moment, if it has one.
    pub(super) fn start(self) -> Option<Timestamp> {
        self.start_ms().map(Timestamp::from_millis)
    }

    /// The first moment, in milliseconds since the epoch; `None` outside the years 1970 to 9999, whose rows stay in the default partitions.
    fn start_ms(self) -> Option<i64> {
        days_of_date(self.year, self.month, 1).map(|days| days * DAY_MS)
    }

    /// The month of a partition's name, `request_2026_11`; `None` for any other table, the default partitions among them.
    pub(super) fn of_partition(name: &str) -> Option<Self> {
        let (rest, month) = name.rsplit_once('_')?;
        let (_, year) = rest.rsplit_once('_')?;
        let is_number = |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(year, 4) || !is_number(month, 2) {
            return None;
        }
        let found = Self {
            year: year.parse().ok()?,
            month: month.parse().ok()?,
        };
        (1..=12).contains(&found.month).then_some(found)
    }

    fn partition_of(self, table: &str) -> String {
        format!("{table}_{:04}_{:02}", self.year, self.month)
    }
}

/// The month that it is, and the two that follow: what there must be a partition for.
pub(super) fn months_ahead(now: Timestamp) -> [Month; 3] {
    let month = Month::of(now);
    [month, month.next(), month.next().next()]
}

/// Lists the partitions that are there: parent and name, one row each.
pub(super) const LIST_SQL: &str = "SELECT parent.relname::text, child.relname::text FROM pg_inherits \
     JOIN pg_class parent ON parent.oid = inhparent JOIN pg_class child ON child.oid = inhrelid \
     WHERE parent.relkind = 'p' AND parent.relnamespace = current_schema()::regnamespace ORDER BY 1, 2";

/// For each table that has no partition for the month yet, the statements of one transaction that makes it. `existing` are the names
/// that [`LIST_SQL`] found.
///
/// The month is made beside the table and then attached: that lets readers and writers of the other months pass, where CREATE TABLE …
/// PARTITION OF would lock the whole table. Attaching reads the default partition through once, to be sure of it; so first it is locked,
/// and rows that belong to the month are moved. On Citus the last statement distributes the month.
///
/// An insert into the default partition that waited for the lock then fails, where its row has a month now: SQLSTATE 23514, `new row for
/// relation "request_default" violates partition constraint`. Nothing of its batch was kept, and a second try finds the month.
pub(super) fn make_month(month: Month, existing: &[String]) -> Vec<Vec<String>> {
    let (Some(from), Some(to)) = (month.start_ms(), month.next().start_ms()) else {
        return Vec::new();
    };
    let missing = TABLES.iter().filter(|partitioned| {
        let name = month.partition_of(partitioned.table);
        !existing.contains(&name)
    });
    missing
        .map(|Partitioned { table, storage }| {
            let partition = month.partition_of(table);
            let of_month = format!("created_at >= {from} AND created_at < {to}");
            vec![
                LOCK_TIMEOUT.to_owned(),
                format!("CREATE TABLE {partition} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS){storage}"),
                // Nobody adds a row of the month between its move and the end of the transaction.
                format!("LOCK TABLE {table}_default IN ACCESS EXCLUSIVE MODE"),
                format!("INSERT INTO {partition} SELECT * FROM {table}_default WHERE {of_month}"),
                format!("DELETE FROM {table}_default WHERE {of_month}"),
                format!("ALTER TABLE {table} ATTACH PARTITION {partition} FOR VALUES FROM ({from}) TO ({to})"),
            ]
        })
        .collect()
}

/// The statements that drop every month that ended before `keep_from`, one transaction each, the oldest month first. `existing` are
/// the names that [`LIST_SQL`] found. A month goes only as a whole: at most a month too much is kept.
pub(super) fn drop_months(keep_from: Timestamp, existing: &[String]) -> Vec<Vec<String>> {
    let kept = Month::of(keep_from);
    let mut old: Vec<(Month, &String)> = existing
        .iter()
        .filter_map(|name| Month::of_partition(name).map(|month| (month, name)))
        .filter(|(month, _)| *month < kept)
        .collect();
    old.sort_unstable();
    old.into_iter()
        .map(|(_, name)| vec![LOCK_TIMEOUT.to_owned(), format!("DROP TABLE {name}")])
        .collect()
}

/// Statements that delete what the default partitions hold of the time before `keep_from`, which is little: at most so many rows of a
/// table at once, until a statement deletes none. One bucket each, `?1`, as all sweeps.
pub(super) fn sweep_defaults(keep_from: Timestamp, limit: u32) -> Vec<String> {
    let keep_from = Month::of(keep_from).start_ms().unwrap_or_default();
    let tables = TABLES.iter().map(|partitioned| {
        let table = partitioned.table;
        // By the row's place: what was found isn't looked for again.
        format!(
            "DELETE FROM {table}_default WHERE bucket = ?1 AND ctid = ANY (ARRAY(SELECT ctid FROM {table}_default \
             WHERE bucket = ?1 AND created_at < {keep_from} LIMIT {limit}))"
        )
    });
    tables.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc_3339(text).unwrap()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn three_months_are_made_ahead_across_the_end_of_a_year() {
        let months = months_ahead(at("2026-11-30T23:59:59.999Z")).map(|month| month.partition_of("request"));
        assert_eq!(months, ["request_2026_11", "request_2026_12", "request_2027_01"]);
        let months = months_ahead(at("2026-12-01")).map(|month| month.partition_of("request"));
        assert_eq!(months, ["request_2026_12", "request_2027_01", "request_2027_02"]);
    }

    #[test]
    fn a_month_ends_where_the_next_begins_in_utc() {
        let [transaction] = make_month(
            Month::of(at("2028-02-29")),
            &names(&[
                "timeline_2028_02",
                "report_2028_02",
                "report_attempt_2028_02",
                "channel_handle_2028_02",
            ]),
        )
        .try_into()
        .unwrap();
        let (from, to) = (at("2028-02-01").millis(), at("2028-03-01").millis());
        assert_eq!(
            transaction,
            [
                "SET LOCAL lock_timeout = '1s'".to_owned(),
                format!(
                    "CREATE TABLE request_2028_02 (LIKE request INCLUDING DEFAULTS INCLUDING CONSTRAINTS){}",
                    TABLES[0].storage
                ),
                "LOCK TABLE request_default IN ACCESS EXCLUSIVE MODE".to_owned(),
                format!(
                    "INSERT INTO request_2028_02 SELECT * FROM request_default WHERE created_at >= {from} AND created_at < {to}"
                ),
                format!("DELETE FROM request_default WHERE created_at >= {from} AND created_at < {to}"),
                format!("ALTER TABLE request ATTACH PARTITION request_2028_02 FOR VALUES FROM ({from}) TO ({to})"),
            ]
        );
    }

    #[test]
    fn what_is_there_is_not_made_again() {
        let month = Month::of(at("2026-11-27"));
        assert_eq!(make_month(month, &[]).len(), TABLES.len());
        let all: Vec<String> = TABLES.iter().map(|table| month.partition_of(table.table)).collect();
        assert!(make_month(month, &all).is_empty());
    }

    #[test]
    fn a_year_without_four_digits_gets_no_partition() {
        assert!(make_month(Month { year: 10_000, month: 1 }, &[]).is_empty());
        assert!(make_month(Month { year: 1969, month: 12 }, &[]).is_empty());
        // Its end has none.
        assert!(make_month(Month { year: 9999, month: 12 }, &[]).is_empty());
    }

    #[test]
    fn months_that_ended_are_dropped_and_defaults_and_strangers_stay() {
        let existing = names(&[
            "request_2026_09",
            "report_attempt_2026_08",
            "request_2026_10",
            "request_default",
            "report_9_1",
            "channel_handle_2026_13",
        ]);
        let dropped: Vec<String> = drop_months(at("2026-10-31T12:00:00Z"), &existing)
            .into_iter()
            .map(|transaction| transaction.concat())
            .collect();
        assert_eq!(
            dropped,
            [
                "SET LOCAL lock_timeout = '1s'DROP TABLE report_attempt_2026_08",
                "SET LOCAL lock_timeout = '1s'DROP TABLE request_2026_09",
            ]
        );
        assert!(drop_months(at("2026-08-01"), &existing).is_empty());
    }

    #[test]
    fn defaults_are_swept_bucket_by_bucket_to_the_same_bound() {
        let swept = sweep_defaults(at("2026-10-31T12:00:00Z"), 5_000);
        assert_eq!(swept.len(), TABLES.len());
        let bound = at("2026-10-01").millis();
        assert!(
            swept
                .iter()
                .all(|sql| sql.contains(&format!("created_at < {bound} LIMIT 5000")))
        );
        assert!(swept.iter().all(|sql| sql.contains("WHERE bucket = ?1 AND ctid")));
    }
}
