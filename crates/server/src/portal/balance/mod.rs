//! `/account/balance`: what there is to spend, adding to it, and everything that was booked. Orders and statements have pages
//! of their own below it.

mod amount;
mod export;
mod lines;
mod orders;
mod statements;

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use countersign_core::{EntryKind, OrderState, RequestId};
use countersign_store::{HistoryFilter, HistoryPage, OrderFilter};

use self::lines::Line;
use crate::app::App;
use crate::payment;
use crate::site::format::{self, When};
use crate::site::frame::Frame;
use crate::site::page::{self, PageError};
use crate::site::state::Badge;
use crate::site::viewer::Viewer;

/// The page's place in the navigation.
const HERE: &str = "/account/balance";
/// Entries on one page.
const PAGE_ENTRIES: usize = 50;
/// Open orders of an account, all of which are shown.
const OPEN_ORDERS: usize = 10;

const DONE: [(&str, &str); 2] = [
    ("added", "Credit was added."),
    ("cancelled", "The order was cancelled. Nothing is to be paid."),
];

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/account/balance", get(balance))
        .route("/account/balance/history.csv", get(history_csv))
        .route("/account/balance/orders", get(orders::list).post(orders::make))
        .route("/account/balance/orders/{reference}", get(orders::show))
        .route("/account/balance/orders/{reference}/cancel", post(orders::cancel))
        .route("/account/balance/statements", get(statements::list))
        .route("/account/balance/statements/{month}", get(statements::show))
}

/// What a person typed into the form that adds funds, and what is wrong with it.
#[derive(Default)]
pub(super) struct Wish {
    pub(super) amount: String,
    pub(super) provider: String,
    pub(super) problem: Option<String>,
}

#[derive(Template)]
#[template(path = "balance.html")]
struct BalancePage {
    frame: Frame,
    available: String,
    held: String,
    holds: bool,
    balance: String,
    lapse: Option<(String, When)>,
    low: LowHint,
    budget: Option<BudgetHint>,
    least: String,
    most: String,
    providers: Vec<Choice>,
    wish: Wish,
    open_orders: Vec<OpenOrder>,
    asked: Asked,
    lines: Vec<Line>,
    /// The next page, where there may be one.
    older: Option<String>,
    /// Whether this isn't the first page.
    is_later_page: bool,
    csv: String,
    has_entries: bool,
}

/// What is said of a daily budget.
struct BudgetHint {
    spent: String,
    amount: String,
    /// The share that is used up, in whole percent, at most 100.
    percent: u8,
}

/// What is said of a low balance.
enum LowHint {
    /// It is below what the owner wants to be told of.
    Low(String),
    /// The owner is told below this.
    Told(String),
    /// Nothing is set.
    Unset,
}

struct Choice {
    name: &'static str,
    label: &'static str,
    hint: &'static str,
    chosen: bool,
}

struct OpenOrder {
    reference: String,
    amount: String,
    provider: String,
    badge: Badge,
    made: When,
}

/// The filter as it stands in the page's address.
#[derive(Default)]
struct Asked {
    kind: String,
    from: String,
    to: String,
    request: String,
    before: Option<u64>,
    problem: Option<(&'static str, &'static str)>,
    filter: HistoryFilter,
    request_id: Option<RequestId>,
}

impl Asked {
    fn read(query: Option<&str>, viewer: &Viewer) -> Self {
        let mut asked = Self::default();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let value = value.trim();
            match &*name {
                "kind" => value.clone_into(&mut asked.kind),
                "from" => value.clone_into(&mut asked.from),
                "to" => value.clone_into(&mut asked.to),
                "request" => value.clone_into(&mut asked.request),
                "before" => asked.before = value.parse().ok(),
                _ => {}
            }
        }
        asked.filter.kind = EntryKind::ALL.into_iter().find(|kind| kind.name() == asked.kind);
        if !asked.from.is_empty() {
            match lines::day(&asked.from, &viewer.zone) {
                Some((start, _)) => asked.filter.from = Some(start),
                None => asked.problem = Some(("from", "Write the date like 2026-11-30.")),
            }
        }
        if !asked.to.is_empty() {
            match lines::day(&asked.to, &viewer.zone) {
                // The day itself is part of it.
                Some((_, end)) => asked.filter.to = Some(end),
                None => asked.problem = Some(("to", "Write the date like 2026-11-30.")),
            }
        }
        if let (Some(from), Some(to)) = (asked.filter.from, asked.filter.to)
            && from >= to
        {
            asked.problem = Some(("to", "The last day is before the first: swap them."));
        }
        if !asked.request.is_empty() {
            asked.request_id = RequestId::parse(&asked.request);
            if asked.request_id.is_none() {
                asked.problem = Some((
                    "request",
                    "A request id has 19 letters and digits: copy the whole of it.",
                ));
            }
        }
        asked
    }

    fn is_filtered(&self) -> bool {
        !(self.kind.is_empty() && self.from.is_empty() && self.to.is_empty() && self.request.is_empty())
    }

    fn problem_of(&self, field: &str) -> Option<&'static str> {
        self.problem
            .filter(|(name, _)| *name == field)
            .map(|(_, sentence)| sentence)
    }

    /// The filter as a query, with what else belongs to it.
    fn query(&self, path: &str, more: &[(&str, String)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in [
            ("kind", &self.kind),
            ("from", &self.from),
            ("to", &self.to),
            ("request", &self.request),
        ] {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        for (name, value) in more {
            query.append_pair(name, value);
        }
        let query = query.finish();
        if query.is_empty() {
            path.to_owned()
        } else {
            format!("{path}?{query}")
        }
    }
}

async fn balance(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let page = BalancePage::read(&app, &viewer, query.as_deref(), Wish::default()).await?;
    let status = if page.asked.problem.is_some() {
        StatusCode::UNPROCESSABLE_ENTITY
    } else {
        StatusCode::OK
    };
    page::html_with(status, &page)
}

/// The page with a wish that was refused.
async fn refused(app: &App, viewer: &Viewer, wish: Wish) -> Result<Response, PageError> {
    let page = BalancePage::read(app, viewer, None, wish).await?;
    page::html_with(StatusCode::UNPROCESSABLE_ENTITY, &page)
}

impl BalancePage {
    async fn read(app: &App, viewer: &Viewer, query: Option<&str>, wish: Wish) -> Result<Self, PageError> {
        let account = &viewer.account;
        let now = viewer.account_now();
        let asked = Asked::read(query, viewer);
        let history = match (asked.problem, asked.request_id) {
            (Some(_), _) => HistoryPage {
                entries: Vec::new(),
                next: None,
            },
            (None, Some(request)) => HistoryPage {
                entries: app.site.request_entries(account.key, request).await?,
                next: None,
            },
            (None, None) => {
                let read = app.site.history(account.key, asked.filter, asked.before, PAGE_ENTRIES);
                read.await?
            }
        };
        let open = OrderFilter {
            account: Some(account.key),
            state: Some(OrderState::Open),
        };
        let open_orders = app.site.orders(open, None, OPEN_ORDERS).await?;
        let lapse = app.site.next_lapse(account.key).await?;
        let available = account.balance - account.held;
        let low = match &account.low_balance {
            Some(low) if available < low.below => LowHint::Low(format::money(low.below)),
            Some(low) => LowHint::Told(format::money(low.below)),
            None => LowHint::Unset,
        };
        let chosen = if wish.provider.is_empty() {
            payment::TRANSFER
        } else {
            &wish.provider
        };
        let providers = payment::providers(app)
            .iter()
            .map(|provider| Choice {
                name: provider.name(),
                label: provider.label(),
                hint: provider.hint(),
                chosen: provider.name() == chosen,
            })
            .collect();
        Ok(Self {
            frame: Frame::portal(app, viewer, "Balance", HERE).with_done(query, &DONE),
            available: format::money(available),
            held: format::money(account.held),
            holds: !account.held.is_zero(),
            balance: format::money(account.balance),
            lapse: lapse.map(|lapse| (format::money(lapse.amount), When::new(lapse.at, now, &viewer.zone))),
            low,
            budget: account.budget.as_ref().map(|budget| {
                let spent = account.spending.at(now).spent;
                BudgetHint {
                    spent: format::money(spent),
                    amount: format::money(budget.amount),
                    percent: budget.percent_used(spent),
                }
            }),
            least: format::money(app.settings.payment.least_order),
            most: format::money(app.settings.payment.most_order),
            providers,
            wish,
            open_orders: open_orders
                .into_iter()
                .map(|order| OpenOrder {
                    reference: order.id.to_string(),
                    amount: format::money(order.amount),
                    provider: payment::label(app, &order.provider),
                    badge: lines::order_badge(order.state),
                    made: When::new(order.created_at, viewer.now, &viewer.zone),
                })
                .collect(),
            lines: lines::of(app, account.key, &history.entries, &viewer.zone).await?,
            older: history
                .next
                .map(|before| format!("{}#history", asked.query(HERE, &[("before", before.to_string())]))),
            is_later_page: asked.before.is_some(),
            csv: asked.query("/account/balance/history.csv", &[]),
            has_entries: account.entries > 0,
            asked,
        })
    }

    fn kinds(&self) -> [(&'static str, &'static str, bool); 5] {
        EntryKind::ALL.map(|kind| (kind.name(), lines::badge(kind).word, kind.name() == self.asked.kind))
    }

    /// The first page of the same filter.
    fn newest(&self) -> String {
        format!("{}#history", self.asked.query(HERE, &[]))
    }
}

/// The filtered history as CSV.
async fn history_csv(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let account = viewer.account.key;
    let asked = Asked::read(query.as_deref(), &viewer);
    if asked.problem.is_some() {
        return balance(State(app), viewer, RawQuery(query)).await;
    }
    let body = match asked.request_id {
        Some(request) => {
            let mut text = export::CSV_HEAD.to_owned();
            for entry in app.site.request_entries(account, request).await? {
                export::csv_line(&mut text, &entry);
            }
            text.into()
        }
        None => export::history(app, account, asked.filter),
    };
    export::download("text/csv; charset=utf-8", "history.csv", body)
}
