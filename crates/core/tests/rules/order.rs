//! docs/errors.md, "Order": the order in which a command's rules are judged. Each call is wrong in every way from some
//! rule on; the first rule's error is answered, then that fault is mended and the next one shows.

use countersign_core::{
    ApiError, FirstAnswer, Idempotency, IdempotencyKey, Limit, LimitState, NumberPrefix, Reach, RequestId, SenderFact,
};

use crate::world::{OWNER, PHONE, World, credits, live};

#[test]
fn a_sends_faults_are_told_in_the_order_of_the_contract() {
    let mut world = World::new();
    let request = world.bring_to(countersign_core::DeliveryState::Checked);
    let used = Idempotency {
        key: IdempotencyKey::new("k").unwrap(),
        fingerprint: [1; 32],
    };
    // Wrong: the token, the key, the request id, the sender, the flood, the balance, the reach.
    world.token = live(0);
    world.first_answer = Some(FirstAnswer {
        idempotency: used.clone(),
        result: b"true".to_vec(),
        at: world.now,
    });
    world.key = Some(Idempotency {
        fingerprint: [2; 32],
        ..used
    });
    let mut named = Some(RequestId::new(world.now, 99));
    world.sender = SenderFact::Unknown;
    world.rules.number_limit = Some(Limit {
        count: 1,
        period_ms: 60_000,
    });
    world.flood.number = LimitState::until(world.now.plus_millis(60_000));
    world.rules.prices.set(NumberPrefix::DEFAULT, credits("2"));
    let send = |world: &mut World, named| {
        let refused = world.send_with(|send| {
            send.request = named;
            send.reach = Reach::Unreachable;
        });
        refused.map(|_| ())
    };

    assert_eq!(send(&mut world, named), Err(ApiError::AccessTokenInvalid));
    world.token = live(1);
    assert_eq!(send(&mut world, named), Err(ApiError::BadRequest));
    world.key = None;
    assert_eq!(send(&mut world, named), Err(ApiError::RequestIdInvalid));
    named = Some(request);
    assert_eq!(send(&mut world, named), Err(ApiError::SenderUsernameInvalid));
    world.sender = SenderFact::NotNamed;
    assert_eq!(send(&mut world, named), Err(ApiError::FloodWait { seconds: 60 }));
    named = None;
    assert_eq!(send(&mut world, named), Err(ApiError::FloodWait { seconds: 60 }));
    world.rules.number_limit = None;
    assert_eq!(send(&mut world, named), Err(ApiError::BalanceNotEnough));
    world.rules.prices.set(NumberPrefix::DEFAULT, credits("1.0"));
    world.purchase("1").unwrap();
    assert_eq!(send(&mut world, named), Err(ApiError::PhoneNumberNotFound));
}

#[test]
fn an_ability_checks_faults_are_told_in_the_order_of_the_contract() {
    let mut world = World::new();
    world.token = live(0);
    world.rules.account_limit = Some(Limit {
        count: 1,
        period_ms: 60_000,
    });
    world.flood.account = LimitState::until(world.now.plus_millis(60_000));
    world.rules.prices.set(NumberPrefix::DEFAULT, credits("2"));
    let mut ability = |change: fn(&mut World)| {
        change(&mut world);
        world.ability_by(PHONE, Reach::Unreachable).map(|_| ())
    };
    assert_eq!(ability(|_| {}), Err(ApiError::AccessTokenInvalid));
    assert_eq!(
        ability(|world| world.token = live(1)),
        Err(ApiError::FloodWait { seconds: 60 })
    );
    assert_eq!(
        ability(|world| world.rules.account_limit = None),
        Err(ApiError::BalanceNotEnough)
    );
    let cheap = |world: &mut World| world.rules.prices.set(NumberPrefix::DEFAULT, credits("0.1"));
    assert_eq!(ability(cheap), Err(ApiError::PhoneNumberNotFound));
}

#[test]
fn those_who_cannot_pay_are_not_told_whether_a_number_can_be_reached() {
    let mut world = World::new();
    world.rules.prices.set(NumberPrefix::DEFAULT, credits("2"));
    for reach in [Reach::Reachable, Reach::Unreachable, Reach::MustAsk] {
        assert_eq!(world.ability_by(PHONE, reach), Err(ApiError::BalanceNotEnough));
    }
}

#[test]
fn the_free_sends_of_a_day_are_judged_with_the_flood_before_reachability() {
    let mut world = World::new();
    world.rules.free_sends_per_day = Some(1);
    world.send_to(OWNER).unwrap();
    let refused = world.send_with(|send| {
        send.phone = OWNER;
        send.reach = Reach::Unreachable;
    });
    assert!(matches!(refused, Err(ApiError::FloodWait { .. })), "{refused:?}");
}

#[test]
fn a_rotated_token_and_a_closed_account_are_refused_and_workers_go_on() {
    let mut world = World::new();
    let request = world.send();
    world.account.live.generation = 2;
    assert_eq!(world.send_to(PHONE), Err(ApiError::AccessTokenInvalid));
    assert_eq!(world.check_status(request, None), Err(ApiError::AccessTokenInvalid));
    world.token = live(2);
    world.send_to(PHONE).unwrap();
    world.account.closed = true;
    assert_eq!(world.send_to(PHONE), Err(ApiError::AccessTokenInvalid));
    assert_eq!(world.revoke(request), Err(ApiError::AccessTokenInvalid));
    world.token = None;
    world.news(request, countersign_core::News::Failed);
    assert!(
        world.request(request).refunded,
        "what is owed to a closed account is still given back"
    );
}
