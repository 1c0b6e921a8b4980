//! What channels say of a message: that a leg took it, that it arrived, that a leg ended, that its recipient asked for no code.

use super::{Decider, MAX_EVENTS_WITH_LATE_NEWS};
use crate::command::{Answer, LegEnd, News, TimelineKind, Work};
use crate::request::{DeliveryState, VerificationRequest, VerificationState};
use crate::route::{Detail, LegName};
use crate::sandbox::Script;

/// Who tells news: a leg that has begun.
struct Teller<'a> {
    /// Its place in the plan.
    place: usize,
    /// Its name for the timeline; `None` where there is no plan.
    name: Option<LegName>,
    detail: Option<&'a Detail>,
}

impl<'a> Teller<'a> {
    /// `None` where no leg of that name has begun.
    fn of(request: &VerificationRequest, leg: Option<&LegName>, detail: Option<&'a Detail>) -> Option<Self> {
        let message = request.message.as_ref()?;
        let Some(plan) = request.plan.as_deref() else {
            let known = leg.is_none_or(|leg| *leg == LegName::INBOX);
            return known.then_some(Self {
                place: 0,
                name: None,
                detail,
            });
        };
        let begun = plan.legs.iter().take(usize::from(message.legs.leg) + 1);
        let begun: Vec<_> = begun.map(|leg| &leg.name).collect();
        let place = match leg {
            None => begun.len().checked_sub(1),
            Some(leg) => begun.iter().rposition(|name| *name == leg),
        }?;
        Some(Self {
            place,
            name: Some(begun[place].clone()),
            detail,
        })
    }
}

impl Decider<'_> {
    /// A channel's news. What comes too late goes into the timeline only; scripted numbers listen to their script alone.
    pub(super) fn news(
        &mut self,
        leg: Option<&LegName>,
        news: News,
        detail: Option<&Detail>,
        receipts: bool,
    ) -> Answer {
        let Some(request) = &self.request else {
            return Answer::Done;
        };
        if Script::of(request.phone).is_some() {
            return Answer::Done;
        }
        let Some(teller) = Teller::of(request, leg, detail) else {
            return Answer::Done;
        };
        let ended = match news {
            News::CannotReach => Some(LegEnd::CannotReach),
            News::Refused => Some(LegEnd::Refused),
            News::Failed => Some(LegEnd::Failed),
            News::Accepted | News::Delivered | News::Read | News::Disowned => None,
        };
        match (request.delivery, news, ended) {
            (DeliveryState::Sent, _, Some(end)) => self.leg_ended(&teller, end),
            (DeliveryState::Sent, News::Accepted, _) => self.leg_accepted(&teller, receipts),
            (DeliveryState::Sent, News::Delivered, _) => self.arrived(DeliveryState::Delivered, &teller),
            (DeliveryState::Sent | DeliveryState::Delivered, News::Read, _) => {
                self.arrived(DeliveryState::Read, &teller);
            }
            (DeliveryState::Sent | DeliveryState::Delivered | DeliveryState::Read, News::Disowned, _) => {
                self.disowned(&teller);
            }
            (DeliveryState::Delivered, News::Delivered, _) | (DeliveryState::Read, News::Delivered | News::Read, _) => {
                self.arrived_again(news, &teller);
            }
            (DeliveryState::Expired | DeliveryState::Revoked, News::Delivered | News::Read, _)
            | (DeliveryState::Expired | DeliveryState::Revoked, _, Some(_)) => {
                self.record_if_there_is_room(TimelineKind::TooLate(news), &teller);
            }
            // A repeated receipt, or one that a later state has overtaken, says nothing new.
            _ => {}
        }
        Answer::Done
    }

    /// A leg took responsibility. The one under way isn't handed the message again then. A leg that has told how it ended, or
    /// of an arrival, takes nothing any more: receipts may overtake the answer to the hand-over.
    fn leg_accepted(&mut self, teller: &Teller<'_>, receipts: bool) {
        let Some(request) = &mut self.request else { return };
        let Some(message) = &mut request.message else { return };
        if request.plan.is_none() {
            message.accepted = true;
            return;
        }
        let is_under_way = usize::from(message.legs.leg) == teller.place;
        let known = if is_under_way {
            message.accepted
        } else {
            !message.legs.is_open(teller.place)
        };
        if known {
            return;
        }
        message.accepted |= is_under_way;
        message.legs.set_open(teller.place, receipts);
        if is_under_way {
            self.record_leg(TimelineKind::LegAccepted, teller);
        } else {
            self.record_if_there_is_room(TimelineKind::LegAccepted, teller);
        }
    }

    /// The message arrived, by whichever leg: the others that have begun take it back.
    fn arrived(&mut self, state: DeliveryState, teller: &Teller<'_>) {
        let at = self.account_now;
        let Some(request) = &mut self.request else { return };
        let was_sent = request.delivery == DeliveryState::Sent;
        if !self.move_delivery_by(state, at, teller.name.clone(), teller.detail) {
            return;
        }
        let message = self.request.as_mut().and_then(|request| request.message.as_mut());
        let Some(message) = message.filter(|_| teller.name.is_some()) else {
            return;
        };
        message.legs.set_open(teller.place, false);
        if was_sent && message.legs.leg > 0 {
            let arrived_on = u8::try_from(teller.place).unwrap_or(u8::MAX);
            self.decision.work = Some(Work::WithdrawOthers { arrived_on });
        }
    }

    /// Another leg delivered as well: noted once, and neither charged nor reported.
    fn arrived_again(&mut self, news: News, teller: &Teller<'_>) {
        let message = self.request.as_mut().and_then(|request| request.message.as_mut());
        let Some(message) = message.filter(|message| teller.name.is_some() && message.legs.is_open(teller.place))
        else {
            return;
        };
        message.legs.set_open(teller.place, false);
        self.record_if_there_is_room(TimelineKind::TooLate(news), teller);
    }

    /// A leg can't, or won't. Where it was the one under way, the next one goes.
    fn leg_ended(&mut self, teller: &Teller<'_>, end: LegEnd) {
        let Some(request) = &mut self.request else { return };
        let Some(message) = &mut request.message else { return };
        if request.plan.is_none() {
            self.last_way_failed(teller.detail);
            return;
        }
        message.legs.set_open(teller.place, false);
        if usize::from(message.legs.leg) == teller.place {
            self.record_leg(TimelineKind::LegEnded(end), teller);
            if self.begin_next_leg() {
                return;
            }
            self.no_leg_under_way();
        } else {
            self.record_if_there_is_room(TimelineKind::LegEnded(end), teller);
        }
        if self.request.as_ref().is_some_and(nothing_may_deliver) {
            self.last_way_failed(None);
        }
    }

    /// Nothing is left that could deliver: the message needn't wait for the end of its life.
    fn last_way_failed(&mut self, detail: Option<&Detail>) {
        self.record(TimelineKind::DeliveryFailed, self.account_now, None, detail);
        self.expire(self.account_now);
    }

    /// Its recipient asked for no code: whoever did must not use it, and no further leg carries it.
    fn disowned(&mut self, teller: &Teller<'_>) {
        let at = self.account_now;
        let Some(request) = &mut self.request else { return };
        if !request.verification.is_open() || !request.move_verification(VerificationState::Expired, at) {
            return;
        }
        if request.delivery == DeliveryState::Sent {
            if let Some(message) = &mut request.message {
                message.accepted = true;
            }
            self.decision.work = Some(Work::Withdraw);
        }
        self.record_leg(TimelineKind::Disowned, teller);
    }

    fn record_leg(&mut self, kind: TimelineKind, teller: &Teller<'_>) {
        self.record(kind, self.account_now, teller.name.clone(), teller.detail);
    }

    /// Records what changes no state: of that there may be no end.
    fn record_if_there_is_room(&mut self, kind: TimelineKind, teller: &Teller<'_>) {
        if self
            .request
            .as_ref()
            .is_some_and(|request| request.events < MAX_EVENTS_WITH_LATE_NEWS)
        {
            self.record_leg(kind, teller);
        }
    }
}

/// Whether no leg is under way, and none that has begun may still deliver.
fn nothing_may_deliver(request: &VerificationRequest) -> bool {
    let open = request.message.as_ref().is_some_and(|message| message.legs.open != 0);
    !open && request.leg_under_way().is_none()
}
