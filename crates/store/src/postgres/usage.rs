//! A batch's usage: one row for each quarter, country, route and sender that it touched, and its new numbers.
//!
//! A lane remembers sums and sketches of accounts whose usage it wrote last (`account.usage_writer`, read under the row's lock); those
//! of others it reads, all at once. New numbers are kept as a tail of hashes in the account's row, which a batch writes anyway, and are
//! folded into the sketches of their hour, day and month once there are [`TAIL`]: four rows for dozens of sends instead of for each.

use std::collections::BTreeMap;

use countersign_core::{
    AccountKey, Country, NumberSketch, Quarter, RouteName, SeenNumbers, SenderUsername, Timestamp, UsageCount, UsageSum,
};
use foldhash::{HashMap, HashSet};
use futures_util::future::try_join;
use tokio_postgres::types::ToSql;

use super::load::{Buckets, Loaded};
use super::session::Session;
use super::{RulesNow, Shared};
use crate::sql::Connection;
use crate::sql::Row;
use crate::sql::codec::account_key;
use crate::sql::usage::numbers::ALL_TIME;
use crate::sql::usage::spans::{HOUR_MS, Level, month_of_day};
use crate::sql::usage::{MAX_RECENT_ROWS, encoding, note_damage, past, sender_column};
use crate::types::StoreError;
use crate::usage::NewUsage;

/// Numbers that an account's tail holds at most: 768 bytes of its row.
const TAIL: usize = 64;
/// A number of the tail: the hour, counted from the epoch, then its keyed hash.
const TAIL_BYTES: usize = 12;
/// Sums and accounts that are remembered; beyond it all are read anew. A sum takes some hundred bytes, an account's sketch 4 KiB at most.
const MAX_SUMS: usize = 16_384;
const MAX_SEEN: usize = 8_192;

/// Where a change adds up: a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) account: AccountKey,
    pub(super) quarter: Quarter,
    pub(super) country: Country,
    pub(super) route: RouteName,
    pub(super) sender: Option<SenderUsername>,
}

impl Place {
    pub(super) fn sender(&self) -> &str {
        sender_column(self.sender.as_ref())
    }
}

/// A sketch's row.
type SketchKey = (AccountKey, i64, i64);

/// What a lane remembers.
#[derive(Default)]
pub(super) struct UsageBook {
    sums: HashMap<Place, UsageSum>,
    seen: HashMap<AccountKey, SeenNumbers>,
    /// Accounts that have many recent rows: they are put away before the next batch adds to them.
    full: HashSet<AccountKey>,
}

/// What a batch writes.
#[derive(Default)]
pub(super) struct UsageRows {
    pub(super) sums: Vec<(Place, Vec<u8>)>,
    pub(super) sketches: Vec<(SketchKey, Vec<u8>)>,
    pub(super) tails: HashMap<AccountKey, Vec<u8>>,
}

/// A new number.
#[derive(Clone, Copy)]
struct Seen {
    hour: u32,
    hash: u64,
}

/// Reads a tail.
pub(crate) fn tail_of(bytes: &[u8]) -> impl Iterator<Item = (i64, u64)> + '_ {
    bytes.chunks_exact(TAIL_BYTES).map(|part| {
        let (hour, hash) = part.split_at(4);
        let hour = hour.try_into().map_or(0, u32::from_be_bytes);
        let hash = hash.try_into().map_or(0, u64::from_be_bytes);
        (i64::from(hour), hash)
    })
}

const RECENT: &str = "FROM unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[]) \
     WITH ORDINALITY AS k (b, a, q, c, r, s, n) CROSS JOIN LATERAL (SELECT sums FROM usage_recent WHERE bucket = k.b \
     AND account_id = k.a AND quarter = k.q AND country = k.c AND route = k.r AND sender = k.s OFFSET 0) AS u";
const RECENT_OF_BUCKET: &str = "FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[]) \
     WITH ORDINALITY AS k (a, q, c, r, s, n) CROSS JOIN LATERAL (SELECT sums FROM usage_recent WHERE bucket = $1 \
     AND account_id = k.a AND quarter = k.q AND country = k.c AND route = k.r AND sender = k.s OFFSET 0) AS u";
const SKETCHES: &str = "FROM unnest($1::smallint[], $2::bigint[], $3::smallint[], $4::bigint[]) AS k (b, a, l, t) \
     CROSS JOIN LATERAL (SELECT * FROM usage_numbers WHERE bucket = k.b AND account_id = k.a AND level = k.l \
     AND start = k.t OFFSET 0) AS u";
const SKETCHES_OF_BUCKET: &str = "FROM unnest($2::bigint[], $3::smallint[], $4::bigint[]) AS k (a, l, t) \
     CROSS JOIN LATERAL (SELECT * FROM usage_numbers WHERE bucket = $1 AND account_id = k.a AND level = k.l \
     AND start = k.t OFFSET 0) AS u";

impl UsageBook {
    /// Forgets what is remembered of accounts that somebody else wrote.
    pub(super) fn forget_accounts(&mut self, accounts: &HashSet<AccountKey>) {
        if accounts.iter().any(|account| self.seen.contains_key(account)) {
            self.seen.retain(|account, _| !accounts.contains(account));
        }
        if !accounts.is_empty() && !self.sums.is_empty() {
            self.sums.retain(|place, _| !accounts.contains(&place.account));
        }
    }

    /// Adds a batch's changes up; answers the rows to write. What is remembered counts once they are committed: after a failure this book
    /// must go.
    pub(super) fn gather(
        &mut self,
        shared: &Shared,
        session: &Session,
        rules: &RulesNow,
        loaded: &Loaded,
        changes: &[NewUsage],
    ) -> Result<UsageRows, StoreError> {
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
                    hash: shared.vault.number_hash(new.account.id, new.phone),
                };
                numbers.entry(new.account).or_default().push((place.clone(), seen));
            }
            added.entry(place).or_default().add_change(&change);
        }
        self.put_away(session, &added)?;
        let folds: BTreeMap<AccountKey, Vec<(i64, u64)>> = numbers
            .iter()
            .filter_map(|(account, new)| {
                let tail = loaded.tail(*account);
                (tail.len() / TAIL_BYTES + new.len() >= TAIL).then(|| {
                    let new = new.iter().map(|(_, seen)| (i64::from(seen.hour), seen.hash));
                    (*account, tail_of(tail).chain(new).collect())
                })
            })
            .collect();
        let mut sketches = self.read_missing(shared, session, loaded, &added, &numbers, &folds)?;
        let mut rows = UsageRows::default();
        for (account, new) in &numbers {
            let Some(seen) = self.seen.get_mut(account) else {
                continue;
            };
            for (place, number) in new {
                if let Some(sum) = added.get_mut(place) {
                    sum.counts[UsageCount::NewNumbers1024 as usize] += seen.see(number.hash);
                }
            }
            if let Some(numbers) = folds.get(account) {
                fold(*account, numbers, &mut sketches, &mut rows);
                rows.sketches.push(((*account, ALL_TIME, 0), seen.sketch().to_bytes()));
                rows.tails.insert(*account, Vec::new());
            } else {
                let mut tail = loaded.tail(*account).to_vec();
                for (_, number) in new {
                    tail.extend(number.hour.to_be_bytes());
                    tail.extend(number.hash.to_be_bytes());
                }
                rows.tails.insert(*account, tail);
            }
        }
        for (place, sum) in added {
            let whole = self.sums.entry(place.clone()).or_default();
            whole.add(&sum);
            rows.sums.push((place, encoding::bytes_of(whole)));
        }
        if self.sums.len() > MAX_SUMS {
            self.sums.clear();
        }
        if self.seen.len() > MAX_SEEN {
            self.seen.clear();
        }
        Ok(rows)
    }

    /// Puts away the recent rows of accounts that were found to have many, before more are added.
    fn put_away(&mut self, session: &Session, added: &BTreeMap<Place, UsageSum>) -> Result<(), StoreError> {
        if self.full.is_empty() {
            return Ok(());
        }
        let due: HashSet<AccountKey> = added
            .keys()
            .map(|place| place.account)
            .filter(|account| self.full.contains(account))
            .collect();
        for account in &due {
            past::put_away(Connection::Postgres(session), *account)?;
            self.full.remove(account);
        }
        self.sums.retain(|place, _| !due.contains(&place.account));
        Ok(())
    }

    /// Reads, in one round trip, the sums and sketches that aren't remembered; none if all are. Answers the sketches to fold into.
    fn read_missing(
        &mut self,
        shared: &Shared,
        session: &Session,
        loaded: &Loaded,
        added: &BTreeMap<Place, UsageSum>,
        numbers: &BTreeMap<AccountKey, Vec<(Place, Seen)>>,
        folds: &BTreeMap<AccountKey, Vec<(i64, u64)>>,
    ) -> Result<BTreeMap<SketchKey, NumberSketch>, StoreError> {
        let places: Vec<&Place> = added.keys().filter(|place| !self.sums.contains_key(*place)).collect();
        let unseen: Vec<AccountKey> = numbers
            .keys()
            .filter(|key| !self.seen.contains_key(key))
            .copied()
            .collect();
        let mut keys: Vec<SketchKey> = unseen.iter().map(|account| (*account, ALL_TIME, 0)).collect();
        for (account, numbers) in folds {
            let hours: HashSet<i64> = numbers.iter().map(|(hour, _)| *hour).collect();
            keys.extend(
                hours
                    .into_iter()
                    .flat_map(sketches_of)
                    .map(|(level, start)| (*account, level, start)),
            );
        }
        keys.sort_unstable();
        keys.dedup();
        if places.is_empty() && keys.is_empty() {
            return Ok(BTreeMap::new());
        }
        let (recent_rows, sketch_rows) = ask(shared, session, &places, &keys)?;
        let mut found: HashSet<usize> = HashSet::default();
        for row in &recent_rows {
            let row = Row::Postgres(row);
            let number = usize::try_from(row.get::<i64>(0)?)
                .unwrap_or_default()
                .saturating_sub(1);
            let Some(place) = places.get(number) else { continue };
            found.insert(number);
            match encoding::sum_of(row.blob(1)?) {
                Some(sum) => drop(self.sums.insert((*place).clone(), sum)),
                None => note_damage(place.account, "a sum of usage"),
            }
        }
        let mut sketches = BTreeMap::new();
        for row in &sketch_rows {
            let row = Row::Postgres(row);
            let account = account_key(row.get(0)?, row.get(1)?)?;
            match NumberSketch::from_bytes(row.blob(4)?) {
                Some(sketch) => drop(sketches.insert((account, row.get(2)?, row.get(3)?), sketch)),
                None => note_damage(account, "a sketch of numbers"),
            }
        }
        for account in unseen {
            let mut seen = SeenNumbers::from(sketches.remove(&(account, ALL_TIME, 0)).unwrap_or_default());
            for (_, hash) in tail_of(loaded.tail(account)) {
                seen.see(hash);
            }
            self.seen.insert(account, seen);
        }
        let new: HashSet<AccountKey> = (0..places.len())
            .filter(|number| !found.contains(number))
            .map(|number| places[number].account)
            .collect();
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
        let full = counts.into_iter().filter(|(_, count)| *count >= MAX_RECENT_ROWS);
        self.full.extend(full.map(|(account, _)| account));
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
    numbers: &[(i64, u64)],
    sketches: &mut BTreeMap<SketchKey, NumberSketch>,
    rows: &mut UsageRows,
) {
    let mut changed: HashSet<(i64, i64)> = HashSet::default();
    for (hour, hash) in numbers {
        for (level, start) in sketches_of(*hour) {
            if sketches.entry((account, level, start)).or_default().insert(*hash) {
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

type Rows = Vec<tokio_postgres::Row>;

fn ask(shared: &Shared, session: &Session, places: &[&Place], keys: &[SketchKey]) -> Result<(Rows, Rows), StoreError> {
    let recent = session.prepare(&format!(
        "SELECT k.n, u.sums {}",
        if shared.sharded { RECENT_OF_BUCKET } else { RECENT }
    ))?;
    let sketch = session.prepare(&format!(
        "SELECT u.bucket, u.account_id, u.level, u.start, u.sketch {}",
        if shared.sharded { SKETCHES_OF_BUCKET } else { SKETCHES }
    ))?;
    let place_buckets = Buckets::new(shared.sharded, places.iter().map(|place| place.account.bucket.0));
    let ids: Vec<i64> = places.iter().map(|place| place.account.id.number()).collect();
    let quarters: Vec<i64> = places.iter().map(|place| place.quarter.number()).collect();
    let countries: Vec<&str> = places.iter().map(|place| place.country.as_str()).collect();
    let routes: Vec<&str> = places.iter().map(|place| place.route.as_str()).collect();
    let senders: Vec<&str> = places.iter().map(|place| place.sender()).collect();
    let recent_values: [&(dyn ToSql + Sync); 6] = [
        place_buckets.parameter(),
        &ids,
        &quarters,
        &countries,
        &routes,
        &senders,
    ];
    let key_buckets = Buckets::new(shared.sharded, keys.iter().map(|(account, ..)| account.bucket.0));
    let key_ids: Vec<i64> = keys.iter().map(|(account, ..)| account.id.number()).collect();
    let levels: Vec<i16> = keys
        .iter()
        .map(|(_, level, _)| i16::try_from(*level).unwrap_or_default())
        .collect();
    let starts: Vec<i64> = keys.iter().map(|(.., start)| *start).collect();
    let sketch_values: [&(dyn ToSql + Sync); 4] = [key_buckets.parameter(), &key_ids, &levels, &starts];
    let client = session.client();
    Ok(session.wait(try_join(
        async {
            if places.is_empty() {
                return Ok(Vec::new());
            }
            client.query(&recent, &recent_values).await
        },
        async {
            if keys.is_empty() {
                return Ok(Vec::new());
            }
            client.query(&sketch, &sketch_values).await
        },
    ))?)
}
