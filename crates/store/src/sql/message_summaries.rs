//! Summaries of runs of requests: which numbers and payloads may be among them. Housekeeping writes one for each full run, a
//! while after its last request was made, so a send pays nothing; a search for a whole number or payload leaps over the
//! runs that can't hold it.
//!
//! A summary is a Bloom filter with 12 bits a key and 8 bits set: of a hundred runs without the number, fewer than one is
//! looked through in vain. Measured with 10 million requests: 30 MB in all, 10 ms to write one, and 130 ms to know that a
//! number isn't among them, where stepping through them takes 3.3 s.

use std::collections::VecDeque;

use crate::sql::{Connection, OptionalExtension, Statement, params};
use countersign_core::{ABILITY_LIFE_MS, AccountKey, Timestamp};
use ring::digest::{SHA256, digest};

use super::messages::Place;
use super::read::{Reader, row_limit};
use super::settings::Settings;
use crate::messages::{MessageFilter, MessageOrder, NumberSearch, PayloadSearch};
use crate::types::StoreError;

/// Requests in one run.
const RUN: usize = 4_096;
const BITS_A_KEY: usize = 12;
const BITS_SET: u64 = 8;
/// Summaries that are read at once: some 12 KB each.
const MOST_AT_ONCE: usize = 64;
/// A run is summarised so long after its last request: by then none joins it any more, unless the clock is set back, and an
/// ability check has got the payload of its send, or never will.
const SETTLED_MS: i64 = ABILITY_LIFE_MS + 5 * 60_000;
/// A clock that stands less than this after the last summary was set back: what was made since may have joined a run.
const SET_BACK_MS: i64 = 2 * 60_000;

/// A number or payload as the filters know it: two hashes, of which every bit's place is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key(u64, u64);

impl Key {
    /// SHA-256, since it must say the same in every version; the first byte keeps numbers and payloads apart.
    fn of(kind: u8, text: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(text.len() + 1);
        bytes.push(kind);
        bytes.extend_from_slice(text);
        let hash = digest(&SHA256, &bytes);
        let word = |from: usize| {
            let bytes = hash.as_ref()[from..from + 8].iter();
            bytes.fold(0_u64, |word, byte| word << 8 | u64::from(*byte))
        };
        Self(word(0), word(8) | 1)
    }

    fn of_phone(digits: i64) -> Self {
        Self::of(b'n', &digits.to_be_bytes())
    }

    fn of_payload(payload: &str) -> Self {
        Self::of(b'p', payload.as_bytes())
    }

    /// The places of its bits in a filter of so many.
    fn bits(self, filter_bits: u64) -> impl Iterator<Item = usize> {
        (0..BITS_SET).map(move |number| {
            let hash = self.0.wrapping_add(number.wrapping_mul(self.1));
            // Below the filter's bits, which fit.
            usize::try_from(hash % filter_bits.max(1)).unwrap_or(0)
        })
    }
}

/// What a search looks for as a whole.
pub(crate) struct Wanted(Vec<Key>);

impl Wanted {
    /// `None` where nothing is asked for as a whole: then summaries say nothing.
    pub(crate) fn of(filter: &MessageFilter) -> Option<Self> {
        let mut keys = Vec::new();
        if let Some(NumberSearch::Is(phone)) = &filter.number {
            keys.push(Key::of_phone(super::codec::phone_column(*phone)));
        }
        if let Some(PayloadSearch::Is(payload)) = &filter.payload {
            keys.push(Key::of_payload(payload));
        }
        (!keys.is_empty()).then_some(Self(keys))
    }
}

/// Makes the filter of some keys.
fn filter_of(keys: &[Key]) -> Vec<u8> {
    let bytes = (keys.len() * BITS_A_KEY).div_ceil(8);
    let mut filter = vec![0; bytes];
    let bits = bytes as u64 * 8;
    for key in keys {
        for bit in key.bits(bits) {
            if let Some(byte) = filter.get_mut(bit / 8) {
                *byte |= 1 << (bit % 8);
            }
        }
    }
    filter
}

fn may_hold(filter: &[u8], key: Key) -> bool {
    let mut bits = key.bits(filter.len() as u64 * 8);
    bits.all(|bit| filter.get(bit / 8).is_some_and(|byte| byte >> (bit % 8) & 1 == 1))
}

/// A run with its summary.
pub(crate) struct Run {
    pub(crate) first: Place,
    pub(crate) last: Place,
    filter: Vec<u8>,
}

impl Run {
    pub(crate) fn may_hold(&self, wanted: &Wanted) -> bool {
        wanted.0.iter().all(|key| may_hold(&self.filter, *key))
    }

    /// The last place before the run, in the order of the look.
    pub(crate) const fn before(&self, order: MessageOrder) -> Place {
        match order {
            MessageOrder::NewestFirst => (self.last.0, self.last.1.saturating_add(1)),
            MessageOrder::OldestFirst => (self.first.0, self.first.1.saturating_sub(1)),
        }
    }

    /// The run's last place, in the order of the look.
    pub(crate) const fn far_end(&self, order: MessageOrder) -> Place {
        match order {
            MessageOrder::NewestFirst => self.first,
            MessageOrder::OldestFirst => self.last,
        }
    }
}

/// An account's runs, one after the other.
pub(crate) struct Summaries<'c> {
    statement: Statement<'c>,
    account: AccountKey,
    order: MessageOrder,
    /// Runs that follow the one that was given last.
    read: VecDeque<Run>,
    /// How many are read at once: ever more, since who leaps far asks a server once for many.
    at_once: usize,
}

impl<'c> Summaries<'c> {
    /// What one leap counts, in requests looked through. It takes longer than so many steps (some 35 µs beside 0.4 µs,
    /// measured in a test build on a busy machine): ten million requests are to take two pages, of 100 ms at most.
    pub(crate) const STEPS_OF_A_LEAP: usize = 12;

    pub(crate) fn of(connection: Connection<'c>, account: AccountKey, order: MessageOrder) -> Result<Self, StoreError> {
        const COLUMNS: &str = "first_created_at, first_random, last_created_at, last_random, filter";
        // Runs follow each other without a gap, so one that begins before the cursor is the next one backwards, too.
        let sql = match order {
            MessageOrder::NewestFirst => format!(
                "SELECT {COLUMNS} FROM request_summary WHERE bucket = ?1 AND account_id = ?2 \
                 AND (last_created_at, last_random) < (?3, ?4) ORDER BY last_created_at DESC, last_random DESC LIMIT ?5"
            ),
            MessageOrder::OldestFirst => format!(
                "SELECT {COLUMNS} FROM request_summary WHERE bucket = ?1 AND account_id = ?2 \
                 AND (last_created_at, last_random) > (?3, ?4) ORDER BY last_created_at, last_random LIMIT ?5"
            ),
        };
        Ok(Self {
            statement: connection.prepare_cached(&sql)?,
            account,
            order,
            read: VecDeque::new(),
            at_once: 1,
        })
    }

    /// The next run that isn't behind the cursor. Of a run that the cursor stands in, its rest is what remains.
    pub(crate) fn next(&mut self, cursor: Place) -> Result<Option<Run>, StoreError> {
        while let Some(run) = self.read.pop_front() {
            let is_ahead = match self.order {
                MessageOrder::NewestFirst => run.last < cursor,
                MessageOrder::OldestFirst => run.last > cursor,
            };
            if is_ahead {
                return Ok(Some(run));
            }
        }
        let mut rows = self.statement.query(params![
            self.account.bucket.0,
            self.account.id.number(),
            cursor.0,
            cursor.1,
            row_limit(self.at_once)
        ])?;
        self.at_once = (self.at_once * 2).min(MOST_AT_ONCE);
        while let Some(row) = rows.next()? {
            self.read.push_back(Run {
                first: (row.get(0)?, row.get(1)?),
                last: (row.get(2)?, row.get(3)?),
                filter: row.get(4)?,
            });
        }
        Ok(self.read.pop_front())
    }
}

/// What is to be done about an account's summaries.
pub(crate) enum Summarising {
    /// Nothing: its next run isn't full yet.
    Nothing,
    /// The clock was set back: what was summarised from this time on may have grown since.
    Forget { from: Timestamp },
    /// A run is full and settled.
    Add { first: Place, last: Place, filter: Vec<u8> },
}

impl Reader<'_> {
    /// Looks for an account's oldest full run without a summary; `now` is the time on its clock.
    pub(crate) fn next_summary(&self, account: AccountKey, now: Timestamp) -> Result<Summarising, StoreError> {
        let place = [i64::from(account.bucket.0), account.id.number()];
        self.with(|connection| {
            let newest: Option<Place> = connection
                .prepare_cached(
                    "SELECT last_created_at, last_random FROM request_summary WHERE bucket = ?1 AND account_id = ?2 \
                     ORDER BY last_created_at DESC, last_random DESC LIMIT 1",
                )?
                .query_row(place, |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let set_back = now.plus_millis(-SET_BACK_MS);
            if newest.is_some_and(|(last, _)| last > set_back.millis()) {
                return Ok(Summarising::Forget { from: set_back });
            }
            let (created_at, random) = newest.unwrap_or((i64::MIN, i64::MIN));
            let mut statement = connection.prepare_cached(
                "SELECT created_at, random, phone, payload FROM request WHERE bucket = ?1 AND account_id = ?2 \
                 AND (created_at, random) > (?3, ?4) AND created_at < ?5 ORDER BY created_at, random LIMIT ?6",
            )?;
            let settled = now.plus_millis(-SETTLED_MS).millis();
            let mut rows = statement.query(params![place[0], place[1], created_at, random, settled, row_limit(RUN)])?;
            let mut places: Vec<Place> = Vec::new();
            let mut values: Vec<(i64, Option<String>)> = Vec::new();
            while let Some(row) = rows.next()? {
                places.push((row.get(0)?, row.get(1)?));
                values.push((row.get(2)?, row.get(3)?));
            }
            let (Some(first), Some(last)) = (places.first(), places.last()) else {
                return Ok(Summarising::Nothing);
            };
            if places.len() < RUN {
                return Ok(Summarising::Nothing);
            }
            let mut keys: Vec<Key> = values
                .iter()
                .flat_map(|(phone, payload)| {
                    let payload = payload.as_deref().map(Key::of_payload);
                    std::iter::once(Key::of_phone(*phone)).chain(payload)
                })
                .collect();
            keys.sort_unstable();
            keys.dedup();
            Ok(Summarising::Add {
                first: *first,
                last: *last,
                filter: filter_of(&keys),
            })
        })
    }
}

impl Settings<'_> {
    /// Writes a summary, or takes away those that may have become wrong.
    pub(crate) fn summarise(&mut self, account: AccountKey, what: &Summarising) -> Result<(), StoreError> {
        let (bucket, id) = (account.bucket.0, account.id.number());
        match what {
            Summarising::Nothing => {}
            Summarising::Forget { from } => {
                self.connection.execute(
                    "DELETE FROM request_summary WHERE bucket = ?1 AND account_id = ?2 AND last_created_at > ?3",
                    params![bucket, id, from.millis()],
                )?;
            }
            Summarising::Add { first, last, filter } => {
                self.connection.execute(
                    "INSERT INTO request_summary (bucket, account_id, first_created_at, first_random, last_created_at, \
                     last_random, filter) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
                     ON CONFLICT (bucket, account_id, last_created_at, last_random) DO NOTHING",
                    params![bucket, id, first.0, first.1, last.0, last.1, filter],
                )?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_knows_what_it_was_made_of_and_little_else() {
        let keys: Vec<Key> = (0..8_192).map(Key::of_phone).collect();
        let filter = filter_of(&keys);
        assert!(keys.iter().all(|key| may_hold(&filter, *key)));
        let wrong = (10_000..20_000)
            .filter(|other| may_hold(&filter, Key::of_phone(*other)))
            .count();
        assert!(wrong < 100, "{wrong} of 10,000 others are taken for members");
        assert!(!may_hold(&filter, Key::of_payload("0")));
    }
}
