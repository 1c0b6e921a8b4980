//! docs/api.md, `checkSendAbility`, and sends on its ids.

use countersign_core::{ABILITY_LIFE_MS, ApiError, DeliveryState, EntryKind, PhoneNumber, Reach, SenderFact};

use crate::world::{CODE, OWNER, PHONE, World, credits, delivery_word, id};

#[test]
fn a_reachable_number_is_charged_the_price_of_one_message() {
    let mut world = World::new();
    let status = world.ability(PHONE).unwrap();
    assert_eq!(status.delivery_status, None);
    assert_eq!(
        (status.request_cost, status.remaining_balance),
        (credits("0.01"), Some(credits("0.99")))
    );
    assert_eq!(world.entries(), [EntryKind::Charge]);
}

#[test]
fn an_unreachable_number_is_not_found_and_costs_nothing() {
    let mut world = World::new();
    assert_eq!(
        world.ability_by(PHONE, Reach::Unreachable),
        Err(ApiError::PhoneNumberNotFound)
    );
    assert_eq!(world.account.balance, credits("1"));
    assert_eq!(world.last().request, None);
}

#[test]
fn the_owners_number_is_free() {
    let mut world = World::new();
    let status = world.ability(OWNER).unwrap();
    assert_eq!((status.request_cost, status.remaining_balance), (credits("0"), None));
    assert!(world.entries().is_empty());
}

#[test]
fn a_send_on_the_id_costs_nothing_more() {
    let mut world = World::new();
    let request = id(&world.ability(PHONE).unwrap());
    let status = world.send_with(|send| send.request = Some(request)).unwrap();
    assert_eq!(id(&status), request);
    assert_eq!(delivery_word(&status), "sent");
    assert_eq!((status.request_cost, status.remaining_balance), (credits("0.01"), None));
    assert!(world.entries().is_empty());
    assert_eq!(world.check(request, CODE), "code_valid");
}

#[test]
fn its_one_fee_is_refunded_when_the_message_expires() {
    let mut world = World::new();
    let request = id(&world.ability(PHONE).unwrap());
    world.send_with(|send| send.request = Some(request)).unwrap();
    world.news(request, countersign_core::News::Failed);
    assert_eq!(world.account.balance, credits("1"));
}

#[test]
fn a_second_send_on_one_request_id_is_refused() {
    let mut world = World::new();
    let request = id(&world.ability(PHONE).unwrap());
    world.send_with(|send| send.request = Some(request)).unwrap();
    let again = world.send_with(|send| send.request = Some(request));
    assert_eq!(again, Err(ApiError::RequestIdInvalid));
}

#[test]
fn a_send_on_the_id_of_a_send_is_refused() {
    for state in DeliveryState::ALL {
        if state == DeliveryState::Checked {
            continue;
        }
        let mut world = World::new();
        let request = world.bring_to(state);
        let sent_on = world.send_with(|send| send.request = Some(request));
        assert_eq!(sent_on, Err(ApiError::RequestIdInvalid), "{state:?}");
    }
}

#[test]
fn a_send_on_an_unknown_id_is_refused() {
    let mut world = World::new();
    let unknown = countersign_core::RequestId::new(world.now, 99);
    let sent_on = world.send_with(|send| send.request = Some(unknown));
    assert_eq!(sent_on, Err(ApiError::RequestIdInvalid));
}

#[test]
fn a_send_on_the_id_of_another_phone_is_refused() {
    let mut world = World::new();
    let request = id(&world.ability(PHONE).unwrap());
    let other = PhoneNumber::from_stored(447_911_123_456);
    let sent_on = world.send_with(|send| {
        send.request = Some(request);
        send.phone = other;
    });
    assert_eq!(sent_on, Err(ApiError::RequestIdInvalid));
}

#[test]
fn an_id_can_be_sent_on_for_one_hour() {
    let mut world = World::new();
    let request = id(&world.ability(PHONE).unwrap());
    world.pass_ms(ABILITY_LIFE_MS + 1);
    let sent_on = world.send_with(|send| send.request = Some(request));
    assert_eq!(sent_on, Err(ApiError::RequestIdInvalid));
    world.now = world.now.plus_millis(-1);
    world.send_with(|send| send.request = Some(request)).unwrap();
}

#[test]
fn a_send_that_ends_in_an_error_does_not_use_the_id_up() {
    let mut world = World::new();
    let request = id(&world.ability(PHONE).unwrap());
    world.sender = SenderFact::Unverified;
    let failed = world.send_with(|send| send.request = Some(request));
    assert_eq!(failed, Err(ApiError::SenderNotVerified));
    world.sender = SenderFact::NotNamed;
    world.send_with(|send| send.request = Some(request)).unwrap();
}

#[test]
fn an_id_is_sent_on_even_when_the_balance_is_gone() {
    let mut world = World::new();
    let request = id(&world.ability(PHONE).unwrap());
    for _ in 0..99 {
        world.send();
    }
    assert_eq!(world.account.balance, credits("0"));
    world.send_with(|send| send.request = Some(request)).unwrap();
}
