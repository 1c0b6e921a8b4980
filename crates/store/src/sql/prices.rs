//! The SQL of the price list. The table is append-only: what holds at a time is told by core's `PriceList`, which is made of its
//! rows.

use crate::sql::{Connection, Row, params};
use countersign_core::{Credits, NumberPrefix, PriceChange, PriceList, PriceRoute, PriceRow, RouteName, Timestamp};

use super::codec::damaged;
use crate::prices::{PriceRecord, PriceSetting, PricesSet};
use crate::types::StoreError;

/// Puts every row of the books into a list.
pub(crate) fn restore(connection: Connection<'_>, list: &mut PriceList) -> Result<(), StoreError> {
    restore_after(connection, list, 0)
}

/// Adds what was set after a row.
pub(crate) fn restore_after(connection: Connection<'_>, list: &mut PriceList, number: i64) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT number, route, prefix, effective_from, price, set_at, set_by FROM price_row WHERE number > ?1 \
         ORDER BY number",
    )?;
    let mut rows = statement.query([number])?;
    while let Some(row) = rows.next()? {
        list.restore(&record_from_row(row)?.row);
    }
    Ok(())
}

/// Rows of the history after a number, in the order in which they were set.
pub(crate) fn history(
    connection: Connection<'_>,
    after: Option<u64>,
    limit: usize,
) -> Result<Vec<PriceRecord>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT number, route, prefix, effective_from, price, set_at, set_by FROM price_row \
         WHERE number > ?1 ORDER BY number LIMIT ?2",
    )?;
    let after = after.map_or(0, |number| i64::try_from(number).unwrap_or(i64::MAX));
    let mut rows = statement.query(params![after, i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(record_from_row(row)?);
    }
    Ok(records)
}

/// Adds to the list, and to the books unless it is a dry run, what the list doesn't say yet.
pub(crate) fn record(
    connection: Connection<'_>,
    list: &mut PriceList,
    setting: &PriceSetting,
) -> Result<PricesSet, StoreError> {
    // In order of time, so that the end of a price finds the price.
    let mut rows: Vec<&PriceRow> = setting.rows.iter().collect();
    rows.sort_by_key(|row| row.effective_from);
    let mut insert = connection.prepare_cached(
        "INSERT INTO price_row (route, prefix, effective_from, price, set_at, set_by) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let mut set = PricesSet::default();
    for row in rows {
        if list.record(row)? == PriceChange::AlreadyThere {
            set.already_there += 1;
            continue;
        }
        set.added += 1;
        if !setting.dry_run {
            insert.execute(params![
                route_column(&row.route),
                row.prefix.digits().cast_signed(),
                row.effective_from.millis(),
                row.price.map(Credits::micros),
                setting.now.millis(),
                setting.set_by.name(),
            ])?;
        }
    }
    Ok(set)
}

fn record_from_row(row: Row<'_>) -> Result<PriceRecord, StoreError> {
    let prefix: i64 = row.get(2)?;
    Ok(PriceRecord {
        number: row.get::<i64>(0)?.cast_unsigned(),
        row: PriceRow {
            route: route_of(row.text(1).map_err(|_| damaged("a price"))?)?,
            prefix: NumberPrefix::from_stored(prefix.cast_unsigned()),
            effective_from: Timestamp::from_millis(row.get(3)?),
            price: row.get::<Option<i64>>(4)?.map(Credits::from_micros),
        },
        set_at: Timestamp::from_millis(row.get(5)?),
        set_by: row.get(6)?,
    })
}

fn route_column(route: &PriceRoute) -> &str {
    match route {
        PriceRoute::All => "",
        PriceRoute::Only(name) => name.as_str(),
    }
}

fn route_of(text: &str) -> Result<PriceRoute, StoreError> {
    if text.is_empty() {
        return Ok(PriceRoute::All);
    }
    RouteName::parse(text)
        .map(PriceRoute::Only)
        .ok_or_else(|| damaged("a price's route"))
}
