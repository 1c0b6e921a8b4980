//! A verification request: one phone number, one code, one fee, and the graph along which its states move.
//!
//! Both graphs are here, each as one `match` ([`DeliveryState::may_become`], [`VerificationState::may_become`]); a test
//! draws them. Nothing outside this file changes a state.

use std::sync::Arc;

use crate::code::EnteredCode;
use crate::held_code::HeldCode;
use crate::ids::{AccountKey, RequestId};
use crate::money::Credits;
use crate::parameters::{CallbackUrl, Payload, SenderUsername};
use crate::phone::PhoneNumber;
use crate::recipient::{EmailAddress, Locale};
use crate::route::{LAST_START_MS, LATE_START_MS, LegName, RoutePlan};
use crate::sandbox::Script;
use crate::time::Timestamp;
use crate::token::{TokenClaim, TokenKind};

/// How long an ability check can be sent on, in milliseconds: 1 hour (docs/api.md, `checkSendAbility`).
pub const ABILITY_LIFE_MS: i64 = 3_600_000;
/// How long an admitted request may wait for the answer about its reachability before its hold is released.
pub const ADMISSION_LIFE_MS: i64 = 30_000;

/// What became of a request and its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeliveryState {
    /// Its fee is on hold while a leg asks the network whether it reaches the number.
    Admitted,
    /// No leg reaches the number; nothing was charged.
    Unreachable,
    /// Checked for ability and charged; nothing was sent yet.
    Checked,
    /// Accepted, charged, durable; under way.
    Sent,
    /// The recipient's device took the message.
    Delivered,
    /// The recipient saw the message, or proved it by the right code.
    Read,
    /// Neither delivered nor read in time; refunded.
    Expired,
    /// Withdrawn before it was delivered.
    Revoked,
}

impl DeliveryState {
    /// All states, for tests and drawings.
    pub const ALL: [Self; 8] = [
        Self::Admitted,
        Self::Unreachable,
        Self::Checked,
        Self::Sent,
        Self::Delivered,
        Self::Read,
        Self::Expired,
        Self::Revoked,
    ];

    /// The graph (P3): whether a request in this state may move to that one.
    pub const fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Admitted, Self::Unreachable | Self::Checked | Self::Sent)
                | (Self::Checked, Self::Sent)
                | (Self::Sent, Self::Delivered | Self::Read | Self::Expired | Self::Revoked)
                | (Self::Delivered, Self::Read)
        )
    }

    /// The wire's `delivery_status.status`; `None` before a message was sent.
    pub const fn wire_name(self) -> Option<&'static str> {
        match self {
            Self::Admitted | Self::Unreachable | Self::Checked => None,
            Self::Sent => Some("sent"),
            Self::Delivered => Some("delivered"),
            Self::Read => Some("read"),
            Self::Expired => Some("expired"),
            Self::Revoked => Some("revoked"),
        }
    }
}

/// What became of the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VerificationState {
    /// Nobody entered a code yet.
    Unchecked,
    /// A wrong code was entered, fewer times than allowed.
    Invalid,
    /// The right code was entered in time.
    Valid,
    /// Too many wrong codes: no code counts any more.
    AttemptsExceeded,
    /// The message's life ended, or it was revoked, before the right code came.
    Expired,
}

impl VerificationState {
    /// All states, for tests and drawings.
    pub const ALL: [Self; 5] = [
        Self::Unchecked,
        Self::Invalid,
        Self::Valid,
        Self::AttemptsExceeded,
        Self::Expired,
    ];

    /// The graph (P3): whether a code in this state may move to that one. A further wrong code stays `Invalid`.
    pub const fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (
                Self::Unchecked | Self::Invalid,
                Self::Invalid | Self::Valid | Self::AttemptsExceeded | Self::Expired
            )
        )
    }

    /// Whether a code may still be entered.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Unchecked | Self::Invalid)
    }

    /// The wire's `verification_status.status`; `None` where nobody entered a code.
    pub const fn wire_name(self) -> Option<&'static str> {
        match self {
            Self::Unchecked => None,
            Self::Invalid => Some("code_invalid"),
            Self::Valid => Some("code_valid"),
            Self::AttemptsExceeded => Some("code_max_attempts_exceeded"),
            Self::Expired => Some("expired"),
        }
    }
}

/// Who made the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeOrigin {
    /// We did: entering it right proves that the message arrived.
    Generated,
    /// The customer did: entering it proves nothing.
    Supplied,
}

/// What a send adds to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The code that it carries, or what is left of it.
    pub code: HeldCode,
    /// Who made the code.
    pub origin: CodeOrigin,
    /// Whom the recipient sees as its sender, if the account named one.
    pub sender: Option<SenderUsername>,
    /// Where delivery reports go, if anywhere.
    pub callback_url: Option<CallbackUrl>,
    /// The customer's own text, given back with every answer.
    pub payload: Option<Payload>,
    /// In which language the recipient reads; `None`: their number's country says it.
    pub locale: Option<Locale>,
    /// The recipient's e-mail address, if the account gave one.
    pub email: Option<EmailAddress>,
    /// When it was sent, on the account's clock.
    pub sent_at: Timestamp,
    /// When message and code end, on the account's clock.
    pub expires_at: Timestamp,
    /// Whether nothing is left to hand over: the leg under way took responsibility, or no leg is under way any more. Until
    /// then a restart dispatches it again. Begins anew with each leg.
    pub accepted: bool,
    /// How far it has come on the legs of its request's plan.
    pub legs: LegState,
}

impl Message {
    /// The last moment at which a leg may be due to begin.
    const fn last_start(&self) -> Timestamp {
        self.expires_at.plus_millis(-LAST_START_MS)
    }
}

/// How far a message has come on the legs of its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LegState {
    /// The place in the plan of the leg under way; the number of legs once none is under way any more.
    pub leg: u8,
    /// When the leg under way began, on the account's clock: the moment at which it was due, where its start was late by no
    /// more than a worker's delay. Where its wait was found over too late for another leg, that is when.
    pub started_at: Timestamp,
    /// A bit for each leg that has begun and may still deliver: it told neither of an arrival, nor of its end, nor that it
    /// took the message and hears of no arrivals. A leg that hasn't answered yet may deliver.
    pub open: u8,
}

impl LegState {
    /// At the first leg.
    pub const fn first(started_at: Timestamp) -> Self {
        Self {
            leg: 0,
            started_at,
            open: 1,
        }
    }

    /// Goes on to the next leg.
    pub(crate) fn begin_next(&mut self, started_at: Timestamp) {
        self.leg = self.leg.saturating_add(1);
        self.started_at = started_at;
        self.set_open(usize::from(self.leg), true);
    }

    /// Whether the leg at that place may still deliver.
    pub const fn is_open(self, place: usize) -> bool {
        self.open & Self::bit(place) != 0
    }

    pub(crate) const fn set_open(&mut self, place: usize, open: bool) {
        if open {
            self.open |= Self::bit(place);
        } else {
            self.open &= !Self::bit(place);
        }
    }

    const fn bit(place: usize) -> u8 {
        if place < 8 { 1 << place } else { 0 }
    }
}

/// One verification request, as it stands in the books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerificationRequest {
    /// Its name, which holds its creation time on the account's clock.
    pub id: RequestId,
    /// Whose it is.
    pub account: AccountKey,
    /// The recipient.
    pub phone: PhoneNumber,
    /// Whether a test-mode token made it: it costs nothing, and no statistics count it.
    pub test: bool,
    /// The generation of the token that made it, or that sent its message; 0 where no token did.
    pub generation: u32,
    /// What became of it.
    pub delivery: DeliveryState,
    /// When `delivery` last changed, on the account's clock.
    pub delivery_updated_at: Timestamp,
    /// Its fee: charged, or on hold while `Admitted`; zero for the owner's own number.
    pub fee: Credits,
    /// Whether the fee was given back.
    pub refunded: bool,
    /// The legs over which its message goes; `None`: the built-in messenger alone.
    pub plan: Option<Arc<RoutePlan>>,
    /// The message, once one was sent (or is admitted to be).
    pub message: Option<Message>,
    /// What became of the code.
    pub verification: VerificationState,
    /// When `verification` last changed, on the account's clock.
    pub verification_updated_at: Timestamp,
    /// The last wrong code that was entered and judged. The right one is in nothing but the answer to whoever entered it.
    pub code_entered: Option<EnteredCode>,
    /// How many wrong codes were entered.
    pub wrong_attempts: u8,
    /// How many timeline events it has; numbers its events and reports.
    pub events: u16,
}

/// The next thing that time alone does to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DueStep {
    /// A state of the sandbox's script for this number.
    Scripted(DeliveryState),
    /// The end of the wait of the leg under way: the next one begins.
    NextLeg,
    /// The end of the message's life.
    EndOfLife,
    /// The end of the wait for an answer about reachability: the hold is released.
    ReleaseHold,
}

impl VerificationRequest {
    /// The token that made it, or that sent its message.
    pub const fn token(&self) -> TokenClaim {
        TokenClaim {
            kind: if self.test { TokenKind::Test } else { TokenKind::Live },
            generation: self.generation,
        }
    }

    /// Moves the delivery state. Moves that the graph forbids change nothing and answer `false`.
    pub fn move_delivery(&mut self, next: DeliveryState, at: Timestamp) -> bool {
        let allowed = self.delivery.may_become(next);
        if allowed {
            self.delivery = next;
            self.delivery_updated_at = at;
        }
        allowed
    }

    /// Moves the verification state. Moves that the graph forbids change nothing and answer `false`.
    pub fn move_verification(&mut self, next: VerificationState, at: Timestamp) -> bool {
        let allowed = self.verification.may_become(next);
        if allowed {
            self.verification = next;
            self.verification_updated_at = at;
        }
        allowed
    }

    /// What time does next to this request, and when on the account's clock.
    ///
    /// Only an open wait counts: once a message arrived, the end of its life changes no money and no report, and is
    /// seen by whoever looks ([`VerificationRequest::code_life_ended`]), so it needs no wake-up.
    pub fn next_due(&self) -> Option<(Timestamp, DueStep)> {
        if self.delivery == DeliveryState::Admitted {
            return Some((
                self.id.created_at().plus_millis(ADMISSION_LIFE_MS),
                DueStep::ReleaseHold,
            ));
        }
        let message = self.message.as_ref()?;
        let scripted = Script::of(self.phone)
            .and_then(|script| script.next_state(self.delivery))
            .map(|(delay_ms, state)| (message.sent_at.plus_millis(delay_ms), DueStep::Scripted(state)));
        let end = (self.delivery == DeliveryState::Sent).then_some((message.expires_at, DueStep::EndOfLife));
        let next_leg = self.next_leg_at().map(|at| (at, DueStep::NextLeg));
        match (scripted, next_leg.or(end)) {
            (Some(step), Some(end)) => Some(if step.0 < end.0 { step } else { end }),
            (step, end) => step.or(end),
        }
    }

    /// The leg under way: to it the message is handed over, unless it was accepted. `None` where no leg is under way.
    pub fn leg_under_way(&self) -> Option<&LegName> {
        let message = self.message.as_ref().filter(|_| self.delivery == DeliveryState::Sent)?;
        match &self.plan {
            None => Some(&LegName::INBOX),
            Some(plan) => plan.legs.get(usize::from(message.legs.leg)).map(|leg| &leg.name),
        }
    }

    /// The legs that have begun, in their order: to them the message was handed over, or may have been.
    pub fn legs_begun(&self) -> Vec<&LegName> {
        match (&self.message, &self.plan) {
            (None, _) => Vec::new(),
            (Some(_), None) => vec![&LegName::INBOX],
            (Some(message), Some(plan)) => {
                let begun = plan.legs.iter().take(usize::from(message.legs.leg) + 1);
                begun.map(|leg| &leg.name).collect()
            }
        }
    }

    /// Its plan and message, where there is a leg after the one under way and a reason to begin it: it wasn't delivered,
    /// revoked or disowned, and its code is still to be entered. Scripted numbers listen to their script alone.
    fn before_next_leg(&self) -> Option<(&RoutePlan, &Message)> {
        let (plan, message) = (self.plan.as_deref()?, self.message.as_ref()?);
        let has_next = usize::from(message.legs.leg) + 1 < plan.legs.len();
        let wanted = self.delivery == DeliveryState::Sent && self.verification.is_open();
        (has_next && wanted && Script::of(self.phone).is_none()).then_some((plan, message))
    }

    /// Whether the next leg may begin at that time.
    pub(crate) fn may_begin_next_leg(&self, at: Timestamp) -> bool {
        self.before_next_leg()
            .is_some_and(|(_, message)| at <= message.last_start())
    }

    /// Whether the next leg, which was due at `due`, may still begin at that time. Judged by when it was due: a worker is
    /// always a little later.
    pub(crate) fn may_begin_due_leg(&self, due: Timestamp, at: Timestamp) -> bool {
        self.before_next_leg().is_some_and(|(_, message)| {
            let last_start = message.last_start();
            due <= last_start && at <= last_start.plus_millis(LATE_START_MS)
        })
    }

    /// When the wait of the leg under way is over, if another can begin then.
    pub(crate) fn next_leg_at(&self) -> Option<Timestamp> {
        let (plan, message) = self.before_next_leg()?;
        let life_ms = message.expires_at.millis() - message.sent_at.millis();
        let wait_ms = plan.wait_ms(usize::from(message.legs.leg), life_ms);
        let at = message.legs.started_at.plus_millis(wait_ms);
        (at <= message.last_start()).then_some(at)
    }

    /// When a worker must look at this request again, on the account's clock.
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.next_due().map(|(at, _)| at)
    }

    /// Whether an unused code's life is over at that time on the account's clock. One that is gone was over before, whatever the
    /// clock says now.
    pub fn code_life_ended(&self, account_now: Timestamp) -> bool {
        self.verification.is_open()
            && self
                .message
                .as_ref()
                .is_some_and(|message| account_now >= message.expires_at || message.code == HeldCode::Wiped)
    }

    /// Whether its code may still be entered, or still has to be handed over to a leg. Everything that follows can do without it:
    /// withdrawals, reports, and the answers to whoever enters a code too late or once more.
    pub fn needs_code(&self) -> bool {
        let awaits_a_leg = self.delivery == DeliveryState::Sent;
        self.verification.is_open() || (awaits_a_leg && self.message.as_ref().is_some_and(|message| !message.accepted))
    }

    /// Wipes a code that is of no more use. Whatever changes a request ends with this, so the write that ends a code wipes it.
    pub(crate) fn wipe_ended_code(&mut self) {
        if self.needs_code() {
            return;
        }
        let was_used = self.verification == VerificationState::Valid;
        if let Some(message) = &mut self.message {
            message.code = message.code.ended(self.id, was_used);
        }
    }

    /// Ends an unused code whose life is over, at the moment when it ended.
    pub fn end_overdue_code(&mut self, account_now: Timestamp) {
        let Some(expires_at) = self.message.as_ref().map(|message| message.expires_at) else {
            return;
        };
        if self.delivery >= DeliveryState::Sent && self.code_life_ended(account_now) {
            self.move_verification(VerificationState::Expired, expires_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn the_delivery_graph_is_this_one_and_no_other() {
        let mut drawn = String::new();
        for from in DeliveryState::ALL {
            for to in DeliveryState::ALL {
                if from.may_become(to) {
                    writeln!(drawn, "{from:?} -> {to:?}").unwrap();
                }
            }
        }
        assert_eq!(
            drawn,
            "Admitted -> Unreachable\nAdmitted -> Checked\nAdmitted -> Sent\nChecked -> Sent\n\
             Sent -> Delivered\nSent -> Read\nSent -> Expired\nSent -> Revoked\nDelivered -> Read\n"
        );
    }

    #[test]
    fn the_verification_graph_is_this_one_and_no_other() {
        let mut drawn = String::new();
        for from in VerificationState::ALL {
            for to in VerificationState::ALL {
                if from.may_become(to) {
                    writeln!(drawn, "{from:?} -> {to:?}").unwrap();
                }
            }
        }
        assert_eq!(
            drawn,
            "Unchecked -> Invalid\nUnchecked -> Valid\nUnchecked -> AttemptsExceeded\nUnchecked -> Expired\n\
             Invalid -> Invalid\nInvalid -> Valid\nInvalid -> AttemptsExceeded\nInvalid -> Expired\n"
        );
    }

    #[test]
    fn no_state_leads_back_to_one_before_it() {
        // Forward only: from no state is there a way back to itself over another one.
        for start in DeliveryState::ALL {
            let mut reached: Vec<_> = DeliveryState::ALL
                .into_iter()
                .filter(|&next| start.may_become(next))
                .collect();
            let mut index = 0;
            while index < reached.len() {
                let from = reached[index];
                assert_ne!(from, start, "a way leads back to {start:?}");
                for next in DeliveryState::ALL {
                    if from.may_become(next) && !reached.contains(&next) {
                        reached.push(next);
                    }
                }
                index += 1;
            }
        }
    }
}
