//! docs/api.md, "Idempotency": `Idempotency-Key`.

use countersign_core::{Answer, ApiError, DAY_MS, DeliveryState, Idempotency, IdempotencyKey, Limit};

use crate::world::{PHONE, World, credits};

fn key(fingerprint: u8) -> Idempotency {
    Idempotency {
        key: IdempotencyKey::new("a key").unwrap(),
        fingerprint: [fingerprint; 32],
    }
}

fn send(world: &mut World) -> Result<Answer, ApiError> {
    let send = world.parameters();
    world.submit(None, countersign_core::Action::Send(Box::new(send)))
}

#[test]
fn the_same_key_gives_the_first_answer_again_and_changes_nothing() {
    let mut world = World::new();
    world.key = Some(key(1));
    let Ok(Answer::Status(first)) = send(&mut world) else {
        panic!("the first call failed")
    };
    world.pass_seconds(60);
    assert_eq!(
        send(&mut world),
        Ok(Answer::Again(serde_json::to_vec(&*first).unwrap()))
    );
    let again = world.last();
    assert!(
        again.request.is_none() && again.entries.is_empty() && again.first_answer.is_none() && again.work.is_none()
    );
    assert_eq!(world.account.balance, credits("0.99"));
}

#[test]
fn the_same_key_for_something_else_is_a_bad_request() {
    let mut world = World::new();
    world.key = Some(key(1));
    send(&mut world).unwrap();
    world.key = Some(key(2));
    assert_eq!(send(&mut world), Err(ApiError::BadRequest));
    assert_eq!(world.account.balance, credits("0.99"));
}

#[test]
fn a_key_is_remembered_for_a_day() {
    let mut world = World::new();
    world.key = Some(key(1));
    send(&mut world).unwrap();
    world.pass_ms(DAY_MS - 1);
    assert!(matches!(send(&mut world), Ok(Answer::Again(_))));
    world.pass_ms(1);
    assert!(matches!(send(&mut world), Ok(Answer::Status(_))));
    assert_eq!(world.account.balance, credits("0.98"));
    world.pass_seconds(1);
    assert!(
        matches!(send(&mut world), Ok(Answer::Again(_))),
        "the new answer is kept in its place"
    );
}

#[test]
fn a_key_is_real_times_and_not_the_sandbox_clocks() {
    let mut world = World::new();
    world.key = Some(key(1));
    send(&mut world).unwrap();
    world.key = None;
    world.advance_clock(2 * DAY_MS).unwrap();
    world.key = Some(key(1));
    assert!(matches!(send(&mut world), Ok(Answer::Again(_))));
}

#[test]
fn an_error_is_not_kept_and_may_be_tried_again() {
    let mut world = World::new();
    world.rules.number_limit = Some(Limit {
        count: 1,
        period_ms: 1000,
    });
    world.send_to(PHONE).unwrap();
    world.key = Some(key(1));
    assert!(matches!(send(&mut world), Err(ApiError::FloodWait { .. })));
    world.pass_seconds(1);
    assert!(matches!(send(&mut world), Ok(Answer::Status(_))));
}

#[test]
fn a_revocation_and_a_check_are_kept_too() {
    let mut world = World::new();
    let request = world.send();
    world.key = Some(key(1));
    world.check(request, "0");
    let again = world.submit(Some(request), countersign_core::Action::Check { request, code: None });
    assert!(matches!(again, Ok(Answer::Again(_))), "{again:?}");
    assert_eq!(world.request(request).wrong_attempts, 1);
    world.first_answer = None;
    assert_eq!(world.revoke(request), Ok(Answer::Revoked));
    assert_eq!(world.revoke(request), Ok(Answer::Again(b"true".to_vec())));
}

#[test]
fn of_two_admitted_calls_with_one_key_only_one_is_charged() {
    let mut world = World::new();
    world.key = Some(key(1));
    let (first, second) = (world.admit(), world.admit());
    world.settle(first, true).unwrap();
    let again = world.submit(
        Some(second),
        countersign_core::Action::Settle {
            request: second,
            reachable: true,
            plan: None,
            skipped: Vec::new(),
            guard: None,
        },
    );
    assert!(matches!(again, Ok(Answer::Again(_))), "{again:?}");
    assert_eq!(
        (world.account.balance, world.account.held),
        (credits("0.99"), credits("0")),
        "its hold is given free at once"
    );
    assert_eq!(world.delivery(second), DeliveryState::Unreachable);
    assert!(world.request(second).message.is_none());
}

#[test]
fn a_settlement_whose_key_came_for_something_else_gives_its_hold_free() {
    let mut world = World::new();
    world.key = Some(key(1));
    let (first, second) = (world.admit(), world.admit());
    world.settle(first, true).unwrap();
    world.key = Some(key(2));
    assert_eq!(world.settle(second, true), Err(ApiError::BadRequest));
    assert_eq!(
        (world.account.balance, world.account.held),
        (credits("0.99"), credits("0"))
    );
}
