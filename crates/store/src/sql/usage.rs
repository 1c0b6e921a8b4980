//! SQL of statistics. Here a batch's usage is written, in the batch's own transaction: one row for each quarter, country, route
//! and sender that it touched, and the sketches of its new numbers. `past` puts rows away by series once an account has many,
//! `read` answers the pages, `encoding` is how sums stand in a column.

pub(crate) mod encoding;

pub(crate) mod numbers;
pub(crate) mod past;
mod read;
pub(crate) mod spans;

use std::collections::{BTreeMap, HashMap as StdHashMap};

use crate::sql::{Connection, OptionalExtension, params};
use countersign_core::{AccountKey, Country, NumberSketch, Quarter, RouteName, SenderUsername, UsageCount, UsageSum};
use foldhash::HashMap;
use futures_util::future::BoxFuture;

use self::numbers::Numbers;

use super::backend::Backend;
use crate::types::StoreError;
use crate::usage::{NewUsage, Usage, UsageBy, UsageFilter};
use crate::vault::Vault;

/// An account's recent rows that are put away at the latest: so many are read in some milliseconds.
pub(crate) const MAX_RECENT_ROWS: i64 = 4_096;
/// Accounts whose recent rows are counted in memory; beyond it all are counted anew.
const MAX_COUNTED_ACCOUNTS: usize = 100_000;

/// What the writer remembers of usage. All of it stands in the books as well.
#[derive(Default)]
pub(crate) struct UsageBook {
    recent_rows: StdHashMap<AccountKey, i64>,
    numbers: Numbers,
}

/// Where a change adds up: a row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Place<'a> {
    account: AccountKey,
    quarter: Quarter,
    country: Country,
    route: &'a RouteName,
    sender: Option<&'a SenderUsername>,
}

impl UsageBook {
    /// Writes what a batch adds up to. An error means that the batch's transaction is undone: then this book goes too.
    pub(crate) fn write(
        &mut self,
        connection: Connection<'_>,
        vault: &Vault,
        route: &RouteName,
        changes: &[NewUsage],
    ) -> Result<(), StoreError> {
        let mut sums: HashMap<Place<'_>, UsageSum> = HashMap::default();
        for new in changes {
            let change = new.change();
            let place = Place {
                account: new.account,
                quarter: Quarter::of(new.created_at),
                country: Country::of(new.phone),
                route: new.route.as_ref().unwrap_or(route),
                sender: new.sender.as_ref(),
            };
            let sum = sums.entry(place).or_default();
            sum.add_change(&change);
            if change.opens() {
                let hash = vault.number_hash(new.account.id, new.phone);
                let first_seen = self.numbers.see(connection, new.account, new.created_at, hash)?;
                sum.counts[UsageCount::NewNumbers1024 as usize] += first_seen;
            }
        }
        self.numbers.write(connection)?;
        let mut sums: Vec<(Place<'_>, UsageSum)> = sums.into_iter().collect();
        // In the order of the key: rows that lie together are written together.
        sums.sort_unstable_by_key(|(place, _)| *place);
        for (place, sum) in &sums {
            if add_recent(connection, *place, sum)?
                && let Some(rows) = self.recent_rows.get_mut(&place.account)
            {
                *rows += 1;
            }
        }
        self.put_away(connection, sums.iter().map(|(place, _)| place.account))
    }

    /// Puts rows away of accounts that have many. `accounts` come in order.
    fn put_away(
        &mut self,
        connection: Connection<'_>,
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

/// What can't be read counts as nothing, and is written anew: statistics must not stop sends and money. It is told in the log.
pub(crate) fn note_damage(account: AccountKey, what: &str) {
    tracing::error!(
        account = account.id.number(),
        "{what} can't be read: it counts as empty. Statistics of this account are too low from now on; a backup has the rest"
    );
}

pub(crate) fn sender_column(sender: Option<&SenderUsername>) -> &str {
    sender.map_or("", SenderUsername::as_str)
}

/// Adds to a recent row; answers whether it is a new one.
fn add_recent(connection: Connection<'_>, place: Place<'_>, sum: &UsageSum) -> Result<bool, StoreError> {
    let (account, quarter) = (place.account, place.quarter.number());
    let (bucket, id) = (account.bucket.0, account.id.number());
    let (country, route, sender) = (
        place.country.as_str(),
        place.route.as_str(),
        sender_column(place.sender),
    );
    let stored = connection
        .prepare_cached(
            "SELECT sums FROM usage_recent WHERE bucket = ?1 AND account_id = ?2 AND quarter = ?3 AND country = ?4 \
             AND route = ?5 AND sender = ?6",
        )?
        .query_row(params![bucket, id, quarter, country, route, sender], |row| {
            row.blob(0).map(encoding::sum_of)
        })
        .optional()?;
    let is_new = stored.is_none();
    let sql = if is_new {
        "INSERT INTO usage_recent (bucket, account_id, quarter, country, route, sender, sums) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
    } else {
        "UPDATE usage_recent SET sums = ?7 WHERE bucket = ?1 AND account_id = ?2 AND quarter = ?3 \
         AND country = ?4 AND route = ?5 AND sender = ?6"
    };
    let bytes = match stored {
        None => encoding::bytes_of(sum),
        Some(Some(mut whole)) => {
            whole.add(sum);
            encoding::bytes_of(&whole)
        }
        Some(None) => {
            note_damage(account, "a sum of usage");
            encoding::bytes_of(sum)
        }
    };
    connection
        .prepare_cached(sql)?
        .execute(params![bucket, id, quarter, country, route, sender, bytes])?;
    Ok(is_new)
}

fn count_recent(connection: Connection<'_>, account: AccountKey) -> Result<i64, StoreError> {
    Ok(connection
        .prepare_cached("SELECT count(*) FROM usage_recent WHERE bucket = ?1 AND account_id = ?2")?
        .query_row(params![account.bucket.0, account.id.number()], |row| row.get(0))?)
}

impl<B: Backend> Usage for B {
    fn usage(
        &self,
        account: AccountKey,
        edges: Vec<Quarter>,
        filter: UsageFilter,
    ) -> BoxFuture<'_, Result<Vec<UsageSum>, StoreError>> {
        self.aside(move |reader| reader.with(|connection| read::usage(connection, account, &edges, &filter)))
    }

    fn usage_by(
        &self,
        account: AccountKey,
        by: UsageBy,
        edges: Vec<Quarter>,
        filter: UsageFilter,
    ) -> BoxFuture<'_, Result<BTreeMap<String, Vec<UsageSum>>, StoreError>> {
        self.aside(move |reader| reader.with(|connection| read::usage_by(connection, account, by, &edges, &filter)))
    }

    fn different_numbers(
        &self,
        account: AccountKey,
        edges: Vec<Quarter>,
    ) -> BoxFuture<'_, Result<Vec<NumberSketch>, StoreError>> {
        self.aside(move |reader| reader.with(|connection| read::different_numbers(connection, account, &edges)))
    }
}
