//! `/operator`: whether the server is well, in numbers that its rooms keep anyway. Each is bounded and cheap to ask for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use axum::routing::get;
use countersign_core::LegName;
use countersign_store::{BooksLoad, OpenReports, Trouble};

use super::orders;
use crate::app::{App, Mode};
use crate::site::format::{self, When};
use crate::site::frame::Frame;
use crate::site::page::{self, PageError};
use crate::site::state::Badge;
use crate::site::viewer::OperatorViewer;
use crate::vitals::ReportFigures;

/// Reports and messages are counted up to this; then a page says "more than".
const COUNT_REPORTS: usize = 10_000;
const COUNT_MESSAGES: usize = 200;
/// Senders that wait are counted up to this.
const COUNT_SENDERS: usize = 100;
/// From this size on, something keeps the write-ahead log from being copied back (ARCHITECTURE.md, "Promises").
const LOG_IS_LONG_BYTES: u64 = 192 << 20;

/// A number with its name, and what it says.
struct Fact {
    label: &'static str,
    value: String,
    hint: &'static str,
}

const fn fact(label: &'static str, value: String, hint: &'static str) -> Fact {
    Fact { label, value, hint }
}

/// A leg of routes, and how it does.
struct Route {
    name: String,
    kind: &'static str,
    badge: Badge,
    waiting: String,
    accepted: String,
    failed: String,
    success: String,
    takes: String,
    last_failure: Option<(When, String)>,
}

/// A destination that is left alone for a while.
struct Circuit {
    host: String,
    account: String,
    rest: String,
}

#[derive(Template)]
#[template(path = "operator_health.html")]
struct HealthPage {
    frame: Frame,
    badge: Badge,
    /// What wants the operator's attention, as sentences.
    troubles: Vec<String>,
    /// What the operator set and should look at.
    warnings: Vec<String>,
    /// Senders that wait for an answer.
    senders: Option<String>,
    orders: Option<String>,
    server: Vec<Fact>,
    books: Vec<Fact>,
    reports: Vec<Fact>,
    routes: Vec<Route>,
    circuits: Vec<Circuit>,
    more_circuits: usize,
}

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/operator", get(health))
}

async fn health(
    State(app): State<Arc<App>>,
    viewer: OperatorViewer,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let now = viewer.now;
    let load = app.site.load();
    let open = app.site.open_reports(COUNT_REPORTS).await?;
    let overdue = app.store.due_requests(now, None, COUNT_MESSAGES + 1).await?.len();
    let waiting_senders = app.site.requested_senders(None, COUNT_SENDERS + 1).await?.len();
    let figures = app.vitals.reports().await;
    let routes = routes(&app, &viewer).await?;
    let troubles = troubles(&app, &load, &open, figures.as_ref(), overdue);
    let (circuits, more_circuits) = circuits(figures.as_ref());
    page::html(&HealthPage {
        frame: Frame::console(&app, &viewer, "Health", "/operator").with_done(query.as_deref(), &[]),
        badge: if troubles.is_empty() {
            Badge::new("good", "All is well", "tick")
        } else {
            Badge::new("bad", "Needs attention", "warning")
        },
        troubles,
        warnings: app.settings.warnings.iter().map(ToString::to_string).collect(),
        senders: counted(waiting_senders, COUNT_SENDERS),
        orders: counted(orders::waiting(&app).await?, orders::COUNTED),
        server: server_facts(&app),
        books: book_facts(&load, overdue),
        reports: report_facts(&load, &open, figures.as_ref()),
        routes,
        circuits,
        more_circuits,
    })
}

/// A count that stops at a bound; `None` for nothing.
fn counted(found: usize, bound: usize) -> Option<String> {
    (found > 0).then(|| up_to(found, bound))
}

fn up_to(found: usize, bound: usize) -> String {
    if found > bound {
        format!("more than {}", number(bound))
    } else {
        number(found)
    }
}

fn number(count: usize) -> String {
    format::count(count as u64)
}

async fn routes(app: &App, viewer: &OperatorViewer) -> Result<Vec<Route>, PageError> {
    let waiting = app.store.waiting_messages(viewer.now, None, COUNT_MESSAGES + 1).await?;
    let mut by_leg: HashMap<LegName, usize> = HashMap::new();
    for (_, request) in &waiting {
        let leg = match (&request.plan, &request.message) {
            (Some(plan), Some(message)) => plan.legs.get(usize::from(message.legs.leg)).map(|leg| leg.name.clone()),
            _ => None,
        };
        *by_leg.entry(leg.unwrap_or(LegName::INBOX)).or_default() += 1;
    }
    let routes = app.routes.legs().map(|(name, leg)| {
        let figures = leg.health.figures();
        let badge = match (figures.rests_for, figures.ailing) {
            (Some(_), _) => Badge::new("bad", "Rests after failures", "warning"),
            (None, true) => Badge::new("waiting", "Ailing", "warning"),
            (None, false) => Badge::new("good", "On", "tick"),
        };
        let count = by_leg.get(name).copied().unwrap_or_default();
        Route {
            name: name.to_string(),
            kind: leg.channel.kind(),
            badge,
            waiting: if waiting.len() > COUNT_MESSAGES {
                format!("{} or more", number(count))
            } else {
                number(count)
            },
            accepted: format::count(figures.accepted),
            failed: format::count(figures.failed),
            success: figures
                .success_percent
                .map_or_else(|| "–".to_owned(), |percent| format!("{percent} %")),
            takes: figures
                .latency
                .map_or_else(|| "–".to_owned(), |took| format!("{} ms", took.as_millis())),
            last_failure: figures
                .last_failure
                .map(|(at, why)| (When::new(at, viewer.now, &viewer.zone), why.to_string())),
        }
    });
    Ok(routes.collect())
}

fn troubles(
    app: &App,
    load: &BooksLoad,
    open: &OpenReports,
    figures: Option<&ReportFigures>,
    overdue: usize,
) -> Vec<String> {
    let mut troubles = Vec::new();
    if let Some(trouble) = app.store.trouble() {
        let remedy = match trouble {
            Trouble::DiskFull => "Make room on the data directory’s disk",
            Trouble::Unreachable => "See to the database and to the network between",
        };
        troubles.push(format!(
            "The books take no writes: {trouble}. {remedy}; they go on by themselves."
        ));
    }
    if load.queued * 2 > load.queue_length {
        troubles.push(
            "More than half of the writer’s queue is full: calls are about to be told to come again. The disk may be slow."
                .to_owned(),
        );
    }
    if load.log_bytes > LOG_IS_LONG_BYTES {
        troubles.push(format!(
            "The write-ahead log has {}: something reads an old snapshot for long, like a copy of the files or a tool with an \
             open transaction.",
            bytes(load.log_bytes)
        ));
    }
    if app.inbox.is_none() {
        troubles.push(
            "No route is switched on: messages wait until they expire. Switch the inbox on, or set another route."
                .to_owned(),
        );
    }
    if overdue > COUNT_MESSAGES {
        troubles.push("Requests whose time is over are settled late: the expiry worker is behind.".to_owned());
    }
    match figures {
        None => troubles.push("The worker that sends delivery reports doesn’t answer: see the log.".to_owned()),
        Some(figures) if figures.open_circuits > 0 => troubles.push(format!(
            "{} of delivery reports failed several times in a row and {} left alone for a while.",
            if figures.open_circuits == 1 {
                "One destination".to_owned()
            } else {
                format!("{} destinations", number(figures.open_circuits))
            },
            if figures.open_circuits == 1 { "is" } else { "are" },
        )),
        Some(_) => {}
    }
    if open.more {
        troubles.push("Many delivery reports are not acknowledged: look at the destinations below.".to_owned());
    }
    troubles
}

fn server_facts(app: &App) -> Vec<Fact> {
    let limit = app.settings.server.max_connections;
    let connections = app.vitals.connections();
    vec![
        fact("Version", env!("CARGO_PKG_VERSION").to_owned(), ""),
        fact(
            "Mode",
            match app.mode {
                Mode::Sandbox => "sandbox".to_owned(),
                Mode::Production => "production".to_owned(),
            },
            "",
        ),
        fact("Running for", long(app.vitals.uptime()), ""),
        fact(
            "Connections",
            connections.map_or_else(
                || "not counted".to_owned(),
                |count| format!("{} of {}", number(count), number(limit)),
            ),
            "",
        ),
    ]
}

fn book_facts(load: &BooksLoad, overdue: usize) -> Vec<Fact> {
    vec![
        fact(
            "Waiting for the writer",
            format!("{} of {}", number(load.queued), number(load.queue_length)),
            "Beyond it, calls are told to come again.",
        ),
        fact(
            "Handed over to the dispatcher",
            number(load.handed_over),
            "Committed messages on their way to a route.",
        ),
        fact(
            "Requests to settle",
            up_to(overdue, COUNT_MESSAGES),
            "Their time is over, and the expiry worker looks at them next.",
        ),
        fact("Write-ahead log", bytes(load.log_bytes), "Copied back from 32 MiB on."),
        fact("Database", bytes(load.database_bytes), ""),
    ]
}

fn report_facts(load: &BooksLoad, open: &OpenReports, figures: Option<&ReportFigures>) -> Vec<Fact> {
    let known = |pick: fn(&ReportFigures) -> usize| {
        figures.map_or_else(|| "unknown".to_owned(), |figures| number(pick(figures)))
    };
    let more = if open.more { "at least " } else { "" };
    vec![
        fact(
            "Pending",
            format!("{more}{}", number(open.pending)),
            "Due now or later, until a receiver acknowledges them.",
        ),
        fact(
            "Lost",
            format!("{more}{}", number(open.lost)),
            "Given up after the tenth retry; their owner can send them again.",
        ),
        fact(
            "Under way",
            known(|figures| figures.under_way),
            "Attempts that wait for an answer.",
        ),
        fact("Waiting in memory", known(|figures| figures.waiting), ""),
        fact("On their way from the writer", number(load.reports_handed_over), ""),
        fact(
            "Lanes",
            known(|figures| figures.lanes),
            "One for each account and destination.",
        ),
    ]
}

fn circuits(figures: Option<&ReportFigures>) -> (Vec<Circuit>, usize) {
    let Some(figures) = figures else {
        return (Vec::new(), 0);
    };
    let named = figures.named.iter().map(|circuit| Circuit {
        host: circuit.host.to_string(),
        account: circuit.account.id.to_string(),
        rest: if circuit.rest.is_zero() {
            "now".to_owned()
        } else {
            format!("in {}", long(circuit.rest))
        },
    });
    (named.collect(), figures.open_circuits - figures.named.len())
}

/// A length of time in its two largest units.
fn long(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// A size as people say it.
fn bytes(count: u64) -> String {
    match count {
        0..1_024 => format!("{count} B"),
        1_024..1_048_576 => format!("{} KiB", count >> 10),
        1_048_576..1_073_741_824 => format!("{} MiB", count >> 20),
        _ => format!("{}.{} GiB", count >> 30, ((count & 0x3fff_ffff) * 10) >> 30),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_read_at_a_glance() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(200 << 20), "200 MiB");
        assert_eq!(bytes(3 << 29), "1.5 GiB");
        assert_eq!(long(Duration::from_secs(90_061)), "1 d 1 h");
        assert_eq!(long(Duration::from_secs(59)), "59 s");
        assert_eq!(up_to(201, 200), "more than 200");
        assert_eq!(counted(0, 200), None);
    }
}
