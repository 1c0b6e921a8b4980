//! SQL of statistics. Here a batch's usage is written, in the batch's own transaction: one row for each quarter, country, route
//! and sender that it touched, and the sketches of its new numbers. `past` puts rows away by series once an account has many,
//! `read` answers the pages, `fill` sums up books that are older than this, `encoding` is how sums stand in a column.

mod encoding;
mod fill;
mod past;
mod read;
mod spans;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use countersign_core::{
    AccountKey, Country, NumberSketch, PhoneNumber, Quarter, RouteName, SeenNumbers, SenderUsername, Timestamp,
    UsageCount, UsageKey, UsageSum,
};
use futures_util::future::BoxFuture;
use rusqlite::{Connection, OptionalExtension, params};

pub(super) use fill::fill_once;

use self::past::Past;
use self::spans::{Level, month_of_day};
use super::codec::damaged;
use super::{SqliteStore, answered};
use crate::types::StoreError;
use crate::usage::{NewUsage, Usage, UsageBy, UsageFilter};
use crate::vault::Vault;

/// An account's recent rows that are put away at the latest: so many are read in some milliseconds.
const MAX_RECENT_ROWS: i64 = 4_096;
/// Accounts whose recent rows are counted in memory; beyond it all are counted anew.
const MAX_COUNTED_ACCOUNTS: usize = 100_000;
/// Numbers whose country is remembered: a request's changes follow each other within seconds.
const REMEMBERED_COUNTRIES: usize = 1 << 14;

/// What the writer remembers of usage. All of it stands in the books as well.
pub(super) struct UsageBook {
    countries: Vec<Option<(PhoneNumber, Country)>>,
    recent_rows: HashMap<AccountKey, i64>,
}

impl Default for UsageBook {
    fn default() -> Self {
        Self {
            countries: vec![None; REMEMBERED_COUNTRIES],
            recent_rows: HashMap::new(),
        }
    }
}

impl UsageBook {
    fn country(&mut self, phone: PhoneNumber) -> Country {
        let spread = phone.digits().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 50;
        let place = usize::try_from(spread).unwrap_or(0) % REMEMBERED_COUNTRIES;
        match self.countries[place] {
            Some((of, country)) if of == phone => country,
            _ => {
                let country = Country::of(phone);
                self.countries[place] = Some((phone, country));
                country
            }
        }
    }

    /// Writes what a batch adds up to. An error means that the batch's transaction is undone: then this book goes too.
    pub(super) fn write(
        &mut self,
        connection: &Connection,
        vault: &Vault,
        route: &RouteName,
        changes: &[NewUsage],
    ) -> Result<(), StoreError> {
        let mut sums: BTreeMap<(AccountKey, UsageKey), UsageSum> = BTreeMap::new();
        let mut numbers = Numbers::default();
        for new in changes {
            let change = new.change();
            let key = UsageKey {
                quarter: Quarter::of(new.created_at),
                country: self.country(new.phone),
                route: new.route.as_ref().unwrap_or(route).clone(),
                sender: new.sender.clone(),
            };
            let sum = sums.entry((new.account, key)).or_default();
            sum.add_change(&change);
            if change.opens() {
                let hash = vault.number_hash(new.account.id, new.phone);
                let first_seen = numbers.see(connection, new.account, new.created_at, hash)?;
                sum.counts[UsageCount::NewNumbers1024 as usize] += first_seen;
            }
        }
        numbers.write(connection)?;
        for ((account, key), sum) in &sums {
            if add_recent(connection, *account, key, sum)?
                && let Some(rows) = self.recent_rows.get_mut(account)
            {
                *rows += 1;
            }
        }
        self.put_away(connection, sums.keys().map(|(account, _)| *account))
    }

    /// Puts rows away of accounts that have many. `accounts` come in order.
    fn put_away(
        &mut self,
        connection: &Connection,
        accounts: impl Iterator<Item = AccountKey>,
    ) -> Result<(), StoreError> {
        let mut last = None;
        for account in accounts {
            if last.replace(account) == Some(account) {
                continue;
            }
            let rows = match self.recent_rows.get(&account) {
                Some(rows) => *rows,
                None => count_recent(connection, account)?,
            };
            let rows = if rows >= MAX_RECENT_ROWS {
                rows - past::put_away(connection, account)?
            } else {
                rows
            };
            if self.recent_rows.len() >= MAX_COUNTED_ACCOUNTS {
                self.recent_rows.clear();
            }
            self.recent_rows.insert(account, rows);
        }
        Ok(())
    }
}

fn sender_column(sender: Option<&SenderUsername>) -> &str {
    sender.map_or("", SenderUsername::as_str)
}

/// Adds to a recent row; answers whether it is a new one.
fn add_recent(
    connection: &Connection,
    account: AccountKey,
    key: &UsageKey,
    sum: &UsageSum,
) -> Result<bool, StoreError> {
    let (bucket, id) = (account.bucket.0, account.id.number());
    let (country, route) = (key.country.as_str(), key.route.as_str());
    let sender = sender_column(key.sender.as_ref());
    let stored = connection
        .prepare_cached(
            "SELECT sums FROM usage_recent WHERE bucket = ?1 AND account_id = ?2 AND quarter = ?3 AND country = ?4 \
             AND route = ?5 AND sender = ?6",
        )?
        .query_row(
            params![bucket, id, key.quarter.number(), country, route, sender],
            |row| Ok(row.get_ref(0)?.as_blob().map(encoding::sum_of)?),
        )
        .optional()?;
    let (sql, sum) = match stored {
        None => (
            "INSERT INTO usage_recent (bucket, account_id, quarter, country, route, sender, sums) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            encoding::bytes_of(sum),
        ),
        Some(stored) => {
            let mut whole = stored.ok_or_else(|| damaged("a sum of usage"))?;
            whole.add(sum);
            (
                "UPDATE usage_recent SET sums = ?7 WHERE bucket = ?1 AND account_id = ?2 AND quarter = ?3 \
                 AND country = ?4 AND route = ?5 AND sender = ?6",
                encoding::bytes_of(&whole),
            )
        }
    };
    connection
        .prepare_cached(sql)?
        .execute(params![bucket, id, key.quarter.number(), country, route, sender, sum])?;
    Ok(sql.starts_with("INSERT"))
}

fn count_recent(connection: &Connection, account: AccountKey) -> Result<i64, StoreError> {
    Ok(connection
        .prepare_cached("SELECT count(*) FROM usage_recent WHERE bucket = ?1 AND account_id = ?2")?
        .query_row(params![account.bucket.0, account.id.number()], |row| row.get(0))?)
}

/// Sketches that are being added to, each loaded once and written once.
#[derive(Default)]
struct Numbers {
    all_time: BTreeMap<AccountKey, (SeenNumbers, bool)>,
    of_a_time: BTreeMap<(AccountKey, Level, i64), (NumberSketch, bool)>,
}

impl Numbers {
    /// Takes a number in; answers for how many new ones it stands, in 1024ths.
    fn see(
        &mut self,
        connection: &Connection,
        account: AccountKey,
        at: Timestamp,
        hash: u64,
    ) -> Result<i64, StoreError> {
        let hour = at.millis().div_euclid(spans::HOUR_MS);
        let day = hour.div_euclid(24);
        for (level, start) in [
            (Level::Fine, hour),
            (Level::Day, day),
            (Level::Month, month_of_day(day)),
        ] {
            let (sketch, changed) = match self.of_a_time.entry((account, level, start)) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert((
                    load_sketch(connection, account, level.number(), start)?.unwrap_or_default(),
                    false,
                )),
            };
            *changed |= sketch.insert(hash);
        }
        let (seen, changed) = match self.all_time.entry(account) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let sketch = load_sketch(connection, account, ALL_TIME, 0)?.unwrap_or_default();
                entry.insert((SeenNumbers::from(sketch), false))
            }
        };
        let new = seen.see(hash);
        *changed |= new > 0;
        Ok(new)
    }

    /// Writes the sketches that changed.
    fn write(&self, connection: &Connection) -> Result<(), StoreError> {
        for ((account, level, start), (sketch, changed)) in &self.of_a_time {
            if *changed {
                write_sketch(connection, *account, level.number(), *start, sketch)?;
            }
        }
        for (account, (seen, changed)) in &self.all_time {
            if *changed {
                write_sketch(connection, *account, ALL_TIME, 0, seen.sketch())?;
            }
        }
        Ok(())
    }
}

/// The level of the sketch of all numbers that an account ever asked for.
const ALL_TIME: i64 = 3;

fn load_sketch(
    connection: &Connection,
    account: AccountKey,
    level: i64,
    start: i64,
) -> Result<Option<NumberSketch>, StoreError> {
    let sketch = connection
        .prepare_cached(
            "SELECT sketch FROM usage_numbers WHERE bucket = ?1 AND account_id = ?2 AND level = ?3 AND start = ?4",
        )?
        .query_row(params![account.bucket.0, account.id.number(), level, start], |row| {
            Ok(row.get_ref(0)?.as_blob().map(NumberSketch::from_bytes)?)
        })
        .optional()?;
    sketch
        .map(|sketch| sketch.ok_or_else(|| damaged("a sketch of numbers")))
        .transpose()
}

fn write_sketch(
    connection: &Connection,
    account: AccountKey,
    level: i64,
    start: i64,
    sketch: &NumberSketch,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO usage_numbers (bucket, account_id, level, start, sketch) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            account.bucket.0,
            account.id.number(),
            level,
            start,
            sketch.to_bytes()
        ])?;
    Ok(())
}

impl Usage for SqliteStore {
    fn usage(
        &self,
        account: AccountKey,
        edges: Vec<Quarter>,
        filter: UsageFilter,
    ) -> BoxFuture<'_, Result<Vec<UsageSum>, StoreError>> {
        answered(
            self.readers
                .with(|connection| read::usage(connection, account, &edges, &filter)),
        )
    }

    fn usage_by(
        &self,
        account: AccountKey,
        by: UsageBy,
        edges: Vec<Quarter>,
        filter: UsageFilter,
    ) -> BoxFuture<'_, Result<BTreeMap<String, Vec<UsageSum>>, StoreError>> {
        answered(
            self.readers
                .with(|connection| read::usage_by(connection, account, by, &edges, &filter)),
        )
    }

    fn different_numbers(
        &self,
        account: AccountKey,
        edges: Vec<Quarter>,
    ) -> BoxFuture<'_, Result<Vec<NumberSketch>, StoreError>> {
        answered(
            self.readers
                .with(|connection| read::different_numbers(connection, account, &edges)),
        )
    }
}
