//! Judging a code and withdrawing a message: `checkVerificationStatus`, `revokeVerificationMessage`.

use super::{Decider, Outcome};
use crate::code::EnteredCode;
use crate::command::{Answer, Work};
use crate::error::ApiError;
use crate::request::{CodeOrigin, DeliveryState, VerificationState};
use crate::time::Timestamp;
use crate::wire::{RequestStatus, VerificationStatus};

impl Decider<'_> {
    pub(super) fn check(&mut self, code: Option<&EnteredCode>) -> Outcome {
        let request = self.request.as_ref().ok_or(ApiError::RequestIdInvalid)?;
        if matches!(request.delivery, DeliveryState::Admitted | DeliveryState::Unreachable) {
            return Err(ApiError::RequestIdInvalid);
        }
        let Some(entered) = code else { return self.status() };
        let before = request.verification;
        let (state, updated_at) = self.judge_code(entered)?;
        let request = self.request.as_ref().ok_or(ApiError::RequestIdInvalid)?;
        let mut status = Box::new(RequestStatus::from(request));
        // The answer is about the code that was asked about, which isn't always the one that is stored.
        status.verification_status = VerificationStatus::new(state, updated_at, Some(entered));
        let proved_now = request.verification == VerificationState::Valid && before != VerificationState::Valid;
        Ok(if proved_now {
            Answer::Verified(status)
        } else {
            Answer::Status(status)
        })
    }

    /// What is to be said of an entered code, and since when.
    fn judge_code(&mut self, entered: &EnteredCode) -> Result<(VerificationState, Timestamp), ApiError> {
        let now = self.account_now;
        let max_attempts = self.facts.rules.max_check_attempts.max(1);
        let request = self.request.as_mut().ok_or(ApiError::RequestIdInvalid)?;
        let message = request.message.as_ref().ok_or(ApiError::RequestIdInvalid)?;
        let right = message.code.matches(request.id, entered);
        let proves_delivery = message.origin == CodeOrigin::Generated;
        match request.verification {
            VerificationState::Valid if !right => return Ok((VerificationState::Invalid, now)),
            VerificationState::Valid | VerificationState::AttemptsExceeded | VerificationState::Expired => {
                return Ok((request.verification, request.verification_updated_at));
            }
            VerificationState::Unchecked | VerificationState::Invalid => {}
        }
        if right {
            // It is the code itself, and a report is made of what stands here.
            request.code_entered = None;
            request.move_verification(VerificationState::Valid, now);
            let goes_on = request.delivery == DeliveryState::Sent
                && request.plan.as_ref().is_some_and(|plan| plan.legs.len() > 1);
            if goes_on {
                // Its code is of no more use: what legs took is withdrawn, and nothing more is handed over.
                self.decision.work = Some(Work::Withdraw);
                if let Some(message) = &mut request.message {
                    message.accepted = true;
                }
            }
            if proves_delivery {
                self.move_delivery(DeliveryState::Read, now);
            }
            return Ok((VerificationState::Valid, now));
        }
        request.code_entered = Some(entered.clone());
        request.wrong_attempts = request.wrong_attempts.saturating_add(1);
        let next = if request.wrong_attempts >= max_attempts {
            VerificationState::AttemptsExceeded
        } else {
            VerificationState::Invalid
        };
        request.move_verification(next, now);
        Ok((next, now))
    }

    /// Withdraws what isn't delivered yet and ends an unused code; never refunds.
    pub(super) fn revoke(&mut self) -> Outcome {
        let now = self.account_now;
        let request = self.request.as_mut().ok_or(ApiError::RequestIdInvalid)?;
        if request.message.is_none() || request.delivery < DeliveryState::Sent {
            return Err(ApiError::RequestIdInvalid);
        }
        request.move_verification(VerificationState::Expired, now);
        if request.delivery.may_become(DeliveryState::Revoked) {
            self.move_delivery(DeliveryState::Revoked, now);
            self.decision.work = Some(Work::Withdraw);
        }
        Ok(Answer::Revoked)
    }
}
