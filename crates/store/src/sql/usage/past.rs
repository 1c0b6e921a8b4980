//! Puts recent rows of usage away: adds them to the series that they belong to, by quarters, days and months, and takes them out
//! of the recent ones, all in the writer's transaction. Some thousands of rows go at once, since most of them belong to few series.

use std::collections::BTreeMap;

use crate::sql::{Connection, OptionalExtension, params};
use countersign_core::{AccountKey, UsageSum};
use foldhash::HashMap;

use super::spans::{Level, QUARTERS_OF_A_DAY, month_of_day};
use super::{encoding, note_damage};
use crate::postgres::{put_past, read_past};
use crate::sql::codec::damaged;
use crate::types::StoreError;

/// Rows of series that are written in one go: bounds the time that a batch waits for it to some milliseconds.
const MAX_WRITTEN: usize = 4_000;

/// What a series tells apart. Its number stands in the books.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Series {
    Account = 0,
    Country = 1,
    Route = 2,
    Sender = 3,
    Full = 4,
}

impl Series {
    const ALL: [Self; 5] = [Self::Account, Self::Country, Self::Route, Self::Sender, Self::Full];

    /// Of a row's country, route and sender those that this series tells apart.
    fn names(self, [country, route, sender]: [&str; 3]) -> [&str; 3] {
        match self {
            Self::Account => ["", "", ""],
            Self::Country => [country, "", ""],
            Self::Route => ["", route, ""],
            Self::Sender => ["", "", sender],
            Self::Full => [country, route, sender],
        }
    }
}

/// A row: whose series, which names it tells apart, and of what time.
pub(crate) type Place = (Series, [String; 3], Level, i64);

/// A series' days, each told apart by its quarters.
type Days = BTreeMap<i64, BTreeMap<u8, UsageSum>>;

/// Sums that are to be added to an account's past. Only quarters are held, and days and months made of them where they are
/// written: a row costs one look-up for each of its series.
#[derive(Default)]
pub(crate) struct Past {
    series: HashMap<(Series, [String; 3]), Days>,
    /// How many rows it is, about.
    rows: usize,
}

impl Past {
    /// Takes a row in.
    pub(crate) fn add(&mut self, quarter: i64, names: [&str; 3], sum: &UsageSum) {
        let day = quarter.div_euclid(QUARTERS_OF_A_DAY);
        let of_day = u8::try_from(quarter.rem_euclid(QUARTERS_OF_A_DAY)).unwrap_or(0);
        for series in Series::ALL {
            let days = self
                .series
                .entry((series, series.names(names).map(str::to_owned)))
                .or_default();
            // With its first day a series has its first month.
            self.rows += usize::from(days.is_empty());
            let quarters = days.entry(day).or_default();
            self.rows += 2 * usize::from(quarters.is_empty());
            quarters.entry(of_day).or_default().add(sum);
        }
    }

    /// Whether so much is held that it should be written.
    pub(crate) const fn is_full(&self) -> bool {
        self.rows >= MAX_WRITTEN
    }

    /// Adds it all to what stands in the books.
    pub(crate) fn write(self, connection: Connection<'_>, account: AccountKey) -> Result<(), StoreError> {
        let (places, sums): (Vec<Place>, Vec<Added>) = self.rows().into_iter().unzip();
        if let Connection::Postgres(session) = connection {
            let stored = read_past(session, account, &places)?;
            let sums = sums.into_iter().zip(stored);
            let sums: Vec<Vec<u8>> = sums
                .map(|(sums, stored)| sums.with(account, stored.as_deref()))
                .collect();
            put_past(session, account, &places, &sums)?;
            return Ok(());
        }
        for (place, sums) in places.iter().zip(sums) {
            let stored = stored(connection, account, place)?;
            let is_new = stored.is_none();
            write(
                connection,
                account,
                place,
                is_new,
                &sums.with(account, stored.as_deref()),
            )?;
        }
        Ok(())
    }

    /// All of it, row by row.
    fn rows(self) -> Vec<(Place, Added)> {
        let mut rows = Vec::with_capacity(self.rows);
        let mut all: Vec<((Series, [String; 3]), Days)> = self.series.into_iter().collect();
        // In the order of the key: rows that lie together are written together.
        all.sort_unstable_by(|(series, _), (other, _)| series.cmp(other));
        for ((series, names), days) in all {
            let mut sums: BTreeMap<(Level, i64), UsageSum> = BTreeMap::new();
            for (day, quarters) in days {
                for sum in quarters.values() {
                    sums.entry((Level::Day, day)).or_default().add(sum);
                    sums.entry((Level::Month, month_of_day(day))).or_default().add(sum);
                }
                rows.push(((series, names.clone(), Level::Fine, day), Added::Day(quarters)));
            }
            for ((level, start), sum) in sums {
                rows.push(((series, names.clone(), level, start), Added::Sum(sum)));
            }
        }
        rows
    }
}

/// What is added to a row.
enum Added {
    /// A day, told apart by its quarters.
    Day(BTreeMap<u8, UsageSum>),
    Sum(UsageSum),
}

impl Added {
    /// The row with what stands in it. One that can't be read counts as empty.
    fn with(self, account: AccountKey, stored: Option<&[u8]>) -> Vec<u8> {
        match self {
            Self::Day(mut quarters) => {
                for (quarter, sum) in readable(account, stored, encoding::day_of) {
                    quarters.entry(quarter).or_default().add(&sum);
                }
                let day: Vec<(u8, UsageSum)> = quarters.into_iter().collect();
                encoding::bytes_of_day(&day)
            }
            Self::Sum(mut sum) => {
                sum.add(&readable(account, stored, encoding::sum_of));
                encoding::bytes_of(&sum)
            }
        }
    }
}

fn readable<T: Default>(account: AccountKey, stored: Option<&[u8]>, read: impl FnOnce(&[u8]) -> Option<T>) -> T {
    stored
        .map(|bytes| {
            read(bytes).unwrap_or_else(|| {
                note_damage(account, "a past sum of usage");
                T::default()
            })
        })
        .unwrap_or_default()
}

/// Looks a row up; `None` where there is none.
fn stored(
    connection: Connection<'_>,
    account: AccountKey,
    (series, [country, route, sender], level, start): &Place,
) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT sums FROM usage_past WHERE bucket = ?1 AND account_id = ?2 AND series = ?3 AND country = ?4 \
             AND route = ?5 AND sender = ?6 AND level = ?7 AND start = ?8",
        )?
        .query_row(
            params![
                account.bucket.0,
                account.id.number(),
                *series as i64,
                country,
                route,
                sender,
                level.number(),
                start
            ],
            |row| row.get(0),
        )
        .optional()?)
}

fn write(
    connection: Connection<'_>,
    account: AccountKey,
    (series, [country, route, sender], level, start): &Place,
    is_new: bool,
    sums: &[u8],
) -> Result<(), StoreError> {
    let sql = if is_new {
        "INSERT INTO usage_past (bucket, account_id, series, country, route, sender, level, start, sums) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
    } else {
        "UPDATE usage_past SET sums = ?9 WHERE bucket = ?1 AND account_id = ?2 AND series = ?3 AND country = ?4 \
         AND route = ?5 AND sender = ?6 AND level = ?7 AND start = ?8"
    };
    connection.prepare_cached(sql)?.execute(params![
        account.bucket.0,
        account.id.number(),
        *series as i64,
        country,
        route,
        sender,
        level.number(),
        start,
        sums
    ])?;
    Ok(())
}

/// Puts an account's oldest recent rows away; answers how many.
pub(crate) fn put_away(connection: Connection<'_>, account: AccountKey) -> Result<i64, StoreError> {
    let place = (account.bucket.0, account.id.number());
    let mut past = Past::default();
    let mut last: Option<(i64, [String; 3])> = None;
    {
        let mut statement = connection.prepare_cached(
            "SELECT quarter, country, route, sender, sums FROM usage_recent WHERE bucket = ?1 AND account_id = ?2 \
             ORDER BY quarter, country, route, sender",
        )?;
        let mut rows = statement.query(params![place.0, place.1])?;
        while let Some(row) = rows.next()? {
            let text = |column| row.text(column).map_err(|_| damaged("a row of usage"));
            let (quarter, names) = (row.get(0)?, [text(1)?, text(2)?, text(3)?]);
            match encoding::sum_of(row.blob(4).map_err(|_| damaged("a row of usage"))?) {
                Some(sum) => past.add(quarter, names, &sum),
                None => note_damage(account, "a sum of usage"),
            }
            last = Some((quarter, names.map(str::to_owned)));
            if past.is_full() {
                break;
            }
        }
    }
    let Some((quarter, [country, route, sender])) = last else {
        return Ok(0);
    };
    past.write(connection, account)?;
    let gone = connection
        .prepare_cached(
            "DELETE FROM usage_recent WHERE bucket = ?1 AND account_id = ?2 \
             AND (quarter, country, route, sender) <= (?3, ?4, ?5, ?6)",
        )?
        .execute(params![place.0, place.1, quarter, country, route, sender])?;
    Ok(i64::try_from(gone).unwrap_or(i64::MAX))
}
