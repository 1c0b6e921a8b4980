//! What is sealed, table by table, and how a row is sealed anew under another master key. A row is written only where it still stands as
//! it was read: whatever else wrote it meanwhile sealed it under the new key anyway.

use super::settings::Settings;
use crate::sql::connection::{Column, Value};
use crate::sql::{Connection, Row, params};
use crate::types::StoreError;
use crate::vault::{Purpose, Under, Vault};
use countersign_core::{AccountId, ApiToken};

/// Rows of a page. Those of one account that are stale are sealed in one transaction: some milliseconds.
const PAGE: i64 = 200;
/// A fingerprint as earlier versions stored it: not sealed.
const PLAIN_FINGERPRINT_BYTES: usize = 32;

/// A column that holds sealed values.
pub(crate) struct SealedColumn {
    name: &'static str,
    purpose: Purpose,
    /// The column by which a token is looked up; its hash hangs on the key as well.
    lookup: Option<&'static str>,
}

/// A table that holds sealed values.
pub(crate) struct SealedTable {
    name: &'static str,
    key: &'static [&'static str],
    /// How many of the key's columns say where a value belongs.
    place: usize,
    columns: &'static [SealedColumn],
}

const fn column(name: &'static str, purpose: Purpose) -> SealedColumn {
    SealedColumn {
        name,
        purpose,
        lookup: None,
    }
}

const fn token(name: &'static str, lookup: &'static str) -> SealedColumn {
    SealedColumn {
        name,
        purpose: Purpose::Token,
        lookup: Some(lookup),
    }
}

/// Every sealed column of the books; a test compares them with the schema.
pub(crate) static TABLES: [SealedTable; 6] = [
    SealedTable {
        name: "account",
        key: &["bucket", "account_id"],
        place: 2,
        columns: &[
            token("token_sealed", "token_lookup"),
            token("previous_sealed", "previous_lookup"),
            token("test_sealed", "test_lookup"),
            token("test_previous_sealed", "test_previous_lookup"),
        ],
    },
    SealedTable {
        name: "request",
        key: &["bucket", "account_id", "created_at", "random"],
        place: 4,
        columns: &[
            column("code_sealed", Purpose::Code),
            column("entered_sealed", Purpose::EnteredCode),
            column("used_sealed", Purpose::UsedCode),
            column("email_sealed", Purpose::Email),
        ],
    },
    SealedTable {
        name: "report",
        key: &["bucket", "account_id", "created_at", "random", "number"],
        place: 4,
        columns: &[column("body_sealed", Purpose::Report)],
    },
    SealedTable {
        name: "report_attempt",
        key: &["bucket", "account_id", "created_at", "random", "number", "try"],
        place: 6,
        columns: &[column("response_sealed", Purpose::ReportResponse)],
    },
    SealedTable {
        name: "first_answer",
        key: &["bucket", "account_id", "idempotency_key"],
        place: 2,
        columns: &[
            column("result_sealed", Purpose::Answer),
            column("fingerprint", Purpose::Fingerprint),
        ],
    },
    SealedTable {
        name: "login_attempt",
        key: &["id"],
        place: 1,
        columns: &[column("code_sealed", Purpose::LoginCode)],
    },
];

/// A part of a row's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyPart {
    Number(i64),
    Text(String),
}

impl Value for KeyPart {
    fn column(&self) -> Column<'_> {
        match self {
            Self::Number(number) => Column::Integer(*number),
            Self::Text(text) => Column::Text(text),
        }
    }
}

/// A row in which a value stands under the former key.
pub(crate) struct SealedRow {
    key: Vec<KeyPart>,
    values: Vec<Option<Vec<u8>>>,
}

/// How many values stand under which key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) present: u64,
    pub(crate) former: u64,
    pub(crate) neither: u64,
}

impl Tally {
    pub(crate) const fn add(&mut self, other: Self) {
        self.present += other.present;
        self.former += other.former;
        self.neither += other.neither;
    }
}

/// Some rows of a table, in the order of their keys.
pub(crate) struct Page {
    pub(crate) rows: usize,
    pub(crate) tally: Tally,
    stale: Vec<SealedRow>,
    /// After which row the next page begins; `None` after the last.
    pub(crate) last: Option<Vec<KeyPart>>,
}

/// What of a page is to be sealed anew: the rows of an account each.
pub(crate) fn reseal_page(table: &SealedTable, page: &mut Page) -> Vec<Vec<SealedRow>> {
    let mut runs: Vec<Vec<SealedRow>> = Vec::new();
    for row in page.stale.drain(..) {
        let account = &row.key[..table.key.len().min(2)];
        match runs.last_mut() {
            Some(run) if run[0].key.starts_with(account) => run.push(row),
            _ => runs.push(vec![row]),
        }
    }
    runs
}

/// Nothing: it is counted only.
pub(crate) const fn count_page(_: &SealedTable, _: &mut Page) -> Vec<Vec<SealedRow>> {
    Vec::new()
}

impl SealedTable {
    /// Whether its rows lie by their account's bucket.
    pub(crate) fn by_bucket(&self) -> bool {
        self.key[0] == "bucket"
    }

    pub(crate) fn count_rows(&self, connection: Connection<'_>, bucket: Option<i64>) -> Result<u64, StoreError> {
        let rows: i64 = match bucket {
            Some(bucket) => {
                let sql = format!("SELECT count(*) FROM {} WHERE bucket = ?1", self.name);
                connection.query_row(&sql, [bucket], |row| row.get(0))?
            }
            None => connection.query_row(&format!("SELECT count(*) FROM {}", self.name), params![], |row| {
                row.get(0)
            })?,
        };
        Ok(rows.unsigned_abs())
    }

    /// The next page of a bucket, or of the whole table.
    pub(crate) fn page(
        &self,
        connection: Connection<'_>,
        vault: &Vault,
        bucket: Option<i64>,
        after: Option<&[KeyPart]>,
    ) -> Result<Page, StoreError> {
        // In a bucket the order is that of the rest of the key.
        let skipped = usize::from(bucket.is_some());
        let order = self.key[skipped..].join(", ");
        let mut conditions = Vec::new();
        let mut values: Vec<&dyn Value> = Vec::new();
        if let Some(bucket) = &bucket {
            conditions.push("bucket = ?1".to_owned());
            values.push(bucket);
        }
        if let Some(after) = after {
            let first = values.len() + 1;
            let marks: Vec<String> = (first..).take(after.len() - skipped).map(|n| format!("?{n}")).collect();
            conditions.push(format!("({order}) > ({})", marks.join(", ")));
            values.extend(after[skipped..].iter().map(|part| part as &dyn Value));
        }
        values.push(&PAGE);
        let condition = if conditions.is_empty() {
            String::new()
        } else {
            format!("WHERE {}", conditions.join(" AND "))
        };
        let columns: Vec<&str> = self.columns.iter().map(|column| column.name).collect();
        let sql = format!(
            "SELECT {}, {} FROM {} {condition} ORDER BY {order} LIMIT ?{}",
            self.key.join(", "),
            columns.join(", "),
            self.name,
            values.len()
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let mut found = statement.query(values.as_slice())?;
        let mut page = Page {
            rows: 0,
            tally: Tally::default(),
            stale: Vec::new(),
            last: None,
        };
        while let Some(row) = found.next()? {
            let row = self.read(row)?;
            page.rows += 1;
            let tally = self.tally(vault, &row);
            page.tally.add(tally);
            if i64::try_from(page.rows) == Ok(PAGE) {
                page.last = Some(row.key.clone());
            }
            if tally.former > 0 {
                page.stale.push(row);
            }
        }
        Ok(page)
    }

    fn read(&self, row: Row<'_>) -> Result<SealedRow, StoreError> {
        let parts = self.key.len();
        let key = (0..parts).map(|n| {
            Ok(match row.column(n)? {
                Column::Integer(number) => KeyPart::Number(number),
                Column::Text(text) => KeyPart::Text(text.to_owned()),
                _ => return Err(StoreError::Damaged("a row's key")),
            })
        });
        let key = key.collect::<Result<_, StoreError>>()?;
        let values = (parts..parts + self.columns.len()).map(|n| row.get(n));
        Ok(SealedRow {
            key,
            values: values.collect::<Result<_, _>>()?,
        })
    }

    /// For tests: every value that opens, with its column's name.
    #[cfg(feature = "testing")]
    pub(crate) fn opened(
        &self,
        connection: Connection<'_>,
        vault: &Vault,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let columns: Vec<&str> = self.columns.iter().map(|column| column.name).collect();
        let sql = format!(
            "SELECT {}, {} FROM {}",
            self.key.join(", "),
            columns.join(", "),
            self.name
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let mut found = statement.query(params![])?;
        let mut opened = Vec::new();
        while let Some(row) = found.next()? {
            let row = self.read(row)?;
            let place = self.place(&row);
            for (column, value) in self.columns.iter().zip(&row.values) {
                let plain = value
                    .as_ref()
                    .map(|value| column.open(vault, &place, value))
                    .transpose()?;
                opened.extend(plain.map(|plain| (format!("{}.{}", self.name, column.name), plain)));
            }
        }
        Ok(opened)
    }

    fn place(&self, row: &SealedRow) -> Vec<i64> {
        let parts = row.key[..self.place].iter();
        let numbers = parts.filter_map(|part| match part {
            KeyPart::Number(number) => Some(*number),
            KeyPart::Text(_) => None,
        });
        numbers.collect()
    }

    fn tally(&self, vault: &Vault, row: &SealedRow) -> Tally {
        let place = self.place(row);
        let mut tally = Tally::default();
        for (column, value) in self.columns.iter().zip(&row.values) {
            if let Some(value) = value {
                *match column.under(vault, &place, value) {
                    Under::Present => &mut tally.present,
                    Under::Former => &mut tally.former,
                    Under::Neither => &mut tally.neither,
                } += 1;
            }
        }
        tally
    }

    /// Seals rows of one account anew; answers how many values were.
    pub(crate) fn reseal(&self, settings: &mut Settings<'_>, rows: &[SealedRow]) -> Result<u64, StoreError> {
        let (connection, vault) = (settings.connection, settings.vault);
        if let (true, Some(first)) = (self.by_bucket() && connection.is_postgres(), rows.first()) {
            // Before its other rows, as a batch does: so neither waits for the other in a circle.
            connection
                .prepare_cached("SELECT account_id FROM account WHERE bucket = ?1 AND account_id = ?2 FOR UPDATE")?
                .query(params![first.key[0], first.key[1]])?;
        }
        let mut resealed = 0;
        for row in rows {
            let place = self.place(row);
            let mut new = Vec::with_capacity(row.values.len());
            let mut lookups = Vec::new();
            let mut changed = 0;
            for (column, old) in self.columns.iter().zip(&row.values) {
                let plain = match old {
                    Some(old) if column.under(vault, &place, old) == Under::Former => {
                        Some(column.open(vault, &place, old)?)
                    }
                    _ => None,
                };
                changed += u64::from(plain.is_some());
                if column.lookup.is_some() {
                    let token = plain.as_deref().and_then(|plain| std::str::from_utf8(plain).ok());
                    lookups.push(token.and_then(ApiToken::parse).map(|token| vault.token_lookup(&token)));
                }
                new.push(match plain {
                    Some(plain) => Some(vault.seal(column.purpose, &place, &plain)?),
                    None => old.clone(),
                });
            }
            if self.put(connection, row, &new, &lookups)? {
                resealed += changed;
            }
        }
        if let ("account", Some(KeyPart::Number(id))) = (self.name, rows.first().and_then(|row| row.key.get(1)))
            && let Some(account) = AccountId::new(*id)
        {
            settings.account_changed(account);
        }
        Ok(resealed)
    }

    /// Writes a row's new values where it stands as it was read; answers whether it did.
    fn put(
        &self,
        connection: Connection<'_>,
        row: &SealedRow,
        new: &[Option<Vec<u8>>],
        lookups: &[Option<[u8; 32]>],
    ) -> Result<bool, StoreError> {
        let mut values: Vec<&dyn Value> = Vec::new();
        let mut mark = |value| {
            values.push(value);
            values.len()
        };
        let mut sets = Vec::new();
        let mut conditions = Vec::new();
        for (column, new) in self.columns.iter().zip(new) {
            sets.push(format!("{} = ?{}", column.name, mark(new)));
        }
        for (lookup, hash) in self.columns.iter().filter_map(|column| column.lookup).zip(lookups) {
            // Of a token that wasn't sealed anew the hash stays.
            sets.push(format!("{lookup} = coalesce(?{}, {lookup})", mark(hash)));
        }
        for (name, part) in self.key.iter().zip(&row.key) {
            conditions.push(format!("{name} = ?{}", mark(part)));
        }
        for (column, old) in self.columns.iter().zip(&row.values) {
            conditions.push(format!("{} IS ?{}", column.name, mark(old)));
        }
        let sql = format!(
            "UPDATE {} SET {} WHERE {}",
            self.name,
            sets.join(", "),
            conditions.join(" AND ")
        );
        Ok(connection.execute(&sql, values.as_slice())? == 1)
    }
}

impl SealedColumn {
    fn under(&self, vault: &Vault, place: &[i64], value: &[u8]) -> Under {
        if self.purpose == Purpose::Fingerprint && value.len() == PLAIN_FINGERPRINT_BYTES {
            return Under::Former;
        }
        vault.sealed_under(self.purpose, place, value)
    }

    fn open(&self, vault: &Vault, place: &[i64], value: &[u8]) -> Result<Vec<u8>, StoreError> {
        if self.purpose == Purpose::Fingerprint {
            return Ok(vault.open_fingerprint(place, value)?.to_vec());
        }
        vault.open(self.purpose, place, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_sealed_column_of_the_schema_is_sealed_anew() {
        let listed: BTreeSet<String> = TABLES
            .iter()
            .flat_map(|table| {
                table
                    .columns
                    .iter()
                    .map(|column| format!("{}.{}", table.name, column.name))
            })
            .collect();
        let mut in_schema = BTreeSet::from(["first_answer.fingerprint".to_owned()]);
        let sql = include_str!("../postgres/migrations/0001_books.sql");
        let mut table = "";
        for line in sql.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["CREATE", "TABLE" | "UNLOGGED", name, ..] => table = name,
                [column, kind, ..] if column.ends_with("_sealed") && kind.starts_with("bytea") => {
                    in_schema.insert(format!("{table}.{column}"));
                }
                _ => {}
            }
        }
        assert_eq!(listed, in_schema);
        let lookups = TABLES
            .iter()
            .flat_map(|table| table.columns)
            .filter_map(|column| column.lookup);
        let account = sql
            .split("CREATE TABLE account (")
            .nth(1)
            .and_then(|rest| rest.split(");").next());
        assert_eq!(lookups.count(), account.unwrap_or_default().matches("_lookup").count());
    }
}
