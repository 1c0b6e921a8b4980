//! `/operator/accounts`: all accounts, found by number, id or the beginning of a name; and new ones.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use countersign_core::{AccountId, Credits};
use countersign_store::AccountProfile;

use super::{Problem, asked, link, said_of, status_of};
use crate::app::App;
use crate::operator::accounts as deeds;
use crate::operator::find_account;
use crate::site::form::Form;
use crate::site::format::{self, When};
use crate::site::frame::Frame;
use crate::site::page::{self, PageError};
use crate::site::state::Badge;
use crate::site::viewer::OperatorViewer;

const PATH: &str = "/operator/accounts";
/// Accounts on one page, and found by a name.
const PAGE_ACCOUNTS: usize = 50;

/// An account in a list.
pub(super) struct Row {
    id: String,
    name: String,
    phone: String,
    available: String,
    badge: Badge,
    created: When,
}

impl Row {
    fn new(account: &AccountProfile, viewer: &OperatorViewer) -> Self {
        Self {
            id: account.key.id.to_string(),
            name: account.name.clone(),
            phone: format::phone(account.phone),
            available: format::money(account.balance - account.held),
            badge: standing(account),
            created: When::new(account.created_at, viewer.now, &viewer.zone),
        }
    }
}

/// Open or closed, as everywhere in the console.
pub(super) const fn standing(account: &AccountProfile) -> Badge {
    if account.closed_at.is_none() {
        Badge::new("good", "Open", "tick")
    } else {
        Badge::new("quiet", "Closed", "barred")
    }
}

#[derive(Template)]
#[template(path = "operator_accounts.html")]
struct AccountsPage {
    frame: Frame,
    query: String,
    rows: Vec<Row>,
    /// Whether more have that name than are shown.
    more: bool,
    later: bool,
    next: Option<String>,
    problem: Option<Problem>,
    typed: Typed,
}

impl AccountsPage {
    fn said_of(&self, form: &str) -> Option<&str> {
        said_of(self.problem.as_ref(), form)
    }
}

#[derive(Default)]
struct Typed {
    name: String,
    phone: String,
}

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route(PATH, get(accounts).post(make))
}

async fn accounts(
    State(app): State<Arc<App>>,
    viewer: OperatorViewer,
    RawQuery(raw): RawQuery,
) -> Result<Response, PageError> {
    shown(&app, &viewer, raw.as_deref(), None, Typed::default()).await
}

async fn shown(
    app: &App,
    viewer: &OperatorViewer,
    raw: Option<&str>,
    problem: Option<Problem>,
    typed: Typed,
) -> Result<Response, PageError> {
    let query = asked(raw, "q");
    let after = asked(raw, "after")
        .and_then(|text| text.parse().ok())
        .and_then(AccountId::new);
    let mut found = match &query {
        None => app.store.accounts(after, PAGE_ACCOUNTS + 1).await?,
        // A number or an id names one account; anything else is the beginning of a name.
        Some(text) => match find_account(app, text).await {
            Ok(account) => vec![account],
            Err(_) => app.site.accounts_named(text, PAGE_ACCOUNTS + 1).await?,
        },
    };
    let more = found.len() > PAGE_ACCOUNTS;
    found.truncate(PAGE_ACCOUNTS);
    let last = found.last().filter(|_| more && query.is_none());
    let next = last.map(|account| link(PATH, &[("after", &account.key.id.to_string())]));
    let status = status_of(problem.as_ref());
    let page = AccountsPage {
        frame: Frame::console(app, viewer, "Accounts", PATH),
        more: more && query.is_some(),
        query: query.unwrap_or_default(),
        rows: found.iter().map(|account| Row::new(account, viewer)).collect(),
        later: after.is_some(),
        next,
        problem,
        typed,
    };
    page::html_with(status, &page)
}

async fn make(
    State(app): State<Arc<App>>,
    viewer: OperatorViewer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    let form = Form::read(&headers, body, &viewer.csrf).await?;
    match deeds::make(&app, form.text("phone"), form.text("name"), Credits::ZERO).await {
        Ok((account, _)) => Ok(page::see_other(&format!("{PATH}/{}?done=made", account.key.id))),
        Err(refusal) => {
            let problem = Problem::new("make", &refusal)?;
            let typed = Typed {
                name: form.text("name").to_owned(),
                phone: form.text("phone").to_owned(),
            };
            shown(&app, &viewer, None, Some(problem), typed).await
        }
    }
}
