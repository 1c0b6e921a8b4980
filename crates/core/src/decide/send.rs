//! Sending and asking whether one could: `sendVerificationMessage`, `checkSendAbility`, and the settlement of an admission.

use std::sync::Arc;

use super::{Decider, Outcome};
use crate::code::Code;
use crate::command::{Answer, FloodCounters, Reach, Send, SendCode, SenderFact, Work};
use crate::error::ApiError;
use crate::guard::{AreaRules, GuardWord, RefusedRange};
use crate::held_code::HeldCode;
use crate::ids::RequestId;
use crate::limits::Limit;
use crate::money::Credits;
use crate::phone::PhoneNumber;
use crate::request::{
    ABILITY_LIFE_MS, CodeOrigin, DeliveryState, LegState, Message, VerificationRequest, VerificationState,
};
use crate::route::{Detail, LegName, RoutePlan};
use crate::sandbox::{SCRIPTED_FLOOD_WAIT_SECONDS, Script};

impl Decider<'_> {
    pub(super) fn send(&mut self, send: &Send) -> Outcome {
        let on_ability_check = send.request.is_some();
        if on_ability_check {
            self.require_fresh_ability_check(send.phone)?;
        }
        let own_number = self.is_free_send_to_owner(send.phone);
        require_usable_sender(self.facts.sender, own_number)?;
        let flood = self.require_no_flood(send.phone, own_number)?;
        let guard = send.guard.as_deref();
        require_within_quotas(guard)?;
        self.require_codes_come_back(send.phone, guard)?;
        self.require_cooled_down()?;
        let fee = if on_ability_check {
            Credits::ZERO
        } else {
            self.fee_of(send.phone, send.plan.as_deref())
        };
        self.require_balance(fee)?;
        self.require_budget(fee)?;
        let range = if on_ability_check {
            // It goes by the plan of that check, which was judged then.
            None
        } else {
            range_of(guard)
        };
        self.require_allowed_area(send.phone, range)?;
        if !on_ability_check {
            require_reachable(send.phone, send.reach)?;
        }
        self.decision.flood = flood;
        if own_number {
            let limit = self.facts.rules.free_sends_per_day;
            let counted = self.decision.account.count_free_send(limit, self.account_now);
            counted.map_err(|seconds| ApiError::FloodWait { seconds })?;
        }
        let message = self.message(send);
        if let Some(request) = &mut self.request {
            let planned_anew = request.plan.is_none();
            if planned_anew {
                request.plan.clone_from(&send.plan);
            }
            request.message = Some(message);
            request.generation = self.command.token.map_or(0, |claim| claim.generation);
            if planned_anew {
                self.skip_legs(&send.skipped);
            }
            self.move_delivery(DeliveryState::Sent, self.account_now);
            self.hand_to_dispatch(send.phone);
            return self.status();
        }
        let outcome = self.open_request(
            send.phone,
            send.id_entropy,
            fee,
            send.reach,
            send.plan.as_ref(),
            Some(message),
        );
        self.skip_legs_of_new_request(&outcome, &send.skipped);
        outcome
    }

    pub(super) fn check_ability(
        &mut self,
        phone: PhoneNumber,
        id_entropy: u64,
        reach: Reach,
        plan: Option<&Arc<RoutePlan>>,
        skipped: &[(LegName, Detail)],
        guard: Option<&GuardWord>,
    ) -> Outcome {
        let flood = self.require_no_flood(phone, false)?;
        require_within_quotas(guard)?;
        self.require_codes_come_back(phone, guard)?;
        let fee = self.fee_of(phone, plan.map(Arc::as_ref));
        self.require_balance(fee)?;
        self.require_budget(fee)?;
        self.require_allowed_area(phone, range_of(guard))?;
        require_reachable(phone, reach)?;
        self.decision.flood = flood;
        let outcome = self.open_request(phone, id_entropy, fee, reach, plan, None);
        self.skip_legs_of_new_request(&outcome, skipped);
        outcome
    }

    /// A request that was refused has no timeline.
    fn skip_legs_of_new_request(&mut self, outcome: &Outcome, skipped: &[(LegName, Detail)]) {
        if outcome.is_ok() {
            self.skip_legs(skipped);
        }
    }

    /// The network has answered about an admitted request: charge it, or give the hold free.
    pub(super) fn settle(
        &mut self,
        reachable: bool,
        plan: Option<&Arc<RoutePlan>>,
        skipped: &[(LegName, Detail)],
        guard: Option<&GuardWord>,
    ) -> Outcome {
        let Some(request) = self
            .request
            .as_ref()
            .filter(|request| request.delivery == DeliveryState::Admitted)
        else {
            return Err(ApiError::PhoneNumberNotFound);
        };
        let (fee, phone, has_message) = (request.fee, request.phone, request.message.is_some());
        if !reachable {
            self.skip_legs(skipped);
            self.release_hold(self.account_now);
            return Err(ApiError::PhoneNumberNotFound);
        }
        if let Err(error) = self.require_allowed_area(phone, range_of(guard)) {
            // Only texts are left, or a rule was made while the network was asked.
            self.skip_legs(skipped);
            self.release_hold(self.account_now);
            return Err(error);
        }
        if has_message && let Err(error) = self.require_cooled_down() {
            // Another message was sent while the network was asked.
            self.release_hold(self.account_now);
            return Err(error);
        }
        self.decision.account.release(fee);
        self.charge(fee)?;
        self.skip_legs(skipped);
        if let (Some(request), Some(plan)) = (&mut self.request, plan) {
            request.plan = Some(Arc::clone(plan));
        }
        if has_message {
            if let Some(message) = self.request.as_mut().and_then(|request| request.message.as_mut()) {
                // Its life begins with the sending, not with the question whether it can be sent.
                let asked_for_ms = self.account_now.millis() - message.sent_at.millis();
                message.sent_at = self.account_now;
                message.expires_at = message.expires_at.plus_millis(asked_for_ms);
                message.legs = LegState::first(self.account_now);
            }
            self.move_delivery(DeliveryState::Sent, self.account_now);
            self.hand_to_dispatch(phone);
        } else {
            self.move_delivery(DeliveryState::Checked, self.account_now);
        }
        self.status_after_charge(fee)
    }

    /// Ends an admission that found no leg, or whose question was never answered.
    pub(super) fn release_hold(&mut self, at: crate::time::Timestamp) -> bool {
        let Some(request) = &mut self.request else { return false };
        if !request.move_delivery(DeliveryState::Unreachable, at) {
            return false;
        }
        let account = &mut self.decision.account;
        account.release(request.fee);
        account.unspend(request.fee, request.id.created_at(), at);
        request.fee = Credits::ZERO;
        // The code was never sent: it must not stay in the books.
        request.message = None;
        true
    }

    fn require_fresh_ability_check(&self, phone: PhoneNumber) -> Result<(), ApiError> {
        let request = self.request.as_ref().ok_or(ApiError::RequestIdInvalid)?;
        let fresh = self.account_now <= request.id.created_at().plus_millis(ABILITY_LIFE_MS);
        if request.delivery == DeliveryState::Checked && request.phone == phone && fresh {
            Ok(())
        } else {
            Err(ApiError::RequestIdInvalid)
        }
    }

    /// Judges the flood limits; answers the counters as they are once the call succeeds.
    fn require_no_flood(&self, phone: PhoneNumber, free_send: bool) -> Result<FloodCounters, ApiError> {
        let flood_wait = |seconds| ApiError::FloodWait { seconds };
        if Script::of(phone) == Some(Script::FloodWait) {
            return Err(flood_wait(SCRIPTED_FLOOD_WAIT_SECONDS));
        }
        let mut counters = self.decision.flood;
        let take = |limit: Option<Limit>, state| limit.map_or(Ok(state), |limit| limit.take(state, self.command.now));
        counters.account = take(self.facts.rules.account_limit, counters.account).map_err(flood_wait)?;
        counters.number = take(self.facts.rules.number_limit, counters.number).map_err(flood_wait)?;
        if free_send {
            // Judged here, in its turn; counted only once the send succeeds.
            let mut account = self.decision.account.clone();
            account
                .count_free_send(self.facts.rules.free_sends_per_day, self.account_now)
                .map_err(flood_wait)?;
        }
        Ok(counters)
    }

    /// Judges where codes may go. Its error comes last, like every other about the number: it must not be told to those who can't pay.
    fn require_allowed_area(&self, phone: PhoneNumber, range: Option<RefusedRange>) -> Result<(), ApiError> {
        let no_rules = AreaRules::default();
        let rules = self.facts.account.areas.as_deref().unwrap_or(&no_rules);
        // The sandbox's numbers are in no country.
        if phone.is_sandbox() {
            return Ok(());
        }
        rules.judge(phone, range).map_err(ApiError::Refused)
    }

    /// Refuses a number from whose surroundings too few codes come back, unless the account trusts them.
    fn require_codes_come_back(&self, phone: PhoneNumber, guard: Option<&GuardWord>) -> Result<(), ApiError> {
        let Some(held) = guard.and_then(|word| word.held) else {
            return Ok(());
        };
        let rules = self.facts.account.areas.as_deref();
        if rules.is_some_and(|rules| rules.trusts(phone)) {
            Ok(())
        } else {
            Err(ApiError::Held(held))
        }
    }

    /// Whether a message goes to the account's owner, which is free, and counted by the day. What test-mode tokens send is
    /// free whoever gets it, and counts nowhere.
    fn is_free_send_to_owner(&self, phone: PhoneNumber) -> bool {
        phone == self.decision.account.owner && !self.in_test_mode()
    }

    /// What a new request costs on its route, at this moment on the account's clock. It keeps that as its fee, whatever becomes
    /// of the price list afterwards.
    fn fee_of(&self, phone: PhoneNumber, plan: Option<&RoutePlan>) -> Credits {
        if phone == self.decision.account.owner || self.in_test_mode() {
            return Credits::ZERO;
        }
        let rules = self.facts.rules;
        let route = plan.map_or(&rules.route, |plan| &plan.route);
        rules.prices.price_of(phone, route, self.account_now)
    }

    fn require_balance(&self, fee: Credits) -> Result<(), ApiError> {
        if fee <= self.decision.account.available() {
            Ok(())
        } else {
            Err(ApiError::BalanceNotEnough)
        }
    }

    fn require_budget(&mut self, fee: Credits) -> Result<(), ApiError> {
        let within = self.decision.account.within_budget(fee, self.account_now);
        self.is_over_budget |= within.is_err();
        within.map_err(|seconds| ApiError::FloodWait { seconds })
    }

    fn message(&self, send: &Send) -> Message {
        let (code, origin) = match send.code {
            SendCode::Supplied(code) => (code, CodeOrigin::Supplied),
            SendCode::Generate { length, entropy } => {
                let code = Script::code(send.phone, length).unwrap_or_else(|| Code::from_entropy(length, entropy));
                (code, CodeOrigin::Generated)
            }
        };
        Message {
            code: HeldCode::Whole(code),
            origin,
            sender: send.sender.clone(),
            callback_url: send.callback_url.clone(),
            payload: send.payload.clone(),
            locale: send.locale.clone(),
            email: send.email.clone(),
            sent_at: self.account_now,
            expires_at: self.account_now.plus_millis(send.ttl.millis()),
            accepted: false,
            legs: LegState::first(self.account_now),
        }
    }

    /// Makes the request: charged at once where its reachability is known, else admitted with its fee on hold.
    fn open_request(
        &mut self,
        phone: PhoneNumber,
        id_entropy: u64,
        fee: Credits,
        reach: Reach,
        plan: Option<&Arc<RoutePlan>>,
        message: Option<Message>,
    ) -> Outcome {
        let must_ask = reach == Reach::MustAsk;
        let id = RequestId::new(self.account_now, id_entropy);
        let sends = message.is_some() && !must_ask;
        let delivery = match (must_ask, &message) {
            (true, _) => DeliveryState::Admitted,
            (false, Some(_)) => DeliveryState::Sent,
            (false, None) => DeliveryState::Checked,
        };
        self.request = Some(VerificationRequest {
            id,
            account: self.decision.account.key,
            phone,
            test: self.in_test_mode(),
            generation: self.command.token.map_or(0, |claim| claim.generation),
            delivery,
            delivery_updated_at: self.account_now,
            fee,
            refunded: false,
            plan: plan.cloned(),
            message,
            verification: VerificationState::Unchecked,
            verification_updated_at: self.account_now,
            code_entered: None,
            wrong_attempts: 0,
            events: 0,
        });
        if must_ask {
            if !self.decision.account.hold(fee) {
                self.request = None;
                return Err(ApiError::BalanceNotEnough);
            }
            self.decision.account.spend(fee, self.account_now);
            return Ok(Answer::Admitted(id));
        }
        self.charge(fee)?;
        self.decision.account.spend(fee, self.account_now);
        if sends {
            self.hand_to_dispatch(phone);
        }
        self.status_after_charge(fee)
    }

    fn hand_to_dispatch(&mut self, phone: PhoneNumber) {
        self.decision.work = Some(if Script::of(phone).is_some() {
            Work::Wake
        } else {
            Work::Deliver
        });
    }

    fn status_after_charge(&self, fee: Credits) -> Outcome {
        let mut outcome = self.status();
        if let Ok(Answer::Status(status)) = &mut outcome {
            status.remaining_balance = (!fee.is_zero()).then(|| self.decision.account.available());
        }
        outcome
    }
}

/// Whoever counts quotas knows no other commands; here they are refused in their turn.
fn require_within_quotas(guard: Option<&GuardWord>) -> Result<(), ApiError> {
    guard
        .and_then(|word| word.over_quota)
        .map_or(Ok(()), |seconds| Err(ApiError::FloodWait { seconds }))
}

fn range_of(guard: Option<&GuardWord>) -> Option<RefusedRange> {
    guard.and_then(|word| word.range)
}

fn require_usable_sender(sender: SenderFact, own_number: bool) -> Result<(), ApiError> {
    match sender {
        SenderFact::NotNamed | SenderFact::Verified => Ok(()),
        SenderFact::Unknown => Err(ApiError::SenderUsernameInvalid),
        SenderFact::OtherAccount => Err(ApiError::SenderNotOwned),
        SenderFact::Unverified if own_number => Ok(()),
        SenderFact::Unverified => Err(ApiError::SenderNotVerified),
    }
}

fn require_reachable(phone: PhoneNumber, reach: Reach) -> Result<(), ApiError> {
    if reach == Reach::Unreachable || Script::of(phone) == Some(Script::Unreachable) {
        Err(ApiError::PhoneNumberNotFound)
    } else {
        Ok(())
    }
}
