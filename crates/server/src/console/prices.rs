//! `/operator/prices`: what messages cost by route and number prefix, what they will, and what was ever set; with the same
//! table as CSV as the command line has.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use countersign_core::{Credits, DEFAULT_PRICE, NumberPrefix, PriceRoute, PriceRow, Timestamp};

use super::{Problem, asked, link, said_of, sentence, status_of};
use crate::answer::{Amount, Refusal};
use crate::app::App;
use crate::operator::prices::{self as deeds, RowBody};
use crate::price_table;
use crate::site::form::Form;
use crate::site::format::{self, When};
use crate::site::frame::Frame;
use crate::site::page::{self, PageError};
use crate::site::viewer::OperatorViewer;

const PATH: &str = "/operator/prices";
/// Prices and lines of the history on one page.
const PAGE_ROWS: usize = 100;
/// Prices of the future on the page.
const SHOWN_COMING: usize = 50;

const DONE: [(&str, &str); 3] = [
    ("set", "The price was set."),
    (
        "removed",
        "The price was taken away: a shorter prefix, or the list for all routes, counts again.",
    ),
    ("imported", "The table was imported."),
];

struct Row {
    route: String,
    prefix: String,
    /// `None` where the price is taken away.
    price: Option<String>,
    from: Option<When>,
    /// Whole Unix seconds, for the form that takes it away.
    from_seconds: String,
}

impl Row {
    fn new(row: &PriceRow, viewer: &OperatorViewer) -> Self {
        Self {
            route: row.route.to_string(),
            prefix: row.prefix.to_string(),
            price: row.price.map(format::money),
            from: Some(When::exactly(row.effective_from, &viewer.zone)),
            from_seconds: row.effective_from.unix_seconds().to_string(),
        }
    }
}

struct HistoryRow {
    row: Row,
    set_at: When,
    set_by: String,
}

#[derive(Default)]
struct Typed {
    route: String,
    prefix: String,
    price: String,
    from: String,
    table: String,
}

#[derive(Template)]
#[template(path = "operator_prices.html")]
struct PricesPage {
    frame: Frame,
    rows: Vec<Row>,
    /// What every number costs that the list doesn't name, where the list has no default.
    built_in: Option<String>,
    coming: Vec<Row>,
    more_coming: bool,
    later: bool,
    next: Option<String>,
    problem: Option<Problem>,
    typed: Typed,
    /// What a table would change.
    preview: Option<String>,
}

impl PricesPage {
    fn said_of(&self, form: &str) -> Option<&str> {
        said_of(self.problem.as_ref(), form)
    }
}

#[derive(Template)]
#[template(path = "operator_price_history.html")]
struct HistoryPage {
    frame: Frame,
    rows: Vec<HistoryRow>,
    later: bool,
    next: Option<String>,
}

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route(PATH, get(prices).post(set))
        .route("/operator/prices/remove", post(remove))
        .route("/operator/prices/import", post(import))
        .route("/operator/prices/history", get(history))
        .route("/operator/prices.csv", get(export))
}

async fn prices(
    State(app): State<Arc<App>>,
    viewer: OperatorViewer,
    RawQuery(raw): RawQuery,
) -> Result<Response, PageError> {
    Shown::default().page(&app, &viewer, raw.as_deref()).await
}

/// What the page shows besides the list.
#[derive(Default)]
struct Shown {
    problem: Option<Problem>,
    typed: Typed,
    preview: Option<String>,
}

impl Shown {
    async fn page(self, app: &App, viewer: &OperatorViewer, raw: Option<&str>) -> Result<Response, PageError> {
        let list = deeds::price_list(app).await?;
        // The key of a row is its route and its prefix, in the order of the list.
        let after = asked(raw, "after").and_then(|text| {
            let (route, prefix) = text.rsplit_once(' ')?;
            Some((PriceRoute::parse(route)?, NumberPrefix::parse_or_default(prefix)?))
        });
        let now = viewer.now;
        let has_default = list
            .in_force(now)
            .any(|row| row.route == PriceRoute::All && row.prefix == NumberPrefix::DEFAULT);
        let in_force = list.in_force(now);
        let mut page_rows: Vec<PriceRow> = match &after {
            None => in_force.take(PAGE_ROWS + 1).collect(),
            Some((route, prefix)) => in_force
                .skip_while(|row| (&row.route, row.prefix) != (route, *prefix))
                .skip(1)
                .take(PAGE_ROWS + 1)
                .collect(),
        };
        let has_more = page_rows.len() > PAGE_ROWS;
        page_rows.truncate(PAGE_ROWS);
        let end = page_rows.last().filter(|_| has_more);
        let next = end.map(|row| link(PATH, &[("after", &format!("{} {}", row.route, row.prefix))]));
        let coming = list.history().filter(|row| row.effective_from > now);
        let mut coming: Vec<PriceRow> = coming.take(SHOWN_COMING + 1).collect();
        let more_coming = coming.len() > SHOWN_COMING;
        coming.truncate(SHOWN_COMING);
        let status = status_of(self.problem.as_ref());
        let page = PricesPage {
            frame: Frame::console(app, viewer, "Prices", PATH).with_done(raw, &DONE),
            built_in: (!has_default && after.is_none()).then(|| format::money(DEFAULT_PRICE)),
            rows: page_rows.iter().map(|row| Row::new(row, viewer)).collect(),
            coming: coming.iter().map(|row| Row::new(row, viewer)).collect(),
            more_coming,
            later: after.is_some(),
            next,
            problem: self.problem,
            typed: self.typed,
            preview: self.preview,
        };
        page::html_with(status, &page)
    }
}

/// Reads the time from which a price holds, in the viewer's zone; empty is from now on.
fn effective_from(text: &str, viewer: &OperatorViewer) -> Result<Option<i64>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    let there = text.parse::<jiff::civil::DateTime>().ok();
    let moment = there.and_then(|there| {
        viewer
            .zone
            .time_zone()
            .to_ambiguous_zoned_datetime(there)
            .compatible()
            .ok()
    });
    moment
        .map(|moment| Some(moment.timestamp().as_second()))
        .ok_or_else(|| {
            Refusal::bad_request("the time isn’t one: write it like 2027-01-01T00:00, or leave it empty for now")
        })
}

fn typed_row(typed: &Typed, viewer: &OperatorViewer) -> Result<RowBody, Refusal> {
    let price = Credits::parse(typed.price.trim_start_matches('$'))
        .map_err(|_| Refusal::bad_request("a price is written in dollars, like 0.02"))?;
    Ok(RowBody {
        route: Some(typed.route.clone()),
        prefix: typed.prefix.clone(),
        price: Some(Amount(price)),
        removed: false,
        effective_from: effective_from(&typed.from, viewer)?,
    })
}

async fn set(
    State(app): State<Arc<App>>,
    viewer: OperatorViewer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    let form = Form::read(&headers, body, &viewer.csrf).await?;
    let typed = Typed {
        route: form.text("route").to_owned(),
        prefix: form.text("prefix").to_owned(),
        price: form.text("price").to_owned(),
        from: form.text("from").to_owned(),
        table: String::new(),
    };
    let done = match typed_row(&typed, &viewer) {
        Ok(row) => deeds::set_row(&app, &row).await,
        Err(refusal) => Err(refusal),
    };
    answered(&app, &viewer, "set", done.map(|_| "set"), typed).await
}

async fn remove(
    State(app): State<Arc<App>>,
    viewer: OperatorViewer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    let form = Form::read(&headers, body, &viewer.csrf).await?;
    // A price of the future is taken away at its own time, one that holds from now on.
    let from = form.text("from").parse::<i64>().ok();
    let row = RowBody {
        route: Some(form.text("route").to_owned()),
        prefix: form.text("prefix").to_owned(),
        price: None,
        removed: true,
        effective_from: from.filter(|from| *from > viewer.now.unix_seconds()),
    };
    let done = deeds::set_row(&app, &row).await.map(|_| "removed");
    answered(&app, &viewer, "remove", done, Typed::default()).await
}

async fn answered(
    app: &App,
    viewer: &OperatorViewer,
    form: &'static str,
    done: Result<&'static str, Refusal>,
    typed: Typed,
) -> Result<Response, PageError> {
    match done {
        Ok(done) => Ok(page::see_other(&link(PATH, &[("done", done)]))),
        Err(refusal) => {
            let shown = Shown {
                problem: Some(Problem::new(form, &refusal)?),
                typed,
                preview: None,
            };
            shown.page(app, viewer, None).await
        }
    }
}

async fn import(
    State(app): State<Arc<App>>,
    viewer: OperatorViewer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    let form = Form::read(&headers, body, &viewer.csrf).await?;
    let typed = Typed {
        table: form.text("table").to_owned(),
        ..Typed::default()
    };
    let rows = match price_table::parse(typed.table.as_bytes()) {
        Ok(rows) => rows,
        Err(wrong) => {
            let shown = Shown {
                problem: Some(Problem {
                    form: "import",
                    sentence: sentence(&format!("nothing was set, since {wrong}")),
                    status: StatusCode::UNPROCESSABLE_ENTITY,
                }),
                typed,
                preview: None,
            };
            return shown.page(&app, &viewer, None).await;
        }
    };
    let preview = form.text("action") != "import";
    match deeds::import_rows(&app, rows, preview, viewer.now).await {
        Ok(set) if preview => {
            let sentence = format!(
                "Nothing was set yet. {} would be new, {} would change nothing.",
                format::count(set.added as u64),
                format::count(set.already_there as u64)
            );
            let shown = Shown {
                problem: None,
                typed,
                preview: Some(sentence),
            };
            shown.page(&app, &viewer, None).await
        }
        done => answered(&app, &viewer, "import", done.map(|_| "imported"), typed).await,
    }
}

async fn history(
    State(app): State<Arc<App>>,
    viewer: OperatorViewer,
    RawQuery(raw): RawQuery,
) -> Result<Response, PageError> {
    let raw = raw.as_deref();
    let after = asked(raw, "after").and_then(|text| text.parse().ok());
    let mut found = app.store.price_history(after, PAGE_ROWS + 1).await?;
    let more = found.len() > PAGE_ROWS;
    found.truncate(PAGE_ROWS);
    let last = found.last().filter(|_| more);
    let next = last.map(|record| link("/operator/prices/history", &[("after", &record.number.to_string())]));
    page::html(&HistoryPage {
        frame: Frame::console(&app, &viewer, "Price history", PATH),
        rows: found
            .into_iter()
            .map(|record| HistoryRow {
                row: Row::new(&record.row, &viewer),
                set_at: When::exactly(record.set_at, &viewer.zone),
                set_by: record.set_by,
            })
            .collect(),
        later: after.is_some(),
        next,
    })
}

/// The prices that hold and those that will, as the import takes them.
async fn export(State(app): State<Arc<App>>, viewer: OperatorViewer) -> Result<Response, PageError> {
    let list = deeds::price_list(&app).await?;
    let now: Timestamp = viewer.now;
    let coming = list.history().filter(|row| row.effective_from > now);
    let rows: Vec<PriceRow> = list.in_force(now).chain(coming).collect();
    let table = price_table::write(&rows).map_err(|error| {
        tracing::error!(%error, "the price list could not be written as CSV");
        PageError::Internal
    })?;
    let mut response = Response::new(Body::from(table));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
    headers.insert(
        CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment; filename=\"prices.csv\""),
    );
    Ok(response)
}
