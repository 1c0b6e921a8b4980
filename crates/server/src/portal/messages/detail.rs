//! `/account/messages/{id}`: one verification request, what happened to it and what was reported of it; withdrawing its
//! message, and letting a lost report go again.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use countersign_core::{
    Action, CodeOrigin, Command, DeliveryState, RequestId, RequestStatus, Timestamp, VerificationRequest,
};
use countersign_store::{Actor, ReportKey, RequestRef, StoreError};

use super::query::PATH;
use super::reports::{self, ReportView};
use super::view::{self, LineView};
use super::{Room, legs};
use crate::app::App;
use crate::site::form::Form;
use crate::site::format::{self, When};
use crate::site::frame::Frame;
use crate::site::page::{self, PageError};
use crate::site::state::Badge;
use crate::site::viewer::Viewer;

static DONE: [(&str, &str); 3] = [
    (
        "revoked",
        "The message is withdrawn, and its code no longer counts. Revoking gives no fee back.",
    ),
    (
        "late",
        "The message was delivered already, so it stays; its code no longer counts.",
    ),
    ("redelivered", "The report goes again, with all its retries."),
];

#[derive(Template)]
#[template(path = "message.html")]
struct Detail {
    frame: Frame,
    path: String,
    id: String,
    /// Whether something may still happen to it.
    live: bool,
    number: String,
    /// All messages to the same number.
    number_path: String,
    delivery: Badge,
    verification: Option<Badge>,
    made: When,
    lines: Vec<LineView>,
    fee: String,
    refunded: bool,
    message: Option<MessageFacts>,
    /// Its route and the route's legs; empty where the built-in messenger is the only one.
    route: String,
    can_revoke: bool,
    inbox: Option<String>,
    reports: Vec<ReportView>,
    /// What the API answers of it.
    json: String,
}

/// What a page says of a message besides its states.
struct MessageFacts {
    sender: Option<String>,
    payload: Option<String>,
    callback_url: Option<String>,
    life: String,
    ends: When,
    over: bool,
    code: String,
}

impl MessageFacts {
    fn of(request: &VerificationRequest, viewer: &Viewer) -> Option<Self> {
        let now = viewer.account_now();
        let message = request.message.as_ref()?;
        let life_ms = message.expires_at.millis().saturating_sub(message.sent_at.millis());
        let whose = match message.origin {
            CodeOrigin::Generated => "made by Countersign",
            CodeOrigin::Supplied => "your own",
        };
        Some(Self {
            sender: message.sender.as_ref().map(ToString::to_string),
            payload: message.payload.as_ref().map(|payload| payload.as_str().to_owned()),
            callback_url: message.callback_url.as_ref().map(|url| url.as_str().to_owned()),
            life: format::duration(life_ms.max(0).unsigned_abs()),
            ends: When::new(message.expires_at, now, &viewer.zone),
            over: now >= message.expires_at,
            code: match message.code.whole() {
                Some(code) => format!("{} digits, {whose}", code.length().digits()),
                None => format!("{whose}; wiped when it ended"),
            },
        })
    }
}

/// Whether time or people can still change a request.
pub(super) fn is_live(request: &VerificationRequest, now: Timestamp) -> bool {
    let message_open = matches!(
        request.delivery,
        DeliveryState::Admitted | DeliveryState::Checked | DeliveryState::Sent | DeliveryState::Delivered
    );
    let in_life = request.message.as_ref().is_none_or(|message| now < message.expires_at);
    in_life && (message_open || request.verification.is_open())
}

pub(super) async fn show(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let request = view::request(&app, &viewer, read_id(&id)?).await?;
    let now = viewer.account_now();
    let reports = reports::reports(&app, &viewer, &request).await?;
    let pending = reports.iter().any(|report| report.due.is_some());
    page::html(&Detail {
        frame: Frame::portal(&app, &viewer, "Message", PATH).with_done(query.as_deref(), &DONE),
        path: view::href(request.id),
        id: request.id.to_string(),
        live: pending || is_live(&request, now),
        number: format::phone(request.phone),
        number_path: format!("{PATH}?q=%2B{}", request.phone.digits()),
        delivery: Badge::delivery(request.delivery),
        verification: Badge::verification(request.verification),
        made: When::new(request.id.created_at(), now, &viewer.zone),
        lines: view::timeline(&app, &viewer, &request).await?,
        fee: format::money(request.fee),
        refunded: request.refunded,
        message: MessageFacts::of(&request, &viewer),
        route: request.plan.as_deref().map(legs::of_plan).unwrap_or_default(),
        can_revoke: request.delivery == DeliveryState::Sent,
        inbox: view::inbox_href(&app, request.phone),
        reports,
        json: status_json(&request),
    })
}

/// What `checkVerificationStatus` answers, but for what was typed: a page is seen by whoever stands beside.
fn status_json(request: &VerificationRequest) -> String {
    let mut status = RequestStatus::from(request);
    if let Some(verification) = &mut status.verification_status {
        verification.code_entered = None;
    }
    serde_json::to_string_pretty(&status).unwrap_or_default()
}

fn read_id(text: &str) -> Result<RequestId, PageError> {
    RequestId::parse(text).ok_or(PageError::NotFound("message"))
}

/// Withdraws the message, as `revokeVerificationMessage` does.
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    Form::read(&headers, body, &viewer.csrf).await?;
    let id = read_id(&id)?;
    let account = viewer.account.key;
    let command = Command {
        now: viewer.now,
        token: None,
        idempotency: None,
        action: Action::Revoke { request: id },
    };
    let outcome = app.store.submit(account, command).await?;
    outcome.map_err(|_| PageError::NotFound("message"))?;
    let request = app.store.request(account, id).await?;
    let revoked = request.is_some_and(|request| request.delivery == DeliveryState::Revoked);
    let done = if revoked { "revoked" } else { "late" };
    Ok(page::see_other(&format!("{}?done={done}", view::href(id))))
}

/// Lets a lost report go again.
pub(super) async fn redeliver(
    State(app): State<Arc<App>>,
    Extension(room): Extension<Arc<Room>>,
    viewer: Viewer,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    let form = Form::read(&headers, body, &viewer.csrf).await?;
    let id = read_id(&id)?;
    let account = viewer.account.key;
    let number = form.text("number").parse();
    let key = ReportKey {
        request: RequestRef { account, id },
        number: number.map_err(|_| PageError::NotFound("delivery report"))?,
    };
    let taken = room.redeliveries.take(account.id, viewer.now);
    taken.map_err(|seconds| PageError::TooMany { seconds })?;
    match app.store.redeliver_report(key, viewer.now, Actor::Owner).await {
        Ok(_) => {}
        // It isn't lost any more: somebody else was quicker, and the page shows where it stands.
        Err(StoreError::NotFound(_)) if app.store.report(key).await?.is_some() => {
            return Ok(page::see_other(&view::href(id)));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(page::see_other(&format!("{}?done=redelivered", view::href(id))))
}
