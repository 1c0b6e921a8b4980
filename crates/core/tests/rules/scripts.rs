//! The sandbox's scripted numbers, +99966X0001 to +99966X0006. Other people's CI relies on every line of this.

use countersign_core::{
    ApiError, Code, DeliveryState, News, PhoneNumber, SCRIPTED_DELAY_MS, SCRIPTED_FLOOD_WAIT_SECONDS, SendCode, Work,
};

use crate::world::{HOUR_MS, World, credits, id};

/// +99966X000N.
const fn scripted(digit: u64, number: u64) -> PhoneNumber {
    PhoneNumber::from_stored(9_996_600_000 + digit * 10_000 + number)
}

#[test]
fn number_one_is_delivered_and_read_at_once() {
    let mut world = World::new();
    let request = id(&world.send_to(scripted(3, 1)).unwrap());
    assert_eq!(world.last().work, Some(Work::Wake), "a worker carries the script on");
    world.wake(request);
    assert_eq!(world.delivery(request), DeliveryState::Read);
    assert_eq!(
        world.reported(),
        [("delivered".to_owned(), false), ("read".to_owned(), false)]
    );
}

#[test]
fn number_two_is_delivered_and_never_read() {
    let mut world = World::new();
    let request = id(&world.send_to(scripted(3, 2)).unwrap());
    world.wake(request);
    world.pass_ms(2 * HOUR_MS);
    world.wake(request);
    world.news(request, News::Read);
    assert_eq!(world.delivery(request), DeliveryState::Delivered);
    assert_eq!(world.account.balance, credits("0.99"));
}

#[test]
fn number_three_is_never_delivered_expires_and_is_refunded() {
    let mut world = World::new();
    let request = id(&world.send_to(scripted(3, 3)).unwrap());
    world.wake(request);
    world.news(request, News::Delivered);
    assert_eq!(
        world.delivery(request),
        DeliveryState::Sent,
        "it listens to its script alone"
    );
    world.pass_ms(HOUR_MS);
    world.wake(request);
    assert_eq!(world.delivery(request), DeliveryState::Expired);
    assert_eq!(world.account.balance, credits("1"));
}

#[test]
fn number_four_cannot_be_reached() {
    let mut world = World::new();
    assert_eq!(world.send_to(scripted(3, 4)), Err(ApiError::PhoneNumberNotFound));
    assert_eq!(world.ability(scripted(3, 4)), Err(ApiError::PhoneNumberNotFound));
    assert_eq!(world.account.balance, credits("1"));
}

#[test]
fn number_five_must_wait() {
    let wait = ApiError::FloodWait {
        seconds: SCRIPTED_FLOOD_WAIT_SECONDS,
    };
    let mut world = World::new();
    assert_eq!(world.send_to(scripted(3, 5)), Err(wait));
    assert_eq!(world.ability(scripted(3, 5)), Err(wait));
}

#[test]
fn number_six_is_delivered_after_five_seconds_of_the_accounts_clock() {
    let mut world = World::new();
    let request = id(&world.send_to(scripted(3, 6)).unwrap());
    let due = world.now.plus_millis(SCRIPTED_DELAY_MS);
    assert_eq!(world.request(request).wake_at(), Some(due));
    world.advance_clock(SCRIPTED_DELAY_MS - 1).unwrap();
    world.wake(request);
    assert_eq!(world.delivery(request), DeliveryState::Sent);
    world.advance_clock(1).unwrap();
    world.wake(request);
    assert_eq!(world.delivery(request), DeliveryState::Delivered);
    assert_eq!(world.request(request).delivery_updated_at, due);
}

#[test]
fn a_generated_code_is_the_sixth_digit_repeated() {
    for digit in 0..10 {
        let mut world = World::new();
        let request = id(&world.send_to(scripted(digit, 3)).unwrap());
        assert_eq!(world.check(request, &digit.to_string().repeat(6)), "code_valid");
        assert_eq!(
            world.delivery(request),
            DeliveryState::Read,
            "as with any generated code"
        );
    }
}

#[test]
fn the_customers_own_code_is_kept_on_scripted_numbers_too() {
    let mut world = World::new();
    let own = SendCode::Supplied(Code::parse("4711").unwrap());
    let status = world.send_with(|send| {
        send.phone = scripted(3, 3);
        send.code = own;
    });
    assert_eq!(world.check(id(&status.unwrap()), "4711"), "code_valid");
}

#[test]
fn a_script_can_be_checked_for_ability_and_sent_on() {
    let mut world = World::new();
    let request = id(&world.ability(scripted(3, 1)).unwrap());
    world
        .send_with(|send| {
            send.request = Some(request);
            send.phone = scripted(3, 1);
        })
        .unwrap();
    world.wake(request);
    assert_eq!(world.delivery(request), DeliveryState::Read);
}

#[test]
fn other_numbers_of_the_range_have_no_script() {
    let mut world = World::new();
    for number in [0, 7, 1_234, 9_999] {
        let request = id(&world.send_to(scripted(3, number)).unwrap());
        assert_eq!(world.last().work, Some(Work::Deliver), "{number}");
        world.news(request, News::Delivered);
        assert_eq!(world.delivery(request), DeliveryState::Delivered);
    }
}
