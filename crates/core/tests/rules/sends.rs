//! docs/api.md, `sendVerificationMessage`: codes, senders, the owner's number, prices.

use countersign_core::{
    Answer, ApiError, Code, CodeLength, CodeOrigin, DAY_MS, EntryKind, NumberPrefix, Payload, PhoneNumber, Reach,
    SendCode, SenderFact, Work,
};

use crate::world::{HOUR_MS, OWNER, PHONE, World, credits, delivery_word, id};

#[test]
fn a_send_is_charged_and_sent() {
    let mut world = World::new();
    let status = world.send_with(|_| {}).unwrap();
    assert_eq!(delivery_word(&status), "sent");
    assert_eq!(
        (status.request_cost, status.remaining_balance),
        (credits("0.01"), Some(credits("0.99")))
    );
    assert_eq!(status.verification_status, None);
    assert!(!status.is_refunded);
    assert_eq!(world.entries(), [EntryKind::Charge]);
    assert_eq!(world.last().work, Some(Work::Deliver));
    assert!(world.last().reports.is_empty(), "sent is the answer, no report");
}

#[test]
fn a_generated_code_has_six_digits_or_as_many_as_were_asked_for() {
    let mut world = World::new();
    for (length, digits) in [
        (CodeLength::default(), 6),
        (CodeLength::new(4).unwrap(), 4),
        (CodeLength::new(8).unwrap(), 8),
    ] {
        let code = SendCode::Generate { length, entropy: 7 };
        let request = id(&world.send_with(|send| send.code = code).unwrap());
        let message = world.request(request).message.as_ref().unwrap();
        assert_eq!(message.code.whole().unwrap().as_str().len(), digits);
        assert_eq!(message.origin, CodeOrigin::Generated);
    }
}

#[test]
fn the_customers_own_code_is_sent_as_it_is() {
    let mut world = World::new();
    let own = SendCode::Supplied(Code::parse("00470011").unwrap());
    let request = id(&world.send_with(|send| send.code = own).unwrap());
    let message = world.request(request).message.as_ref().unwrap();
    assert_eq!(
        (message.code.whole().unwrap().as_str(), message.origin),
        ("00470011", CodeOrigin::Supplied)
    );
}

#[test]
fn the_payload_comes_back_with_every_answer() {
    let mut world = World::new();
    let payload = Payload::new("order 7".to_owned());
    let status = world.send_with(|send| send.payload = payload).unwrap();
    assert_eq!(status.payload.as_deref(), Some("order 7"));
    assert_eq!(
        world.check_status(id(&status), None).unwrap().payload.as_deref(),
        Some("order 7")
    );
}

#[test]
fn a_message_lives_an_hour_unless_told_otherwise() {
    let mut world = World::new();
    let request = world.send();
    let message = world.request(request).message.as_ref().unwrap();
    assert_eq!(message.expires_at, message.sent_at.plus_millis(3_600_000));
}

#[test]
fn each_send_without_an_id_is_a_request_with_its_own_fee() {
    let mut world = World::new();
    let (first, second) = (world.send(), world.send());
    assert_ne!(first, second);
    assert_eq!(world.account.balance, credits("0.98"));
}

#[test]
fn a_sender_must_be_known_owned_and_verified() {
    for (fact, error) in [
        (SenderFact::Unknown, ApiError::SenderUsernameInvalid),
        (SenderFact::OtherAccount, ApiError::SenderNotOwned),
        (SenderFact::Unverified, ApiError::SenderNotVerified),
    ] {
        let mut world = World::new();
        world.sender = fact;
        assert_eq!(world.send_to(PHONE), Err(error));
        assert!(world.entries().is_empty());
    }
    let mut world = World::new();
    world.sender = SenderFact::Verified;
    world.send();
}

#[test]
fn to_the_owners_number_a_send_is_free_and_its_sender_need_not_be_verified() {
    let mut world = World::new();
    world.sender = SenderFact::Unverified;
    let status = world.send_to(OWNER).unwrap();
    assert_eq!((status.request_cost, status.remaining_balance), (credits("0"), None));
    assert!(world.entries().is_empty());
    world.news(id(&status), countersign_core::News::Failed);
    assert!(
        world.entries().is_empty(),
        "nothing was charged, so nothing is refunded"
    );
    assert!(!world.request(id(&status)).refunded);
    world.sender = SenderFact::OtherAccount;
    assert_eq!(world.send_to(OWNER), Err(ApiError::SenderNotOwned));
}

#[test]
fn to_the_owners_number_twenty_sends_a_day_are_free() {
    let mut world = World::new();
    world.rules.free_sends_per_day = Some(20);
    for _ in 0..20 {
        world.send_to(OWNER).unwrap();
    }
    world.pass_ms(DAY_MS - 10_000);
    let Err(ApiError::FloodWait { seconds }) = world.send_to(OWNER) else {
        panic!("the 21st passed")
    };
    assert!((10..=11).contains(&seconds), "{seconds} s until the next day");
    world.send_to(PHONE).unwrap();
    world.pass_seconds(i64::from(seconds));
    world.send_to(OWNER).unwrap();
}

#[test]
fn the_longest_price_prefix_wins_and_the_price_of_the_call_is_charged() {
    let mut world = World::new();
    for (prefix, price) in [("1", "0.02"), ("1650", "0.05"), ("16502530001", "0.07")] {
        world
            .rules
            .prices
            .set(NumberPrefix::parse(prefix).unwrap(), credits(price));
    }
    for (phone, price) in [
        (16_502_530_000, "0.05"),
        (16_502_530_001, "0.07"),
        (12_425_550_123, "0.02"),
        (391_234_567_890, "0.01"),
    ] {
        let status = world.send_to(PhoneNumber::from_stored(phone)).unwrap();
        assert_eq!(status.request_cost, credits(price), "{phone}");
    }
    world.rules.prices.set(NumberPrefix::DEFAULT, credits("0.5"));
    assert_eq!(world.send_to(PHONE).unwrap().request_cost, credits("0.5"));
}

#[test]
fn a_refund_gives_back_what_was_charged_though_the_price_has_changed() {
    let mut world = World::new();
    let request = world.send();
    world.rules.prices.set(NumberPrefix::DEFAULT, credits("0.5"));
    world.news(request, countersign_core::News::Failed);
    assert_eq!(world.account.balance, credits("1"));
}

#[test]
fn a_price_holds_from_its_time_on_by_the_accounts_clock() {
    let mut world = World::new();
    world.price_from(world.now.plus_millis(HOUR_MS), Some("0.05"));
    world.pass_ms(HOUR_MS - 1);
    assert_eq!(world.send_to(PHONE).unwrap().request_cost, credits("0.01"));
    world.advance_clock(1).unwrap();
    assert_eq!(world.send_to(PHONE).unwrap().request_cost, credits("0.05"));
    assert_eq!(world.ability(PHONE).unwrap().request_cost, credits("0.05"));
    world.price_from(world.now.plus_millis(2 * HOUR_MS), None);
    world.pass_ms(2 * HOUR_MS);
    assert_eq!(world.send_to(PHONE).unwrap().request_cost, credits("0.01"));
}

#[test]
fn a_send_on_an_ability_check_keeps_the_price_of_the_check() {
    let mut world = World::new();
    let checked = world.ability(PHONE).unwrap();
    world.price_from(world.now, Some("0.5"));
    let sent = world.send_with(|send| send.request = Some(id(&checked))).unwrap();
    assert_eq!((sent.request_cost, sent.remaining_balance), (credits("0.01"), None));
    assert!(world.entries().is_empty(), "the one fee was charged by the check");
    world.news(id(&checked), countersign_core::News::Failed);
    assert_eq!(world.account.balance, credits("1"));
}

#[test]
fn an_admission_is_settled_at_the_price_that_was_put_on_hold() {
    for reachable in [true, false] {
        for new_price in ["0.001", "0.5"] {
            let mut world = World::new();
            let request = world.admit();
            assert_eq!(world.account.held, credits("0.01"));
            world.price_from(world.now, Some(new_price));
            let settled = world.settle(request, reachable);
            assert_eq!(world.account.held, credits("0"));
            let spent = credits(if reachable { "0.01" } else { "0" });
            assert_eq!(world.account.balance, credits("1") - spent);
            assert_eq!(
                settled.map(|status| status.request_cost).ok(),
                reachable.then_some(spent)
            );
        }
    }
}

#[test]
fn the_owners_number_is_free_and_no_line_of_the_ledger() {
    let mut world = World::new();
    world.price_from(world.now, Some("0.5"));
    for status in [world.send_to(OWNER).unwrap(), world.ability(OWNER).unwrap()] {
        assert_eq!((status.request_cost, status.remaining_balance), (credits("0"), None));
        assert!(world.entries().is_empty());
    }
    let lost = id(&world.send_to(OWNER).unwrap());
    world.news(lost, countersign_core::News::Failed);
    assert!(world.entries().is_empty());
    assert_eq!(world.account.balance, credits("1"));
}

#[test]
fn the_fee_must_be_covered_by_what_is_not_on_hold() {
    let mut world = World::new();
    world.rules.prices.set(NumberPrefix::DEFAULT, credits("0.6"));
    let held = world.admit();
    assert_eq!(world.send_to(PHONE), Err(ApiError::BalanceNotEnough));
    assert_eq!(world.ability(PHONE), Err(ApiError::BalanceNotEnough));
    world.settle(held, false).unwrap_err();
    assert_eq!(world.send_to(PHONE).unwrap().remaining_balance, Some(credits("0.4")));
}

#[test]
fn the_last_cent_can_be_spent() {
    let mut world = World::new();
    world.rules.prices.set(NumberPrefix::DEFAULT, credits("1"));
    assert_eq!(world.send_to(PHONE).unwrap().remaining_balance, Some(credits("0")));
    assert_eq!(world.send_to(PHONE), Err(ApiError::BalanceNotEnough));
}

#[test]
fn a_number_that_no_leg_reaches_is_not_found_and_costs_nothing() {
    let mut world = World::new();
    assert_eq!(
        world.send_with(|send| send.reach = Reach::Unreachable),
        Err(ApiError::PhoneNumberNotFound)
    );
    assert_eq!(world.account.balance, credits("1"));
    assert_eq!(world.last().request, None);
}

#[test]
fn the_flood_limits_say_how_long_to_wait() {
    let limit = countersign_core::Limit {
        count: 2,
        period_ms: 60_000,
    };
    let mut world = World::new();
    world.rules.number_limit = Some(limit);
    world.send();
    world.ability(PHONE).unwrap();
    assert_eq!(world.send_to(PHONE), Err(ApiError::FloodWait { seconds: 30 }));
    let before = world.flood;
    world.pass_seconds(29);
    assert_eq!(world.send_to(PHONE), Err(ApiError::FloodWait { seconds: 1 }));
    assert_eq!(world.flood, before, "a refused call doesn't count");
    world.pass_seconds(1);
    world.send();
    let mut world = World::new();
    world.rules.account_limit = Some(limit);
    world.send();
    world.send();
    assert_eq!(world.ability(PHONE), Err(ApiError::FloodWait { seconds: 30 }));
}

#[test]
fn a_wake_and_news_of_a_request_that_is_not_there_do_nothing() {
    let mut world = World::new();
    let unknown = countersign_core::RequestId::new(world.now, 99);
    world.wake(unknown);
    world.news(unknown, countersign_core::News::Delivered);
    assert_eq!(world.last().outcome, Ok(Answer::Done));
    assert_eq!(world.last().request, None);
}
