//! `/operator/accounts/{id}`: one account, with all that the operator can do to it. What is done goes through the operator
//! API's functions and leaves its line in the audit log.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::{get, post};
use countersign_core::{Credits, Grace, LedgerEntry, Timestamp, TokenKind};
use countersign_store::{AccountProfile, MAX_SENDERS, SessionOwner};

use super::accounts::standing;
use super::{Problem, link, said_of, senders, status_of};
use crate::answer::Refusal;
use crate::app::App;
use crate::operator::{accounts as deeds, adjustments, find_account, login_links, tokens};
use crate::site::form::Form;
use crate::site::format::{self, When};
use crate::site::frame::Frame;
use crate::site::page::{self, PageError};
use crate::site::state::Badge;
use crate::site::viewer::OperatorViewer;

/// Ledger entries on the page, the newest ones.
const SHOWN_ENTRIES: u64 = 20;

const DONE: [(&str, &str); 6] = [
    (
        "made",
        "The account was made. Its owner signs in by its phone number, or with a one-time link.",
    ),
    ("credited", "The credit was added."),
    ("adjusted", "The balance was adjusted."),
    (
        "rotated",
        "The account has a new token. Its owner finds it on the API page.",
    ),
    ("closed", "The account was closed."),
    ("signed-out", "All browsers of the account were signed out."),
];

struct Entry {
    when: When,
    kind: &'static str,
    amount: String,
    balance: String,
    about: String,
}

impl Entry {
    fn new(entry: LedgerEntry, viewer: &OperatorViewer) -> Self {
        let request = entry.request.map(|request| request.to_string());
        let reason = entry.reason.map(|reason| reason.as_str().to_owned());
        Self {
            when: When::exactly(entry.at, &viewer.zone),
            kind: entry.kind.name(),
            amount: format::money(entry.amount),
            balance: format::money(entry.balance_after),
            about: request.or(reason).unwrap_or_default(),
        }
    }
}

/// What an owner said of itself.
struct Said {
    label: &'static str,
    value: String,
}

#[derive(Template)]
#[template(path = "operator_account.html")]
struct AccountPage {
    frame: Frame,
    id: String,
    name: String,
    phone: String,
    badge: Badge,
    is_open: bool,
    available: String,
    balance: String,
    held: String,
    created: When,
    closed: Option<When>,
    allow_list: String,
    low_balance: String,
    budget: String,
    /// What its short messages end with.
    autofill: String,
    sessions: usize,
    said: Vec<Said>,
    senders: Vec<senders::Row>,
    entries: Vec<Entry>,
    more_entries: bool,
    audit: String,
    orders: String,
    problem: Option<Problem>,
    typed: Typed,
    /// A link that signs its owner in once, shown right after it was made.
    login_link: Option<String>,
}

impl AccountPage {
    fn said_of(&self, form: &str) -> Option<&str> {
        said_of(self.problem.as_ref(), form)
    }
}

#[derive(Default)]
struct Typed {
    amount: String,
    adjustment: String,
    reason: String,
}

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/operator/accounts/{id}", get(account))
        .route("/operator/accounts/{id}/credit", post(credit))
        .route("/operator/accounts/{id}/adjust", post(adjust))
        .route("/operator/accounts/{id}/rotate", post(rotate))
        .route("/operator/accounts/{id}/login-link", post(login_link))
        .route("/operator/accounts/{id}/sign-out", post(sign_out))
        .route("/operator/accounts/{id}/close", post(close))
}

async fn account(
    State(app): State<Arc<App>>,
    viewer: OperatorViewer,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    Shown::default().page(&app, &viewer, &id, query.as_deref()).await
}

/// What a page shows besides the account.
#[derive(Default)]
struct Shown {
    problem: Option<Problem>,
    typed: Typed,
    login_link: Option<String>,
}

impl Shown {
    async fn page(
        self,
        app: &App,
        viewer: &OperatorViewer,
        id: &str,
        query: Option<&str>,
    ) -> Result<Response, PageError> {
        let account = find_account(app, id).await.map_err(|refusal| not_found(&refusal))?;
        let key = account.key;
        let sessions = app.site.sessions(SessionOwner::Account(key), viewer.now).await?.len();
        let senders = app.site.senders_of(key, MAX_SENDERS).await?;
        let after = account.entries.saturating_sub(SHOWN_ENTRIES);
        let ever = (Timestamp::from_millis(0), Timestamp::from_millis(i64::MAX / 2));
        let count = usize::try_from(SHOWN_ENTRIES).unwrap_or(usize::MAX);
        let page = app.store.statement(key, ever.0, ever.1, Some(after), count).await?;
        let said = said(app, &account).await?;
        let status = status_of(self.problem.as_ref());
        let place = format!("account {}", key.id);
        let page = AccountPage {
            frame: Frame::console(app, viewer, &account.name, "/operator/accounts").with_done(query, &DONE),
            id: key.id.to_string(),
            phone: format::phone(account.phone),
            badge: standing(&account),
            is_open: account.closed_at.is_none(),
            available: format::money(account.balance - account.held),
            balance: format::money(account.balance),
            held: format::money(account.held),
            created: When::new(account.created_at, viewer.now, &viewer.zone),
            closed: account.closed_at.map(|at| When::new(at, viewer.now, &viewer.zone)),
            allow_list: allow_list(&account),
            low_balance: account.low_balance.as_ref().map_or_else(
                || "not set".to_owned(),
                |low| format!("below {} to {}", format::money(low.below), low.url.as_str()),
            ),
            budget: budget(&account, viewer.now),
            autofill: autofill(&account),
            sessions,
            said,
            senders: senders.iter().map(|sender| senders::Row::new(sender, viewer)).collect(),
            entries: page
                .entries
                .into_iter()
                .rev()
                .map(|entry| Entry::new(entry, viewer))
                .collect(),
            more_entries: after > 0,
            audit: link("/operator/audit", &[("subject", &place)]),
            orders: link("/operator/orders", &[("state", "all"), ("account", id)]),
            name: account.name,
            problem: self.problem,
            typed: self.typed,
            login_link: self.login_link,
        };
        page::html_with(status, &page)
    }
}

pub(super) fn not_found(refusal: &Refusal) -> PageError {
    if refusal.status().is_client_error() {
        PageError::NotFound("account")
    } else {
        PageError::Internal
    }
}

fn budget(account: &AccountProfile, now: Timestamp) -> String {
    let Some(budget) = &account.budget else {
        return "not set".to_owned();
    };
    let spent = account.spending.at(now.plus_millis(account.clock_offset_ms)).spent;
    let percent = budget.percent_used(spent);
    format!(
        "{} of {} spent today, {percent} %",
        format::money(spent),
        format::money(budget.amount)
    )
}

fn autofill(account: &AccountProfile) -> String {
    let set = &account.autofill;
    let website = set.domain.iter().map(|domain| domain.as_str().to_owned());
    let app = set
        .android_hash
        .iter()
        .map(|hash| format!("Android app {}", hash.as_str()));
    let said: Vec<String> = website.chain(app).collect();
    if said.is_empty() {
        "not set".to_owned()
    } else {
        said.join(", ")
    }
}

fn allow_list(account: &AccountProfile) -> String {
    match account.allow_list.as_slice() {
        [] => "every address".to_owned(),
        [one] => one.to_string(),
        ranges => format!("{} ranges", ranges.len()),
    }
}

async fn said(app: &App, account: &AccountProfile) -> Result<Vec<Said>, PageError> {
    let details = app.site.details(account.key).await?;
    let facts = [
        ("Company", details.company),
        ("Website", details.website),
        ("Country", details.country),
        ("What for", details.purpose),
    ];
    Ok(facts
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(label, value)| Said { label, value })
        .collect())
}

/// Answers a form: leads back to the account, or shows it with what was wrong.
async fn answered(
    app: &App,
    viewer: &OperatorViewer,
    id: &str,
    done: Result<&'static str, (&'static str, Refusal)>,
    typed: Typed,
) -> Result<Response, PageError> {
    match done {
        Ok(done) => Ok(page::see_other(&link(
            &format!("/operator/accounts/{id}"),
            &[("done", done)],
        ))),
        Err((form, refusal)) => {
            let shown = Shown {
                problem: Some(Problem::new(form, &refusal)?),
                typed,
                ..Shown::default()
            };
            shown.page(app, viewer, id, None).await
        }
    }
}

fn amount(text: &str) -> Result<Credits, Refusal> {
    // People write it as they see it.
    let text = text.trim_start_matches('$').replace(',', "");
    let (sign, digits) = match text.strip_prefix(['-', '−']) {
        Some(digits) => ("-", digits.trim_start_matches('$')),
        None => ("", text.as_str()),
    };
    Credits::parse(&format!("{sign}{digits}"))
        .map_err(|_| Refusal::bad_request("an amount is written in dollars, like 25 or 0.50"))
}

async fn credit(
    State(app): State<Arc<App>>,
    viewer: OperatorViewer,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    let form = Form::read(&headers, body, &viewer.csrf).await?;
    let done = match amount(form.text("amount")) {
        Ok(amount) => deeds::add_credit(&app, &id, amount).await.map(|_| "credited"),
        Err(refusal) => Err(refusal),
    };
    let typed = Typed {
        amount: form.text("amount").to_owned(),
        ..Typed::default()
    };
    answered(&app, &viewer, &id, done.map_err(|refusal| ("credit", refusal)), typed).await
}

async fn adjust(
    State(app): State<Arc<App>>,
    viewer: OperatorViewer,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    let form = Form::read(&headers, body, &viewer.csrf).await?;
    let done = match amount(form.text("amount")) {
        Ok(amount) => adjustments::adjust_balance(&app, &id, amount, form.text("reason"))
            .await
            .map(|_| "adjusted"),
        Err(refusal) => Err(refusal),
    };
    let typed = Typed {
        adjustment: form.text("amount").to_owned(),
        reason: form.text("reason").to_owned(),
        ..Typed::default()
    };
    answered(&app, &viewer, &id, done.map_err(|refusal| ("adjust", refusal)), typed).await
}

async fn rotate(
    State(app): State<Arc<App>>,
    viewer: OperatorViewer,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    Form::read(&headers, body, &viewer.csrf).await?;
    let done = tokens::renew(&app, &id, TokenKind::Live, Grace::None)
        .await
        .map(|_| "rotated");
    let done = done.map_err(|refusal| ("rotate", refusal));
    answered(&app, &viewer, &id, done, Typed::default()).await
}

/// Shows the link in its answer, and nowhere else: it stands in no address and no log.
async fn login_link(
    State(app): State<Arc<App>>,
    viewer: OperatorViewer,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    Form::read(&headers, body, &viewer.csrf).await?;
    match login_links::link_for(&app, &id, &uri, &headers).await {
        Ok((_, url, _)) => {
            let shown = Shown {
                login_link: Some(url),
                ..Shown::default()
            };
            shown.page(&app, &viewer, &id, None).await
        }
        Err(refusal) => answered(&app, &viewer, &id, Err(("login-link", refusal)), Typed::default()).await,
    }
}

async fn sign_out(
    State(app): State<Arc<App>>,
    viewer: OperatorViewer,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    Form::read(&headers, body, &viewer.csrf).await?;
    let account = find_account(&app, &id).await.map_err(|refusal| not_found(&refusal))?;
    let ended = app.site.end_sessions(SessionOwner::Account(account.key), None).await?;
    let subject = format!("account {}", account.key.id);
    crate::operator::note(&app, "sessions ended", &subject, &ended.to_string()).await?;
    answered(&app, &viewer, &id, Ok("signed-out"), Typed::default()).await
}

async fn close(
    State(app): State<Arc<App>>,
    viewer: OperatorViewer,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    Form::read(&headers, body, &viewer.csrf).await?;
    let done = deeds::close_for_good(&app, &id).await.map(|_| "closed");
    let done = done.map_err(|refusal| ("close", refusal));
    answered(&app, &viewer, &id, done, Typed::default()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_read_as_people_write_it() {
        for (text, micros) in [
            ("25", 25_000_000),
            ("$1,234.50", 1_234_500_000),
            ("−$3", -3_000_000),
            ("-0.5", -500_000),
        ] {
            assert_eq!(amount(text).unwrap(), Credits::from_micros(micros), "{text}");
        }
        for bad in ["", "ten", "1e3", "$"] {
            assert!(amount(bad).is_err(), "{bad:?} passed");
        }
    }
}
