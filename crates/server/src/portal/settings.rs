//! `/account/settings`: the account's profile, the ends of its short messages (`autofill_form`), the browsers that are signed in, a copy of the data (`export`), and the end of
//! the account.

use std::sync::Arc;

use askama::Template;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use countersign_core::Limit;
use countersign_store::Actor;

use super::autofill_form::{self, AutofillForm};
use super::export;
use super::profile_form::ProfileForm;
use crate::app::App;
use crate::pace::Pace;
use crate::site::bubbles::SmsBubble;
use crate::site::cookies::Cookie;
use crate::site::form::Form;
use crate::site::format::{self, When};
use crate::site::frame::Frame;
use crate::site::page::{self, PageError};
use crate::site::sign_in::set_cookie;
use crate::site::viewer::Viewer;

const HERE: &str = "/account/settings";
/// Changes of one account's profile: each is a sync of the disk and a line in the audit log.
const CHANGES: Limit = Limit {
    count: 10,
    period_ms: 60_000,
};
/// What a redirect back says was done.
const DONE: [(&str, &str); 4] = [
    ("saved", "Your profile is saved."),
    ("autofill", "New short messages end as you said."),
    ("ended", "That browser is signed out."),
    ("others-ended", "All other browsers are signed out."),
];

#[derive(Template)]
#[template(path = "settings.html")]
pub(super) struct SettingsPage {
    frame: Frame,
    form: ProfileForm,
    autofill: AutofillForm,
    /// A short message with what is set at its end.
    sms: SmsBubble,
    devices: Vec<Device>,
    phone: String,
    account_id: String,
    terms: Option<When>,
    /// What closing loses.
    balance: String,
    has_balance: bool,
    has_held: bool,
    last_digits: String,
    close_problem: Option<&'static str>,
}

struct Device {
    id: i64,
    name: String,
    address: String,
    since: When,
    seen: When,
    is_this: bool,
}

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route(HERE, get(settings).post(save))
        .route("/account/settings/autofill", post(autofill_form::save))
        .route("/account/settings/sessions", post(end_sessions))
        .route("/account/settings/close", post(close))
        .layer(Extension(Arc::<Pace>::new(Pace::new(CHANGES))))
        .merge(export::router())
}

pub(super) async fn page_of(
    app: &App,
    viewer: &Viewer,
    query: Option<&str>,
    (form, autofill): (ProfileForm, AutofillForm),
    close_problem: Option<&'static str>,
) -> Result<SettingsPage, PageError> {
    let account = &viewer.account;
    let when = |at| When::new(at, viewer.now, &viewer.zone);
    let sessions = app.site.sessions(viewer.session.owner, viewer.now).await?;
    let devices = sessions.into_iter().map(|session| Device {
        id: session.id,
        since: when(session.created_at),
        seen: when(session.seen_at),
        is_this: session.id == viewer.session.id,
        name: session.device,
        address: session.address,
    });
    Ok(SettingsPage {
        frame: Frame::portal(app, viewer, "Settings", HERE).with_done(query, &DONE),
        form,
        autofill,
        sms: autofill_form::preview(app, viewer),
        devices: devices.collect(),
        phone: format::phone(account.phone),
        account_id: account.key.id.to_string(),
        terms: viewer.details.terms_accepted_at.map(when),
        balance: format::money(account.balance),
        has_balance: !account.balance.is_zero(),
        has_held: !account.held.is_zero(),
        last_digits: last_digits(viewer),
        close_problem,
    })
}

fn last_digits(viewer: &Viewer) -> String {
    format!("{:04}", viewer.account.phone.digits() % 10_000)
}

/// Both forms as they stand in the books.
fn forms(viewer: &Viewer) -> (ProfileForm, AutofillForm) {
    (ProfileForm::of(viewer), AutofillForm::of(viewer))
}

async fn settings(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    page::html(&page_of(&app, &viewer, query.as_deref(), forms(&viewer), None).await?)
}

async fn save(
    State(app): State<Arc<App>>,
    Extension(changes): Extension<Arc<Pace>>,
    viewer: Viewer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    let form = ProfileForm::sent(&Form::read(&headers, body, &viewer.csrf).await?);
    if !form.is_good() {
        let page = page_of(&app, &viewer, None, (form, AutofillForm::of(&viewer)), None).await?;
        return page::html_with(StatusCode::UNPROCESSABLE_ENTITY, &page);
    }
    changes
        .take(viewer.account.key.id, viewer.now)
        .map_err(|seconds| PageError::TooMany { seconds })?;
    app.site
        .set_details(viewer.account.key, form.into_change(None), viewer.now)
        .await?;
    Ok(page::see_other("/account/settings?done=saved"))
}

/// Signs out one browser (`session` is its id) or, without, all but this one.
async fn end_sessions(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    let form = Form::read(&headers, body, &viewer.csrf).await?;
    let owner = viewer.session.owner;
    let Some(id) = form.filled("session") else {
        app.site.end_sessions(owner, Some(viewer.session.id)).await?;
        super::note(&app, viewer.account.key.id, "other browsers signed out", viewer.now).await?;
        return Ok(page::see_other("/account/settings?done=others-ended"));
    };
    let id: i64 = id.parse().map_err(|_| PageError::BadForm)?;
    app.site.end_session(owner, id).await?;
    super::note(&app, viewer.account.key.id, "browser signed out", viewer.now).await?;
    if id == viewer.session.id {
        return Ok(signed_out(&app, "/login?done=out"));
    }
    Ok(page::see_other("/account/settings?done=ended"))
}

fn signed_out(app: &App, to: &str) -> Response {
    let mut response = page::see_other(to);
    set_cookie(&mut response, app, Cookie::Session, "", 0);
    response
}

async fn close(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    let form = Form::read(&headers, body, &viewer.csrf).await?;
    if form.text("digits") != last_digits(&viewer) {
        let problem = "These aren’t the last four digits of the account’s number. Nothing was closed.";
        let page = page_of(&app, &viewer, None, forms(&viewer), Some(problem)).await?;
        return page::html_with(StatusCode::UNPROCESSABLE_ENTITY, &page);
    }
    let account = viewer.account.key;
    app.store.close_account(account, viewer.now, Actor::Owner).await?;
    tracing::info!(account = %account.id, "an owner closed the account");
    Ok(signed_out(&app, "/login?done=closed"))
}
