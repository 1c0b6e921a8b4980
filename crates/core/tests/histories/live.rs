//! What must hold where a code ends because another takes its place.

use countersign_core::{Decision, DeliveryState, VerificationRequest, VerificationState};
use countersign_model::{Books, Submitted};

use crate::checks::{Held, code_goes_when_it_ends, events, hold, states, what_never_changes};
use crate::seen::Seen;

/// Another request's code ends only where this one is sent after the cool-down: withdrawn where it was under way, not refunded.
pub(crate) fn ended(books: &Books, seen: &Seen, submitted: &Submitted, decision: &Decision) -> Held {
    let Some(ended) = &decision.ended else { return Ok(()) };
    let cool_down_ms = books.rules.one_live_code.ok_or("a code ended without the rule")?;
    let mut known = books.requests.iter();
    let before = known.find(|book| book.owner == submitted.account && book.request.id == ended.request.id);
    let before = before.ok_or("an unknown code ended")?;
    let sent = decision
        .request
        .as_ref()
        .filter(|request| request.delivery == DeliveryState::Sent && request.id != ended.request.id)
        .ok_or("a code ended for no message")?;
    let message = |request: &VerificationRequest| request.message.clone().ok_or("no message");
    let (earlier, later) = (message(&before.request)?, message(sent)?);
    hold!(
        (sent.phone, &later.sender, sent.test) == (ended.request.phone, &earlier.sender, ended.request.test),
        "a code for somebody else ended"
    );
    let waited_ms = later.sent_at.millis() - earlier.sent_at.millis();
    hold!(waited_ms >= cool_down_ms, "sent again after {waited_ms} ms");
    hold!(
        ended.request.verification == VerificationState::Expired && ended.request.delivery != DeliveryState::Sent,
        "a code that ended is {:?}",
        ended.request.verification
    );
    let as_a_decision = Decision {
        request: Some(ended.request.clone()),
        timeline: ended.timeline.clone(),
        reports: ended.reports.clone(),
        ..decision.clone()
    };
    states(books, seen, before, &ended.request, &as_a_decision)?;
    events(Some(before), &ended.request, &as_a_decision)?;
    code_goes_when_it_ends(Some(&before.request), &ended.request)?;
    what_never_changes(&before.request, &ended.request)
}
