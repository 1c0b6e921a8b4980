//! docs/api.md, "Tokens" and "Test mode": which token opens what, for how long, and what it costs.

use countersign_core::{
    Answer, ApiError, CallbackUrl, DeliveryState, EntryKind, Grace, Limit, News, PhoneNumber, RequestId, TokenStanding,
};

use crate::world::{HOUR_MS, OWNER, PHONE, World, credits, id, live, test};

/// Scripted: delivered and read at once.
const READ_AT_ONCE: PhoneNumber = PhoneNumber::from_stored(9_996_610_001);
/// Scripted: never delivered.
const NEVER: PhoneNumber = PhoneNumber::from_stored(9_996_610_003);
/// The sandbox's, without a script.
const UNSCRIPTED: PhoneNumber = PhoneNumber::from_stored(9_996_600_000);

/// An account that has a test-mode token, called with it.
fn in_test_mode() -> World {
    let mut world = World::new();
    world.account.test = TokenStanding::FIRST;
    world.token = test(1);
    world
}

fn sent(world: &mut World, phone: PhoneNumber) -> RequestId {
    id(&world.send_to(phone).unwrap())
}

#[test]
fn the_token_before_works_until_its_grace_is_over_and_not_a_millisecond_longer() {
    let mut world = World::new();
    world.account.live = world.account.live.rotated(Grace::Hour, world.now);
    let old = sent(&mut world, PHONE);
    assert_eq!(world.request(old).generation, 1, "the request remembers who made it");
    world.token = live(2);
    world.check_status(old, None).unwrap();
    world.pass_ms(HOUR_MS - 1);
    world.token = live(1);
    world.check_status(old, None).unwrap();
    world.pass_ms(1);
    assert_eq!(world.check_status(old, None), Err(ApiError::AccessTokenInvalid));
    world.token = live(2);
    world.check_status(old, None).unwrap();
}

#[test]
fn a_grace_is_counted_in_real_time_wherever_the_sandbox_moved_the_clock() {
    let mut world = World::new();
    world.account.live = world.account.live.rotated(Grace::Day, world.now);
    world.advance_clock(30 * 24 * HOUR_MS).unwrap();
    assert_eq!(
        world.revoke(RequestId::new(world.now, 1)),
        Err(ApiError::RequestIdInvalid)
    );
}

#[test]
fn a_rotation_at_once_refuses_the_old_token_and_a_second_one_that_in_its_grace() {
    let mut world = World::new();
    let asked = |world: &mut World, token| {
        world.token = token;
        world.send_to(PHONE).map(|_| ())
    };
    world.account.live = world.account.live.rotated(Grace::None, world.now);
    assert_eq!(asked(&mut world, live(1)), Err(ApiError::AccessTokenInvalid));
    world.account.live = world.account.live.rotated(Grace::Week, world.now);
    assert_eq!(asked(&mut world, live(2)), Ok(()));
    world.account.live = world.account.live.rotated(Grace::Week, world.now);
    assert_eq!(asked(&mut world, live(2)), Err(ApiError::AccessTokenInvalid));
    assert_eq!(asked(&mut world, live(3)), Ok(()));
    assert_eq!(asked(&mut world, live(4)), Ok(()));
    assert_eq!(asked(&mut world, live(5)), Err(ApiError::AccessTokenInvalid));
}

#[test]
fn no_grace_outlives_its_account() {
    let mut world = World::new();
    world.account.live = world.account.live.rotated(Grace::Week, world.now);
    world.account.closed = true;
    assert_eq!(world.send_to(PHONE), Err(ApiError::AccessTokenInvalid));
}

#[test]
fn a_test_mode_token_reaches_the_sandboxs_numbers_alone() {
    let mut world = in_test_mode();
    for phone in [PHONE, OWNER] {
        assert_eq!(world.send_to(phone), Err(ApiError::PhoneNumberInvalid));
        assert_eq!(world.ability(phone), Err(ApiError::PhoneNumberInvalid));
    }
    world.send_to(READ_AT_ONCE).unwrap();
    world.send_to(UNSCRIPTED).unwrap();
    world.ability(READ_AT_ONCE).unwrap();
    // Each kind has generations of its own.
    world.token = test(2);
    assert_eq!(world.send_to(READ_AT_ONCE), Err(ApiError::AccessTokenInvalid));
    world.account.test = TokenStanding::NONE;
    for generation in [0, 1] {
        world.token = test(generation);
        assert_eq!(world.send_to(READ_AT_ONCE), Err(ApiError::AccessTokenInvalid));
    }
}

#[test]
fn a_test_costs_nothing_and_needs_no_balance_and_its_expiry_gives_nothing_back() {
    let mut world = in_test_mode();
    world
        .account
        .charge(credits("1"), RequestId::new(world.now, 1), world.now)
        .unwrap();
    let balance = world.account.balance;
    assert_eq!(balance, credits("0"));
    let status = world.send_to(NEVER).unwrap();
    assert_eq!((status.request_cost, status.remaining_balance), (credits("0"), None));
    let request = id(&status);
    assert!(world.request(request).test && world.entries().is_empty());
    world.pass_ms(HOUR_MS);
    world.wake(request);
    assert_eq!(world.delivery(request), DeliveryState::Expired);
    assert!(!world.request(request).refunded && world.entries().is_empty());
    assert_eq!(world.account.balance, balance);
    // The same number costs a live call, which a sandbox lets reach it.
    world.token = live(1);
    assert_eq!(world.send_to(NEVER), Err(ApiError::BalanceNotEnough));
    world.purchase("1").unwrap();
    world.send_to(NEVER).unwrap();
    assert_eq!(world.entries(), [EntryKind::Charge]);
    assert!(!world.last().request.as_ref().unwrap().test);
}

#[test]
fn an_admitted_test_holds_nothing_and_settles_for_nothing() {
    let mut world = in_test_mode();
    let outcome = world.ability_by_outcome(UNSCRIPTED);
    let Ok(Answer::Admitted(request)) = outcome else {
        panic!("answered {outcome:?}")
    };
    assert_eq!(world.account.held, credits("0"));
    world.token = None;
    assert_eq!(world.settle(request, true).unwrap().request_cost, credits("0"));
    assert!(world.entries().is_empty() && world.request(request).test);
}

#[test]
fn tests_leave_the_days_free_sends_alone_even_to_the_owners_own_sandbox_number() {
    let mut world = in_test_mode();
    world.account.owner = UNSCRIPTED;
    world.rules.free_sends_per_day = Some(1);
    for _ in 0..3 {
        world.send_to(UNSCRIPTED).unwrap();
    }
    assert_eq!(world.account.free_sends, 0);
    world.token = live(1);
    world.send_to(UNSCRIPTED).unwrap();
    assert_eq!(world.account.free_sends, 1);
    assert!(matches!(world.send_to(UNSCRIPTED), Err(ApiError::FloodWait { .. })));
}

#[test]
fn flood_limits_hold_in_test_mode_too() {
    let mut world = in_test_mode();
    world.rules.account_limit = Some(Limit {
        count: 1,
        period_ms: 60_000,
    });
    world.send_to(READ_AT_ONCE).unwrap();
    assert_eq!(world.send_to(READ_AT_ONCE), Err(ApiError::FloodWait { seconds: 60 }));
}

#[test]
fn neither_kind_of_token_knows_what_the_other_made() {
    let mut world = in_test_mode();
    let made_by_test = sent(&mut world, UNSCRIPTED);
    let checked_by_test = id(&world.ability(UNSCRIPTED).unwrap());
    world.token = live(1);
    let made_by_live = sent(&mut world, UNSCRIPTED);
    let checked_by_live = id(&world.ability(UNSCRIPTED).unwrap());
    for (token, made, checked) in [
        (live(1), made_by_test, checked_by_test),
        (test(1), made_by_live, checked_by_live),
    ] {
        world.token = token;
        assert_eq!(world.check_status(made, None), Err(ApiError::RequestIdInvalid));
        assert_eq!(
            world.check_status(made, Some("111111")),
            Err(ApiError::RequestIdInvalid)
        );
        assert_eq!(world.revoke(made), Err(ApiError::RequestIdInvalid));
        let on_it = world.send_with(|send| (send.phone, send.request) = (UNSCRIPTED, Some(checked)));
        assert_eq!(on_it, Err(ApiError::RequestIdInvalid));
    }
    // Workers know both.
    world.token = None;
    for request in [made_by_test, made_by_live] {
        world.news(request, News::Delivered);
        assert_eq!(world.delivery(request), DeliveryState::Delivered);
    }
}

#[test]
fn reports_name_the_token_that_sent_the_message() {
    let mut world = in_test_mode();
    let request = sent(&mut world, UNSCRIPTED);
    world.token = None;
    world.news(request, News::Delivered);
    assert_eq!(Some(world.last().reports[0].token), test(1));
    // Checked with one token, sent on with the next: the message is the second one's.
    world.token = live(1);
    let checked = id(&world.ability(PHONE).unwrap());
    world.account.live = world.account.live.rotated(Grace::None, world.now);
    world.token = live(2);
    let url = CallbackUrl::from_stored("https://example.com/".to_owned());
    world
        .send_with(|send| (send.request, send.callback_url) = (Some(checked), Some(url)))
        .unwrap();
    world.token = None;
    world.news(checked, News::Delivered);
    assert_eq!(Some(world.last().reports[0].token), live(2));
}
