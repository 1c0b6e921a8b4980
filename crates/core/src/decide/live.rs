//! One live code: where the operator has it so, a send ends the code that the account sent to the same number before, as the
//! same sender; and it waits a little first, so that a person who asks twice isn't sent two codes.

use super::Decider;
use crate::command::{EndedCode, Facts};
use crate::error::ApiError;
use crate::request::{DeliveryState, VerificationRequest};

impl<'a> Decider<'a> {
    /// The earlier message whose code still lives.
    fn earlier(&self) -> Option<&'a VerificationRequest> {
        self.facts.rules.one_live_code?;
        let is_test = self
            .request
            .as_ref()
            .map_or_else(|| self.in_test_mode(), |request| request.test);
        self.facts.earlier.filter(|earlier| {
            let is_another = self.request.as_ref().is_none_or(|request| request.id != earlier.id);
            is_another
                && earlier.test == is_test
                && earlier.delivery >= DeliveryState::Sent
                && earlier.verification.is_open()
                && !earlier.code_life_ended(self.account_now)
        })
    }

    /// Judges a send by the time since the earlier one.
    pub(super) fn require_cooled_down(&self) -> Result<(), ApiError> {
        let (Some(cool_down_ms), Some(earlier)) = (self.facts.rules.one_live_code, self.earlier()) else {
            return Ok(());
        };
        let sent_at = earlier.message.as_ref().map(|message| message.sent_at.millis());
        let wait_ms = sent_at.map_or(0, |sent_at| {
            sent_at
                .saturating_add(cool_down_ms)
                .saturating_sub(self.account_now.millis())
        });
        if wait_ms <= 0 {
            return Ok(());
        }
        let seconds = u32::try_from(wait_ms.unsigned_abs().div_ceil(1_000)).unwrap_or(u32::MAX);
        Err(ApiError::FloodWait { seconds })
    }

    /// Once a message is sent, the earlier one's code ends, as by a revocation: it isn't refunded.
    pub(super) fn end_earlier_code(&mut self) {
        let sent = self
            .request
            .as_ref()
            .is_some_and(|request| request.delivery == DeliveryState::Sent && Some(request) != self.facts.request);
        let Some(earlier) = self.earlier().filter(|_| sent) else {
            return;
        };
        let facts = Facts {
            request: Some(earlier),
            ..self.facts.clone()
        };
        let mut ending = Decider::new(&facts, self.command);
        ending.request = Some(earlier.clone());
        ending.apply_due_steps();
        if ending.revoke().is_err() {
            return;
        }
        let Decider {
            decision,
            request: Some(mut request),
            ..
        } = ending
        else {
            return;
        };
        request.wipe_ended_code();
        self.decision.ended = Some(Box::new(EndedCode {
            request,
            timeline: decision.timeline,
            reports: decision.reports,
            work: decision.work,
        }));
    }
}
