//! What a random history is made of: rules, and steps that name accounts, phones and requests by small numbers, so that
//! commands meet each other and a failing history shrinks to something that a person can read.

use countersign_core::{
    Credits, Limit, News, NumberPrefix, PriceChange, PriceList, PriceRoute, PriceRow, Reach, RouteName, Rules,
    SenderFact,
};
use proptest::collection::vec;
use proptest::option::{self, weighted};
use proptest::prelude::*;

use crate::books::START;

/// Rules and what happens under them.
#[derive(Debug, Clone)]
pub(crate) struct History {
    pub(crate) rules: Rules,
    pub(crate) steps: Vec<Step>,
}

/// One thing that happens. `account` and `request` are taken modulo how many there are.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Send(SendStep),
    CheckAbility {
        caller: Caller,
        phone: usize,
        reach: Reach,
    },
    Settle {
        request: usize,
        reachable: bool,
        key: Option<Key>,
    },
    Check {
        of: Named,
        code: Entered,
        key: Option<Key>,
    },
    Revoke {
        of: Named,
    },
    News {
        request: usize,
        news: News,
    },
    Wake {
        request: usize,
    },
    Purchase {
        account: usize,
        micros: i64,
    },
    AdvanceClock {
        account: usize,
        by_ms: i64,
    },
    TimePasses {
        by_ms: i64,
    },
    RotateToken {
        account: usize,
    },
    CloseAccount {
        account: usize,
    },
}

/// A send's parameters.
#[derive(Debug, Clone)]
pub(crate) struct SendStep {
    pub(crate) caller: Caller,
    pub(crate) phone: usize,
    /// The request to send on, with the phone that it was made for or with `phone`.
    pub(crate) on: Option<(usize, bool)>,
    pub(crate) sender: SenderFact,
    pub(crate) supplied: bool,
    pub(crate) callback: bool,
    pub(crate) payload: bool,
    pub(crate) ttl_seconds: i64,
    pub(crate) reach: Reach,
    pub(crate) entropy: u64,
}

/// Who calls, with which token and key.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) account: usize,
    pub(crate) stale_token: bool,
    pub(crate) key: Option<Key>,
}

/// One of few idempotency keys, used for one of two things.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    pub(crate) name: u8,
    pub(crate) used_for: u8,
}

/// A request that a caller names; sometimes a caller who doesn't own it.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) request: usize,
    pub(crate) by_another_account: bool,
}

/// What a person typed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Entered {
    Nothing,
    Right,
    Wrong(u8),
}

const SECOND_MS: i64 = 1_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 86_400_000;

/// Any history of up to 47 steps.
pub(crate) fn any_history() -> impl Strategy<Value = History> {
    (rules(), vec(step(), 1..48)).prop_map(|(rules, steps)| History { rules, steps })
}

fn rules() -> impl Strategy<Value = Rules> {
    let limit = || {
        weighted(
            0.15,
            (1u32..4, prop_oneof![Just(SECOND_MS), Just(HOUR_MS)])
                .prop_map(|(count, period_ms)| Limit { count, period_ms }),
        )
    };
    let attempts = prop_oneof![4 => Just(5u8), 1 => Just(1), 1 => Just(2)];
    (attempts, option::of(1u32..3), limit(), limit()).prop_map(
        |(max_check_attempts, free_sends_per_day, account_limit, number_limit)| Rules {
            prices: prices(),
            max_check_attempts,
            free_sends_per_day,
            account_limit,
            number_limit,
            ..Rules::default()
        },
    )
}

/// Prefixes inside each other, one number that costs nothing, a route's own price, and prices that come and go while a history
/// runs.
fn prices() -> PriceList {
    let mut prices = PriceList::default();
    for (prefix, micros) in [("1", 20_000), ("1650", 50_001), ("44", 0)] {
        prices.set(NumberPrefix::parse(prefix).unwrap(), Credits::from_micros(micros));
    }
    let inbox = PriceRoute::Only(RouteName::INBOX);
    for (route, prefix, after_ms, micros) in [
        (&PriceRoute::All, "1650", 20 * SECOND_MS, Some(30_000)),
        (&PriceRoute::All, "1", HOUR_MS, None),
        (&inbox, "1650", 2 * HOUR_MS, Some(70_003)),
        (&inbox, "1650", 24 * HOUR_MS, None),
        (&PriceRoute::All, "default", 24 * HOUR_MS, Some(15_000)),
    ] {
        let row = PriceRow {
            route: route.clone(),
            prefix: NumberPrefix::parse_or_default(prefix).unwrap(),
            effective_from: START.plus_millis(after_ms),
            price: micros.map(Credits::from_micros),
        };
        assert_eq!(prices.record(&row), Ok(PriceChange::Added));
    }
    prices
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => send().prop_map(Step::Send),
        3 => (caller(), any_phone(), reach()).prop_map(|(caller, phone, reach)| Step::CheckAbility { caller, phone, reach }),
        3 => (request(), prop::bool::weighted(0.7), key()).prop_map(|(request, reachable, key)| Step::Settle { request, reachable, key }),
        8 => (named(), entered(), key()).prop_map(|(of, code, key)| Step::Check { of, code, key }),
        2 => named().prop_map(|of| Step::Revoke { of }),
        6 => (request(), news()).prop_map(|(request, news)| Step::News { request, news }),
        3 => request().prop_map(|request| Step::Wake { request }),
        4 => (0..2usize, amount()).prop_map(|(account, micros)| Step::Purchase { account, micros }),
        3 => (0..2usize, clock_step()).prop_map(|(account, by_ms)| Step::AdvanceClock { account, by_ms }),
        3 => passing().prop_map(|by_ms| Step::TimePasses { by_ms }),
        1 => (0..2usize).prop_map(|account| Step::RotateToken { account }),
        1 => weighted(0.3, 0..2usize).prop_map(|account| account.map_or(Step::TimePasses { by_ms: 1 }, |account| Step::CloseAccount { account })),
    ]
}

fn send() -> impl Strategy<Value = SendStep> {
    let sender = prop_oneof![
        12 => Just(SenderFact::NotNamed),
        2 => Just(SenderFact::Verified),
        1 => Just(SenderFact::Unverified),
        1 => Just(SenderFact::OtherAccount),
        1 => Just(SenderFact::Unknown),
    ];
    let ttl = prop_oneof![3 => Just(3600i64), 2 => Just(30), 1 => 30..3600i64];
    let on = weighted(0.3, (request(), prop::bool::weighted(0.8)));
    let switches = (any::<bool>(), any::<bool>(), any::<bool>());
    (caller(), any_phone(), on, sender, switches, ttl, reach(), any::<u64>()).prop_map(
        |(caller, phone, on, sender, (supplied, callback, payload), ttl_seconds, reach, entropy)| SendStep {
            caller,
            phone,
            on,
            sender,
            supplied,
            callback,
            payload,
            ttl_seconds,
            reach,
            entropy,
        },
    )
}

fn caller() -> impl Strategy<Value = Caller> {
    (0..2usize, prop::bool::weighted(0.05), key()).prop_map(|(account, stale_token, key)| Caller {
        account,
        stale_token,
        key,
    })
}

fn key() -> impl Strategy<Value = Option<Key>> {
    weighted(
        0.2,
        (0..3u8, 0..2u8).prop_map(|(name, used_for)| Key { name, used_for }),
    )
}

fn named() -> impl Strategy<Value = Named> {
    (request(), prop::bool::weighted(0.05)).prop_map(|(request, by_another_account)| Named {
        request,
        by_another_account,
    })
}

fn request() -> impl Strategy<Value = usize> {
    0..12usize
}

fn any_phone() -> impl Strategy<Value = usize> {
    0..crate::books::PHONES.len()
}

fn reach() -> impl Strategy<Value = Reach> {
    prop_oneof![5 => Just(Reach::Reachable), 3 => Just(Reach::MustAsk), 1 => Just(Reach::Unreachable)]
}

fn entered() -> impl Strategy<Value = Entered> {
    prop_oneof![3 => Just(Entered::Nothing), 3 => Just(Entered::Right), 5 => any::<u8>().prop_map(Entered::Wrong)]
}

fn news() -> impl Strategy<Value = News> {
    prop_oneof![
        2 => Just(News::Accepted),
        4 => Just(News::Delivered),
        3 => Just(News::Read),
        2 => Just(News::Failed),
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

fn passing() -> impl Strategy<Value = i64> {
    prop_oneof![
        0..10i64,
        Just(SECOND_MS),
        Just(5_000i64),
        Just(30_000i64),
        Just(HOUR_MS),
        Just(DAY_MS)
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
