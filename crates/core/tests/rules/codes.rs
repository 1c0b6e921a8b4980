//! docs/privacy.md, "When a code goes": with the write that ends it, once no leg waits for it.

use countersign_core::{
    Answer, ApiError, DeliveryState, HeldCode, Idempotency, IdempotencyKey, News, RequestId, VerificationState,
};

use crate::routes::send_over;
use crate::world::{CODE, HOUR_MS, World};

/// Brings a request to its end.
type End = fn(&mut World, RequestId);

fn held(world: &World, request: RequestId) -> HeldCode {
    world.request(request).message.as_ref().unwrap().code
}

fn is_whole(world: &World, request: RequestId) -> bool {
    held(world, request).whole().is_some()
}

#[test]
fn a_code_that_may_still_be_entered_stays() {
    let mut world = World::new();
    let request = world.send();
    world.news(request, News::Accepted);
    world.news(request, News::Delivered);
    for _ in 0..4 {
        world.check(request, "000000");
        assert!(is_whole(&world, request));
    }
    world.news(request, News::Read);
    assert!(is_whole(&world, request));
}

#[test]
fn a_code_that_was_entered_goes_and_the_answers_stay() {
    let mut world = World::new();
    let request = world.send();
    world.news(request, News::Accepted);
    let first = world.check_status(request, Some(CODE)).unwrap();
    assert!(matches!(held(&world, request), HeldCode::Used(_)));
    assert_eq!(world.request(request).code_entered, None);
    world.pass_ms(2 * HOUR_MS);
    assert_eq!(world.check_status(request, Some(CODE)).unwrap(), first);
    assert_eq!(world.check(request, "999999"), "code_invalid");
    assert_eq!(world.check(request, "1"), "code_invalid");
}

#[test]
fn the_report_of_a_code_that_was_entered_does_not_tell_it() {
    let mut world = World::new();
    let request = world.send();
    world.check(request, CODE);
    let report = String::from_utf8(world.last().reports[0].body.clone()).unwrap();
    assert!(report.contains("code_valid") && !report.contains(CODE), "{report}");
}

#[test]
fn of_a_code_that_ended_unused_nothing_is_left() {
    let ends: [(&str, End); 5] = [
        ("code_max_attempts_exceeded", |world, request| {
            world.news(request, News::Accepted);
            for _ in 0..5 {
                world.check(request, "000000");
            }
        }),
        ("expired", |world, request| {
            world.pass_ms(HOUR_MS);
            world.wake(request);
        }),
        ("expired", |world, request| {
            world.news(request, News::Delivered);
            world.pass_ms(HOUR_MS);
            world.check(request, CODE);
        }),
        ("expired", |world, request| {
            assert_eq!(world.revoke(request), Ok(Answer::Revoked));
        }),
        ("expired", |world, request| world.news(request, News::Failed)),
    ];
    for (number, (said, end)) in ends.into_iter().enumerate() {
        let mut world = World::new();
        let request = world.send();
        end(&mut world, request);
        assert_eq!(held(&world, request), HeldCode::Wiped, "end {number}");
        let since = world.request(request).verification_updated_at;
        world.pass_seconds(1);
        for code in [CODE, "999999"] {
            assert_eq!(world.check(request, code), said, "end {number}");
        }
        assert_eq!(world.request(request).verification_updated_at, since);
    }
}

#[test]
fn a_revoked_message_that_had_arrived_has_no_code_any_more() {
    let mut world = World::new();
    let request = world.send();
    world.news(request, News::Delivered);
    world.revoke(request).unwrap();
    assert_eq!(
        (world.delivery(request), held(&world, request)),
        (DeliveryState::Delivered, HeldCode::Wiped)
    );
}

#[test]
fn a_message_that_no_leg_has_taken_keeps_its_code_until_one_has() {
    let mut world = World::new();
    let request = world.send_own_code();
    assert_eq!(world.check(request, "4711"), "code_valid");
    assert!(is_whole(&world, request), "it is still to be handed over");
    assert_eq!(world.check(request, "4711"), "code_valid");
    assert_eq!(world.check(request, "4712"), "code_invalid");
    world.news(request, News::Accepted);
    assert!(matches!(held(&world, request), HeldCode::Used(_)));
    assert_eq!(world.check(request, "4711"), "code_valid");
}

#[test]
fn a_leg_that_is_still_to_come_has_the_code_to_carry() {
    let mut world = World::new();
    let request = send_over(&mut world, &["telegram", "sms"]);
    world.news_by(request, "telegram", News::Accepted);
    world.news_by(request, "telegram", News::Failed);
    assert!(is_whole(&world, request));
    world.news_by(request, "sms", News::Accepted);
    assert!(is_whole(&world, request), "it may still be entered");
    world.news_by(request, "sms", News::Disowned);
    assert_eq!(held(&world, request), HeldCode::Wiped);
}

#[test]
fn an_earlier_code_that_a_new_one_ends_goes() {
    let mut world = World::new();
    world.rules.one_live_code = Some(0);
    let earlier = world.send();
    world.pass_seconds(1);
    let later = world.send();
    assert_eq!(world.verification(earlier), VerificationState::Expired);
    assert_eq!(held(&world, earlier), HeldCode::Wiped);
    assert!(is_whole(&world, later));
}

#[test]
fn a_code_that_the_sweep_has_wiped_counts_as_expired_whatever_the_clock_says() {
    let mut world = World::new();
    let request = world.send();
    world.news(request, News::Delivered);
    world.forget_code(request);
    assert_eq!(world.check(request, CODE), "expired");
    assert_eq!(world.verification(request), VerificationState::Expired);
}

#[test]
fn a_kept_answer_to_a_check_does_not_hold_the_code_and_tells_it_again() {
    let mut world = World::new();
    let request = world.send();
    world.key = Some(Idempotency {
        key: IdempotencyKey::new("a key").unwrap(),
        fingerprint: [1; 32],
    });
    let first = world.check_status(request, Some(CODE)).unwrap();
    let kept = String::from_utf8(world.first_answer.as_ref().unwrap().result.clone()).unwrap();
    assert!(kept.contains("code_valid") && !kept.contains(CODE), "{kept}");
    assert_eq!(
        world.check_again(request, CODE),
        Ok(Answer::Again(serde_json::to_vec(&first).unwrap()))
    );
}

#[test]
fn a_code_that_was_never_sent_goes_with_its_message() {
    let mut world = World::new();
    let request = world.admit();
    assert_eq!(world.settle(request, false), Err(ApiError::PhoneNumberNotFound));
    assert_eq!(world.request(request).message, None);
}
