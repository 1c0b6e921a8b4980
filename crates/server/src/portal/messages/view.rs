//! What the pages show of a verification request: rows of a list, and the lines of its timeline.

use countersign_core::{
    Action, Command, News, PhoneNumber, RequestId, TimelineEvent, TimelineKind, Timestamp, VerificationRequest,
    VerificationState, status_at,
};
use countersign_core::{CodeOrigin, DeliveryState};
use countersign_store::RequestRef;

use super::legs::{self, Legs};
use super::query::PATH;
use crate::app::App;
use crate::site::format::{self, When};
use crate::site::page::PageError;
use crate::site::state::Badge;
use crate::site::viewer::Viewer;

/// The longest text of a payload in a list.
const SHORT_TEXT: usize = 32;

/// A request in a list.
pub(crate) struct RowView {
    pub(crate) href: String,
    pub(crate) when: When,
    pub(crate) number: String,
    pub(crate) delivery: Badge,
    pub(crate) verification: Option<Badge>,
    pub(crate) fee: String,
    pub(crate) refunded: bool,
    pub(crate) sender: String,
    /// Shortened, and whole.
    pub(crate) payload: (String, String),
    pub(crate) test: bool,
}

impl RowView {
    pub(crate) fn new(request: &VerificationRequest, viewer: &Viewer) -> Self {
        let now = viewer.account_now();
        let mut request = request.clone();
        request.end_overdue_code(now);
        let message = request.message.as_ref();
        let sender = message.and_then(|message| message.sender.as_ref());
        let payload = message.and_then(|message| message.payload.as_ref());
        let payload = payload.map_or("", |payload| payload.as_str());
        Self {
            href: href(request.id),
            when: When::new(request.id.created_at(), now, &viewer.zone),
            number: format::phone(request.phone),
            delivery: Badge::delivery(request.delivery),
            verification: Badge::verification(request.verification),
            fee: format::money(request.fee),
            refunded: request.refunded,
            sender: sender.map(ToString::to_string).unwrap_or_default(),
            payload: (shortened(payload), payload.to_owned()),
            test: request.test,
        }
    }
}

/// The page of a request.
pub(crate) fn href(id: RequestId) -> String {
    format!("{PATH}/{id}")
}

/// The inbox of a number, where messages are read in the sandbox.
pub(crate) fn inbox_href(app: &App, phone: PhoneNumber) -> Option<String> {
    app.inbox
        .as_ref()
        .map(|_| format!("/inbox?phone=%2B{}", phone.digits()))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHORT_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Reads an account's request; what time has changed is settled first, so that the page agrees with the API.
pub(crate) async fn request(app: &App, viewer: &Viewer, id: RequestId) -> Result<VerificationRequest, PageError> {
    let account = viewer.account.key;
    let missing = PageError::NotFound("message");
    let found = app.store.request(account, id).await?.ok_or(missing)?;
    let known = !matches!(found.delivery, DeliveryState::Admitted | DeliveryState::Unreachable);
    if known && status_at(&found, viewer.account_now()).is_none() {
        let command = Command {
            now: viewer.now,
            token: None,
            idempotency: None,
            action: Action::Wake { request: id },
        };
        // Waking refuses nothing; where the books are busy, the page shows what stands there.
        let _ = app.store.submit(account, command).await;
    }
    let read = app.store.request(account, id).await?;
    let mut request = read.ok_or(PageError::NotFound("message"))?;
    request.end_overdue_code(viewer.account_now());
    Ok(request)
}

/// A line of a timeline.
pub(crate) struct LineView {
    pub(crate) badge: Badge,
    pub(crate) note: String,
    pub(crate) when: When,
    /// How long after the line before it; empty for the first.
    pub(crate) after: String,
}

/// Reads what happened to a request, from its making to the check of its code.
pub(crate) async fn timeline(
    app: &App,
    viewer: &Viewer,
    request: &VerificationRequest,
) -> Result<Vec<LineView>, PageError> {
    let reference = RequestRef {
        account: request.account,
        id: request.id,
    };
    let events = app.site.timeline(reference).await?;
    let lines = lines(request, &events);
    let mut before = None;
    Ok(lines
        .into_iter()
        .map(|line| {
            let passed = before.map(|before: Timestamp| line.at.millis().saturating_sub(before.millis()));
            before = Some(line.at);
            LineView {
                badge: line.badge,
                note: line.note,
                when: When::exactly(line.at, &viewer.zone),
                after: passed
                    .map(|ms| format!("+{}", format::duration(ms.max(0).unsigned_abs())))
                    .unwrap_or_default(),
            }
        })
        .collect())
}

struct Line {
    at: Timestamp,
    badge: Badge,
    note: String,
}

/// The sending and the checks of the code stand in the request itself; its events are what came between.
fn lines(request: &VerificationRequest, events: &[TimelineEvent]) -> Vec<Line> {
    let created_at = request.id.created_at();
    let line = |at, badge, note: &str| Line {
        at,
        badge,
        note: note.to_owned(),
    };
    let mut lines = Vec::new();
    match (&request.message, request.delivery) {
        (None, DeliveryState::Admitted) => {
            lines.push(line(
                created_at,
                Badge::delivery(DeliveryState::Admitted),
                "The fee is on hold",
            ));
        }
        (None, DeliveryState::Unreachable) => {
            let badge = Badge::delivery(DeliveryState::Unreachable);
            lines.push(line(request.delivery_updated_at, badge, "Nothing was charged"));
        }
        (None, _) => lines.push(line(
            created_at,
            Badge::delivery(DeliveryState::Checked),
            "The number can be reached; no message was sent on this request",
        )),
        (Some(message), _) => {
            if message.sent_at != created_at {
                let note = "The number can be reached";
                lines.push(line(created_at, Badge::delivery(DeliveryState::Checked), note));
            }
            let note = match &message.sender {
                Some(sender) => format!("As {sender}"),
                None => String::new(),
            };
            lines.push(line(message.sent_at, Badge::delivery(DeliveryState::Sent), &note));
        }
    }
    let mut legs = Legs::new(request, events);
    for event in events {
        let (badge, note) = match event.kind {
            TimelineKind::Became(state) => {
                let by = legs::by(event.leg.as_ref());
                let notes = [by, became(request, state).to_owned()];
                let notes: Vec<_> = notes.into_iter().filter(|note| !note.is_empty()).collect();
                (Badge::delivery(state), notes.join("; "))
            }
            TimelineKind::TooLate(news) => (
                Badge::new("waiting", too_late(news), "clock"),
                legs::too_late(request, event),
            ),
            TimelineKind::DeliveryFailed => (
                Badge::new("bad", "Delivery failed", "cross"),
                legs::with_detail("The last way to deliver it failed for good", event.detail.as_ref()),
            ),
            TimelineKind::LegSkipped
            | TimelineKind::LegAccepted
            | TimelineKind::LegEnded(_)
            | TimelineKind::Disowned => legs.line(event),
        };
        lines.push(line(event.at, badge, &note));
    }
    let disowned = events.iter().any(|event| event.kind == TimelineKind::Disowned);
    // The line of the recipient's word says that the code ended.
    if let Some(badge) = Badge::verification(request.verification).filter(|_| !disowned) {
        let note = match (request.verification, request.wrong_attempts) {
            (VerificationState::Valid, 0) => "Entered right at the first try".to_owned(),
            (VerificationState::Valid, wrong) => format!("After {}", times_wrong(wrong)),
            (VerificationState::Expired, 0) => "Nobody entered it in time".to_owned(),
            (_, wrong) => times_wrong(wrong),
        };
        lines.push(line(request.verification_updated_at, badge, &note));
    }
    lines.sort_by_key(|line| line.at);
    lines
}

fn times_wrong(wrong: u8) -> String {
    match wrong {
        1 => "1 wrong code".to_owned(),
        wrong => format!("{wrong} wrong codes"),
    }
}

fn became(request: &VerificationRequest, state: DeliveryState) -> &'static str {
    let generated = request
        .message
        .as_ref()
        .is_some_and(|message| message.origin == CodeOrigin::Generated);
    match state {
        DeliveryState::Expired if request.refunded => "Not delivered in time; its fee was given back",
        DeliveryState::Expired => "Not delivered in time",
        DeliveryState::Revoked => "Withdrawn before it was delivered",
        DeliveryState::Read
            if generated
                && request.verification == VerificationState::Valid
                && request.verification_updated_at == request.delivery_updated_at =>
        {
            "Proved by the right code"
        }
        _ => "",
    }
}

const fn too_late(news: News) -> &'static str {
    match news {
        News::Accepted => "Accepted later",
        News::Delivered => "Delivered later",
        News::Read => "Read later",
        News::CannotReach => "Not reachable, later",
        News::Refused => "Refused later",
        News::Failed => "Failed later",
        News::Disowned => "Its recipient says that they asked for no code",
    }
}
