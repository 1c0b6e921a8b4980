//! The routes of histories: few plans over few legs, and the commands that are about them alone.

use std::sync::Arc;

use countersign_core::{
    Action, Detail, GuardWord, LegName, NumberPrefix, Pace, PlannedLeg, PumpingPlace, PumpingRefusal, RefusedRange,
    RouteName, RoutePlan,
};

use crate::books::{Books, Submitted};
use crate::step::{Key, Named, Route};

/// The route of all plans.
pub(crate) const ROUTE: &str = "europe";
/// The legs that news and plans speak of; no plan has the last one.
pub(crate) const LEGS: [&str; 4] = ["inbox", "telegram", "sms", "carrier-pigeon"];
/// Plans: legs with their shares. Some shares are more than a life, or next to nothing.
pub(crate) const PLANS: [&[(&str, u16)]; 5] = [
    &[("telegram", 1_000)],
    &[("telegram", 500), ("sms", 500)],
    &[("inbox", 1), ("sms", 999)],
    &[("telegram", 333), ("inbox", 333), ("sms", 334)],
    &[("sms", 900), ("telegram", 900), ("inbox", 900)],
];
pub(crate) fn plan_of(route: Route) -> Option<Arc<RoutePlan>> {
    let legs = PLANS[route.plan?];
    Some(Arc::new(RoutePlan {
        route: RouteName::parse(ROUTE).unwrap(),
        legs: legs
            .iter()
            .map(|&(name, share)| PlannedLeg {
                name: LegName::parse(name).unwrap(),
                share,
            })
            .collect(),
    }))
}

pub(crate) fn skipped_of(route: Route) -> Vec<(LegName, Detail)> {
    let legs = LEGS.iter().take(route.skipped);
    legs.map(|leg| (LegName::parse(leg).unwrap(), Detail::new("no opt-in")))
        .collect()
}

/// What the guard found out about a send: mostly nothing.
pub(crate) fn guard_of(entropy: u64) -> Option<Box<GuardWord>> {
    let held = PumpingRefusal {
        place: PumpingPlace::Block(NumberPrefix::from_stored(44_740_012)),
        pace: Pace::Stopped,
        wait_seconds: 7,
    };
    GuardWord {
        range: entropy.is_multiple_of(17).then_some(RefusedRange::FixedLine),
        held: entropy.is_multiple_of(19).then_some(held),
        over_quota: entropy.is_multiple_of(23).then_some(60),
    }
    .boxed()
}

impl Books {
    pub(crate) fn settle(&self, request: usize, reachable: bool, route: Route, key: Option<Key>) -> Option<Submitted> {
        let index = self.pick(request)?;
        let book = &self.requests[index];
        let request = book.request.id;
        Some(self.submit(
            book.owner,
            Some(index),
            None,
            key,
            Action::Settle {
                request,
                reachable,
                plan: plan_of(route),
                skipped: skipped_of(route),
                guard: None,
            },
        ))
    }

    pub(crate) fn next_leg(&self, of: &Named, key: Option<Key>) -> Option<Submitted> {
        let (caller, index, known) = self.name(of)?;
        let request = self.requests[index].request.id;
        let token = Some(self.token_that_asks(caller, index, of));
        Some(self.submit(caller, known, token, key, Action::NextLeg { request }))
    }
}
