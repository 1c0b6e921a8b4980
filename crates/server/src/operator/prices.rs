//! The price list: what holds at a time, what was ever set, and setting it, row by row or as a whole table.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{RawQuery, State};
use countersign_core::{
    Credits, DEFAULT_PRICE, MAX_PRICE, MAX_PRICE_ROWS, NumberPrefix, PriceList, PriceRoute, PriceRow, Timestamp,
};
use countersign_store::{Actor, PriceRecord, PriceSetting, PricesSet, StoreError};
use serde::{Deserialize, Serialize};

use super::accounts::Amount;
use crate::answer::{self, Answer, Refusal};
use crate::app::App;
use crate::clock;

/// Bytes of a body with the most rows that the list may have: a row has up to 120.
pub(super) const MAX_IMPORT_BYTES: usize = 16 * 1024 * 1024;
/// Rows of the history in one page, unless fewer are asked for, and at most.
const PAGE_ROWS: usize = 1_000;
const MAX_PAGE_ROWS: usize = 10_000;
/// Last second that a time may name: the end of the year 9999.
const MAX_SECONDS: i64 = 253_402_300_799;

/// A row as this API shows it.
#[derive(Serialize)]
struct PriceView {
    /// `all`, or a route's name.
    route: String,
    /// With its `+`, or `default`.
    prefix: String,
    /// Left out where the row takes the price away.
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<Credits>,
    /// Whole Unix seconds; left out for the price that stands in no list.
    #[serde(skip_serializing_if = "Option::is_none")]
    effective_from: Option<i64>,
}

impl PriceView {
    fn new(row: &PriceRow) -> Self {
        Self {
            route: row.route.to_string(),
            prefix: row.prefix.to_string(),
            price: row.price,
            effective_from: Some(row.effective_from.unix_seconds()),
        }
    }

    /// What messages cost that the list doesn't name.
    fn built_in() -> Self {
        Self {
            route: PriceRoute::All.to_string(),
            prefix: NumberPrefix::DEFAULT.to_string(),
            price: Some(DEFAULT_PRICE),
            effective_from: None,
        }
    }
}

#[derive(Serialize)]
struct PricesView {
    prices: Vec<PriceView>,
}

/// `GET /prices?at=SECONDS`: what holds at a time, or now; for all routes first, the default first, then by prefix.
pub(super) async fn list(State(app): State<Arc<App>>, RawQuery(raw): RawQuery) -> Result<Answer, Refusal> {
    let mut at = clock::now();
    for (name, value) in answer::query(raw.as_deref()) {
        if name == "at" {
            at = value.parse().ok().and_then(time_of).ok_or_else(|| wrong_time("at"))?;
        }
    }
    let list = price_list(&app).await?;
    let mut prices: Vec<PriceView> = list.in_force(at).map(|row| PriceView::new(&row)).collect();
    let default = |row: PriceRow| (row.route, row.prefix) == (PriceRoute::All, NumberPrefix::DEFAULT);
    if !list.in_force(at).any(default) {
        prices.insert(0, PriceView::built_in());
    }
    Answer::ok(&PricesView { prices })
}

/// The list as the books have it. It is read in pages, so that nothing else waits for it.
pub(crate) async fn price_list(app: &App) -> Result<PriceList, StoreError> {
    let mut list = PriceList::default();
    let mut after = None;
    loop {
        let page = app.store.price_history(after, PAGE_ROWS).await?;
        for record in &page {
            list.restore(&record.row);
        }
        match page.last() {
            Some(record) if page.len() == PAGE_ROWS => after = Some(record.number),
            _ => return Ok(list),
        }
        tokio::task::yield_now().await;
    }
}

#[derive(Serialize)]
struct RecordView {
    number: u64,
    #[serde(flatten)]
    row: PriceView,
    /// Whole Unix seconds, real time.
    set_at: i64,
    set_by: String,
}

impl From<PriceRecord> for RecordView {
    fn from(record: PriceRecord) -> Self {
        Self {
            number: record.number,
            row: PriceView::new(&record.row),
            set_at: record.set_at.unix_seconds(),
            set_by: record.set_by,
        }
    }
}

#[derive(Serialize)]
struct HistoryView {
    rows: Vec<RecordView>,
    /// The `after` of the next page; left out on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

/// `GET /prices/history?after=NUMBER&limit=N`: every row that was ever set, in that order.
pub(super) async fn history(State(app): State<Arc<App>>, RawQuery(raw): RawQuery) -> Result<Answer, Refusal> {
    let mut after = None;
    let mut limit = PAGE_ROWS;
    for (name, value) in answer::query(raw.as_deref()) {
        match name.as_str() {
            "after" => {
                let number = value.parse().map_err(|_| {
                    Refusal::bad_request("`after` must be the number of a row: take `next` of the page before")
                })?;
                after = Some(number);
            }
            "limit" => {
                let number = value.parse().ok().filter(|n| (1..=MAX_PAGE_ROWS).contains(n));
                limit = number.ok_or_else(|| {
                    Refusal::bad_request(format!("`limit` must be a whole number from 1 to {MAX_PAGE_ROWS}"))
                })?;
            }
            _ => {}
        }
    }
    // One more than asked for tells whether there is a next page.
    let mut records = app.store.price_history(after, limit + 1).await?;
    let more = records.len() > limit;
    records.truncate(limit);
    let next = records.last().filter(|_| more).map(|record| record.number);
    Answer::ok(&HistoryView {
        rows: records.into_iter().map(RecordView::from).collect(),
        next,
    })
}

/// A row as it is sent. `removed` stands for the price where it is taken away: a forgotten price must not do that.
#[derive(Deserialize)]
pub(crate) struct RowBody {
    #[serde(default)]
    pub(crate) route: Option<String>,
    pub(crate) prefix: String,
    #[serde(default)]
    pub(crate) price: Option<Amount>,
    #[serde(default)]
    pub(crate) removed: bool,
    #[serde(default)]
    pub(crate) effective_from: Option<i64>,
}

impl RowBody {
    /// Reads it; without a time it holds from `now`.
    fn row(&self, now: Timestamp) -> Result<PriceRow, Refusal> {
        let price = self.price.as_ref().map(|amount| amount.0);
        if price.is_some() == self.removed {
            return Err(Refusal::bad_request("it needs either a `price` or `\"removed\":true`"));
        }
        if let Some(price) = price.filter(|price| price.is_negative() || *price > MAX_PRICE) {
            return Err(Refusal::bad_request(format!(
                "{price} can't be a price: a message costs from 0 to {MAX_PRICE}"
            )));
        }
        let effective_from = match self.effective_from {
            // Whole seconds, as they are shown: what is read can be written back.
            None => Timestamp::from_millis(now.unix_seconds() * 1000),
            Some(seconds) => time_of(seconds).ok_or_else(|| wrong_time("effective_from"))?,
        };
        Ok(PriceRow {
            route: parse_route(self.route.as_deref())?,
            prefix: parse_prefix(&self.prefix)?,
            effective_from,
            price,
        })
    }
}

/// `PUT /prices`: a price for a route and a number prefix, from a time on, or from the next call.
pub(super) async fn set(State(app): State<Arc<App>>, body: Result<Bytes, BytesRejection>) -> Result<Answer, Refusal> {
    let example = r#"{"prefix":"+39","price":0.02}"#;
    let body: RowBody = answer::body(body, example)?;
    if body.price.is_none() || body.removed {
        return Err(Refusal::bad_request(format!(
            "the body names no price: send JSON like {example}; a price is taken away by DELETE"
        )));
    }
    Answer::ok(&PriceView::new(&set_row(&app, &body).await?))
}

/// Sets a price, or takes one away that is set at that time.
pub(crate) async fn set_row(app: &App, body: &RowBody) -> Result<PriceRow, Refusal> {
    let now = clock::now();
    let row = body.row(now)?;
    let set = set_rows(app, vec![row.clone()], false, now).await?;
    match row.price {
        Some(price) => tracing::info!(route = %row.route, prefix = %row.prefix, %price, "operator: price set"),
        None if set.added == 0 => {
            return Err(Refusal::not_found(format!(
                "for the route {} and the prefix {} no price is set at that time: `countersign price list` shows what is",
                row.route, row.prefix
            )));
        }
        None => tracing::info!(route = %row.route, prefix = %row.prefix, "operator: price taken away"),
    }
    Ok(row)
}

/// `DELETE /prices?prefix=&route=&effective_from=`: from then on, or from the next call, the list names no price there.
pub(super) async fn unset(State(app): State<Arc<App>>, RawQuery(raw): RawQuery) -> Result<Answer, Refusal> {
    let mut body = RowBody {
        route: None,
        prefix: String::new(),
        price: None,
        removed: true,
        effective_from: None,
    };
    for (name, value) in answer::query(raw.as_deref()) {
        match name.as_str() {
            "route" => body.route = Some(value),
            "prefix" => body.prefix = value,
            "effective_from" => {
                body.effective_from = Some(value.parse().map_err(|_| wrong_time("effective_from"))?);
            }
            _ => {}
        }
    }
    if body.prefix.is_empty() {
        return Err(Refusal::bad_request(
            "say which price to take away: `?prefix=%2B39`, or `?prefix=default`",
        ));
    }
    Answer::ok(&PriceView::new(&set_row(&app, &body).await?))
}

#[derive(Deserialize)]
struct ImportBody {
    rows: Vec<RowBody>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Serialize)]
struct ImportView {
    added: usize,
    already_there: usize,
    dry_run: bool,
}

/// `POST /prices/import`: a whole table, all of it or nothing.
pub(super) async fn import(
    State(app): State<Arc<App>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Answer, Refusal> {
    let example =
        r#"{"rows":[{"route":"all","prefix":"+39","price":0.02,"effective_from":1790000000}],"dry_run":false}"#;
    let body: ImportBody = answer::body(body, example)?;
    if body.rows.len() > MAX_PRICE_ROWS {
        return Err(Refusal::bad_request(format!(
            "a table has at most {MAX_PRICE_ROWS} rows"
        )));
    }
    let now = clock::now();
    let mut rows = Vec::with_capacity(body.rows.len());
    for (place, row) in body.rows.iter().enumerate() {
        rows.push(
            row.row(now)
                .map_err(|refusal| refusal.about(&format!("row {}", place + 1)))?,
        );
    }
    let set = import_rows(&app, rows, body.dry_run, now).await?;
    Answer::ok(&ImportView {
        added: set.added,
        already_there: set.already_there,
        dry_run: body.dry_run,
    })
}

/// Sets a whole table, or only tells what would come of it.
pub(crate) async fn import_rows(
    app: &App,
    rows: Vec<PriceRow>,
    dry_run: bool,
    now: Timestamp,
) -> Result<PricesSet, Refusal> {
    let set = set_rows(app, rows, dry_run, now).await?;
    if !dry_run {
        tracing::info!(
            added = set.added,
            already_there = set.already_there,
            "operator: prices imported"
        );
    }
    Ok(set)
}

async fn set_rows(app: &App, rows: Vec<PriceRow>, dry_run: bool, now: Timestamp) -> Result<PricesSet, Refusal> {
    let setting = PriceSetting {
        rows,
        dry_run,
        set_by: Actor::Operator,
        now,
    };
    app.store.set_prices(setting).await.map_err(|error| match error {
        StoreError::PriceListFull(full) => Refusal::conflict(format!("nothing was set: {full}")),
        error => error.into(),
    })
}

fn time_of(seconds: i64) -> Option<Timestamp> {
    let millis = (0..=MAX_SECONDS).contains(&seconds).then_some(seconds * 1000);
    millis.map(Timestamp::from_millis)
}

fn wrong_time(name: &str) -> Refusal {
    Refusal::bad_request(format!(
        "`{name}` must be a time in whole Unix seconds, like 1790000000"
    ))
}

fn parse_route(text: Option<&str>) -> Result<PriceRoute, Refusal> {
    let text = text.map(str::trim).unwrap_or_default();
    if text.is_empty() {
        return Ok(PriceRoute::All);
    }
    PriceRoute::parse(text).ok_or_else(|| {
        Refusal::bad_request(format!(
            "`{}` is not a route: write its name (1 to 32 of a-z, 0-9, _ and -), or `all`",
            shown(text)
        ))
    })
}

fn parse_prefix(text: &str) -> Result<NumberPrefix, Refusal> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(NumberPrefix::DEFAULT);
    }
    NumberPrefix::parse_or_default(text).ok_or_else(|| {
        Refusal::bad_request(format!(
            "`{}` is not a number prefix: write its first digits like +39, or `default` for all other numbers",
            shown(text)
        ))
    })
}

fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_digits_or_the_default() {
        assert_eq!(parse_prefix("+39").unwrap(), parse_prefix("39").unwrap());
        assert_eq!(parse_prefix("").unwrap(), NumberPrefix::DEFAULT);
        assert_eq!(parse_prefix("Default").unwrap(), NumberPrefix::DEFAULT);
        for bad in ["+", "0", "039", "+39a", "1234567890123456"] {
            assert!(parse_prefix(bad).is_err(), "{bad:?} passed");
        }
    }

    #[test]
    fn a_row_without_a_time_holds_from_this_second_on() {
        let body: RowBody = serde_json::from_str(r#"{"prefix":"39","price":"0.02"}"#).unwrap();
        let row = body.row(Timestamp::from_millis(1_790_000_000_999)).unwrap();
        assert_eq!(
            serde_json::to_string(&PriceView::new(&row)).unwrap(),
            r#"{"route":"all","prefix":"+39","price":0.02,"effective_from":1790000000}"#
        );
    }
}
