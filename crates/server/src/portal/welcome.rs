//! `/account/welcome`: the questions of the first sign-in. Until they are answered every other page of the account leads here.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;

use super::profile_form::ProfileForm;
use crate::app::App;
use crate::site::form::Form;
use crate::site::format;
use crate::site::frame::Frame;
use crate::site::page::{self, PageError};
use crate::site::sign_in::{next_of, with_next};
use crate::site::viewer::{Newcomer, Viewer};

#[derive(Template)]
#[template(path = "welcome.html")]
struct Welcome {
    frame: Frame,
    action: String,
    form: ProfileForm,
    terms_problem: Option<&'static str>,
}

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/account/welcome", get(welcome).post(answer))
}

fn page_of(app: &App, viewer: &Viewer, next: &str, form: ProfileForm, terms_problem: Option<&'static str>) -> Welcome {
    Welcome {
        frame: Frame::portal(app, viewer, "Welcome", "/account/welcome"),
        action: with_next("/account/welcome", next),
        form,
        terms_problem,
    }
}

async fn welcome(
    State(app): State<Arc<App>>,
    Newcomer(viewer): Newcomer,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let next = next_of(query.as_deref());
    if viewer.details.onboarded_at.is_some() {
        return Ok(page::see_other(&next));
    }
    let mut form = ProfileForm::of(&viewer);
    // Who signed up is called by the number until now; the operator's name for an account is worth keeping.
    if form.name == format::phone(viewer.account.phone) {
        form.name.clear();
    }
    if form.country.is_empty()
        && let Some(region) = viewer.account.phone.details().region
    {
        form.country = region.iter().copied().map(char::from).collect();
    }
    page::html(&page_of(&app, &viewer, &next, form, None))
}

async fn answer(
    State(app): State<Arc<App>>,
    Newcomer(viewer): Newcomer,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    let sent = Form::read(&headers, body, &viewer.csrf).await?;
    let next = next_of(query.as_deref());
    if viewer.details.onboarded_at.is_some() {
        // Sent twice, or from an old page: the settings change what was answered.
        return Ok(page::see_other(&next));
    }
    let mut form = ProfileForm::sent(&sent);
    form.time_zone.clone_from(&viewer.details.time_zone);
    form.zone_problem = None;
    let terms_problem = (!sent.ticked("terms")).then_some("Read the terms and accept them to go on.");
    if !form.is_good() || terms_problem.is_some() {
        let page = page_of(&app, &viewer, &next, form, terms_problem);
        return page::html_with(StatusCode::UNPROCESSABLE_ENTITY, &page);
    }
    let change = form.into_change(Some(app.login.terms.version.clone()));
    app.site.set_details(viewer.account.key, change, viewer.now).await?;
    Ok(page::see_other(&next))
}
