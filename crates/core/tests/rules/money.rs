//! Purchases, the lapse of credit, and the sandbox clock that lets it come due.

use countersign_core::{Answer, ApiError, CREDIT_LIFE_MS, DAY_MS, DeliveryState, EntryKind, News};

use crate::world::{HOUR_MS, World, credits};

#[test]
fn a_purchase_adds_credit_and_is_a_line_of_the_ledger() {
    let mut world = World::new();
    world.purchase("2.5").unwrap();
    let entry = &world.last().entries[0];
    assert_eq!(
        (entry.number, entry.kind, entry.amount, entry.balance_after),
        (2, EntryKind::Purchase, credits("2.5"), credits("3.5"))
    );
}

#[test]
fn what_is_no_amount_to_buy_is_refused() {
    let mut world = World::new();
    for amount in ["0", "-1", "1000000000.000001"] {
        assert_eq!(world.purchase(amount), Err(ApiError::BadRequest), "{amount}");
        assert!(world.entries().is_empty());
    }
}

#[test]
fn credit_lapses_three_years_after_its_purchase_before_anything_else_is_judged() {
    let mut world = World::new();
    world.pass_ms(CREDIT_LIFE_MS - 1);
    world.send();
    world.pass_ms(1);
    assert_eq!(world.send_with(|_| {}), Err(ApiError::BalanceNotEnough));
    assert_eq!(world.entries(), [EntryKind::Lapse]);
    assert_eq!(world.account.balance, credits("0"));
    assert_eq!(world.account.next_lapse_at, None);
}

#[test]
fn credit_lapses_oldest_first() {
    let mut world = World::new();
    world.pass_ms(DAY_MS);
    world.purchase("5").unwrap();
    world.send();
    world.pass_ms(CREDIT_LIFE_MS - DAY_MS);
    world.purchase("1").unwrap();
    assert_eq!(world.entries(), [EntryKind::Lapse, EntryKind::Purchase]);
    assert_eq!(
        world.last().entries[0].amount,
        credits("-0.99"),
        "the charge was taken from the oldest"
    );
    assert_eq!(world.account.balance, credits("6"));
    world.pass_ms(DAY_MS);
    world.purchase("1").unwrap();
    assert_eq!(world.last().entries[0].amount, credits("-5"));
    assert_eq!(world.account.balance, credits("2"));
}

#[test]
fn what_is_on_hold_outlives_its_purchase() {
    let mut world = World::new();
    world.pass_ms(CREDIT_LIFE_MS - 1);
    let request = world.admit();
    world.pass_ms(1);
    assert_eq!(
        world.settle(request, true).unwrap().remaining_balance,
        Some(credits("0"))
    );
    assert_eq!(world.entries(), [EntryKind::Lapse, EntryKind::Charge]);
    assert_eq!(world.delivery(request), DeliveryState::Sent);
}

#[test]
fn the_sandbox_clock_moves_forward_only() {
    let mut world = World::new();
    assert_eq!(world.advance_clock(0), Ok(Answer::Done));
    assert_eq!(world.advance_clock(HOUR_MS), Ok(Answer::Done));
    assert_eq!(world.account.clock_offset_ms, HOUR_MS);
    for by_ms in [-1, i64::MIN, i64::MAX] {
        assert_eq!(world.advance_clock(by_ms), Err(ApiError::BadRequest), "{by_ms}");
        assert_eq!(world.account.clock_offset_ms, HOUR_MS);
    }
}

#[test]
fn the_sandbox_clock_ends_before_dates_and_request_ids_do() {
    let mut world = World::new();
    let year_ms = 365 * DAY_MS;
    assert_eq!(world.advance_clock(7_900 * year_ms), Ok(Answer::Done));
    assert_eq!(world.advance_clock(100 * year_ms), Err(ApiError::BadRequest));
    world.purchase("1").unwrap();
    let request = world.send();
    assert_eq!(request.created_at(), world.account.clock(world.now));
}

#[test]
fn ids_states_and_lives_follow_the_sandbox_clock() {
    let mut world = World::new();
    let request = world.send();
    world.advance_clock(HOUR_MS - 1).unwrap();
    world.wake(request);
    assert_eq!(world.delivery(request), DeliveryState::Sent);
    world.advance_clock(1).unwrap();
    world.wake(request);
    assert_eq!(world.delivery(request), DeliveryState::Expired);
    let next = world.send();
    assert_eq!(next.created_at(), world.now.plus_millis(HOUR_MS));
    world.news(next, News::Delivered);
    assert_eq!(world.request(next).delivery_updated_at, world.now.plus_millis(HOUR_MS));
    assert_eq!(world.last().reports[0].created_at, world.now, "reports go by real time");
}
