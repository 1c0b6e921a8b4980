//! Money that moves without a message: charges, purchases, lapses, and the sandbox clock that lets them come due.

use super::{Decider, Outcome};
use crate::command::Answer;
use crate::error::ApiError;
use crate::ledger::AdjustmentReason;
use crate::money::Credits;
use crate::order::{OrderNote, OrderParty, Verdict};
use crate::time::Timestamp;

/// The sandbox clock stops short of the year 10000: a clock that is never set back must stay inside what request ids and
/// RFC 3339 dates can hold.
const LAST_SANDBOX_TIME: Timestamp = Timestamp::from_millis(253_402_300_799_000);

impl Decider<'_> {
    /// Takes the fee of the request that is worked on.
    pub(super) fn charge(&mut self, fee: Credits) -> Result<(), ApiError> {
        if fee.is_zero() {
            return Ok(());
        }
        let request = self.request.as_ref().ok_or(ApiError::RequestIdInvalid)?.id;
        if let Some(entry) = self.decision.account.charge(fee, request, self.account_now) {
            self.decision.entries.push(entry);
            Ok(())
        } else {
            self.request = self.facts.request.cloned();
            Err(ApiError::BalanceNotEnough)
        }
    }

    /// Lets the purchases lapse whose time has come.
    pub(super) fn lapse_due_purchases(&mut self) {
        if self
            .decision
            .account
            .next_lapse_at
            .is_none_or(|at| at > self.account_now)
        {
            return;
        }
        for purchase in self.facts.due_purchases {
            let mut purchase = purchase.clone();
            let entry = self.decision.account.lapse(&mut purchase, self.account_now);
            self.decision.entries.extend(entry);
            self.decision.purchases.push(purchase);
        }
        self.decision.account.next_lapse_at = self.facts.next_lapse_after;
    }

    pub(super) fn purchase(&mut self, amount: Credits) -> Outcome {
        let bought = self.decision.account.purchase(amount, self.account_now);
        let (entry, purchase) = bought.ok_or(ApiError::BadRequest)?;
        self.decision.entries.push(entry);
        self.decision.purchases.push(purchase);
        Ok(Answer::Done)
    }

    /// Decides an order once: its purchase and its new state are one decision. Whoever asks again, or comes after another
    /// verdict, is told what became of it. A closed account buys nothing any more; the order stays open then.
    pub(super) fn decide_order(&mut self, verdict: Verdict, by: OrderParty, note: Option<&OrderNote>) -> Outcome {
        let Some(order) = self.facts.order else {
            return Ok(Answer::Order(None));
        };
        let mut order = order.clone();
        if !order.state.may_become(verdict.state()) {
            return Ok(Answer::Order(Some(Box::new(order))));
        }
        if verdict == Verdict::Confirm {
            if self.facts.account.closed {
                return Err(ApiError::AccessTokenInvalid);
            }
            // An owner's word is no payment.
            if by == OrderParty::Owner {
                return Err(ApiError::BadRequest);
            }
            self.purchase(order.amount)?;
            order.entry = Some(self.decision.account.entries);
        }
        order.state = verdict.state();
        order.decided_at = Some(self.command.now);
        order.decided_by = Some(by);
        order.note = note.cloned();
        self.decision.order = Some(order.clone());
        Ok(Answer::Order(Some(Box::new(order))))
    }

    pub(super) fn adjust(&mut self, amount: Credits, reason: &AdjustmentReason) -> Outcome {
        let entry = self.decision.account.adjust(amount, reason, self.account_now)?;
        self.decision.entries.push(entry);
        Ok(Answer::Done)
    }

    pub(super) fn advance_clock(&mut self, by_ms: i64) -> Outcome {
        let offset_ms = self
            .decision
            .account
            .clock_offset_ms
            .checked_add(by_ms)
            .filter(|_| by_ms >= 0)
            .filter(|_| self.account_now.plus_millis(by_ms) <= LAST_SANDBOX_TIME);
        self.decision.account.clock_offset_ms = offset_ms.ok_or(ApiError::BadRequest)?;
        Ok(Answer::Done)
    }
}
