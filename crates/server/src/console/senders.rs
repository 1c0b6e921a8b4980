//! `/operator/senders`: names that wait for the verified mark, and all others. Verifying and refusing are the operator API's
//! own functions.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{get, post};
use countersign_core::SenderUsername;
use countersign_store::{SenderDetail, Verification};

use super::{Problem, asked, link, said_of, status_of};
use crate::answer::Refusal;
use crate::app::App;
use crate::operator::senders as deeds;
use crate::senders::{SenderFace, look_word, standing};
use crate::site::form::Form;
use crate::site::format::When;
use crate::site::frame::Frame;
use crate::site::page::{self, PageError};
use crate::site::state::Badge;
use crate::site::viewer::OperatorViewer;

const PATH: &str = "/operator/senders";
/// Requests on the page; the oldest come first, so answering them brings the next.
const SHOWN_REQUESTS: usize = 20;
/// Senders on one page of the list.
const PAGE_SENDERS: usize = 50;

const DONE: [(&str, &str); 2] = [
    ("verified", "The sender is verified: its account can send by this name."),
    ("refused", "The sender was refused. Its owner reads why."),
];

/// A sender as the console shows it.
pub(super) struct Row {
    pub(super) username: String,
    pub(super) face: SenderFace,
    support_url: String,
    account: String,
    pub(super) badge: Badge,
    created: When,
    /// When it was asked for, answered or refused.
    since: Option<When>,
    /// What its owner says for it, or why it was refused.
    said: String,
    is_verified: bool,
    /// What of its look was shown: only that is verified.
    seen: String,
}

impl Row {
    pub(super) fn new(sender: &SenderDetail, viewer: &OperatorViewer) -> Self {
        let (since, said) = match &sender.verification {
            Verification::None => (None, ""),
            Verification::Requested { at, note } => (Some(*at), note.as_str()),
            Verification::Verified { at } => (Some(*at), ""),
            Verification::Refused { at, reason } => (Some(*at), reason.as_str()),
        };
        let when = |at| When::new(at, viewer.now, &viewer.zone);
        Self {
            username: sender.profile.username.as_str().to_owned(),
            face: SenderFace::of(sender),
            support_url: sender.look.support_url.clone(),
            account: sender.profile.account.id.to_string(),
            badge: standing(&sender.verification),
            created: when(sender.profile.created_at),
            since: since.map(when),
            said: said.to_owned(),
            is_verified: matches!(sender.verification, Verification::Verified { .. }),
            seen: look_word(sender),
        }
    }
}

#[derive(Template)]
#[template(path = "operator_senders.html")]
struct SendersPage {
    frame: Frame,
    requests: Vec<Row>,
    more_requests: bool,
    query: String,
    rows: Vec<Row>,
    later: bool,
    next: Option<String>,
    problem: Option<Problem>,
    /// The sender whose form was wrong, and its reason as it was typed.
    wrong: String,
    reason: String,
}

impl SendersPage {
    /// What was said about the form of one sender.
    fn said_of(&self, username: &str) -> Option<&str> {
        said_of(self.problem.as_ref(), "refuse").filter(|_| self.wrong == username)
    }

    /// What was said about a form that isn't on the page any more.
    fn said_at_large(&self) -> Option<&str> {
        let is_shown = |rows: &[Row]| rows.iter().any(|row| row.username == self.wrong);
        let problem = self.problem.as_ref()?;
        let beside = problem.form == "refuse" && (is_shown(&self.requests) || is_shown(&self.rows));
        (!beside).then_some(problem.sentence.as_str())
    }
}

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route(PATH, get(senders))
        .route("/operator/senders/{username}/verify", post(verify))
        .route("/operator/senders/{username}/refuse", post(refuse))
}

async fn senders(
    State(app): State<Arc<App>>,
    viewer: OperatorViewer,
    RawQuery(raw): RawQuery,
) -> Result<Response, PageError> {
    shown(&app, &viewer, raw.as_deref(), None, ("", "")).await
}

async fn shown(
    app: &App,
    viewer: &OperatorViewer,
    raw: Option<&str>,
    problem: Option<Problem>,
    (wrong, reason): (&str, &str),
) -> Result<Response, PageError> {
    let query = asked(raw, "q");
    let after = asked(raw, "after").and_then(|text| SenderUsername::parse(&text));
    let mut requests = app.site.requested_senders(None, SHOWN_REQUESTS + 1).await?;
    let more_requests = requests.len() > SHOWN_REQUESTS;
    requests.truncate(SHOWN_REQUESTS);
    let mut found = match &query {
        None => app.site.all_senders(after.clone(), PAGE_SENDERS + 1).await?,
        Some(text) => match SenderUsername::parse(text) {
            Some(username) => {
                let sender = app.site.sender_detail(&username).await?;
                sender.as_deref().cloned().into_iter().collect()
            }
            None => Vec::new(),
        },
    };
    let more = found.len() > PAGE_SENDERS;
    found.truncate(PAGE_SENDERS);
    let last = found.last().filter(|_| more);
    let next = last.map(|sender| link(PATH, &[("after", sender.profile.username.as_str())]));
    let rows = |senders: &[SenderDetail]| senders.iter().map(|sender| Row::new(sender, viewer)).collect();
    let status = status_of(problem.as_ref());
    let page = SendersPage {
        frame: Frame::console(app, viewer, "Senders", PATH).with_done(raw, &DONE),
        requests: rows(&requests),
        more_requests,
        query: query.unwrap_or_default(),
        rows: rows(&found),
        later: after.is_some(),
        next,
        problem,
        wrong: wrong.to_owned(),
        reason: reason.to_owned(),
    };
    page::html_with(status, &page)
}

async fn answered(
    app: &App,
    viewer: &OperatorViewer,
    form: &'static str,
    done: Result<&str, Refusal>,
    typed: (&str, &str),
) -> Result<Response, PageError> {
    match done {
        Ok(done) => Ok(page::see_other(&link(PATH, &[("done", done)]))),
        Err(refusal) => shown(app, viewer, None, Some(Problem::new(form, &refusal)?), typed).await,
    }
}

async fn verify(
    State(app): State<Arc<App>>,
    viewer: OperatorViewer,
    Path(username): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    let form = Form::read(&headers, body, &viewer.csrf).await?;
    let done = match as_seen(&app, &username, form.text("seen")).await? {
        Ok(()) => deeds::verify_named(&app, &username).await.map(|_| "verified"),
        Err(refusal) => Err(refusal),
    };
    answered(&app, &viewer, "verify", done, (&username, "")).await
}

/// Refuses to verify what the operator hasn't seen: an owner can change a sender's look while its request is looked at.
async fn as_seen(app: &App, username: &str, seen: &str) -> Result<Result<(), Refusal>, PageError> {
    let Some(username) = SenderUsername::parse(username) else {
        return Ok(Ok(()));
    };
    let sender = app.site.sender_detail(&username).await?;
    Ok(match sender {
        Some(sender) if look_word(&sender) != seen => Err(Refusal::conflict(format!(
            "{username} was changed since this page showed it: look at it again before you verify it"
        ))),
        // Whoever isn't there is told so by whoever verifies.
        _ => Ok(()),
    })
}

async fn refuse(
    State(app): State<Arc<App>>,
    viewer: OperatorViewer,
    Path(username): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    let form = Form::read(&headers, body, &viewer.csrf).await?;
    let reason = form.text("reason");
    let done = deeds::refuse_named(&app, &username, reason).await.map(|_| "refused");
    answered(&app, &viewer, "refuse", done, (&username, reason)).await
}
