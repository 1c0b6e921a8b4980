//! What a send costs the database: rows, log, commits and room on the disk, each as the difference of PostgreSQL's own counters over one
//! load. A process of PostgreSQL that is idle adds what it counted to them within ten seconds: whoever reads them waits so long first, in
//! which the nodes also carry out what they had accepted.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};

use super::cluster::{BOOKS, Cluster, each};

/// After so long without work every process of PostgreSQL has added what it counted (its `PGSTAT_IDLE_INTERVAL` is 10 s).
const COUNTED_AFTER: Duration = Duration::from_secs(12);

/// The counters of one table, its partitions summed up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Table {
    inserted: u64,
    updated: u64,
    /// Updates that no index had to hear of.
    updated_in_place: u64,
    deleted: u64,
    heap_bytes: u64,
    index_bytes: u64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Counters {
    tables: Vec<(String, Table)>,
    commits: u64,
    log_bytes: u64,
    log_records: u64,
    log_full_pages: u64,
    log_syncs: u64,
    database_bytes: u64,
}

const TABLES: &str = "
SELECT coalesce(pg_partition_root(relid)::regclass, relid::regclass)::text AS name,
       sum(n_tup_ins), sum(n_tup_upd), sum(n_tup_hot_upd), sum(n_tup_del),
       sum(pg_table_size(relid)), sum(pg_indexes_size(relid))
FROM pg_stat_user_tables GROUP BY name ORDER BY name";

impl Counters {
    /// Reads them, once they tell everything.
    pub(super) fn read(cluster: &Cluster) -> Result<Self> {
        std::thread::sleep(COUNTED_AFTER);
        let mut tables = Vec::new();
        for row in cluster.sql(BOOKS, TABLES)? {
            let (name, numbers) = row.split_first().context("a table without a name")?;
            let number = |place: usize| numbers.get(place).and_then(|text| text.parse().ok()).unwrap_or(0);
            let table = Table {
                inserted: number(0),
                updated: number(1),
                updated_in_place: number(2),
                deleted: number(3),
                heap_bytes: number(4),
                index_bytes: number(5),
            };
            tables.push((name.clone(), table));
        }
        let [log_bytes, log_records, log_full_pages, log_syncs] = cluster.numbers(
            BOOKS,
            "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint, wal_records, wal_fpi, wal_sync FROM pg_stat_wal",
        )?;
        let [commits, database_bytes] = cluster.numbers(
            BOOKS,
            "SELECT xact_commit, pg_database_size(datid) FROM pg_stat_database WHERE datname = current_database()",
        )?;
        Ok(Self {
            tables,
            commits,
            log_bytes,
            log_records,
            log_full_pages,
            log_syncs,
            database_bytes,
        })
    }

    /// What came to them since.
    pub(super) fn since(&self, before: &Self) -> Self {
        let of_before = |name: &str| {
            let found = before.tables.iter().find(|(known, _)| known == name);
            found.map_or_else(Table::default, |(_, table)| *table)
        };
        let tables = self.tables.iter().map(|(name, now)| {
            let then = of_before(name);
            let table = Table {
                inserted: now.inserted.saturating_sub(then.inserted),
                updated: now.updated.saturating_sub(then.updated),
                updated_in_place: now.updated_in_place.saturating_sub(then.updated_in_place),
                deleted: now.deleted.saturating_sub(then.deleted),
                heap_bytes: now.heap_bytes.saturating_sub(then.heap_bytes),
                index_bytes: now.index_bytes.saturating_sub(then.index_bytes),
            };
            (name.clone(), table)
        });
        Self {
            tables: tables.filter(|(_, table)| *table != Table::default()).collect(),
            commits: self.commits.saturating_sub(before.commits),
            log_bytes: self.log_bytes.saturating_sub(before.log_bytes),
            log_records: self.log_records.saturating_sub(before.log_records),
            log_full_pages: self.log_full_pages.saturating_sub(before.log_full_pages),
            log_syncs: self.log_syncs.saturating_sub(before.log_syncs),
            database_bytes: self.database_bytes.saturating_sub(before.database_bytes),
        }
    }

    /// Bytes of log for each of so many sends.
    pub(super) fn log_bytes_each(&self, sends: u64) -> f64 {
        each(self.log_bytes, sends)
    }

    /// Bytes by which the database grew for each of so many sends.
    pub(super) fn database_bytes_each(&self, sends: u64) -> f64 {
        each(self.database_bytes, sends)
    }

    /// The commits and the log in one line.
    pub(super) fn log_text(&self, sends: u64) -> String {
        format!(
            "{:.1} log records and {:.3} full pages each; {:.1} sends a commit, {:.2} syncs of the log a commit; {} sends",
            each(self.log_records, sends),
            each(self.log_full_pages, sends),
            each(sends, self.commits),
            each(self.log_syncs, self.commits),
            sends
        )
    }

    /// The tables in one line; those which hardly change are left out.
    pub(super) fn tables_text(&self, sends: u64) -> String {
        let mut text = String::from("a send's rows and bytes by table:");
        for (name, table) in &self.tables {
            let changed = table.inserted + table.updated + table.deleted;
            let bytes = table.heap_bytes + table.index_bytes;
            if each(changed, sends) < 0.002 && each(bytes, sends) < 0.5 {
                continue;
            }
            // Writing into a string can't fail.
            let _ = write!(
                text,
                " {name} {:.3} inserted, {:.3} updated ({:.0} % in place), {:.3} deleted, {:.0} B rows, {:.0} B indexes;",
                each(table.inserted, sends),
                each(table.updated, sends),
                100.0 * each(table.updated_in_place, table.updated),
                each(table.deleted, sends),
                each(table.heap_bytes, sends),
                each(table.index_bytes, sends)
            );
        }
        text.trim_end_matches(';').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_what_changed_and_nothing_else() {
        let table = |inserted| Table {
            inserted,
            ..Table::default()
        };
        let before = Counters {
            tables: vec![("account".into(), table(5)), ("request".into(), table(10))],
            commits: 3,
            ..Counters::default()
        };
        let after = Counters {
            tables: vec![("account".into(), table(5)), ("request".into(), table(110))],
            commits: 13,
            ..Counters::default()
        };
        let difference = after.since(&before);
        assert_eq!(difference.tables, [("request".to_owned(), table(100))]);
        assert!(difference.log_text(100).contains("10.0 sends a commit"));
        assert!(difference.tables_text(100).contains("request 1.000 inserted"));
    }
}
