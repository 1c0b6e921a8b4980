//! docs/api.md, `checkVerificationStatus`.

use countersign_core::{ApiError, DeliveryState, News, VerificationState};

use crate::world::{CODE, HOUR_MS, PHONE, World, delivery_word, id};

#[test]
fn without_a_code_the_answer_is_the_current_state() {
    let mut world = World::new();
    let request = world.send();
    let status = world.check_status(request, None).unwrap();
    assert_eq!(delivery_word(&status), "sent");
    assert_eq!(status.verification_status, None);
    assert_eq!(world.last().request, None, "a look changes nothing");
    world.news(request, News::Delivered);
    assert_eq!(delivery_word(&world.check_status(request, None).unwrap()), "delivered");
}

#[test]
fn time_decides_and_not_the_sweep() {
    let mut world = World::new();
    let request = world.send();
    world.pass_ms(HOUR_MS);
    let status = world.check_status(request, None).unwrap();
    assert_eq!(delivery_word(&status), "expired");
    assert!(status.is_refunded);
    assert_eq!(status.verification_status.unwrap().status, "expired");
}

#[test]
fn the_right_code_is_valid() {
    let mut world = World::new();
    let request = world.send();
    let status = world.check_status(request, Some(CODE)).unwrap();
    let said = status.verification_status.unwrap();
    assert_eq!(
        (said.status.as_str(), said.code_entered.as_deref()),
        ("code_valid", Some(CODE))
    );
    assert_eq!(said.updated_at, world.now.unix_seconds());
    let stored = world.check_status(request, None).unwrap().verification_status.unwrap();
    assert_eq!((stored.status, stored.updated_at), (said.status, said.updated_at));
    assert_eq!(
        stored.code_entered, None,
        "the code is told to nobody but who entered it"
    );
}

#[test]
fn a_wrong_code_is_recorded() {
    let mut world = World::new();
    let request = world.send();
    let said = world.check_status(request, Some("000000")).unwrap().verification_status;
    let stored = world.check_status(request, None).unwrap().verification_status;
    assert_eq!(stored, said);
    assert_eq!(said.unwrap().code_entered.as_deref(), Some("000000"));
}

#[test]
fn the_right_code_again_is_valid_since_the_first_time() {
    let mut world = World::new();
    let request = world.send();
    let first = world.check_status(request, Some(CODE)).unwrap();
    world.pass_seconds(60);
    let second = world.check_status(request, Some(CODE)).unwrap();
    assert_eq!(second, first);
    assert_eq!(world.last().request, None, "nothing stored changes");
}

#[test]
fn after_the_right_code_another_is_invalid_and_changes_nothing_stored() {
    let mut world = World::new();
    let request = world.send();
    world.check(request, CODE);
    let before = world.request(request).clone();
    for _ in 0..6 {
        world.pass_seconds(1);
        let said = world
            .check_status(request, Some("999999"))
            .unwrap()
            .verification_status
            .unwrap();
        assert_eq!(
            (said.status.as_str(), said.code_entered.as_deref()),
            ("code_invalid", Some("999999"))
        );
        assert_eq!(world.request(request), &before);
    }
    assert_eq!(world.check(request, CODE), "code_valid");
}

#[test]
fn the_right_code_stays_valid_after_the_life_of_the_message() {
    let mut world = World::new();
    let request = world.send();
    world.check(request, CODE);
    world.pass_ms(24 * HOUR_MS);
    assert_eq!(world.check(request, CODE), "code_valid");
    assert_eq!(world.check(request, "999999"), "code_invalid");
}

#[test]
fn a_wrong_code_is_invalid_and_the_right_one_may_follow() {
    let mut world = World::new();
    let request = world.send();
    for attempt in 1..=4u8 {
        assert_eq!(world.check(request, "000000"), "code_invalid");
        assert_eq!(world.request(request).wrong_attempts, attempt);
        assert_eq!(world.verification(request), VerificationState::Invalid);
    }
    assert_eq!(world.check(request, CODE), "code_valid");
}

#[test]
fn the_fifth_wrong_code_is_one_too_many_and_no_code_counts_after_it() {
    let mut world = World::new();
    let request = world.send();
    for _ in 0..4 {
        world.check(request, "000000");
    }
    assert_eq!(world.check(request, "000000"), "code_max_attempts_exceeded");
    let since = world.request(request).verification_updated_at;
    world.pass_seconds(1);
    let status = world.check_status(request, Some(CODE)).unwrap();
    let said = status.verification_status.unwrap();
    assert_eq!(said.status, "code_max_attempts_exceeded");
    assert_eq!(said.updated_at, since.unix_seconds());
    assert_eq!(world.check(request, "000001"), "code_max_attempts_exceeded");
    assert_eq!(
        world.delivery(request),
        DeliveryState::Sent,
        "the right code proves nothing any more"
    );
}

#[test]
fn how_many_wrong_codes_are_allowed_is_the_operators_setting() {
    let mut world = World::new();
    world.rules.max_check_attempts = 2;
    let request = world.send();
    assert_eq!(world.check(request, "0"), "code_invalid");
    assert_eq!(world.check(request, "0"), "code_max_attempts_exceeded");
}

#[test]
fn too_many_wrong_codes_stay_so_after_the_life() {
    let mut world = World::new();
    let request = world.send();
    for _ in 0..5 {
        world.check(request, "0");
    }
    world.pass_ms(HOUR_MS);
    assert_eq!(world.check(request, CODE), "code_max_attempts_exceeded");
}

#[test]
fn any_text_is_compared_whole() {
    let mut world = World::new();
    let request = world.send();
    let long = "1".repeat(64);
    for wrong in ["11111", "1111111", long.as_str(), " 111111"] {
        assert_eq!(world.check(request, wrong), "code_invalid", "{wrong:?}");
    }
}

#[test]
fn after_the_life_a_code_is_expired_delivered_or_not() {
    for arrived in [None, Some(News::Delivered), Some(News::Read)] {
        let mut world = World::new();
        let request = world.send();
        if let Some(news) = arrived {
            world.news(request, news);
        }
        world.pass_ms(HOUR_MS);
        let said = world
            .check_status(request, Some(CODE))
            .unwrap()
            .verification_status
            .unwrap();
        assert_eq!(said.status, "expired", "{arrived:?}");
        assert_eq!(said.updated_at, world.now.unix_seconds(), "since the end of its life");
        assert_eq!(world.verification(request), VerificationState::Expired);
    }
}

#[test]
fn a_code_counts_until_the_last_millisecond_of_its_life() {
    let mut world = World::new();
    let request = world.send();
    world.news(request, News::Delivered);
    world.pass_ms(HOUR_MS - 1);
    assert_eq!(world.check(request, CODE), "code_valid");
}

#[test]
fn a_code_that_was_wrong_before_expires_too() {
    let mut world = World::new();
    let request = world.send();
    world.check(request, "0");
    world.pass_ms(HOUR_MS);
    assert_eq!(world.check(request, CODE), "expired");
}

#[test]
fn a_code_that_was_revoked_before_it_was_used_is_expired() {
    let mut world = World::new();
    let request = world.send();
    world.revoke(request).unwrap();
    assert_eq!(world.check(request, CODE), "expired");
}

#[test]
fn an_id_that_was_only_checked_for_ability_has_no_code_to_judge() {
    let mut world = World::new();
    let request = id(&world.ability(PHONE).unwrap());
    assert_eq!(world.check_status(request, Some(CODE)), Err(ApiError::RequestIdInvalid));
    let status = world.check_status(request, None).unwrap();
    assert_eq!((status.delivery_status, status.verification_status), (None, None));
}

#[test]
fn an_unknown_id_is_refused() {
    let mut world = World::new();
    let unknown = countersign_core::RequestId::new(world.now, 99);
    assert_eq!(world.check_status(unknown, None), Err(ApiError::RequestIdInvalid));
    assert_eq!(world.check_status(unknown, Some(CODE)), Err(ApiError::RequestIdInvalid));
}

#[test]
fn a_request_that_found_no_leg_is_nobodys_to_check() {
    for state in [DeliveryState::Admitted, DeliveryState::Unreachable] {
        let mut world = World::new();
        let request = world.bring_to(state);
        assert_eq!(world.check_status(request, None), Err(ApiError::RequestIdInvalid));
        assert_eq!(world.check_status(request, Some(CODE)), Err(ApiError::RequestIdInvalid));
    }
}

#[test]
fn a_valid_check_of_a_generated_code_proves_delivery() {
    for arrived in [DeliveryState::Sent, DeliveryState::Delivered] {
        let mut world = World::new();
        let request = world.bring_to(arrived);
        let status = world.check_status(request, Some(CODE)).unwrap();
        assert_eq!(delivery_word(&status), "read");
        assert_eq!(world.reported(), [("read".to_owned(), false)]);
        world.pass_ms(HOUR_MS);
        world.wake(request);
        assert!(!world.request(request).refunded);
    }
}

#[test]
fn a_valid_check_of_the_customers_own_code_proves_nothing() {
    let mut world = World::new();
    let request = world.send_own_code();
    assert_eq!(world.check(request, "4711"), "code_valid");
    assert_eq!(world.delivery(request), DeliveryState::Sent);
    world.pass_ms(HOUR_MS);
    let status = world.check_status(request, None).unwrap();
    assert_eq!(delivery_word(&status), "expired");
    assert!(status.is_refunded);
    assert_eq!(
        status.verification_status.unwrap().status,
        "code_valid",
        "and it was right in time"
    );
}

/// From every state of a code, everything that can happen to it: only the graph's moves do, and each of them has a way.
#[test]
fn no_command_moves_a_code_where_the_graph_does_not() {
    type Deed = fn(&mut World, countersign_core::RequestId);
    let deeds: [Deed; 6] = [
        |world, request| drop(world.check(request, CODE)),
        |world, request| drop(world.check(request, "0")),
        |world, request| (0..5).for_each(|_| drop(world.check(request, "0"))),
        |world, request| drop(world.revoke(request)),
        |world, request| world.news(request, News::Failed),
        |world, request| {
            world.pass_ms(HOUR_MS);
            world.check_status(request, None).unwrap();
        },
    ];
    for from in VerificationState::ALL {
        for (number, deed) in deeds.iter().enumerate() {
            let mut world = World::new();
            let request = world.send();
            match from {
                VerificationState::Unchecked => {}
                VerificationState::Invalid => drop(world.check(request, "0")),
                VerificationState::Valid => drop(world.check(request, CODE)),
                VerificationState::AttemptsExceeded => (0..5).for_each(|_| drop(world.check(request, "0"))),
                VerificationState::Expired => drop(world.revoke(request)),
            }
            assert_eq!(world.verification(request), from);
            deed(&mut world, request);
            let after = world.verification(request);
            assert!(
                after == from || from.may_become(after),
                "deed {number} made {from:?} {after:?}"
            );
            let open = matches!(from, VerificationState::Unchecked | VerificationState::Invalid);
            assert!(open || after == from, "deed {number} moved a code that was {from:?}");
        }
    }
}
