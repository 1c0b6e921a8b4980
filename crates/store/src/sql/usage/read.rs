//! Questions about usage, each in one snapshot: rows may be put away between two reads. What is asked of one country, route or
//! sender, or of the whole account, is one series; what is asked of several at once is read from the series that tell all
//! three apart.

use std::collections::BTreeMap;

use crate::sql::{Connection, OptionalExtension, params};
use countersign_core::{AccountKey, NumberSketch, Quarter, RouteName, UsageSum};

use super::past::Series;
use super::spans::{Level, QUARTERS_OF_A_DAY, Spans};
use super::{encoding, sender_column};
use crate::postgres::tail_of;
use crate::sql::codec::damaged;
use crate::types::StoreError;
use crate::usage::{UsageBy, UsageFilter};

/// Country, route and sender.
type Names = [String; 3];

impl UsageFilter {
    /// What each name must be, where it matters.
    fn names(&self) -> [Option<&str>; 3] {
        [
            self.country.as_ref().map(countersign_core::Country::as_str),
            self.route.as_ref().map(RouteName::as_str),
            self.sender.as_ref().map(|sender| sender_column(sender.as_ref())),
        ]
    }
}

impl UsageBy {
    const fn place(self) -> usize {
        match self {
            Self::Country => 0,
            Self::Route => 1,
            Self::Sender => 2,
        }
    }
}

/// The series that tells apart what must be told apart, and no more.
const fn series_for(told_apart: [bool; 3]) -> Series {
    match told_apart {
        [false, false, false] => Series::Account,
        [true, false, false] => Series::Country,
        [false, true, false] => Series::Route,
        [false, false, true] => Series::Sender,
        _ => Series::Full,
    }
}

/// Greater than any level's number, and small enough for its column.
const PAST_ALL_LEVELS: i64 = i16::MAX as i64;

fn fits(wanted: [Option<&str>; 3], names: [&str; 3]) -> bool {
    wanted
        .iter()
        .zip(names)
        .all(|(wanted, name)| wanted.is_none_or(|wanted| wanted == name))
}

pub(crate) fn usage(
    connection: Connection<'_>,
    account: AccountKey,
    edges: &[Quarter],
    filter: &UsageFilter,
) -> Result<Vec<UsageSum>, StoreError> {
    let spans = Spans::new(edges);
    let mut sums = vec![UsageSum::default(); spans.count()];
    let wanted = filter.names();
    let snapshot = connection.snapshot()?;
    let connection = snapshot.connection();
    let series = series_for(wanted.map(|name| name.is_some()));
    for names in names_of(connection, account, series, wanted)? {
        add_past(connection, account, series, &names, &spans, &mut sums)?;
    }
    each_recent(connection, account, &spans, |quarter, names, bytes| {
        if fits(wanted, names)
            && let Some(span) = spans.of_quarter(quarter)
        {
            add(bytes, &mut sums[span])?;
        }
        Ok(())
    })?;
    Ok(sums)
}

pub(crate) fn usage_by(
    connection: Connection<'_>,
    account: AccountKey,
    by: UsageBy,
    edges: &[Quarter],
    filter: &UsageFilter,
) -> Result<BTreeMap<String, Vec<UsageSum>>, StoreError> {
    let spans = Spans::new(edges);
    let nothing = || vec![UsageSum::default(); spans.count()];
    let mut found: BTreeMap<String, Vec<UsageSum>> = BTreeMap::new();
    let wanted = filter.names();
    let mut told_apart = wanted.map(|name| name.is_some());
    told_apart[by.place()] = true;
    let snapshot = connection.snapshot()?;
    let connection = snapshot.connection();
    let series = series_for(told_apart);
    for names in names_of(connection, account, series, wanted)? {
        let sums = found.entry(names[by.place()].clone()).or_insert_with(nothing);
        add_past(connection, account, series, &names, &spans, sums)?;
    }
    each_recent(connection, account, &spans, |quarter, names, bytes| {
        if fits(wanted, names)
            && let Some(span) = spans.of_quarter(quarter)
        {
            let name = names[by.place()];
            if !found.contains_key(name) {
                found.insert(name.to_owned(), nothing());
            }
            if let Some(sums) = found.get_mut(name) {
                add(bytes, &mut sums[span])?;
            }
        }
        Ok(())
    })?;
    found.retain(|_, sums| sums.iter().any(|sum| *sum != UsageSum::default()));
    Ok(found)
}

fn add(mut bytes: &[u8], sum: &mut UsageSum) -> Result<(), StoreError> {
    encoding::add_sum(&mut bytes, sum).ok_or_else(|| damaged("a sum of usage"))
}

/// The series of a kind that an account has, of those that are wanted: one descent of the tree for each.
fn names_of(
    connection: Connection<'_>,
    account: AccountKey,
    series: Series,
    wanted: [Option<&str>; 3],
) -> Result<Vec<Names>, StoreError> {
    if series != Series::Full && wanted.iter().any(Option::is_some) || series == Series::Account {
        // All that is told apart is asked for by name.
        return Ok(vec![wanted.map(|name| name.unwrap_or_default().to_owned())]);
    }
    let mut statement = connection.prepare_cached(
        "SELECT country, route, sender FROM usage_past WHERE bucket = ?1 AND account_id = ?2 AND series = ?3 \
         AND (country, route, sender, level) > (?4, ?5, ?6, ?7) ORDER BY country, route, sender, level LIMIT 1",
    )?;
    let mut found = Vec::new();
    // Before the first level of the first series; then behind the last level of each.
    let mut last: Names = [wanted[0].unwrap_or_default().to_owned(), String::new(), String::new()];
    let mut level = -1;
    loop {
        let next: Option<Names> = statement
            .query_row(
                params![
                    account.bucket.0,
                    account.id.number(),
                    series as i64,
                    last[0],
                    last[1],
                    last[2],
                    level
                ],
                |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]),
            )
            .optional()?;
        let Some(names) = next else { break };
        if wanted[0].is_some_and(|country| country != names[0]) {
            break;
        }
        if fits(wanted, [&names[0], &names[1], &names[2]]) {
            found.push(names.clone());
        }
        last = names;
        level = PAST_ALL_LEVELS;
    }
    Ok(found)
}

/// Adds a series' rows to the spans in which they lie.
fn add_past(
    connection: Connection<'_>,
    account: AccountKey,
    series: Series,
    [country, route, sender]: &Names,
    spans: &Spans,
    sums: &mut [UsageSum],
) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT start, sums FROM usage_past WHERE bucket = ?1 AND account_id = ?2 AND series = ?3 AND country = ?4 \
         AND route = ?5 AND sender = ?6 AND level = ?7 AND start >= ?8 AND start < ?9",
    )?;
    for level in Level::ALL {
        for range in spans.ranges(level) {
            let mut rows = statement.query(params![
                account.bucket.0,
                account.id.number(),
                series as i64,
                country,
                route,
                sender,
                level.number(),
                range.start,
                range.end
            ])?;
            while let Some(row) = rows.next()? {
                let start: i64 = row.get(0)?;
                let mut bytes = row.blob(1).map_err(|_| damaged("a sum of usage"))?;
                let added = if level == Level::Fine {
                    add_quarters(bytes, start, spans, sums)
                } else {
                    spans
                        .of_row(level, start)
                        .and_then(|span| encoding::add_sum(&mut bytes, &mut sums[span]))
                };
                added.ok_or_else(|| damaged("a sum of usage"))?;
            }
        }
    }
    Ok(())
}

fn add_quarters(mut bytes: &[u8], day: i64, spans: &Spans, sums: &mut [UsageSum]) -> Option<()> {
    let mut nowhere = UsageSum::default();
    while let Some(quarter) = encoding::take_quarter(&mut bytes) {
        let span = spans.of_quarter(day * QUARTERS_OF_A_DAY + i64::from(quarter));
        let sum = span.and_then(|span| sums.get_mut(span)).unwrap_or(&mut nowhere);
        encoding::take_sum(&mut bytes, sum)?;
    }
    Some(())
}

/// An account's recent rows within the spans: its quarter, its names, its sums.
fn each_recent(
    connection: Connection<'_>,
    account: AccountKey,
    spans: &Spans,
    mut take: impl FnMut(i64, [&str; 3], &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let whole = spans.whole();
    let mut statement = connection.prepare_cached(
        "SELECT quarter, country, route, sender, sums FROM usage_recent WHERE bucket = ?1 AND account_id = ?2 \
         AND quarter >= ?3 AND quarter < ?4",
    )?;
    let mut rows = statement.query(params![account.bucket.0, account.id.number(), whole.start, whole.end])?;
    while let Some(row) = rows.next()? {
        let text = |column| row.text(column).map_err(|_| damaged("a row of usage"));
        let bytes = row.blob(4).map_err(|_| damaged("a row of usage"))?;
        take(row.get(0)?, [text(1)?, text(2)?, text(3)?], bytes)?;
    }
    Ok(())
}

pub(crate) fn different_numbers(
    connection: Connection<'_>,
    account: AccountKey,
    edges: &[Quarter],
) -> Result<Vec<NumberSketch>, StoreError> {
    let spans = Spans::new(edges);
    let mut sketches = vec![NumberSketch::default(); spans.count()];
    let mut statement = connection.prepare_cached(
        "SELECT start, sketch FROM usage_numbers WHERE bucket = ?1 AND account_id = ?2 AND level = ?3 AND start >= ?4 \
         AND start < ?5",
    )?;
    for level in Level::ALL {
        for range in spans.ranges(level) {
            let hours = if level == Level::Fine { 24 } else { 1 };
            let mut rows = statement.query(params![
                account.bucket.0,
                account.id.number(),
                level.number(),
                range.start * hours,
                range.end * hours
            ])?;
            while let Some(row) = rows.next()? {
                let start: i64 = row.get(0)?;
                let span = match level {
                    Level::Fine => spans.of_quarter(start * 4),
                    level => spans.of_row(level, start),
                };
                let Some(span) = span else { continue };
                let bytes = row.blob(1).map_err(|_| damaged("a sketch of numbers"))?;
                let sketch = NumberSketch::from_bytes(bytes).ok_or_else(|| damaged("a sketch of numbers"))?;
                sketches[span].merge(&sketch);
            }
        }
    }
    if connection.is_postgres() {
        add_tail(connection, account, &spans, &mut sketches)?;
    }
    Ok(sketches)
}

/// On PostgreSQL the newest numbers are in no sketch yet, but in the account's row.
fn add_tail(
    connection: Connection<'_>,
    account: AccountKey,
    spans: &Spans,
    sketches: &mut [NumberSketch],
) -> Result<(), StoreError> {
    let tail: Option<Vec<u8>> = connection
        .query_row(
            "SELECT number_tail FROM account WHERE bucket = ?1 AND account_id = ?2",
            params![account.bucket.0, account.id.number()],
            |row| row.get(0),
        )
        .optional()?;
    for (hour, place) in tail_of(&tail.unwrap_or_default()) {
        if let Some(span) = spans.of_quarter(hour * 4) {
            sketches[span].insert_place(place);
        }
    }
    Ok(())
}
