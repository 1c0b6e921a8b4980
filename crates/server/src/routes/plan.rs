//! The plan of a message: its route's legs without those that can't or shouldn't carry it. Nothing here asks anybody for money.

use std::sync::Arc;

use countersign_channels::Destination;
use countersign_core::{
    Action, Detail, GuardWord, LegName, PlannedLeg, Reach, RouteName, RoutePlan, Script, TokenKind,
};
use tokio::time::Instant;

use super::{Leg, Routes, Sending};
use crate::settings::{LegSettings, MessageKind, RouteSettings};

/// What is to be planned.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) sending: Sending,
    pub(crate) to: Destination,
    pub(crate) kind: MessageKind,
}

impl Question {
    /// The question of a command; `None` where it sends nothing.
    pub(super) fn of(action: &Action, sending: Sending) -> Option<Self> {
        let to = match action {
            Action::Send(send) => Destination {
                phone: send.phone,
                sender: send.sender.clone(),
                email: send.email.clone(),
            },
            Action::CheckAbility { phone, email, .. } => Destination {
                phone: *phone,
                sender: None,
                email: email.clone(),
            },
            _ => return None,
        };
        Some(Self::code(sending, to))
    }

    /// A code's.
    pub(crate) const fn code(sending: Sending, to: Destination) -> Self {
        Self {
            sending,
            to,
            kind: MessageKind::Code,
        }
    }
}

/// A leg that was passed over, and why.
pub(crate) type Skipped = (LegName, Detail);

/// The plan, and how sure it is.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    /// Whether a leg reaches the number.
    pub(crate) reach: Reach,
    /// `None`: the built-in inbox alone, or nothing.
    pub(crate) plan: Option<Arc<RoutePlan>>,
    pub(crate) skipped: Vec<Skipped>,
    /// Legs of the plan that must ask the network.
    pub(crate) to_ask: Vec<LegName>,
}

impl Planned {
    /// Over the built-in inbox, where there is one.
    fn built_in(reachable: bool) -> Self {
        Self {
            reach: if reachable {
                Reach::Reachable
            } else {
                Reach::Unreachable
            },
            plan: None,
            skipped: Vec::new(),
            to_ask: Vec::new(),
        }
    }

    pub(super) fn put_into(&self, action: &mut Action, word: Option<Box<GuardWord>>) {
        match action {
            Action::Send(send) => {
                send.guard = word;
                send.reach = self.reach;
                send.plan.clone_from(&self.plan);
                send.skipped.clone_from(&self.skipped);
            }
            Action::CheckAbility {
                reach,
                plan,
                skipped,
                guard,
                ..
            } => {
                *guard = word;
                *reach = self.reach;
                plan.clone_from(&self.plan);
                skipped.clone_from(&self.skipped);
            }
            _ => {}
        }
    }
}

impl Routes {
    /// The plan of a message.
    pub(crate) async fn plan(&self, question: &Question) -> Planned {
        let phone = question.to.phone;
        // The sandbox's numbers are nobody's: no channel ever hears of them.
        if phone.is_sandbox() || question.sending.kind == TokenKind::Test {
            return Planned::built_in(self.inbox || Script::of(phone).is_some());
        }
        if self.all.is_empty() {
            return Planned::built_in(self.inbox);
        }
        let Some(route) = self.route_of(Some(question.sending.account.id), phone, question.kind) else {
            return Planned::built_in(false);
        };
        self.plan_of(route, question).await
    }

    async fn plan_of(&self, route: &RouteSettings, question: &Question) -> Planned {
        let now = Instant::now();
        let mut skipped = Vec::new();
        let mut ailing = Vec::new();
        let mut legs = Vec::new();
        for set in &route.legs {
            let Some(leg) = self.leg(&set.channel) else { continue };
            if let Some(why) = self.why_not(set, leg, question) {
                skipped.push((set.channel.clone(), Detail::new(&why)));
                continue;
            }
            let reach = leg.channel.reach(&question.to).await;
            if reach == Reach::Unreachable {
                let why = "this number can’t be reached there: it has not opted in, has no address there, or said stop";
                skipped.push((set.channel.clone(), Detail::new(why)));
            } else if leg.health.lets_through(now) {
                legs.push((set, reach));
            } else {
                ailing.push((set, reach));
            }
        }
        // A leg that failed of late is better than none.
        if legs.is_empty() {
            legs.append(&mut ailing);
        }
        for (set, _) in ailing {
            let why = "it fails of late, and rests for a while";
            skipped.push((set.channel.clone(), Detail::new(why)));
        }
        planned(route, &legs, skipped)
    }

    /// Why a leg is passed over before it is asked anything.
    fn why_not(&self, set: &LegSettings, leg: &Leg, question: &Question) -> Option<String> {
        let phone = question.to.phone;
        if let Some(prefix) = set.skip.iter().find(|prefix| prefix.matches(phone)) {
            return Some(format!("the route skips it for numbers with {prefix}"));
        }
        let free = phone == question.sending.owner && question.kind == MessageKind::Code;
        if free && leg.channel.is_paid() && !self.own_number_paid_legs {
            return Some("free messages to an account’s own number take unpaid legs only".to_owned());
        }
        None
    }
}

fn planned(route: &RouteSettings, legs: &[(&LegSettings, Reach)], skipped: Vec<Skipped>) -> Planned {
    let reach = match legs {
        [] => Reach::Unreachable,
        legs if legs.iter().any(|(_, reach)| *reach == Reach::Reachable) => Reach::Reachable,
        _ => Reach::MustAsk,
    };
    let planned_legs = legs.iter().map(|(set, _)| PlannedLeg {
        name: set.channel.clone(),
        share: set.share,
    });
    let to_ask = legs.iter().filter(|(_, reach)| *reach == Reach::MustAsk);
    Planned {
        reach,
        to_ask: to_ask.map(|(set, _)| set.channel.clone()).collect(),
        plan: shared_out(route.name.clone(), planned_legs.collect()),
        skipped,
    }
}

/// The plan of these legs; `None` of none. Those that are left share the message's life as they did among all.
pub(super) fn shared_out(route: RouteName, mut legs: Vec<PlannedLeg>) -> Option<Arc<RoutePlan>> {
    let all: u32 = legs.iter().map(|leg| u32::from(leg.share)).sum();
    for leg in &mut legs {
        let share = u32::from(leg.share) * 1_000 / all.max(1);
        leg.share = u16::try_from(share).unwrap_or(1_000);
    }
    (!legs.is_empty()).then(|| Arc::new(RoutePlan { route, legs }))
}
