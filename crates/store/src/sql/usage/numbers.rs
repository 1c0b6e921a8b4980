//! Sketches of different numbers while they are added to: of each hour, day and month, and of all time. The writer keeps those that
//! it needed last, so that a batch neither reads nor decodes them again, and writes only those that changed: once an account
//! has seen many numbers, few do.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::sql::{Connection, OptionalExtension, params};
use countersign_core::{AccountKey, NumberSketch, SeenNumbers, Timestamp};

use super::note_damage;
use super::spans::{HOUR_MS, Level, month_of_day};
use crate::types::StoreError;

/// The level of the sketch of all numbers that an account ever asked for.
pub(crate) const ALL_TIME: i64 = 3;
/// Sketches that are kept from one batch to the next; beyond it none is. One takes 4 KiB at most.
const MAX_KEPT: usize = 128;

/// A sketch as it stands in memory, and what the books have of it.
struct Kept<T> {
    sketch: T,
    in_books: bool,
    changed: bool,
}

/// Sketches, each loaded once. They must go where a batch that changed them is undone.
#[derive(Default)]
pub(crate) struct Numbers {
    all_time: BTreeMap<AccountKey, Kept<SeenNumbers>>,
    of_a_time: BTreeMap<(AccountKey, Level, i64), Kept<NumberSketch>>,
}

impl Numbers {
    /// Takes a number in; answers for how many new ones it stands, in 1024ths.
    pub(crate) fn see(
        &mut self,
        connection: Connection<'_>,
        account: AccountKey,
        at: Timestamp,
        hash: u64,
    ) -> Result<i64, StoreError> {
        let hour = at.millis().div_euclid(HOUR_MS);
        let day = hour.div_euclid(24);
        for (level, start) in [
            (Level::Fine, hour),
            (Level::Day, day),
            (Level::Month, month_of_day(day)),
        ] {
            let kept = match self.of_a_time.entry((account, level, start)) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(load_sketch(connection, account, level.number(), start)?),
            };
            kept.changed |= kept.sketch.insert(hash);
        }
        let kept = match self.all_time.entry(account) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let loaded = load_sketch(connection, account, ALL_TIME, 0)?;
                entry.insert(Kept {
                    sketch: SeenNumbers::from(loaded.sketch),
                    in_books: loaded.in_books,
                    changed: false,
                })
            }
        };
        let new = kept.sketch.see(hash);
        kept.changed |= new > 0;
        Ok(new)
    }

    /// Writes the sketches that changed.
    pub(crate) fn write(&mut self, connection: Connection<'_>) -> Result<(), StoreError> {
        for ((account, level, start), kept) in &mut self.of_a_time {
            if std::mem::take(&mut kept.changed) {
                let in_books = std::mem::replace(&mut kept.in_books, true);
                write_sketch(connection, *account, level.number(), *start, &kept.sketch, in_books)?;
            }
        }
        for (account, kept) in &mut self.all_time {
            if std::mem::take(&mut kept.changed) {
                let in_books = std::mem::replace(&mut kept.in_books, true);
                write_sketch(connection, *account, ALL_TIME, 0, kept.sketch.sketch(), in_books)?;
            }
        }
        if self.of_a_time.len() + self.all_time.len() > MAX_KEPT {
            self.of_a_time.clear();
            self.all_time.clear();
        }
        Ok(())
    }
}

fn load_sketch(
    connection: Connection<'_>,
    account: AccountKey,
    level: i64,
    start: i64,
) -> Result<Kept<NumberSketch>, StoreError> {
    let stored = connection
        .prepare_cached(
            "SELECT sketch FROM usage_numbers WHERE bucket = ?1 AND account_id = ?2 AND level = ?3 AND start = ?4",
        )?
        .query_row(params![account.bucket.0, account.id.number(), level, start], |row| {
            row.blob(0).map(NumberSketch::from_bytes)
        })
        .optional()?;
    if let Some(None) = stored {
        note_damage(account, "a sketch of numbers");
    }
    Ok(Kept {
        in_books: stored.is_some(),
        sketch: stored.flatten().unwrap_or_default(),
        changed: false,
    })
}

/// Writes a sketch. One that is in the books is updated, not replaced: where its length stays, only what differs in it is written.
pub(crate) fn write_sketch(
    connection: Connection<'_>,
    account: AccountKey,
    level: i64,
    start: i64,
    sketch: &NumberSketch,
    in_books: bool,
) -> Result<(), StoreError> {
    let sql = if in_books {
        "UPDATE usage_numbers SET sketch = ?5 WHERE bucket = ?1 AND account_id = ?2 AND level = ?3 AND start = ?4"
    } else {
        "INSERT INTO usage_numbers (bucket, account_id, level, start, sketch) VALUES (?1, ?2, ?3, ?4, ?5)"
    };
    connection.prepare_cached(sql)?.execute(params![
        account.bucket.0,
        account.id.number(),
        level,
        start,
        sketch.to_bytes()
    ])?;
    Ok(())
}
