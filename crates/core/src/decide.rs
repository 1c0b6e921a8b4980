//! `decide`: the one rule book (P5). Pure: the same facts and command give the same decision, in both backends, in tests
//! by the million, and in the audit of what happened.
//!
//! Order of judgement: docs/errors.md, "Order". What is due by time is applied before anything else, so time decides
//! and not the sweep.

mod check;
mod legs;
mod live;
mod money;
mod news;
mod send;
mod view;

pub use legs::RESEND_PAUSE_MS;
pub use view::status_at;

use crate::code::EnteredCode;
use crate::command::{
    Action, Answer, Command, Decision, DeliveryReport, Facts, FirstAnswer, TimelineEvent, TimelineKind, Work,
};
use crate::error::ApiError;
use crate::request::{DeliveryState, DueStep, VerificationRequest, VerificationState};
use crate::route::{Detail, LegName};
use crate::time::{DAY_MS, Timestamp};
use crate::token::TokenKind;
use crate::wire::RequestStatus;

/// Answers one command: what the caller is told and what changes.
pub fn decide(facts: &Facts<'_>, command: &Command) -> Decision {
    let mut decider = Decider::new(facts, command);
    let outcome = decider.judge();
    decider.finish(outcome)
}

/// The state of one judgement. Its methods are spread over this module's files by subject.
struct Decider<'a> {
    facts: &'a Facts<'a>,
    command: &'a Command,
    /// The time on the account's clock.
    account_now: Timestamp,
    /// The decision as it grows.
    decision: Decision,
    /// The request that is worked on; goes into the decision where it changed.
    request: Option<VerificationRequest>,
    /// Whether the account's daily budget was too small for what was asked.
    is_over_budget: bool,
}

/// News that changes nothing is dropped beyond this many timeline events: a channel that repeats itself must not fill the books
/// (P6). What changes a state has three events at most, and three more on each leg.
const MAX_EVENTS_WITH_LATE_NEWS: u16 = 32;

type Outcome = Result<Answer, ApiError>;

impl<'a> Decider<'a> {
    fn new(facts: &'a Facts<'a>, command: &'a Command) -> Self {
        Self {
            facts,
            command,
            account_now: facts.account.clock(command.now),
            decision: Decision {
                outcome: Ok(Answer::Done),
                account: facts.account.clone(),
                request: None,
                request_is_new: false,
                entries: Vec::new(),
                purchases: Vec::new(),
                order: None,
                ended: None,
                timeline: Vec::new(),
                reports: Vec::new(),
                low_balance: None,
                budget: None,
                first_answer: None,
                flood: facts.flood,
                work: None,
            },
            request: facts.request.filter(|request| may_see(command, request)).cloned(),
            is_over_budget: false,
        }
    }

    fn judge(&mut self) -> Outcome {
        if let Some(claim) = self.command.token
            && !self.facts.account.accepts(claim, self.command.now)
        {
            return Err(ApiError::AccessTokenInvalid);
        }
        match self.first_answer_again() {
            Ok(None) => {}
            Ok(Some(again)) => {
                self.give_up_admission();
                return Ok(again);
            }
            Err(error) => {
                self.give_up_admission();
                return Err(error);
            }
        }
        self.lapse_due_purchases();
        self.apply_due_steps();
        let outcome = self.act();
        // Here and not at the end: a call that is refused by its token or repeated changes nothing, so it looks at nothing either.
        let account = &mut self.decision.account;
        self.decision.low_balance = account.watch_balance(self.command.now);
        self.decision.budget = account.watch_budget(self.is_over_budget, self.command.now);
        outcome
    }

    /// Does what the command asks.
    fn act(&mut self) -> Outcome {
        self.require_number_of_its_mode()?;
        match &self.command.action {
            Action::Send(send) => {
                let outcome = self.send(send)?;
                self.end_earlier_code();
                Ok(outcome)
            }
            Action::CheckAbility {
                phone,
                email: _,
                id_entropy,
                reach,
                plan,
                skipped,
                guard,
            } => self.check_ability(*phone, *id_entropy, *reach, plan.as_ref(), skipped, guard.as_deref()),
            Action::Settle {
                reachable,
                plan,
                skipped,
                guard,
                ..
            } => {
                let outcome = self.settle(*reachable, plan.as_ref(), skipped, guard.as_deref())?;
                self.end_earlier_code();
                Ok(outcome)
            }
            Action::Check { code, .. } => self.check(code.as_ref()),
            Action::Revoke { .. } => self.revoke(),
            Action::News {
                leg,
                news,
                detail,
                receipts,
                ..
            } => Ok(self.news(leg.as_ref(), *news, detail.as_ref(), *receipts)),
            Action::NextLeg { .. } => self.next_leg_now(),
            // What was due has been applied above.
            Action::Wake { .. } | Action::Lapse => Ok(Answer::Done),
            Action::Purchase { amount } => self.purchase(*amount),
            Action::DecideOrder { verdict, by, note, .. } => self.decide_order(*verdict, *by, note.as_ref()),
            Action::Adjust { amount, reason } => self.adjust(*amount, reason),
            Action::AdvanceClock { by_ms } => self.advance_clock(*by_ms),
        }
    }

    /// Whether the command is a test-mode token's.
    fn in_test_mode(&self) -> bool {
        self.command.token.is_some_and(|claim| claim.kind == TokenKind::Test)
    }

    /// A test-mode token reaches the sandbox's numbers alone, wherever it is used.
    fn require_number_of_its_mode(&self) -> Result<(), ApiError> {
        let phone = match &self.command.action {
            Action::Send(send) => send.phone,
            Action::CheckAbility { phone, .. } => *phone,
            _ => return Ok(()),
        };
        if self.in_test_mode() && !phone.is_sandbox() {
            Err(ApiError::PhoneNumberInvalid)
        } else {
            Ok(())
        }
    }

    fn finish(mut self, outcome: Outcome) -> Decision {
        if let Some(mut request) = self.request.take()
            && self.facts.request != Some(&request)
        {
            request.wipe_ended_code();
            self.decision.request_is_new = self.facts.request.is_none();
            self.decision.request = Some(request);
        }
        // Only an answer with an effect is worth keeping: an error charged nothing, so its call may be tried again.
        if let (Some(idempotency), Ok(answer)) = (&self.command.idempotency, &outcome)
            && let Some(result) = result_to_keep(&self.command.action, answer)
        {
            self.decision.first_answer = Some(FirstAnswer {
                idempotency: idempotency.clone(),
                result,
                at: self.command.now,
            });
        }
        self.decision.outcome = outcome;
        self.decision
    }

    /// Of two calls with one key that were admitted at once, the one that is settled later is never charged: its hold is given
    /// free at once.
    fn give_up_admission(&mut self) {
        if matches!(self.command.action, Action::Settle { .. }) {
            self.release_hold(self.account_now);
        }
    }

    /// A repeated call gets its first answer; the same key with other parameters is refused.
    fn first_answer_again(&self) -> Result<Option<Answer>, ApiError> {
        let (Some(idempotency), Some(first)) = (&self.command.idempotency, self.facts.first_answer) else {
            return Ok(None);
        };
        if self.command.now >= first.at.plus_millis(DAY_MS) {
            return Ok(None);
        }
        if first.idempotency.fingerprint != idempotency.fingerprint {
            return Err(ApiError::BadRequest);
        }
        let again = match &self.command.action {
            // The same parameters: so it is the code that was left out of what is kept.
            Action::Check {
                code: Some(entered), ..
            } => with_code_entered(&first.result, entered),
            _ => None,
        };
        Ok(Some(Answer::Again(again.unwrap_or_else(|| first.result.clone()))))
    }

    /// Applies what time did to the request since it was last touched.
    fn apply_due_steps(&mut self) {
        while let Some((at, step)) = self.request.as_ref().and_then(VerificationRequest::next_due) {
            if at > self.account_now {
                break;
            }
            let moved = match step {
                DueStep::Scripted(state) => self.move_delivery(state, at),
                DueStep::EndOfLife => self.expire(at),
                DueStep::NextLeg => self.end_wait_of_leg(at),
                DueStep::ReleaseHold => self.release_hold(at),
            };
            if !moved {
                break;
            }
        }
        if let Some(request) = &mut self.request {
            request.end_overdue_code(self.account_now);
        }
    }

    /// A delivery state change with, once a message is under way, its timeline event and its report.
    fn move_delivery(&mut self, next: DeliveryState, at: Timestamp) -> bool {
        self.move_delivery_by(next, at, None, None)
    }

    /// The same, as the news of a leg.
    fn move_delivery_by(
        &mut self,
        next: DeliveryState,
        at: Timestamp,
        leg: Option<LegName>,
        detail: Option<&Detail>,
    ) -> bool {
        let Some(request) = &mut self.request else { return false };
        if !request.move_delivery(next, at) {
            return false;
        }
        if next > DeliveryState::Sent {
            self.record(TimelineKind::Became(next), at, leg, detail);
            self.report();
        }
        true
    }

    fn record(&mut self, kind: TimelineKind, at: Timestamp, leg: Option<LegName>, detail: Option<&Detail>) {
        let Some(request) = &mut self.request else { return };
        request.events = request.events.saturating_add(1);
        self.decision.timeline.push(TimelineEvent {
            number: request.events,
            kind,
            at,
            leg,
            detail: detail.cloned(),
        });
    }

    /// Freezes a report of the request's present state, where it has a callback (P4).
    fn report(&mut self) {
        let Some(request) = &self.request else { return };
        let Some(callback_url) = request
            .message
            .as_ref()
            .and_then(|message| message.callback_url.clone())
        else {
            return;
        };
        // A status always serialises: it holds strings, integers and exact amounts only.
        let body = serde_json::to_vec(&RequestStatus::from(request)).unwrap_or_default();
        self.decision.reports.push(DeliveryReport {
            number: request.events,
            callback_url,
            body,
            token: request.token(),
            created_at: self.command.now,
        });
    }

    /// Ends a message that was neither delivered nor read: refund first, so that the report shows it.
    fn expire(&mut self, at: Timestamp) -> bool {
        let Some(request) = &mut self.request else { return false };
        if !request.delivery.may_become(DeliveryState::Expired) {
            return false;
        }
        request.move_verification(VerificationState::Expired, at);
        if !request.fee.is_zero() && !request.refunded {
            request.refunded = true;
            let account = &mut self.decision.account;
            account.unspend(request.fee, request.id.created_at(), self.account_now);
            let entry = account.refund(request.fee, request.id, self.account_now);
            self.decision.entries.push(entry);
        }
        self.decision.work = Some(Work::Withdraw);
        self.move_delivery(DeliveryState::Expired, at)
    }

    /// The request's state as an answer.
    fn status(&self) -> Outcome {
        let request = self.request.as_ref().ok_or(ApiError::RequestIdInvalid)?;
        Ok(Answer::Status(Box::new(RequestStatus::from(request))))
    }
}

/// What a test-mode token made, a live one doesn't know, and the other way round: their requests are two books that never
/// meet. Workers, the pages and the operator know both.
fn may_see(command: &Command, request: &VerificationRequest) -> bool {
    command.token.is_none_or(|claim| claim.kind == request.token().kind)
}

/// The `result` of an answer that a Gateway API caller gets, without the code that the call entered: it would outlive the request's.
fn result_to_keep(action: &Action, answer: &Answer) -> Option<Vec<u8>> {
    match answer {
        Answer::Status(status) | Answer::Verified(status) if matches!(action, Action::Check { code: Some(_), .. }) => {
            let mut status = status.clone();
            if let Some(verification) = &mut status.verification_status {
                verification.code_entered = None;
            }
            serde_json::to_vec(&status).ok()
        }
        Answer::Status(status) | Answer::Verified(status) => serde_json::to_vec(status).ok(),
        Answer::Revoked | Answer::Done => Some(b"true".to_vec()),
        Answer::Admitted(_) | Answer::Again(_) | Answer::Order(_) => None,
    }
}

/// The kept answer to a check as it was given: with the code that is entered once more.
fn with_code_entered(result: &[u8], entered: &EnteredCode) -> Option<Vec<u8>> {
    let mut status: RequestStatus = serde_json::from_slice(result).ok()?;
    let verification = status.verification_status.as_mut()?;
    verification
        .code_entered
        .get_or_insert_with(|| entered.as_str().to_owned());
    serde_json::to_vec(&status).ok()
}
