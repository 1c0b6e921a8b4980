//! The rows of usage that a batch reads: how they are asked for, and what they say.

use countersign_core::{AccountKey, Country, NumberSketch, Quarter, RouteName, SenderUsername, UsageSum};
use foldhash::HashMap;

use super::arrays::Arrays;
use crate::sql::Row;
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

/// Sums by their places and sketches by their keys, in both modes: the number of a place, from 1 on, and its sums; the number of a key,
/// below 0, and its sketch. One statement, since each that a batch waits for costs both sides a packet and a wake-up.
pub(super) const USAGE: [&str; 2] = [
    "SELECT k.n, u.sums FROM unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[]) \
     WITH ORDINALITY AS k (b, a, q, c, r, s, n) CROSS JOIN LATERAL (SELECT sums FROM usage_recent WHERE bucket = k.b \
     AND account_id = k.a AND quarter = k.q AND country = k.c AND route = k.r AND sender = k.s OFFSET 0) AS u \
     UNION ALL SELECT -k.n, u.sketch FROM unnest($7::smallint[], $8::bigint[], $9::smallint[], $10::bigint[]) \
     WITH ORDINALITY AS k (b, a, l, t, n) CROSS JOIN LATERAL (SELECT sketch FROM usage_numbers WHERE bucket = k.b \
     AND account_id = k.a AND level = k.l AND start = k.t OFFSET 0) AS u",
    "SELECT k.n, u.sums FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[]) \
     WITH ORDINALITY AS k (a, q, c, r, s, n) CROSS JOIN LATERAL (SELECT sums FROM usage_recent WHERE bucket = $1 \
     AND account_id = k.a AND quarter = k.q AND country = k.c AND route = k.r AND sender = k.s OFFSET 0) AS u \
     UNION ALL SELECT -k.n, u.sketch FROM unnest($7::bigint[], $8::smallint[], $9::bigint[]) \
     WITH ORDINALITY AS k (a, l, t, n) CROSS JOIN LATERAL (SELECT sketch FROM usage_numbers WHERE bucket = $1 \
     AND account_id = k.a AND level = k.l AND start = k.t OFFSET 0) AS u",
];

/// What was asked for, and what was found of it.
#[derive(Default)]
pub(super) struct UsageRead {
    pub(super) places: Vec<Place>,
    pub(super) keys: Vec<SketchKey>,
    pub(super) sums: HashMap<Place, UsageSum>,
    pub(super) sketches: HashMap<SketchKey, NumberSketch>,
}

impl UsageRead {
    /// The values of [`USAGE`]; `None` where nothing is asked.
    pub(super) fn values(&self, sharded: bool) -> Option<Arrays> {
        let first = self.places.first().map(|place| place.account);
        let account = first.or_else(|| self.keys.first().map(|(account, ..)| *account))?;
        let (places, keys) = (&self.places, &self.keys);
        let mut values = Arrays::default();
        if sharded {
            values.put_one(i16::from(account.bucket.0));
        } else {
            values.put(places, |place| i16::from(place.account.bucket.0));
        }
        values.put(places, |place| place.account.id.number());
        values.put(places, |place| place.quarter.number());
        values.put(places, |place| place.country.as_str().to_owned());
        values.put(places, |place| place.route.as_str().to_owned());
        values.put(places, |place| place.sender().to_owned());
        if !sharded {
            values.put(keys, |(account, ..)| i16::from(account.bucket.0));
        }
        values.put(keys, |(account, ..)| account.id.number());
        values.put(keys, |(_, level, _)| i16::try_from(*level).unwrap_or_default());
        values.put(keys, |(.., start)| *start);
        Some(values)
    }

    /// Takes a row in.
    pub(super) fn take(&mut self, row: Row<'_>) -> Result<(), StoreError> {
        let number: i64 = row.get(0)?;
        let index = usize::try_from(number.unsigned_abs())
            .unwrap_or_default()
            .wrapping_sub(1);
        if number > 0 {
            self.take_sum(index, row.blob(1)?);
        } else {
            self.take_sketch(index, row.blob(1)?);
        }
        Ok(())
    }

    fn take_sum(&mut self, index: usize, sums: &[u8]) {
        let Some(place) = self.places.get(index) else {
            return;
        };
        // One that can't be read begins anew: it must not stop the account's messages.
        let sum = encoding::sum_of(sums).unwrap_or_else(|| {
            note_damage(place.account, "a sum of usage");
            UsageSum::default()
        });
        self.sums.insert(place.clone(), sum);
    }

    fn take_sketch(&mut self, index: usize, sketch: &[u8]) {
        let Some(key) = self.keys.get(index) else {
            return;
        };
        match NumberSketch::from_bytes(sketch) {
            Some(sketch) => drop(self.sketches.insert(*key, sketch)),
            None => note_damage(key.0, "a sketch of numbers"),
        }
    }
}
