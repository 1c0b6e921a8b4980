//! `/account/statistics`: what an account's requests add up to. The figures come from the books' roll-ups
//! ([`countersign_store::Usage`]); docs/statistics.md says what each means. `ask` is the question in the address, `period` its
//! time, `seen` the answer, `words`, `chart` and `tables` how it is shown. The overview asks [`today`].

mod ask;
mod chart;
mod countries;

mod estimate;
mod export;
mod period;
mod seen;
mod tables;
mod words;

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use countersign_core::{Credits, Quarter, UsageCount, UsageSum};
use countersign_store::{StoreError, UsageBy, UsageFilter};
use jiff::{ToSpan as _, ZonedDateTime};

use self::ask::{Ask, Preset, TABLES};
use self::chart::{Chart, Line};
use self::period::{Period, Unit};
use self::seen::Seen;
use self::tables::Table;
use self::words::{Figure, Step, Times};
use crate::app::App;
use crate::site::format;
use crate::site::frame::Frame;
use crate::site::page::{self, PageError};
use crate::site::viewer::Viewer;

/// From more units of time on, a page leaves out what the CSV has too, so that it stays light.
const MANY_UNITS: usize = 92;

/// Rows of the table under the charts.
const fn time_row_limit(units: usize) -> usize {
    if units > MANY_UNITS { 12 } else { 31 }
}
/// Days that the overview's small chart shows, today among them.
const DAYS_OF_TODAY: i64 = 14;

/// What today came to so far, for the overview. Days are those of the viewer's time zone, on the account's clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Today {
    /// Messages that were sent.
    pub(crate) sent: u64,
    /// Of them, delivered (read ones among them).
    pub(crate) delivered: u64,
    /// Requests whose right code was entered.
    pub(crate) valid: u64,
    /// What was charged less what was given back.
    pub(crate) cost: Credits,
    /// Messages sent on each of the last fourteen days, the oldest first; the last is today.
    pub(crate) sent_by_day: Vec<u64>,
    /// The points of a line through them, for SVG `polyline`s in a box of 140 by 32: the days that are over, and from the last
    /// of them to today. Empty where nothing was sent.
    pub(crate) line: [String; 2],
}

/// Asks the books for [`Today`].
pub(crate) async fn today(app: &App, viewer: &Viewer) -> Result<Today, StoreError> {
    let today = viewer.zone.at(viewer.account_now());
    let edges: Vec<Quarter> = (1 - DAYS_OF_TODAY..=1).map(|days| day_edge(&today, days)).collect();
    let sums = app
        .site
        .usage(viewer.account.key, edges, UsageFilter::default())
        .await?;
    Ok(today_of(&sums))
}

/// The first quarter of a day that is so many days after another.
fn day_edge(day: &ZonedDateTime, days: i64) -> Quarter {
    let there = day.checked_add(days.days()).and_then(|day| day.start_of_day());
    let millis = there.unwrap_or_else(|_| day.clone()).timestamp().as_millisecond();
    Quarter::of(countersign_core::Timestamp::from_millis(millis))
}

fn today_of(sums: &[UsageSum]) -> Today {
    let nothing = UsageSum::default();
    let today = sums.last().unwrap_or(&nothing);
    let sent_by_day: Vec<u64> = sums.iter().map(|sum| sum.shown(UsageCount::Sent)).collect();
    Today {
        sent: today.shown(UsageCount::Sent),
        delivered: today.shown(UsageCount::Delivered),
        valid: today.shown(UsageCount::Valid),
        cost: today.cost(),
        line: sparkline(&sent_by_day, 140, 32),
        sent_by_day,
    }
}

/// A line from zero, with a margin of two units for its stroke, and its last step, which goes on still.
fn sparkline(values: &[u64], width: u64, height: u64) -> [String; 2] {
    let most = values.iter().copied().max().unwrap_or(0);
    let steps = u64::try_from(values.len()).unwrap_or(0).saturating_sub(1);
    if most == 0 || steps == 0 {
        return Default::default();
    }
    let points: Vec<String> = values
        .iter()
        .zip(0_u64..)
        .map(|(&value, step)| {
            let x = 2 + step * (width - 4) / steps;
            let rise = u128::from(value) * u128::from(height - 4) / u128::from(most);
            format!("{x},{}", height - 2 - u64::try_from(rise).unwrap_or(0))
        })
        .collect();
    let (over, going) = (&points[..points.len() - 1], &points[points.len() - 2..]);
    [over.join(" "), going.join(" ")]
}

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/account/statistics", get(statistics))
        .route("/account/statistics/{table}", get(download))
}

/// A link of a choice.
struct Choice {
    label: &'static str,
    link: String,
    chosen: bool,
}

/// An option of a filter.
struct Pick {
    value: String,
    label: String,
    chosen: bool,
}

/// A row of the table under the charts.
struct TimeRow {
    label: String,
    sent: String,
    delivered: String,
    valid: String,
    cost: String,
    new: String,
}

#[derive(Template)]
#[template(path = "statistics.html")]
struct Page {
    frame: Frame,
    presets: Vec<Choice>,
    units: Vec<Choice>,
    from: String,
    to: String,
    unit: &'static str,
    problem: Option<&'static str>,
    countries: Vec<Pick>,
    routes: Vec<Pick>,
    senders: Vec<Pick>,
    without_filters: Option<String>,
    said: String,
    before: String,
    is_empty: bool,
    figures: Vec<Figure>,
    charts: Vec<Chart>,
    /// What the last unit of time is called, where it isn't over.
    going: Option<&'static str>,
    rows: Vec<TimeRow>,
    left_out: Option<String>,
    csv: String,
    funnel: Vec<Step>,
    funnel_note: Option<&'static str>,
    times: [Times; 2],
    tables: Vec<Table>,
}

async fn statistics(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let asked = Ask::read(&query.unwrap_or_default());
    let (period, problem) = match asked.period(&viewer.zone, viewer.account_now()) {
        Ok(period) => (period, None),
        Err(problem) => {
            let usual = Ask {
                preset: Preset::Month,
                ..asked.clone()
            };
            let period = usual.period(&viewer.zone, viewer.account_now());
            (period.map_err(|_| PageError::Internal)?, Some(problem))
        }
    };
    let seen = seen::ask(&app, &viewer, &asked, &period).await?;
    let frame = Frame::portal(&app, &viewer, "Statistics", "/account/statistics");
    let status = if problem.is_some() {
        StatusCode::UNPROCESSABLE_ENTITY
    } else {
        StatusCode::OK
    };
    page::html_with(status, &page(frame, &asked, &period, &seen, problem))
}

/// What is shown, as a table to take along.
async fn download(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Path(table): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let by = match table.as_str() {
        "time.csv" => None,
        "country.csv" => Some((UsageBy::Country, 0)),
        "route.csv" => Some((UsageBy::Route, 1)),
        "sender.csv" => Some((UsageBy::Sender, 2)),
        _ => return Err(PageError::NotFound("page")),
    };
    let asked = Ask::read(&query.unwrap_or_default());
    let period = asked
        .period(&viewer.zone, viewer.account_now())
        .map_err(|_| PageError::BadForm)?;
    let seen = seen::ask(&app, &viewer, &asked, &period).await?;
    let written = match by {
        None => export::by_time(&period, &seen.current),
        Some((by, place)) => export::by_name(&asked, by, &seen.tables[place]),
    };
    let mut response = Body::from(written.ok_or(PageError::Internal)?).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
    let name = format!(
        "attachment; filename=\"statistics-{}-{}-{table}\"",
        period.from, period.to
    );
    headers.insert(
        CONTENT_DISPOSITION,
        HeaderValue::try_from(name).map_err(|_| PageError::Internal)?,
    );
    Ok(response)
}

fn page(frame: Frame, asked: &Ask, period: &Period, seen: &Seen, problem: Option<&'static str>) -> Page {
    let said = match asked.preset {
        Preset::Today => "Today so far".to_owned(),
        _ if problem.is_some() => period.said(),
        Preset::Custom => period.said(),
        preset => format!("The last {}", preset.label()),
    };
    let [country, route, sender] = asked.filter_names();
    let picks = |by: UsageBy, names: &[String], chosen: Option<&str>| {
        let mut picks: Vec<Pick> = names
            .iter()
            .map(|name| {
                // A name can't be empty in an address.
                let value = if name.is_empty() { "-" } else { name };
                Pick {
                    value: value.to_owned(),
                    label: tables::row_name(by, name),
                    chosen: chosen == Some(value),
                }
            })
            .collect();
        picks.sort_by(|one, other| one.label.cmp(&other.label));
        picks
    };
    let is_custom = asked.preset == Preset::Custom;
    let shown_rows = time_row_limit(period.labels.len());
    Page {
        frame,
        presets: Preset::ALL
            .map(|preset| Choice {
                label: preset.label(),
                link: asked.link_to_preset(preset),
                chosen: asked.preset == preset,
            })
            .into(),
        units: period
            .units()
            .map(|unit| Choice {
                label: unit.label(),
                link: asked.link_to_unit(unit),
                chosen: period.unit == unit,
            })
            .collect(),
        from: if is_custom {
            asked.from.clone()
        } else {
            period.from.to_string()
        },
        to: if is_custom && !asked.to.is_empty() {
            asked.to.clone()
        } else {
            period.to.to_string()
        },
        unit: asked.unit.map_or("", Unit::name),
        problem,
        countries: picks(UsageBy::Country, &seen.countries, country.as_deref()),
        routes: picks(UsageBy::Route, &seen.routes, route.as_deref()),
        senders: picks(UsageBy::Sender, &seen.senders, sender.as_deref()),
        without_filters: asked.has_filters().then(|| asked.link_without_filters()),
        before: period.said_before(),
        is_empty: seen.whole.now.count(UsageCount::Requests) == 0
            && seen.whole.before.count(UsageCount::Requests) == 0
            && seen.whole.now.count(UsageCount::Unreachable) == 0,
        figures: words::figures(&seen.whole, seen.different),
        charts: charts(period, seen, &said),
        going: period.is_open.then(|| period.unit.name()),
        rows: time_rows(period, &seen.current),
        left_out: period
            .labels
            .len()
            .checked_sub(shown_rows)
            .filter(|&more| more > 0)
            .map(|_| {
                format!(
                    "The last {shown_rows} of {}; the CSV has them all.",
                    period.labels.len()
                )
            }),
        csv: asked.link_to_csv(None),
        funnel: words::funnel(&seen.whole.now),
        funnel_note: words::funnel_note(&seen.whole.now),
        times: words::times(&seen.whole.now),
        tables: TABLES
            .into_iter()
            .zip(&seen.tables)
            .map(|(by, found)| tables::table(asked, by, found))
            .collect(),
        said,
    }
}

fn charts(period: &Period, seen: &Seen, said: &str) -> Vec<Chart> {
    let of = |sums: &[UsageSum], value: &dyn Fn(&UsageSum) -> u64| sums.iter().map(value).collect::<Vec<u64>>();
    let sent = |sum: &UsageSum| sum.shown(UsageCount::Sent);
    let micros = |sum: &UsageSum| u64::try_from(sum.cost().micros()).unwrap_or(0);
    let money = |micros: u64| format::money(Credits::from_micros(i64::try_from(micros).unwrap_or(i64::MAX)));
    let line = |class, label, values| Line { class, label, values };
    let highest = |values: &[u64]| {
        let place = (0..values.len()).max_by_key(|&place| values[place]);
        place.map(|place| (values[place], period.labels.get(place).cloned().unwrap_or_default()))
    };
    let costs = of(&seen.current, &micros);
    let new = of(&seen.current, &words::new_numbers);
    let (cost, new_in_all) = (seen.whole.now.cost(), words::new_numbers(&seen.whole.now));
    let most = |values: &[u64], written: &dyn Fn(u64) -> String| match highest(values) {
        Some((value, label)) if value > 0 && values.len() > 1 => format!("; the most was {}, {label}", written(value)),
        _ => String::new(),
    };
    let cost_sentence = format!("{} in all{}.", format::money(cost), most(&costs, &money));
    let new_sentence = format!(
        "{} numbers were asked for the first time{}.",
        format::count(new_in_all),
        most(&new, &format::count)
    );
    // What came before stands behind every line, but for long times, where the first chart's is enough.
    let before = |value: &dyn Fn(&UsageSum) -> u64| {
        let many = period.labels.len() > MANY_UNITS;
        (!many).then(|| line("before", "Before", of(&seen.before, value)))
    };
    let cost_lines: Vec<Line> = before(&micros)
        .into_iter()
        .chain([line("sent", "Cost", costs)])
        .collect();
    let new_lines: Vec<Line> = before(&words::new_numbers)
        .into_iter()
        .chain([line("sent", "First time", new)])
        .collect();
    vec![
        Chart::draw(
            "Messages",
            words::sentence(&seen.whole, said, &period.said_before()),
            (&period.labels, period.is_open),
            &[
                line("before", "Before", of(&seen.before, &sent)),
                line("sent", "Sent", of(&seen.current, &sent)),
                line(
                    "valid",
                    "Verified",
                    of(&seen.current, &|sum| sum.shown(UsageCount::Valid)),
                ),
            ],
            &format::count,
        ),
        Chart::draw(
            "Cost",
            cost_sentence,
            (&period.labels, period.is_open),
            &cost_lines,
            &money,
        ),
        Chart::draw(
            "First-time numbers",
            new_sentence,
            (&period.labels, period.is_open),
            &new_lines,
            &format::count,
        ),
    ]
}

fn time_rows(period: &Period, sums: &[UsageSum]) -> Vec<TimeRow> {
    let rows = period
        .labels
        .iter()
        .zip(sums)
        .rev()
        .take(time_row_limit(period.labels.len()));
    rows.map(|(label, sum)| TimeRow {
        label: match period.labels.last() {
            Some(last) if period.is_open && std::ptr::eq(last, label) => format!("{label}, so far"),
            _ => label.clone(),
        },
        sent: format::count(sum.shown(UsageCount::Sent)),
        delivered: words::share_of_sent(sum, UsageCount::Delivered),
        valid: words::share_of_sent(sum, UsageCount::Valid),
        cost: format::money(sum.cost()),
        new: format::count(words::new_numbers(sum)),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_begins_at_zero_and_ends_today() {
        assert_eq!(sparkline(&[0, 5, 10], 140, 32), ["2,30 70,16", "70,16 138,2"]);
        assert_eq!(sparkline(&[0, 0], 140, 32), ["", ""]);
    }
}
