//! Statements by month, in UTC on the account's clock, so that a statement reads the same wherever it is read: to look at, to
//! print, as CSV and JSON.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use countersign_core::Timestamp;
use jiff::civil::{Date, date};
use jiff::tz::TimeZone;

use super::HERE;
use super::export::{self, Format, Span};
use super::lines::{self, Line, signed};
use crate::app::App;
use crate::site::format;
use crate::site::frame::Frame;
use crate::site::page::{self, PageError};
use crate::site::state::Badge;
use crate::site::viewer::Viewer;
use crate::site::zone::Zone;

/// Months on one page.
const PAGE_MONTHS: usize = 12;
/// Entries that a statement's page shows; the files hold all.
const PAGE_ENTRIES: usize = 60;

/// A month of the calendar, by its first day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Month(Date);

impl Month {
    fn of(at: Timestamp) -> Self {
        let there = Zone::default().at(at);
        Self(there.date().first_of_month())
    }

    /// Reads `2026-11`.
    fn parse(text: &str) -> Option<Self> {
        let (year, month) = text.split_once('-')?;
        let fits = year.len() == 4 && month.len() == 2;
        let (year, month) = (year.parse().ok()?, month.parse().ok()?);
        Date::new(year, month, 1).ok().filter(|_| fits).map(Self)
    }

    fn name(self) -> String {
        self.0.strftime("%Y-%m").to_string()
    }

    fn label(self) -> String {
        self.0.strftime("%B %Y").to_string()
    }

    fn start(self) -> Option<Timestamp> {
        let there = TimeZone::UTC.to_timestamp(self.0.at(0, 0, 0, 0)).ok()?;
        Some(Timestamp::from_millis(there.as_millisecond()))
    }

    fn next(self) -> Option<Self> {
        let (year, month) = (self.0.year(), self.0.month());
        let next = if month == 12 {
            Date::new(year + 1, 1, 1)
        } else {
            Date::new(year, month + 1, 1)
        };
        next.ok().map(Self)
    }

    fn previous(self) -> Option<Self> {
        self.0.yesterday().ok().map(|day| Self(day.first_of_month()))
    }
}

struct MonthRow {
    name: String,
    label: String,
    opening: String,
    closing: String,
    moved: String,
    is_present: bool,
}

#[derive(Template)]
#[template(path = "statements.html")]
struct Statements {
    frame: Frame,
    months: Vec<MonthRow>,
    older: Option<String>,
}

struct Total {
    kind: Badge,
    count: String,
    sum: String,
}

#[derive(Template)]
#[template(path = "statement.html")]
struct Statement {
    frame: Frame,
    account_name: String,
    account_id: String,
    name: String,
    label: String,
    /// The last day of it, or until when it is known.
    until: String,
    is_present: bool,
    opening: String,
    closing: String,
    totals: Vec<Total>,
    lines: Vec<Line>,
    count: String,
    next: Option<u64>,
    is_later_page: bool,
}

fn utc(mut frame: Frame) -> Frame {
    "UTC".clone_into(&mut frame.zone);
    frame
}

/// `GET /account/balance/statements?before=2026-01`.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let present = Month::of(viewer.account_now());
    let first = Month::of(viewer.account.created_at);
    let before = form_urlencoded::parse(query.as_deref().unwrap_or_default().as_bytes())
        .find(|(name, _)| name == "before")
        .and_then(|(_, value)| Month::parse(&value)?.previous());
    let mut months = Vec::new();
    let mut next = Some(before.map_or(present, |month| month.min(present)));
    while let Some(month) = next.filter(|month| *month >= first && months.len() < PAGE_MONTHS) {
        let (Some(from), Some(to)) = (month.start(), month.next().and_then(Month::start)) else {
            break;
        };
        // One entry is as few as can be asked for: the balances are what matters.
        let page = app.store.statement(viewer.account.key, from, to, None, 1).await?;
        months.push(MonthRow {
            name: month.name(),
            label: month.label(),
            opening: format::money(page.opening_balance),
            closing: format::money(page.closing_balance),
            moved: signed(page.closing_balance - page.opening_balance),
            is_present: month == present,
        });
        next = month.previous();
    }
    let more = next.is_some_and(|month| month >= first);
    let older = months
        .last()
        .filter(|_| more)
        .map(|last| format!("/account/balance/statements?before={}", last.name));
    page::html(&Statements {
        frame: utc(Frame::portal(&app, &viewer, "Statements", HERE)),
        months,
        older,
    })
}

/// `GET /account/balance/statements/{month}`: `2026-11` to look at, `2026-11.csv` and `2026-11.json` to take along.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let (month, format) = match name.split_once('.') {
        None => (name.as_str(), None),
        Some((month, "csv")) => (month, Some(Format::Csv)),
        Some((month, "json")) => (month, Some(Format::Json)),
        Some(_) => return Err(PageError::NotFound("statement")),
    };
    let present = Month::of(viewer.account_now());
    let month = Month::parse(month)
        .filter(|month| *month >= Month(date(2000, 1, 1)) && *month <= present)
        .ok_or(PageError::NotFound("statement"))?;
    let (Some(from), Some(to)) = (month.start(), month.next().and_then(Month::start)) else {
        return Err(PageError::NotFound("statement"));
    };
    let account = viewer.account.key;
    let span = Span { account, from, to };
    match format {
        Some(Format::Csv) => {
            let body = export::statement(app, span, Format::Csv);
            export::download(
                "text/csv; charset=utf-8",
                &format!("statement-{}.csv", month.name()),
                body,
            )
        }
        Some(Format::Json) => {
            let body = export::statement(app, span, Format::Json);
            export::download("application/json", &format!("statement-{}.json", month.name()), body)
        }
        None => {
            let after = form_urlencoded::parse(query.as_deref().unwrap_or_default().as_bytes())
                .find(|(name, _)| name == "after")
                .and_then(|(_, value)| value.parse().ok())
                .filter(|after: &u64| i64::try_from(*after).is_ok());
            look(&app, &viewer, month, span, after).await
        }
    }
}

async fn look(app: &App, viewer: &Viewer, month: Month, span: Span, after: Option<u64>) -> Result<Response, PageError> {
    let zone = Zone::default();
    let read = app
        .store
        .statement(span.account, span.from, span.to, after, PAGE_ENTRIES);
    let page = read.await?;
    let totals = app.site.statement_totals(span.account, span.from, span.to).await?;
    let count: u64 = totals.kinds.iter().map(|(_, count, _)| count).sum();
    let next = page
        .entries
        .last()
        .map(|entry| entry.number)
        .filter(|number| page.last_entry.is_some_and(|last| *number < last));
    let is_present = month == Month::of(viewer.account_now());
    let until = if is_present {
        zone.at(viewer.account_now()).strftime("%-d %B %Y, %H:%M").to_string()
    } else {
        zone.at(span.to.plus_millis(-1)).strftime("%-d %B %Y").to_string()
    };
    page::html(&Statement {
        frame: utc(Frame::portal(
            app,
            viewer,
            &format!("Statement of {}", month.label()),
            HERE,
        )),
        account_name: viewer.account.name.clone(),
        account_id: span.account.id.to_string(),
        name: month.name(),
        label: month.label(),
        until,
        is_present,
        opening: format::money(page.opening_balance),
        closing: format::money(page.closing_balance),
        totals: totals
            .kinds
            .into_iter()
            .filter(|(_, count, _)| *count > 0)
            .map(|(kind, count, sum)| Total {
                kind: lines::badge(kind),
                count: format::count(count),
                sum: signed(sum),
            })
            .collect(),
        lines: lines::of(app, span.account, &page.entries, &zone).await?,
        count: format::count(count),
        next,
        is_later_page: after.is_some(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_read_as_they_are_written_and_follow_each_other() {
        let month = Month::parse("2026-12").unwrap();
        assert_eq!(
            (month.name(), month.label()),
            ("2026-12".to_owned(), "December 2026".to_owned())
        );
        assert_eq!(month.next(), Month::parse("2027-01"));
        assert_eq!(Month::parse("2027-01").unwrap().previous(), Some(month));
        for text in ["", "2026", "2026-13", "2026-1", "26-01", "2026-00", "2026-12-01"] {
            assert_eq!(Month::parse(text), None, "{text:?}");
        }
    }
}
