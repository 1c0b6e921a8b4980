//! What the server tells Prometheus: `GET /metrics` on an address of its own (`metrics.listen`), apart from the API, so that
//! neither callers nor the proxy in front can reach it, and whoever reads it needs no key that opens anything else.
//!
//! Every number is one that a room keeps anyway, asked for when it is read; only [`Calls`] are counted for this. Labels come from
//! closed lists and from the operator's own settings, never from callers: neither accounts nor numbers are named.

mod books;
mod calls;
mod process;
mod text;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

pub(crate) use self::calls::{Call, Calls};
use self::text::{Exposition, Kind};
use crate::app::{App, Mode};

/// The text format's name (Prometheus, "Exposition formats").
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is served at the metrics' own address.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(app)
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let mut to = Exposition::default();
    server(&app, &mut to);
    app.vitals.calls.expose(&mut to);
    books::load(&app.site.load(), &mut to);
    books::tally(&app.site.tally(), &mut to);
    legs(&app, &mut to);
    reports(&app, &mut to).await;
    process::expose(&mut to);
    let headers = [(CONTENT_TYPE, TEXT_FORMAT), (CACHE_CONTROL, "no-store")];
    (headers, to.into_text()).into_response()
}

fn server(app: &App, to: &mut Exposition) {
    let mode = match app.mode {
        Mode::Sandbox => "sandbox",
        Mode::Production => "production",
    };
    to.family("countersign_build_info", Kind::Gauge, "Always 1; which server this is.");
    let version = env!("CARGO_PKG_VERSION");
    to.sample("countersign_build_info", &[("version", version), ("mode", mode)], 1);
    let ready = !*app.draining.borrow() && app.store.trouble().is_none();
    to.gauge(
        "countersign_ready",
        "1 while the server takes work, as far as the books' last writes tell; /readyz tries one.",
        u64::from(ready),
    );
    to.gauge(
        "countersign_uptime_seconds",
        "Since the server started.",
        app.vitals.uptime().as_secs(),
    );
    if let Some(connections) = app.vitals.connections() {
        to.gauge("countersign_connections", "Connections of callers.", connections as u64);
    }
    to.gauge(
        "countersign_connections_limit",
        "Connections that server.max_connections allows.",
        app.settings.server.max_connections as u64,
    );
}

fn legs(app: &App, to: &mut Exposition) {
    let legs: Vec<_> = app
        .routes
        .legs()
        .map(|(name, leg)| (name.to_string(), leg.channel.kind(), leg.health.figures()))
        .collect();
    if legs.is_empty() {
        return;
    }
    to.family(
        "countersign_leg_handovers_total",
        Kind::Counter,
        "Messages that a leg's channel was given, by leg, kind of channel and end: accepted, or failed, refused and unreachable together.",
    );
    for (leg, channel, figures) in &legs {
        for (end, count) in [("accepted", figures.accepted), ("failed", figures.failed)] {
            let labels = [("leg", leg.as_str()), ("channel", *channel), ("end", end)];
            to.sample("countersign_leg_handovers_total", &labels, count);
        }
    }
    to.family(
        "countersign_leg_available",
        Kind::Gauge,
        "1 while plans may use the leg, 0 while it rests after failures or is ailing.",
    );
    for (leg, channel, figures) in &legs {
        let available = figures.rests_for.is_none() && !figures.ailing;
        let labels = [("leg", leg.as_str()), ("channel", *channel)];
        to.sample("countersign_leg_available", &labels, u64::from(available));
    }
}

async fn reports(app: &App, to: &mut Exposition) {
    // Left out where the worker doesn't answer: an absent series is an alarm, a stale number isn't.
    let Some(figures) = app.vitals.reports().await else {
        return;
    };
    for (name, help, value) in [
        (
            "countersign_reports_waiting",
            "Delivery reports that wait in memory.",
            figures.waiting,
        ),
        (
            "countersign_reports_under_way",
            "Attempts that wait for their receiver's answer.",
            figures.under_way,
        ),
        (
            "countersign_report_lanes",
            "Lanes of delivery reports, one for each account and destination.",
            figures.lanes,
        ),
        (
            "countersign_report_circuits_open",
            "Destinations that are left alone for a while after failures in a row.",
            figures.open_circuits,
        ),
    ] {
        to.gauge(name, help, value as u64);
    }
}
