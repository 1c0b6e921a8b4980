//! One live code for an account, a number and a sender, where the operator has it so.

use countersign_core::{
    ApiError, DeliveryState, EntryKind, News, SenderFact, SenderUsername, Ttl, VerificationState, Work,
};

use crate::world::{CODE, OWNER, World, credits, id};

/// Rules with a cool-down of half a minute.
fn world() -> World {
    let mut world = World::new();
    world.rules.one_live_code = Some(30_000);
    world
}

#[test]
fn a_second_send_waits_for_the_cool_down() {
    let mut world = world();
    let first = world.send();
    assert_eq!(world.send_with(|_| {}), Err(ApiError::FloodWait { seconds: 30 }));
    world.pass_ms(29_001);
    assert_eq!(world.send_with(|_| {}), Err(ApiError::FloodWait { seconds: 1 }));
    assert_eq!(world.verification(first), VerificationState::Unchecked);
    assert_eq!(world.account.balance, credits("0.99"));
}

#[test]
fn after_it_the_earlier_code_ends_with_the_sending_of_the_next() {
    let mut world = world();
    let first = world.send();
    world.pass_seconds(30);
    let second = world.send();
    assert_eq!(world.entries(), [EntryKind::Charge], "the earlier one isn't refunded");
    let ended = world.last().ended.clone().unwrap();
    assert_eq!((ended.request.id, ended.work), (first, Some(Work::Withdraw)));
    assert_eq!(ended.reports.len(), 1);
    assert_eq!(world.delivery(first), DeliveryState::Revoked);
    assert_eq!(world.check(first, CODE), "expired");
    assert_eq!(world.last().request, None);
    assert_eq!(world.check(second, CODE), "code_valid");
}

#[test]
fn a_code_that_arrived_ends_and_its_message_stays_delivered() {
    let mut world = world();
    let first = world.send();
    world.news(first, News::Delivered);
    world.pass_seconds(30);
    world.send();
    let ended = world.last().ended.clone().unwrap();
    assert_eq!((ended.work, ended.reports.len()), (None, 0));
    assert_eq!(world.delivery(first), DeliveryState::Delivered);
    assert_eq!(world.check(first, CODE), "expired");
}

#[test]
fn what_lives_no_more_holds_nothing_up() {
    type Deed = (&'static str, fn(&mut World, countersign_core::RequestId));
    let deeds: [Deed; 4] = [
        ("checked", |world, first| drop(world.check(first, CODE))),
        ("revoked", |world, first| drop(world.revoke(first))),
        ("failed", |world, first| world.news(first, News::Failed)),
        ("disowned", |world, first| world.news(first, News::Disowned)),
    ];
    for (name, deed) in deeds {
        let mut world = world();
        let first = world.send();
        deed(&mut world, first);
        assert!(world.send_with(|_| {}).is_ok(), "{name}");
        assert_eq!(world.last().ended, None, "{name}");
    }
    let mut world = world();
    world.rules.one_live_code = Some(60_000);
    world.send_with(|send| send.ttl = Ttl::new(30).unwrap()).unwrap();
    world.pass_seconds(30);
    assert!(world.send_with(|_| {}).is_ok(), "its life is over");
    assert_eq!(world.last().ended, None);
}

#[test]
fn an_admission_ends_the_earlier_code_once_it_is_sent() {
    let mut world = world();
    let first = world.send();
    world.pass_seconds(30);
    let admitted = world.admit();
    assert_eq!(world.last().ended, None, "it may reach nobody");
    world.settle(admitted, true).unwrap();
    assert_eq!(world.last().ended.as_ref().unwrap().request.id, first);
}

#[test]
fn of_two_that_are_admitted_at_once_the_later_one_waits_for_the_cool_down() {
    let mut world = world();
    let (first, second) = (world.admit(), world.admit());
    world.settle(first, true).unwrap();
    world.pass_seconds(1);
    assert_eq!(world.settle(second, true), Err(ApiError::FloodWait { seconds: 29 }));
    assert_eq!(
        (world.delivery(second), world.last().ended.clone()),
        (DeliveryState::Unreachable, None)
    );
    assert!(world.entries().is_empty());
    assert_eq!(
        (world.account.balance, world.account.held),
        (credits("0.99"), credits("0"))
    );
    assert_eq!(world.check(first, CODE), "code_valid");
}

#[test]
fn an_admitted_ability_check_waits_for_no_code() {
    let mut world = world();
    world.send();
    let checked = world.admit_ability();
    assert!(world.settle(checked, true).is_ok());
}

#[test]
fn a_send_that_is_refused_ends_nothing() {
    let mut world = world();
    let first = world.send();
    world.pass_seconds(30);
    let refused = world.send_with(|send| send.reach = countersign_core::Reach::Unreachable);
    assert_eq!(refused, Err(ApiError::PhoneNumberNotFound));
    assert_eq!(
        (world.last().ended.clone(), world.delivery(first)),
        (None, DeliveryState::Sent)
    );
}

#[test]
fn without_the_rule_codes_live_beside_each_other() {
    let mut world = World::new();
    let first = world.send();
    let second = world.send();
    assert_eq!(world.check(first, CODE), "code_valid");
    assert_eq!(world.check(second, CODE), "code_valid");
}

#[test]
fn a_send_on_an_ability_check_and_one_to_the_owner_go_by_the_rule_too() {
    let mut world = world();
    world.sender = SenderFact::Verified;
    let as_acme = |send: &mut countersign_core::Send| {
        send.phone = OWNER;
        send.sender = SenderUsername::parse("acme");
    };
    let first = id(&world.send_with(as_acme).unwrap());
    world.pass_seconds(30);
    let checked = id(&world.ability(OWNER).unwrap());
    world
        .send_with(|send| {
            as_acme(send);
            send.request = Some(checked);
        })
        .unwrap();
    assert_eq!(world.last().ended.as_ref().unwrap().request.id, first);
}
