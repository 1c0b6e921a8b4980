//! Delivery reports as JSON.

use countersign_core::Timestamp;
use countersign_store::{Actor, KeptAttempt, ReportDetail, ReportKey, ReportKind, ReportProfile, ReportState};
use serde::Serialize;
use utoipa::ToSchema;

/// Who looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// The account's owner.
    Owner,
    /// The operator, who sees no phone number, payload, body or answer.
    Operator,
}

impl Audience {
    /// As the audit log calls them.
    pub(super) const fn actor(self) -> Actor {
        match self {
            Self::Owner => Actor::Owner,
            Self::Operator => Actor::Operator,
        }
    }
}

/// A page of a list.
#[derive(Serialize, ToSchema)]
pub(super) struct ListView {
    pub(super) reports: Vec<ReportView>,
    /// The `before` of the next page; left out on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) next: Option<String>,
}

/// A report in a list. Times are whole Unix seconds.
#[derive(Serialize, ToSchema)]
pub(super) struct ReportView {
    report_id: String,
    kind: &'static str,
    /// Left out where the report isn't about a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    request_id: Option<String>,
    state: &'static str,
    /// Host, and port where it isn't the scheme's own.
    destination: String,
    /// The owner's alone: its path and query may hold a customer's data.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    callback_url: Option<String>,
    attempt_count: u16,
    made_at: i64,
    /// Left out where it is done, or waits behind an earlier report of its request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    due_at: Option<i64>,
    /// Left out while it is pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    finished_at: Option<i64>,
}

/// A report with all that happened to it.
#[derive(Serialize, ToSchema)]
pub(super) struct DetailView {
    #[serde(flatten)]
    report: ReportView,
    /// The body as it is sent, byte for byte; the owner's alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    body: Option<String>,
    attempts: Vec<AttemptView>,
}

#[derive(Serialize, ToSchema)]
struct AttemptView {
    at: i64,
    duration_ms: u32,
    /// The HTTP status, where an answer came.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    status: Option<u16>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<String>,
    /// The beginning of the answer's body; the owner's alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    response: Option<String>,
    /// How often in a row the report was held back instead of sent; left out for an attempt that was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    held_back: Option<u32>,
}

impl ReportView {
    pub(super) fn new(report: &ReportProfile, audience: Audience) -> Self {
        let (kind, request_id) = match report.kind {
            ReportKind::Delivery => ("delivery", Some(report.key.request.id.to_string())),
            ReportKind::LowBalance => ("low_balance", None),
            ReportKind::DailyBudget => ("daily_budget", None),
        };
        let url = &report.callback_url;
        Self {
            report_id: public_id(report.key),
            kind,
            request_id,
            state: state_name(report.state),
            destination: url.destination(),
            callback_url: (audience == Audience::Owner).then(|| url.as_str().to_owned()),
            attempt_count: report.attempts,
            made_at: report.made_at.unix_seconds(),
            due_at: report.due_at.map(Timestamp::unix_seconds),
            finished_at: report.finished_at.map(Timestamp::unix_seconds),
        }
    }
}

impl DetailView {
    pub(super) fn new(detail: &ReportDetail, audience: Audience) -> Self {
        let body = || String::from_utf8_lossy(&detail.body).into_owned();
        Self {
            report: ReportView::new(&detail.profile, audience),
            body: (audience == Audience::Owner).then(body),
            attempts: detail
                .attempts
                .iter()
                .map(|kept| AttemptView::new(kept, audience))
                .collect(),
        }
    }
}

impl AttemptView {
    fn new(kept: &KeptAttempt, audience: Audience) -> Self {
        let attempt = &kept.attempt;
        let has_response = audience == Audience::Owner && !attempt.response.is_empty();
        Self {
            at: attempt.at.unix_seconds(),
            duration_ms: attempt.duration_ms,
            status: attempt.status,
            error: attempt.error.clone(),
            response: has_response.then(|| String::from_utf8_lossy(&attempt.response).into_owned()),
            held_back: (kept.held > 0).then_some(kept.held),
        }
    }
}

/// A report's public id: its request's id and its number.
pub(super) fn public_id(key: ReportKey) -> String {
    format!("{}-{}", key.request.id, key.number)
}

pub(super) const fn state_name(state: ReportState) -> &'static str {
    match state {
        ReportState::Pending => "pending",
        ReportState::Acknowledged => "acknowledged",
        ReportState::Lost => "lost",
    }
}

pub(super) fn state_of(name: &str) -> Option<ReportState> {
    [ReportState::Pending, ReportState::Acknowledged, ReportState::Lost]
        .into_iter()
        .find(|state| state_name(*state) == name)
}
