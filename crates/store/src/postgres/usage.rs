//! A batch's usage: one row for each quarter, country, route and sender that it touched, and its new numbers.
//!
//! A lane remembers sums and sketches of accounts whose usage it wrote last (`account.usage_writer`, read under the row's lock); those
//! of others it reads, all at once: in the round trip that locks the accounts where another lane has written them lately, else in one of
//! its own. New numbers are kept as a tail in the account's row, which a batch writes anyway, and are folded into the sketches of their
//! hour, day and month once there are [`TAIL`]: four rows of 4 KiB for hundreds of sends instead of for each.

use std::collections::BTreeMap;

use super::arrays::Ready;
use super::load::Loaded;
use super::session::Session;
use super::usage_rows::{Place, SketchKey, USAGE, UsageRead};
use super::{RulesNow, Shared};
use crate::sql::usage::numbers::ALL_TIME;
use crate::sql::usage::spans::{HOUR_MS, Level, month_of_day};
use crate::sql::usage::{MAX_RECENT_ROWS, encoding, past};
use crate::sql::{Connection, Row};
use crate::types::StoreError;
use crate::usage::NewUsage;
use countersign_core::{
    AccountKey, Country, NumberSketch, Quarter, SeenNumbers, SketchPlace, Timestamp, UsageCount, UsageSum,
};
use foldhash::{HashMap, HashSet};

/// Numbers that an account's tail holds at most: 1,348 bytes of its row, which stays below the 2,000 from which on PostgreSQL would put
/// it elsewhere.
const TAIL: usize = 192;
/// What a tail begins with, unless it is empty: how often it was folded.
const FOLDS_BYTES: usize = 4;
/// A number of the tail: the hour, counted from the epoch, then its place in a sketch.
const TAIL_BYTES: usize = 7;
/// Sums and accounts that are remembered; beyond it all are read anew. A sum takes some hundred bytes, an account's sketch 4 KiB at most.
const MAX_SUMS: usize = 16_384;
const MAX_ACCOUNTS: usize = 8_192;
/// Sums of an account that are read again along with its lock.
const MAX_READ_AGAIN: usize = 64;

/// What a lane remembers.
#[derive(Default)]
pub(super) struct UsageBook {
    accounts: HashMap<AccountKey, OfAccount>,
    /// How many sums all of them have.
    sums: usize,
}

/// What it remembers of an account.
#[derive(Default)]
struct OfAccount {
    sums: HashMap<Place, UsageSum>,
    seen: Option<SeenNumbers>,
    /// How often its tail had been folded then: as long as it wasn't since, all that others have seen stands in the tail.
    folds: u32,
    /// Whether another lane wrote its usage between this one's last two batches: then it probably will again.
    is_shared: bool,
    /// The hour of the newest number, where the tail will be full after as many more as the last batch had, twice: another lane's batch
    /// comes before this one's next.
    folds_next: Option<i64>,
    /// Whether it has many recent rows: they are put away before the next batch adds to them.
    is_full: bool,
}

impl OfAccount {
    /// The numbers that it has seen: those of its sketch and of its tail.
    fn take_seen(&mut self, sketch: Option<&NumberSketch>, tail: &[u8]) {
        let mut seen = SeenNumbers::from(sketch.cloned().unwrap_or_default());
        see_all(&mut seen, tail);
        self.seen = Some(seen);
        self.folds = folds_of(tail);
    }
}

/// What a batch writes.
#[derive(Default)]
pub(super) struct UsageRows {
    pub(super) sums: Vec<(Place, Vec<u8>)>,
    pub(super) sketches: Vec<(SketchKey, Vec<u8>)>,
    pub(super) tails: HashMap<AccountKey, Vec<u8>>,
}

/// What a batch adds: sums, new numbers, and those of them that go into sketches by now.
struct Added<'a> {
    sums: &'a BTreeMap<Place, UsageSum>,
    numbers: &'a BTreeMap<AccountKey, Vec<(Place, Seen)>>,
    folds: &'a BTreeMap<AccountKey, Vec<(i64, SketchPlace)>>,
}

/// A new number.
#[derive(Clone, Copy)]
struct Seen {
    hour: u32,
    place: SketchPlace,
}

/// Reads a tail.
pub(crate) fn tail_of(bytes: &[u8]) -> impl Iterator<Item = (i64, SketchPlace)> + '_ {
    let (numbers, _) = bytes.get(FOLDS_BYTES..).unwrap_or_default().as_chunks::<TAIL_BYTES>();
    numbers.iter().map(|&[a, b, c, d, place @ ..]| {
        let hour = i64::from(u32::from_be_bytes([a, b, c, d]));
        (hour, SketchPlace::from_bytes(place))
    })
}

/// How often it was folded.
fn folds_of(tail: &[u8]) -> u32 {
    tail.first_chunk().map_or(0, |folds| u32::from_be_bytes(*folds))
}

/// How many numbers it holds.
const fn held_by(tail: &[u8]) -> usize {
    tail.len().saturating_sub(FOLDS_BYTES) / TAIL_BYTES
}

impl UsageBook {
    /// What a batch for these accounts had better read at once, since another lane has probably written it.
    pub(super) fn to_read_again(&self, accounts: &[AccountKey]) -> UsageRead {
        let mut read = UsageRead::default();
        for account in accounts {
            let Some(known) = self.accounts.get(account).filter(|known| known.is_shared) else {
                continue;
            };
            // Of the quarter that it adds to: earlier ones hardly change.
            let newest = known.sums.keys().map(|place| place.quarter).max();
            let places = known.sums.keys().filter(|place| Some(place.quarter) == newest);
            // What a batch needs beyond these it reads by itself.
            read.places.extend(places.take(MAX_READ_AGAIN).cloned());
            if let Some(hour) = known.folds_next {
                read.keys.push((*account, ALL_TIME, 0));
                let folds = sketches_of(hour).into_iter();
                read.keys.extend(folds.map(|(level, start)| (*account, level, start)));
            }
        }
        read.places.sort_unstable();
        read.keys.sort_unstable();
        read
    }

    /// Brings what is remembered up to date with what was loaded: of accounts that another lane wrote only what was read again counts.
    fn take_in(&mut self, loaded: &Loaded, read: &mut UsageRead, writer: i64) {
        for (account, of) in loaded.usage_writers() {
            let is_ours = of == Some(writer);
            match self.accounts.get_mut(&account) {
                Some(known) if !is_ours => {
                    known.is_shared = true;
                    self.sums -= known.sums.len();
                    known.sums.clear();
                    let tail = loaded.tail(account);
                    match &mut known.seen {
                        Some(seen) if known.folds == folds_of(tail) => see_all(seen, tail),
                        _ => known.seen = None,
                    }
                }
                Some(known) => known.is_shared = false,
                None if is_ours => {}
                None => {
                    let known = OfAccount {
                        is_shared: true,
                        ..OfAccount::default()
                    };
                    self.accounts.insert(account, known);
                }
            }
        }
        for (place, sum) in read.sums.drain() {
            if let Some(known) = self.accounts.get_mut(&place.account) {
                self.sums += usize::from(known.sums.insert(place, sum).is_none());
            }
        }
        for (account, level, start) in &read.keys {
            if let Some(known) = self.accounts.get_mut(account)
                && known.seen.is_none()
                && *level == ALL_TIME
            {
                let sketch = read.sketches.get(&(*account, *level, *start));
                known.take_seen(sketch, loaded.tail(*account));
            }
        }
    }

    /// Adds a batch's changes up; answers the rows to write. What is remembered counts once they are committed: after a failure this book
    /// must go.
    pub(super) fn gather(
        &mut self,
        shared: &Shared,
        session: &Session,
        rules: &RulesNow,
        loaded: &mut Loaded,
        writer: i64,
        changes: &[NewUsage],
    ) -> Result<UsageRows, StoreError> {
        let mut read = std::mem::take(&mut loaded.usage);
        let loaded = &*loaded;
        self.take_in(loaded, &mut read, writer);
        let mut added: BTreeMap<Place, UsageSum> = BTreeMap::new();
        let mut numbers: BTreeMap<AccountKey, Vec<(Place, Seen)>> = BTreeMap::new();
        for new in changes {
            let change = new.change();
            let place = Place {
                account: new.account,
                quarter: Quarter::of(new.created_at),
                country: Country::of(new.phone),
                route: new.route.as_ref().unwrap_or(&rules.rules.route).clone(),
                sender: new.sender.clone(),
            };
            if change.opens() {
                let seen = Seen {
                    hour: hour_of(new.created_at),
                    place: SketchPlace::of(shared.vault.number_hash(new.account.id, new.phone)),
                };
                numbers.entry(new.account).or_default().push((place.clone(), seen));
            }
            added.entry(place).or_default().add_change(&change);
        }
        for place in added.keys() {
            self.accounts.entry(place.account).or_default();
        }
        self.put_away(session, &added)?;
        let folds: BTreeMap<AccountKey, Vec<(i64, SketchPlace)>> = numbers
            .iter()
            .filter_map(|(account, new)| {
                let tail = loaded.tail(*account);
                (held_by(tail) + new.len() >= TAIL).then(|| {
                    let new = new.iter().map(|(_, seen)| (i64::from(seen.hour), seen.place));
                    (*account, tail_of(tail).chain(new).collect())
                })
            })
            .collect();
        let mut sketches = self.read_missing(
            shared,
            session,
            loaded,
            read,
            &Added {
                sums: &added,
                numbers: &numbers,
                folds: &folds,
            },
        )?;
        let mut rows = UsageRows::default();
        for (account, new) in &numbers {
            let Some(known) = self.accounts.get_mut(account) else {
                continue;
            };
            let Some(seen) = &mut known.seen else { continue };
            for (place, number) in new {
                if let Some(sum) = added.get_mut(place) {
                    sum.counts[UsageCount::NewNumbers1024 as usize] += seen.see_place(number.place);
                }
            }
            if let Some(numbers) = folds.get(account) {
                fold(*account, numbers, &mut sketches, &mut rows);
                rows.sketches.push(((*account, ALL_TIME, 0), seen.sketch().to_bytes()));
                known.folds = folds_of(loaded.tail(*account)).wrapping_add(1);
                rows.tails.insert(*account, known.folds.to_be_bytes().to_vec());
            } else {
                let mut tail = loaded.tail(*account).to_vec();
                if tail.is_empty() {
                    tail.extend([0; FOLDS_BYTES]);
                }
                for (_, number) in new {
                    tail.extend(number.hour.to_be_bytes());
                    tail.extend(number.place.to_bytes());
                }
                rows.tails.insert(*account, tail);
            }
            let held = rows.tails.get(account).map_or(0, |tail| held_by(tail));
            let newest = new.last().map(|(_, number)| i64::from(number.hour));
            known.folds_next = newest.filter(|_| held + 2 * new.len() >= TAIL);
        }
        for (place, sum) in added {
            let Some(known) = self.accounts.get_mut(&place.account) else {
                continue;
            };
            let before = known.sums.len();
            let whole = known.sums.entry(place.clone()).or_default();
            whole.add(&sum);
            rows.sums.push((place, encoding::bytes_of(whole)));
            self.sums += known.sums.len() - before;
        }
        if self.sums > MAX_SUMS || self.accounts.len() > MAX_ACCOUNTS {
            *self = Self::default();
        }
        Ok(rows)
    }

    /// Puts away the recent rows of accounts that were found to have many, before more are added.
    fn put_away(&mut self, session: &Session, added: &BTreeMap<Place, UsageSum>) -> Result<(), StoreError> {
        for place in added.keys() {
            if let Some(known) = self.accounts.get_mut(&place.account)
                && known.is_full
            {
                past::put_away(Connection::Postgres(session), place.account)?;
                known.is_full = false;
                self.sums -= known.sums.len();
                known.sums.clear();
            }
        }
        Ok(())
    }

    /// Reads, in one round trip, the sums and sketches that aren't remembered; none if all are. Answers the sketches to fold into.
    fn read_missing(
        &mut self,
        shared: &Shared,
        session: &Session,
        loaded: &Loaded,
        before: UsageRead,
        Added { sums, numbers, folds }: &Added<'_>,
    ) -> Result<HashMap<SketchKey, NumberSketch>, StoreError> {
        let known = |account: &AccountKey| self.accounts.get(account);
        let mut keys: Vec<SketchKey> = numbers
            .keys()
            .filter(|account| known(account).is_none_or(|known| known.seen.is_none()))
            .map(|account| (*account, ALL_TIME, 0))
            .collect();
        for (account, numbers) in *folds {
            let hours: HashSet<i64> = numbers.iter().map(|(hour, _)| *hour).collect();
            keys.extend(
                hours
                    .into_iter()
                    .flat_map(sketches_of)
                    .map(|(level, start)| (*account, level, start))
                    .filter(|key| before.keys.binary_search(key).is_err()),
            );
        }
        keys.sort_unstable();
        keys.dedup();
        let mut read = UsageRead {
            places: sums
                .keys()
                .filter(|place| known(&place.account).is_none_or(|known| !known.sums.contains_key(*place)))
                .cloned()
                .collect(),
            keys,
            ..UsageRead::default()
        };
        let mut sketches = before.sketches;
        if read.places.is_empty() && read.keys.is_empty() {
            return Ok(sketches);
        }
        ask(shared.sharded, session, &mut read)?;
        let mut new: HashSet<AccountKey> = HashSet::default();
        for place in &read.places {
            match read.sums.remove(place) {
                Some(sum) => {
                    if let Some(known) = self.accounts.get_mut(&place.account) {
                        self.sums += usize::from(known.sums.insert(place.clone(), sum).is_none());
                    }
                }
                None => drop(new.insert(place.account)),
            }
        }
        for key in read.keys.iter().filter(|(_, level, _)| *level == ALL_TIME) {
            if let Some(known) = self.accounts.get_mut(&key.0) {
                known.take_seen(read.sketches.get(key), loaded.tail(key.0));
            }
        }
        sketches.extend(read.sketches);
        self.count_recent(session, &new)?;
        Ok(sketches)
    }

    /// Looks, where an account gets a new row, whether it has many: once for each quarter, country, route and sender.
    fn count_recent(&mut self, session: &Session, accounts: &HashSet<AccountKey>) -> Result<(), StoreError> {
        let statement = session.prepare(
            "SELECT count(*) FROM (SELECT 1 FROM usage_recent WHERE bucket = $1 AND account_id = $2 LIMIT $3) AS recent",
        )?;
        let client = session.client();
        let counts = session.wait(async {
            futures_util::future::try_join_all(accounts.iter().map(|account| {
                let statement = &statement;
                async move {
                    let bucket = i16::from(account.bucket.0);
                    let row = client
                        .query_one(statement, &[&bucket, &account.id.number(), &MAX_RECENT_ROWS])
                        .await?;
                    Ok::<_, tokio_postgres::Error>((*account, row.get::<_, i64>(0)))
                }
            }))
            .await
        })?;
        for (account, _) in counts.into_iter().filter(|(_, count)| *count >= MAX_RECENT_ROWS) {
            if let Some(known) = self.accounts.get_mut(&account) {
                known.is_full = true;
            }
        }
        Ok(())
    }
}

fn hour_of(at: Timestamp) -> u32 {
    u32::try_from(at.millis().div_euclid(HOUR_MS)).unwrap_or_default()
}

/// The sketches that an hour's numbers go into: level and start.
fn sketches_of(hour: i64) -> [(i64, i64); 3] {
    let day = hour.div_euclid(24);
    [
        (Level::Fine.number(), hour),
        (Level::Day.number(), day),
        (Level::Month.number(), month_of_day(day)),
    ]
}

/// Takes an account's numbers into the sketches of their times; those that changed are written.
fn fold(
    account: AccountKey,
    numbers: &[(i64, SketchPlace)],
    sketches: &mut HashMap<SketchKey, NumberSketch>,
    rows: &mut UsageRows,
) {
    let mut changed: HashSet<(i64, i64)> = HashSet::default();
    for (hour, place) in numbers {
        for (level, start) in sketches_of(*hour) {
            if sketches
                .entry((account, level, start))
                .or_default()
                .insert_place(*place)
            {
                changed.insert((level, start));
            }
        }
    }
    for (level, start) in changed {
        let key = (account, level, start);
        if let Some(sketch) = sketches.get(&key) {
            rows.sketches.push((key, sketch.to_bytes()));
        }
    }
}

fn see_all(seen: &mut SeenNumbers, tail: &[u8]) {
    for (_, place) in tail_of(tail) {
        seen.see_place(place);
    }
}

/// Reads both kinds.
fn ask(sharded: bool, session: &Session, read: &mut UsageRead) -> Result<(), StoreError> {
    let Some(values) = read.values(sharded) else {
        return Ok(());
    };
    let statement = session.prepare(USAGE[usize::from(sharded)])?;
    let question = Ready { statement, values };
    for row in &session.wait(question.query(session.client()))? {
        read.take(Row::Postgres(row))?;
    }
    Ok(())
}
