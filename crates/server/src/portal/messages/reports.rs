//! What a message's page shows of its delivery reports: where each stands, every attempt, and what the receiver answered.

use countersign_core::VerificationRequest;
use countersign_store::{
    KeptAttempt, ReportDetail, ReportFilter, ReportKey, ReportKind, ReportState, RequestRef, StoreError,
};

use crate::app::App;
use crate::site::format::{self, When};
use crate::site::state::Badge;
use crate::site::viewer::Viewer;

/// Reports of one request: its states after `sent`, of which the rules know no more than three.
const MOST: usize = 16;
/// Letters of an answer that are shown; the owner's API has the rest of what is kept.
const SHOWN_ANSWER: usize = 1_000;

/// A delivery report on a page.
pub(super) struct ReportView {
    pub(super) number: u16,
    /// The state that it reports.
    pub(super) tells: String,
    pub(super) badge: Badge,
    pub(super) lost: bool,
    pub(super) url: String,
    pub(super) made: When,
    /// When it goes next.
    pub(super) due: Option<When>,
    pub(super) body: String,
    pub(super) attempts: Vec<AttemptView>,
}

/// An attempt to send it.
pub(super) struct AttemptView {
    pub(super) when: When,
    /// `200`, or a dash.
    pub(super) status: String,
    pub(super) duration: String,
    pub(super) good: bool,
    /// What became of it, in words.
    pub(super) outcome: String,
    /// The beginning of the receiver's answer.
    pub(super) answer: String,
}

/// Reads the reports of a request, the first first.
pub(super) async fn reports(
    app: &App,
    viewer: &Viewer,
    request: &VerificationRequest,
) -> Result<Vec<ReportView>, StoreError> {
    let reference = RequestRef {
        account: request.account,
        id: request.id,
    };
    // The list goes back from the request's last possible report; behind its reports come those of older requests.
    let before = ReportKey {
        request: reference,
        number: u16::MAX,
    };
    let listed = app
        .store
        .reports(request.account, ReportFilter::All, Some(before), MOST)
        .await?;
    let mut views = Vec::new();
    for report in listed.iter().rev() {
        if report.key.request != reference || report.kind != ReportKind::Delivery {
            continue;
        }
        if let Some(detail) = app.store.report(report.key).await? {
            views.push(ReportView::new(&detail, viewer));
        }
    }
    Ok(views)
}

impl ReportView {
    fn new(detail: &ReportDetail, viewer: &Viewer) -> Self {
        let profile = &detail.profile;
        let json = serde_json::from_slice::<serde_json::Value>(&detail.body).ok();
        let told = json
            .as_ref()
            .and_then(|json| json["delivery_status"]["status"].as_str());
        let body = json.as_ref().and_then(|json| serde_json::to_string_pretty(json).ok());
        Self {
            number: profile.key.number,
            tells: told.unwrap_or("state").to_owned(),
            badge: match profile.state {
                ReportState::Pending => Badge::new("waiting", "Waiting", "clock"),
                ReportState::Acknowledged => Badge::new("good", "Acknowledged", "tick"),
                ReportState::Lost => Badge::new("bad", "Lost", "cross"),
            },
            lost: profile.state == ReportState::Lost,
            url: profile.callback_url.as_str().to_owned(),
            made: When::new(profile.made_at, viewer.now, &viewer.zone),
            due: profile.due_at.map(|at| When::new(at, viewer.now, &viewer.zone)),
            body: body.unwrap_or_else(|| String::from_utf8_lossy(&detail.body).into_owned()),
            attempts: detail
                .attempts
                .iter()
                .map(|attempt| AttemptView::new(attempt, viewer))
                .collect(),
        }
    }
}

impl AttemptView {
    fn new(kept: &KeptAttempt, viewer: &Viewer) -> Self {
        let attempt = &kept.attempt;
        let answer = String::from_utf8_lossy(&attempt.response);
        let outcome = match (&attempt.error, kept.held) {
            (Some(error), held) if held > 1 => format!("Held back {held} times: {error}"),
            (Some(error), 1) => format!("Held back: {error}"),
            (Some(error), _) => error.clone(),
            (None, _) => "Acknowledged".to_owned(),
        };
        Self {
            when: When::exactly(attempt.at, &viewer.zone),
            status: attempt
                .status
                .map_or_else(|| "–".to_owned(), |status| status.to_string()),
            duration: if kept.held > 0 {
                "–".to_owned()
            } else {
                format::duration(attempt.duration_ms.into())
            },
            good: attempt.error.is_none(),
            outcome,
            answer: match answer.char_indices().nth(SHOWN_ANSWER) {
                Some((end, _)) => format!("{}…", &answer[..end]),
                None => answer.into_owned(),
            },
        }
    }
}
