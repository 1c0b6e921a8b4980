//! `/operator/audit`: who did what, to what, and when; newest first.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use axum::routing::get;
use countersign_store::{ActionFilter, ActionRecord, Actor};

use super::{asked, link};
use crate::app::App;
use crate::site::format::When;
use crate::site::frame::Frame;
use crate::site::page::{self, PageError};
use crate::site::viewer::OperatorViewer;

const PATH: &str = "/operator/audit";
/// Lines on one page.
const PAGE_LINES: usize = 50;
const ACTORS: [(Actor, &str); 3] = [
    (Actor::Operator, "Operator"),
    (Actor::Owner, "Owner"),
    (Actor::System, "Server"),
];

#[derive(Template)]
#[template(path = "operator_audit.html")]
struct AuditPage {
    frame: Frame,
    by: String,
    subject: String,
    action: String,
    actors: Vec<(&'static str, &'static str)>,
    filtered: bool,
    lines: Vec<Line>,
    /// Whether this is a later page.
    later: bool,
    next: Option<String>,
}

struct Line {
    when: When,
    who: &'static str,
    action: String,
    subject: String,
    /// Where the subject is to be seen.
    subject_link: Option<String>,
    detail: String,
}

impl Line {
    fn new(record: ActionRecord, viewer: &OperatorViewer) -> Self {
        let who = ACTORS.iter().find(|(actor, _)| actor.name() == record.actor);
        let subject_link = match record.subject.split_once(' ') {
            Some(("account", id)) => Some(format!("/operator/accounts/{id}")),
            Some(("sender", name)) => Some(link("/operator/senders", &[("q", name)])),
            _ if record.subject == "prices" => Some("/operator/prices".to_owned()),
            _ => None,
        };
        Self {
            when: When::exactly(record.at, &viewer.zone),
            who: who.map_or("Server", |(_, word)| *word),
            action: record.action,
            subject: record.subject,
            subject_link,
            detail: record.detail,
        }
    }
}

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route(PATH, get(audit))
}

async fn audit(
    State(app): State<Arc<App>>,
    viewer: OperatorViewer,
    RawQuery(raw): RawQuery,
) -> Result<Response, PageError> {
    let raw = raw.as_deref();
    let [by, subject, action] = ["by", "subject", "action"].map(|name| asked(raw, name));
    let actor = by.as_deref().and_then(|by| {
        ACTORS
            .iter()
            .find(|(actor, _)| actor.name() == by)
            .map(|(actor, _)| *actor)
    });
    let before = asked(raw, "before").and_then(|text| text.parse().ok());
    let filter = ActionFilter {
        by: actor,
        subject: subject.clone(),
        action_prefix: action.clone(),
    };
    let filtered = filter != ActionFilter::default();
    let found = app.site.actions(filter, before, PAGE_LINES).await?;
    let by = actor.map_or_else(String::new, |actor| actor.name().to_owned());
    let [subject, action] = [subject, action].map(Option::unwrap_or_default);
    let next = found.next.map(|number| {
        let before = number.to_string();
        link(
            PATH,
            &[
                ("by", &by),
                ("subject", &subject),
                ("action", &action),
                ("before", &before),
            ],
        )
    });
    page::html(&AuditPage {
        frame: Frame::console(&app, &viewer, "Audit log", PATH),
        by,
        subject,
        action,
        actors: ACTORS.iter().map(|(actor, word)| (actor.name(), *word)).collect(),
        filtered,
        lines: found
            .records
            .into_iter()
            .map(|record| Line::new(record, &viewer))
            .collect(),
        later: before.is_some(),
        next,
    })
}
