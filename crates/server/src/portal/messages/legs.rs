//! What a timeline says of legs, in one line each: which was tried, what it answered, and why the next one was taken. Called
//! by `view` for the lines of events that are about a leg.

use countersign_core::{
    DeliveryState, Detail, LegEnd, LegName, RoutePlan, TimelineEvent, TimelineKind, Timestamp, VerificationRequest,
};

use crate::site::format;
use crate::site::state::Badge;

/// Walks along a request's events, and knows which leg is under way at each of them.
pub(super) struct Legs<'a> {
    request: &'a VerificationRequest,
    /// The place in the plan of the leg under way.
    place: usize,
    /// When it began.
    began_at: Option<Timestamp>,
    /// How many legs have begun in all.
    begun: usize,
}

impl<'a> Legs<'a> {
    pub(super) fn new(request: &'a VerificationRequest, events: &[TimelineEvent]) -> Self {
        let message = request.message.as_ref();
        let mut legs = Self {
            request,
            place: 0,
            began_at: message.map(|message| message.sent_at),
            begun: 0,
        };
        let mut ended = 0;
        while let Some(name) = legs.name(ended)
            && events
                .iter()
                .any(|event| matches!(event.kind, TimelineKind::LegEnded(_)) && event.leg.as_ref() == Some(name))
        {
            ended += 1;
        }
        let under_way = message.map_or(0, |message| usize::from(message.legs.leg));
        // Where none is under way any more, the last one that ended has none behind it.
        legs.begun = if legs.name(under_way).is_some() {
            under_way + 1
        } else {
            ended
        };
        legs
    }

    fn name(&self, place: usize) -> Option<&'a LegName> {
        let plan = self.request.plan.as_deref()?;
        plan.legs.get(place).map(|leg| &leg.name)
    }

    /// The line of an event that is about a leg. Events come in their order.
    pub(super) fn line(&mut self, event: &TimelineEvent) -> (Badge, String) {
        let leg = event.leg.as_ref().map_or("the messenger", LegName::as_str);
        let detail = event.detail.as_ref();
        match event.kind {
            TimelineKind::LegSkipped => (
                Badge::new("waiting", "Passed over", "barred"),
                with_detail(&format!("{leg} was passed over"), detail),
            ),
            TimelineKind::LegAccepted => (
                Badge::new("sent", "Taken", "tick"),
                with_detail(&format!("{leg} took the message"), detail),
            ),
            TimelineKind::LegEnded(end) => self.ended(end, leg, event),
            _ => (
                Badge::new("bad", "Not asked for", "barred"),
                with_detail(
                    "Its recipient says that they asked for no code: the code has ended",
                    detail,
                ),
            ),
        }
    }

    fn ended(&mut self, end: LegEnd, leg: &str, event: &TimelineEvent) -> (Badge, String) {
        let detail = event.detail.as_ref();
        let is_under_way = self.name(self.place) == event.leg.as_ref();
        let began_at = self.began_at;
        let mut next = None;
        if is_under_way {
            self.place += 1;
            self.began_at = Some(event.at);
            next = self.name(self.place).filter(|_| self.place < self.begun);
        }
        let passed = began_at.map_or(0, |began_at| event.at.millis().saturating_sub(began_at.millis()));
        let passed = format::duration(passed.max(0).unsigned_abs());
        let (badge, what) = match end {
            LegEnd::CannotReach => (
                Badge::new("expired", "Not reachable", "barred"),
                format!("{leg} can't reach this number"),
            ),
            LegEnd::Refused => (
                Badge::new("bad", "Refused", "cross"),
                format!("{leg} refused the message"),
            ),
            LegEnd::Failed => (Badge::new("bad", "Failed", "cross"), format!("{leg} failed")),
            LegEnd::NotInTime => (
                Badge::new("waiting", "Not in time", "clock"),
                format!("{leg} did not deliver within {passed}"),
            ),
            LegEnd::Resent => (
                Badge::new("waiting", "Asked again", "clock"),
                format!("{leg} had not delivered after {passed} when it was asked for again"),
            ),
        };
        let what = with_detail(&what, detail);
        let note = match next {
            Some(next) => format!("{what}; {next} is next"),
            None if is_under_way => format!("{what}; no other way is left"),
            None => what,
        };
        (badge, note)
    }
}

/// A route and its legs in their order.
pub(super) fn of_plan(plan: &RoutePlan) -> String {
    let legs: Vec<_> = plan.legs.iter().map(|leg| leg.name.as_str()).collect();
    format!("{}: {}", plan.route.as_str(), legs.join(", then "))
}

/// On which leg a message arrived.
pub(super) fn by(leg: Option<&LegName>) -> String {
    leg.map(|leg| format!("By {leg}")).unwrap_or_default()
}

/// News that changed nothing any more.
pub(super) fn too_late(request: &VerificationRequest, event: &TimelineEvent) -> String {
    let arrived = matches!(request.delivery, DeliveryState::Delivered | DeliveryState::Read);
    let what = match &event.leg {
        Some(leg) if arrived => format!("By {leg} as well; it counts and costs once"),
        Some(leg) => format!("By {leg}, too late to change anything"),
        None => "Too late to change anything".to_owned(),
    };
    with_detail(&what, event.detail.as_ref())
}

pub(super) fn with_detail(what: &str, detail: Option<&Detail>) -> String {
    match detail {
        Some(detail) if !detail.as_str().is_empty() => format!("{what}: {detail}"),
        _ => what.to_owned(),
    }
}
