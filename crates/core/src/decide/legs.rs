//! From leg to leg: when the next one begins, by its own time or because the recipient asked again, and which were passed over.

use super::{Decider, Outcome};
use crate::command::{LegEnd, TimelineKind, Work};
use crate::error::ApiError;
use crate::request::DeliveryState;
use crate::route::{Detail, LATE_START_MS, LegName, MAX_LEGS};
use crate::time::Timestamp;

/// How long a leg is under way at least before its recipient can ask for the next one, in milliseconds.
pub const RESEND_PAUSE_MS: i64 = 5_000;

impl Decider<'_> {
    /// Notes the legs that were passed over before anything was asked of them.
    pub(super) fn skip_legs(&mut self, skipped: &[(LegName, Detail)]) {
        for (leg, why) in skipped.iter().take(MAX_LEGS) {
            self.record(TimelineKind::LegSkipped, self.account_now, Some(leg.clone()), Some(why));
        }
    }

    /// The leg under way told of no arrival within its wait, which ended at `due`; one may still come. A worker that comes so
    /// late that no leg may begin any more leaves it under way until the end of the message's life.
    pub(super) fn end_wait_of_leg(&mut self, due: Timestamp) -> bool {
        let now = self.account_now;
        let Some(request) = &mut self.request else { return false };
        if !request.may_begin_due_leg(due, now) {
            if let Some(message) = &mut request.message {
                // So that nobody is woken for this wait again: a wait that begins now ends too late for any leg.
                message.legs.started_at = now;
            }
            return request.next_leg_at().is_none();
        }
        let leg = self.leg_name();
        self.record(TimelineKind::LegEnded(LegEnd::NotInTime), now, leg, None);
        // What a worker is late doesn't add up over the legs. Whoever comes much later, or later than the new leg's wait
        // takes, begins anew: no leg is passed over.
        let in_time = now.millis() - due.millis() <= LATE_START_MS;
        self.go_to_next_leg(if in_time { due } else { now });
        if let Some(request) = &mut self.request
            && request.next_leg_at().is_some_and(|at| at <= now)
            && let Some(message) = &mut request.message
        {
            message.legs.started_at = now;
        }
        true
    }

    /// "Next leg now": the recipient got nothing and asks again, on the same request, code and fee.
    pub(super) fn next_leg_now(&mut self) -> Outcome {
        let now = self.account_now;
        let request = self.request.as_ref().ok_or(ApiError::RequestIdInvalid)?;
        let message = request.message.as_ref().ok_or(ApiError::RequestIdInvalid)?;
        if request.delivery < DeliveryState::Sent {
            return Err(ApiError::RequestIdInvalid);
        }
        let was_on = self.facts.request.and_then(|request| request.message.as_ref());
        if was_on.is_some_and(|was| was.legs.leg < message.legs.leg) && request.leg_under_way().is_some() {
            // Its time had come just so: what is asked for has been done.
            return self.status();
        }
        if !request.may_begin_next_leg(now) {
            return Err(ApiError::ResendNotPossible);
        }
        let wait_ms = message.legs.started_at.millis() + RESEND_PAUSE_MS - now.millis();
        if wait_ms > 0 {
            let seconds = u32::try_from(wait_ms.unsigned_abs().div_ceil(1_000)).unwrap_or(u32::MAX);
            return Err(ApiError::FloodWait { seconds });
        }
        let leg = self.leg_name();
        self.record(TimelineKind::LegEnded(LegEnd::Resent), now, leg, None);
        self.begin_next_leg();
        self.status()
    }

    /// Begins the next leg, if one may begin.
    pub(super) fn begin_next_leg(&mut self) -> bool {
        let now = self.account_now;
        let may_begin = self
            .request
            .as_ref()
            .is_some_and(|request| request.may_begin_next_leg(now));
        if may_begin {
            self.go_to_next_leg(now);
        }
        may_begin
    }

    fn go_to_next_leg(&mut self, started_at: Timestamp) {
        if let Some(message) = self.request.as_mut().and_then(|request| request.message.as_mut()) {
            message.legs.begin_next(started_at);
            message.accepted = false;
            self.decision.work = Some(Work::Deliver);
        }
    }

    /// The last leg is over: nothing is handed over any more. What legs took may still arrive.
    pub(super) fn no_leg_under_way(&mut self) {
        let Some(request) = &mut self.request else { return };
        if let (Some(message), Some(plan)) = (&mut request.message, &request.plan) {
            message.legs.leg = u8::try_from(plan.legs.len()).unwrap_or(u8::MAX);
            message.accepted = true;
        }
    }

    fn leg_name(&self) -> Option<LegName> {
        self.request.as_ref()?.leg_under_way().cloned()
    }
}
