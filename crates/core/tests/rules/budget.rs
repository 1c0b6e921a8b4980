//! The daily budget in `decide`: what it refuses, what comes back into it, and when its alarm goes.

use std::sync::Arc;

use countersign_core::{ApiError, CallbackUrl, DAY_MS, DailyBudget};

use crate::world::{World, credits};

fn with_budget(amount: &str) -> World {
    let mut world = World::new();
    world.account.budget = Some(Arc::new(DailyBudget {
        amount: credits(amount),
        url: Some(CallbackUrl::from_stored("https://example.com/budget".into())),
    }));
    world
}

#[test]
fn a_message_beyond_the_budget_waits_for_the_next_day_and_nothing_is_charged() {
    let mut world = with_budget("0.025");
    world.send();
    world.send();
    assert_eq!(world.send_with(|_| {}), Err(ApiError::FloodWait { seconds: 86_401 }));
    assert!(world.entries().is_empty());
    assert_eq!(world.account.spending.spent, credits("0.02"));
    world.pass_ms(DAY_MS);
    world.send();
    assert_eq!(world.account.spending.spent, credits("0.01"));
}

#[test]
fn who_has_no_credit_is_told_so_and_not_of_the_budget() {
    let mut world = with_budget("0.005");
    world.account.held = world.account.balance;
    assert_eq!(world.send_with(|_| {}), Err(ApiError::BalanceNotEnough));
    assert_eq!(world.last().budget, None);
}

#[test]
fn the_alarm_goes_at_eighty_percent_and_at_the_first_refusal() {
    let mut world = with_budget("0.05");
    for _ in 0..3 {
        world.send();
        assert_eq!(world.last().budget, None);
    }
    world.send();
    assert!(world.last().budget.is_some(), "0.04 of 0.05");
    world.account.budget = with_budget("0.045").account.budget;
    assert!(world.send_with(|_| {}).is_err());
    let told = world.last().budget.as_ref().unwrap();
    let body = std::str::from_utf8(&told.report.body).unwrap();
    assert!(
        body.contains("\"spent\":0.04,\"budget\":0.045,\"percent\":100"),
        "{body}"
    );
    assert!(world.send_with(|_| {}).is_err());
    assert_eq!(world.last().budget, None, "once a day");
}

#[test]
fn a_refund_on_the_same_day_may_be_spent_again() {
    let mut world = with_budget("0.01");
    let id = world.send();
    assert!(world.send_with(|_| {}).is_err());
    // Nothing arrived in its hour.
    world.pass_seconds(3_601);
    world.wake(id);
    assert_eq!(world.account.spending.spent, credits("0"));
    world.send();
}
