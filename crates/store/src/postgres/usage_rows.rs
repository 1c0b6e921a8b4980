//! The rows of usage that a batch reads: how they are asked for, and what they say.

use countersign_core::{AccountKey, Country, NumberSketch, Quarter, RouteName, SenderUsername, UsageSum};
use foldhash::HashMap;

use super::arrays::Arrays;
use crate::sql::Row;
use crate::sql::codec::account_key;
use crate::sql::usage::{encoding, note_damage, sender_column};
use crate::types::StoreError;

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

/// A sketch's row: whose, level, start.
pub(super) type SketchKey = (AccountKey, i64, i64);

/// Sums by their places, in both modes: the number of a place, from 1 on, and its sums.
pub(super) const RECENT: [&str; 2] = [
    "SELECT k.n, u.sums FROM unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[]) \
     WITH ORDINALITY AS k (b, a, q, c, r, s, n) CROSS JOIN LATERAL (SELECT sums FROM usage_recent WHERE bucket = k.b \
     AND account_id = k.a AND quarter = k.q AND country = k.c AND route = k.r AND sender = k.s OFFSET 0) AS u",
    "SELECT k.n, u.sums FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[]) \
     WITH ORDINALITY AS k (a, q, c, r, s, n) CROSS JOIN LATERAL (SELECT sums FROM usage_recent WHERE bucket = $1 \
     AND account_id = k.a AND quarter = k.q AND country = k.c AND route = k.r AND sender = k.s OFFSET 0) AS u",
];
/// Sketches by their keys, in both modes.
pub(super) const SKETCHES: [&str; 2] = [
    "SELECT u.bucket, u.account_id, u.level, u.start, u.sketch \
     FROM unnest($1::smallint[], $2::bigint[], $3::smallint[], $4::bigint[]) AS k (b, a, l, t) \
     CROSS JOIN LATERAL (SELECT * FROM usage_numbers WHERE bucket = k.b AND account_id = k.a AND level = k.l \
     AND start = k.t OFFSET 0) AS u",
    "SELECT u.bucket, u.account_id, u.level, u.start, u.sketch \
     FROM unnest($2::bigint[], $3::smallint[], $4::bigint[]) AS k (a, l, t) \
     CROSS JOIN LATERAL (SELECT * FROM usage_numbers WHERE bucket = $1 AND account_id = k.a AND level = k.l \
     AND start = k.t OFFSET 0) AS u",
];

/// The values of [`RECENT`].
pub(super) fn put_places(values: &mut Arrays, places: &[Place]) {
    values.put(places, |place| place.account.id.number());
    values.put(places, |place| place.quarter.number());
    values.put(places, |place| place.country.as_str().to_owned());
    values.put(places, |place| place.route.as_str().to_owned());
    values.put(places, |place| place.sender().to_owned());
}

/// The values of [`SKETCHES`].
pub(super) fn put_sketch_keys(values: &mut Arrays, keys: &[SketchKey]) {
    values.put(keys, |(account, ..)| account.id.number());
    values.put(keys, |(_, level, _)| i16::try_from(*level).unwrap_or_default());
    values.put(keys, |(.., start)| *start);
}

/// What was asked for, and what was found of it.
#[derive(Default)]
pub(super) struct UsageRead {
    pub(super) places: Vec<Place>,
    pub(super) keys: Vec<SketchKey>,
    pub(super) sums: HashMap<Place, UsageSum>,
    pub(super) sketches: HashMap<SketchKey, NumberSketch>,
}

impl UsageRead {
    pub(super) fn take_sum(&mut self, row: Row<'_>) -> Result<(), StoreError> {
        let number = usize::try_from(row.get::<i64>(0)?).unwrap_or_default();
        let Some(place) = self.places.get(number.wrapping_sub(1)) else {
            return Ok(());
        };
        // One that can't be read begins anew: it must not stop the account's messages.
        let sum = encoding::sum_of(row.blob(1)?).unwrap_or_else(|| {
            note_damage(place.account, "a sum of usage");
            UsageSum::default()
        });
        self.sums.insert(place.clone(), sum);
        Ok(())
    }

    pub(super) fn take_sketch(&mut self, row: Row<'_>) -> Result<(), StoreError> {
        let account = account_key(row.get(0)?, row.get(1)?)?;
        match NumberSketch::from_bytes(row.blob(4)?) {
            Some(sketch) => drop(self.sketches.insert((account, row.get(2)?, row.get(3)?), sketch)),
            None => note_damage(account, "a sketch of numbers"),
        }
        Ok(())
    }
}
