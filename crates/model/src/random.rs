//! Strategies that make histories: how often what happens, and with which numbers. Weights are such that every rule, every
//! state and every error is met (core's histories count them).

use countersign_core::{
    Credits, DAY_MS, Grace, Limit, News, NumberPrefix, OrderParty, PriceList, Reach, Rules, TokenKind, Verdict,
};
use proptest::collection::vec;
use proptest::option::{self, weighted};
use proptest::prelude::*;

use crate::settings::AREAS;
use crate::step::{Caller, Entered, History, Key, Named, PriceOf, Recipient, Route, SendStep, SenderName, Step};

const SECOND_MS: i64 = 1_000;
const HOUR_MS: i64 = 3_600_000;
/// Names of senders that an account speaks of.
const SENDERS: u8 = 3;

/// How wide a history ranges.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// How many accounts are there at a time.
    pub places: usize,
    /// How far back requests are named, counted from the newest.
    pub reach_back: usize,
    /// How many idempotency keys an account uses.
    pub keys: u8,
}

impl Shape {
    /// For histories of some dozens of steps, that shrink well.
    pub const SHORT: Self = Self {
        places: 2,
        reach_back: 12,
        keys: 3,
    };
    /// For one history of a million steps: more accounts, so that what one lacks (money, an open account) another has; and
    /// requests that were committed long ago beside those of the same batch.
    pub const LONG: Self = Self {
        places: 24,
        reach_back: 2_000,
        keys: 3,
    };
}

/// Any history of up to 47 steps.
pub fn any_history() -> impl Strategy<Value = History> {
    (any_rules(), vec(any_step(Shape::SHORT), 1..48)).prop_map(|(rules, steps)| History { rules, steps })
}

/// The operator's rules.
pub fn any_rules() -> impl Strategy<Value = Rules> {
    let limit = || {
        weighted(
            0.15,
            (1u32..4, prop_oneof![Just(SECOND_MS), Just(HOUR_MS)])
                .prop_map(|(count, period_ms)| Limit { count, period_ms }),
        )
    };
    let attempts = prop_oneof![4 => Just(5u8), 1 => Just(1), 1 => Just(2)];
    let cool_down = option::weighted(0.3, prop_oneof![Just(0i64), Just(5_000i64), Just(30_000i64)]);
    (attempts, option::of(1u32..3), limit(), limit(), cool_down).prop_map(
        |(max_check_attempts, free_sends_per_day, account_limit, number_limit, one_live_code)| Rules {
            prices: prices(),
            max_check_attempts,
            free_sends_per_day,
            account_limit,
            number_limit,
            one_live_code,
            ..Rules::default()
        },
    )
}

/// Prefixes inside each other, and one number that costs nothing.
fn prices() -> PriceList {
    let mut prices = PriceList::default();
    for (prefix, micros) in [("1", 20_000), ("1650", 50_001), ("44", 0)] {
        prices.set(NumberPrefix::parse(prefix).unwrap(), Credits::from_micros(micros));
    }
    prices
}

/// Anything that may happen.
pub fn any_step(shape: Shape) -> impl Strategy<Value = Step> {
    prop_oneof![
        50 => call(shape),
        19 => work(shape),
        7 => time(shape),
        4 => setting(shape),
    ]
}

/// What callers ask of the API.
fn call(shape: Shape) -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => send(shape).prop_map(Step::Send),
        3 => (caller(shape), any_phone(), reach(), route())
            .prop_map(|(caller, phone, reach, route)| Step::CheckAbility { caller, phone, reach, route }),
        8 => (named(shape), entered(), key(shape)).prop_map(|(of, code, key)| Step::Check { of, code, key }),
        2 => named(shape).prop_map(|of| Step::Revoke { of }),
        3 => (named(shape), key(shape)).prop_map(|(of, key)| Step::NextLeg { of, key }),
    ]
}

/// What workers and the operator bring.
fn work(shape: Shape) -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (request(shape), prop::bool::weighted(0.7), route(), key(shape))
            .prop_map(|(request, reachable, route, key)| Step::Settle { request, reachable, route, key }),
        9 => (request(shape), option::weighted(0.5, 0..crate::routes::LEGS.len()), news(), any::<bool>())
            .prop_map(|(request, leg, news, receipts)| Step::News { request, leg, news, receipts }),
        3 => request(shape).prop_map(|request| Step::Wake { request }),
        4 => (account(shape), amount()).prop_map(|(account, micros)| Step::Purchase { account, micros }),
        3 => (account(shape), 0..12usize, verdict(), party(), any::<bool>())
            .prop_map(|(account, order, verdict, by, noted)| Step::DecideOrder { account, order, verdict, by, noted }),
        2 => (account(shape), correction()).prop_map(|(account, micros)| Step::Adjust { account, micros }),
        1 => account(shape).prop_map(|account| Step::Lapse { account }),
    ]
}

fn time(shape: Shape) -> impl Strategy<Value = Step> {
    prop_oneof![
        (account(shape), clock_step()).prop_map(|(account, by_ms)| Step::AdvanceClock { account, by_ms }),
        passing().prop_map(|by_ms| Step::TimePasses { by_ms }),
    ]
}

fn setting(shape: Shape) -> impl Strategy<Value = Step> {
    let name = || {
        (prop::bool::weighted(0.1), 0..SENDERS).prop_map(|(of_another_account, number)| SenderName {
            of_another_account,
            number,
        })
    };
    let price_of = prop_oneof![1 => Just(PriceOf::Default), 4 => (0..6usize).prop_map(PriceOf::Prefix)];
    let price = option::weighted(0.8, prop_oneof![Just(0i64), Just(10_000i64), 1..60_000i64]);
    // Most hold at once; some are announced ahead, some named late.
    let from = prop_oneof![3 => Just(0i64), 1 => -HOUR_MS..0, 2 => 1..DAY_MS];
    let set_price = (price_of, option::weighted(0.3, any::<bool>()), from, price);
    prop_oneof![
        6 => (account(shape), kind(), grace())
            .prop_map(|(account, kind, grace)| Step::RotateToken { account, kind, grace }),
        1 => (account(shape), kind()).prop_map(|(account, kind)| Step::EndGrace { account, kind }),
        1 => Just(Step::ForgetOldTokens),
        1 => account(shape).prop_map(|account| Step::CloseAccount { account }),
        5 => account(shape).prop_map(|account| Step::OpenAccount { account }),
        4 => (account(shape), name()).prop_map(|(account, name)| Step::AddSender { account, name }),
        3 => (account(shape), name()).prop_map(|(account, name)| Step::VerifySender { account, name }),
        3 => set_price.prop_map(|(of, of_route, after_ms, micros)| Step::SetPrice { of, of_route, after_ms, micros }),
        4 => (account(shape), option::weighted(0.8, 1..100_000i64))
            .prop_map(|(account, below_micros)| Step::SetLowBalance { account, below_micros }),
        3 => (account(shape), option::weighted(0.7, 1..200_000i64))
            .prop_map(|(account, micros)| Step::SetBudget { account, micros }),
        3 => (account(shape), 0..AREAS.len(), option::weighted(0.6, 0..3usize))
            .prop_map(|(account, area, verdict)| Step::PutArea { account, area, verdict }),
        8 => (account(shape), amount()).prop_map(|(account, micros)| Step::MakeOrder { account, micros }),
        1 => Just(Step::ForgetOldAnswers),
    ]
}

fn send(shape: Shape) -> impl Strategy<Value = SendStep> {
    let sender = weighted(
        0.35,
        (prop::bool::weighted(0.15), 0..SENDERS).prop_map(|(of_another_account, number)| SenderName {
            of_another_account,
            number,
        }),
    );
    let ttl = prop_oneof![3 => Just(3600i64), 2 => Just(30), 1 => 30..3600i64];
    let on = weighted(0.3, (request(shape), prop::bool::weighted(0.8)));
    let switches = (any::<bool>(), any::<bool>(), any::<bool>());
    (
        caller(shape),
        any_phone(),
        on,
        sender,
        switches,
        ttl,
        (reach(), route()),
        any::<u64>(),
    )
        .prop_map(
            |(caller, phone, on, sender, (supplied, callback, payload), ttl_seconds, (reach, route), entropy)| {
                SendStep {
                    caller,
                    phone,
                    on,
                    sender,
                    supplied,
                    callback,
                    payload,
                    ttl_seconds,
                    reach,
                    route,
                    entropy,
                }
            },
        )
}

fn caller(shape: Shape) -> impl Strategy<Value = Caller> {
    (account(shape), kind(), prop::bool::weighted(0.05), key(shape)).prop_map(|(account, kind, stale_token, key)| {
        Caller {
            account,
            kind,
            stale_token,
            key,
        }
    })
}

/// Mostly the one that reaches people.
fn kind() -> impl Strategy<Value = TokenKind> {
    prop_oneof![5 => Just(TokenKind::Live), 1 => Just(TokenKind::Test)]
}

fn grace() -> impl Strategy<Value = Grace> {
    prop_oneof![2 => Just(Grace::None), 1 => Just(Grace::Hour), 2 => Just(Grace::Day), 1 => Just(Grace::Week)]
}

fn account(shape: Shape) -> std::ops::Range<usize> {
    0..shape.places
}

fn key(shape: Shape) -> impl Strategy<Value = Option<Key>> {
    weighted(
        0.2,
        (0..shape.keys, 0..2u8).prop_map(|(name, used_for)| Key { name, used_for }),
    )
}

fn named(shape: Shape) -> impl Strategy<Value = Named> {
    let now_and_then = || prop::bool::weighted(0.05);
    (request(shape), now_and_then(), now_and_then(), now_and_then()).prop_map(
        |(request, by_another_account, by_the_other_kind, stale_token)| Named {
            request,
            by_another_account,
            by_the_other_kind,
            stale_token,
        },
    )
}

/// Mostly what has just been made.
fn request(shape: Shape) -> impl Strategy<Value = usize> {
    prop_oneof![5 => 0..12usize, 1 => 0..shape.reach_back]
}

fn any_phone() -> impl Strategy<Value = Recipient> {
    prop_oneof![11 => (0..crate::books::PHONES.len()).prop_map(Recipient::Shared), 1 => Just(Recipient::Own)]
}

fn reach() -> impl Strategy<Value = Reach> {
    prop_oneof![5 => Just(Reach::Reachable), 3 => Just(Reach::MustAsk), 1 => Just(Reach::Unreachable)]
}

fn route() -> impl Strategy<Value = Route> {
    let plan = option::weighted(0.6, 0..crate::routes::PLANS.len());
    (plan, prop_oneof![4 => Just(0usize), 1 => 1..4usize]).prop_map(|(plan, skipped)| Route { plan, skipped })
}

fn entered() -> impl Strategy<Value = Entered> {
    prop_oneof![3 => Just(Entered::Nothing), 3 => Just(Entered::Right), 5 => any::<u8>().prop_map(Entered::Wrong)]
}

fn news() -> impl Strategy<Value = News> {
    prop_oneof![
        4 => Just(News::Accepted),
        4 => Just(News::Delivered),
        3 => Just(News::Read),
        2 => Just(News::Failed),
        2 => Just(News::CannotReach),
        1 => Just(News::Refused),
        1 => Just(News::Disowned),
    ]
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![3 => Just(Verdict::Confirm), 1 => Just(Verdict::Cancel)]
}

fn party() -> impl Strategy<Value = OrderParty> {
    prop_oneof![
        1 => Just(OrderParty::Owner),
        2 => Just(OrderParty::Operator),
        1 => Just(OrderParty::Provider),
    ]
}

fn amount() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => 1..200_000i64,
        1 => Just(0i64),
        1 => Just(-10_000i64),
        1 => Just(1_000_000_000_000_001i64),
    ]
}

/// What an operator adjusts a balance by: little that mostly fits, and what never does.
fn correction() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => 1..50_000i64,
        4 => -50_000..0i64,
        1 => Just(0i64),
        1 => Just(1_000_000_000_000_001i64),
        1 => Just(-1_000_000_000_000_001i64),
    ]
}

fn passing() -> impl Strategy<Value = i64> {
    prop_oneof![
        2 => 0..10i64,
        2 => Just(SECOND_MS),
        2 => Just(5_000i64),
        2 => Just(30_000i64),
        2 => Just(HOUR_MS),
        1 => Just(DAY_MS),
    ]
}

fn clock_step() -> impl Strategy<Value = i64> {
    prop_oneof![
        2 => Just(5_000i64),
        3 => Just(30_000i64),
        2 => Just(HOUR_MS),
        1 => Just(HOUR_MS + 1),
        2 => Just(DAY_MS),
        4 => Just(3 * 366 * DAY_MS),
        1 => Just(0i64),
        1 => Just(-1i64),
        1 => Just(i64::MAX),
    ]
}
