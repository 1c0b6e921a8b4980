//! What stops the legs (the right code, a revocation, "it wasn't me"), and what lets the next one go at once.

use countersign_core::{
    Answer, ApiError, DeliveryState, DueStep, EntryKind, LAST_START_MS, LegEnd, News, RequestId, SendCode,
    TimelineKind, Ttl, VerificationState, Work,
};

use crate::routes::{lines, plan, send_over, under_way};
use crate::world::{CODE, World, credits, id};

#[test]
fn no_further_leg_goes_after_a_revocation_or_the_right_code() {
    type Deed = (&'static str, fn(&mut World, RequestId));
    let deeds: [Deed; 3] = [
        ("a revocation", |world, request| drop(world.revoke(request))),
        ("the right code", |world, request| drop(world.check(request, CODE))),
        ("too many wrong codes", |world, request| {
            for _ in 0..5 {
                drop(world.check(request, "0"));
            }
        }),
    ];
    for (name, deed) in deeds {
        let mut world = World::new();
        let request = send_over(&mut world, &["telegram", "sms"]);
        deed(&mut world, request);
        world.pass_seconds(30);
        world.wake(request);
        assert_eq!(world.last().work, None, "{name}");
        world.news_by(request, "telegram", News::Failed);
        assert_ne!(world.last().work, Some(Work::Deliver), "{name}");
    }
}

#[test]
fn a_customers_own_code_proves_no_delivery_and_still_stops_the_legs() {
    let mut world = World::new();
    let own = SendCode::Supplied(countersign_core::Code::parse("4711").unwrap());
    let sent = world.send_with(|send| {
        send.code = own;
        send.plan = plan(&["telegram", "sms"]);
    });
    let request = id(&sent.unwrap());
    assert_eq!(world.check(request, "4711"), "code_valid");
    assert_eq!(world.last().work, Some(Work::Withdraw));
    assert_eq!(world.delivery(request), DeliveryState::Sent);
    assert!(
        world.request(request).message.as_ref().unwrap().accepted,
        "a restart hands it over to nobody"
    );
    assert_eq!(
        world.request(request).next_due().map(|(_, step)| step),
        Some(DueStep::EndOfLife)
    );
    world.check(request, "4711");
    assert_eq!(world.last().work, None, "once");
}

#[test]
fn a_customers_own_code_on_the_only_leg_withdraws_nothing() {
    let mut world = World::new();
    let own = SendCode::Supplied(countersign_core::Code::parse("4711").unwrap());
    for legs in [None, plan(&["sms"])] {
        let sent = world.send_with(|send| {
            send.code = own;
            send.plan = legs;
        });
        let request = id(&sent.unwrap());
        assert_eq!(world.check(request, "4711"), "code_valid");
        assert_eq!(world.last().work, None);
        assert!(!world.request(request).message.as_ref().unwrap().accepted);
    }
}

#[test]
fn the_right_code_withdraws_what_is_under_way() {
    let mut world = World::new();
    let request = send_over(&mut world, &["telegram", "sms"]);
    world.pass_seconds(30);
    assert_eq!(world.check(request, CODE), "code_valid");
    assert_eq!(world.last().work, Some(Work::Withdraw));
    assert_eq!(world.delivery(request), DeliveryState::Read);
}

#[test]
fn it_was_not_me_ends_the_code_and_stops_the_legs_and_refunds_nothing() {
    let mut world = World::new();
    let request = send_over(&mut world, &["telegram", "sms"]);
    world.news_by(request, "telegram", News::Accepted);
    world.news_by(request, "telegram", News::Disowned);
    assert_eq!(lines(&world), [(TimelineKind::Disowned, Some("telegram"))]);
    assert_eq!(
        (world.delivery(request), world.verification(request)),
        (DeliveryState::Sent, VerificationState::Expired)
    );
    assert_eq!(world.last().work, Some(Work::Withdraw));
    assert!(world.entries().is_empty() && world.last().reports.is_empty());
    assert_eq!(world.check(request, CODE), "expired");
    assert_eq!(world.next_leg(request), Err(ApiError::ResendNotPossible));
    world.news_by(request, "telegram", News::Disowned);
    assert_eq!(world.last().request, None, "said once");
    world.pass_seconds(60);
    world.wake(request);
    assert_eq!(world.delivery(request), DeliveryState::Expired);
    assert_eq!(
        world.entries(),
        [EntryKind::Refund],
        "as with every message that never arrived"
    );
}

#[test]
fn it_was_not_me_ends_the_code_of_a_message_that_arrived() {
    for state in [News::Delivered, News::Read] {
        let mut world = World::new();
        let request = world.send();
        world.news(request, state);
        let before = world.delivery(request);
        world.news(request, News::Disowned);
        assert_eq!(lines(&world), [(TimelineKind::Disowned, None)]);
        assert_eq!(world.last().work, None);
        assert_eq!(world.delivery(request), before);
        assert_eq!(world.check(request, CODE), "expired");
        assert_eq!(world.account.balance, credits("0.99"));
    }
    let mut world = World::new();
    let request = world.send();
    assert_eq!(world.check(request, CODE), "code_valid");
    world.news(request, News::Disowned);
    assert_eq!(
        world.verification(request),
        VerificationState::Valid,
        "too late to end it"
    );
}

#[test]
fn next_leg_now_goes_on_the_same_request_code_and_fee() {
    let mut world = World::new();
    let request = send_over(&mut world, &["telegram", "sms"]);
    world.news_by(request, "telegram", News::Accepted);
    assert_eq!(world.next_leg(request), Err(ApiError::FloodWait { seconds: 5 }));
    world.pass_ms(4_001);
    assert_eq!(world.next_leg(request), Err(ApiError::FloodWait { seconds: 1 }));
    world.pass_ms(999);
    let Ok(Answer::Status(status)) = world.next_leg(request) else {
        panic!("refused")
    };
    assert_eq!(id(&status), request);
    assert_eq!(status.remaining_balance, None, "nothing was charged");
    assert_eq!(
        lines(&world),
        [(TimelineKind::LegEnded(LegEnd::Resent), Some("telegram"))]
    );
    assert_eq!(
        (world.last().work, under_way(&world, request)),
        (Some(Work::Deliver), Some("sms"))
    );
    assert!(world.request(request).message.as_ref().unwrap().legs.is_open(0));
    assert_eq!(world.account.balance, credits("0.99"));
    world.pass_seconds(5);
    assert_eq!(
        world.next_leg(request),
        Err(ApiError::ResendNotPossible),
        "there is no third leg"
    );
    assert_eq!(world.check(request, CODE), "code_valid");
}

#[test]
fn next_leg_now_needs_a_message_under_way_a_further_leg_and_time() {
    let mut world = World::new();
    for state in [
        DeliveryState::Admitted,
        DeliveryState::Unreachable,
        DeliveryState::Checked,
    ] {
        let request = world.bring_to(state);
        assert_eq!(world.next_leg(request), Err(ApiError::RequestIdInvalid), "{state:?}");
    }
    let alone = world.send();
    world.pass_seconds(5);
    assert_eq!(world.next_leg(alone), Err(ApiError::ResendNotPossible));
    let arrived = send_over(&mut world, &["telegram", "sms"]);
    world.news_by(arrived, "telegram", News::Delivered);
    world.pass_seconds(5);
    assert_eq!(world.next_leg(arrived), Err(ApiError::ResendNotPossible));
    let late = world.send_with(|send| {
        send.plan = plan(&["telegram", "sms"]);
        send.ttl = Ttl::new(30).unwrap();
    });
    let late = id(&late.unwrap());
    world.pass_ms(9_000);
    assert!(world.next_leg(late).is_ok());
    let late = send_over(&mut world, &["a", "b", "c"]);
    world.pass_ms(60_000 - LAST_START_MS);
    world.wake(late);
    world.pass_ms(5_000);
    assert_eq!(world.next_leg(late), Err(ApiError::ResendNotPossible));
    assert_eq!(world.delivery(late), DeliveryState::Sent);
}

#[test]
fn next_leg_now_is_done_where_the_next_leg_has_just_begun_by_its_time() {
    let mut world = World::new();
    let request = send_over(&mut world, &["telegram", "sms"]);
    world.pass_ms(30_100);
    assert!(matches!(world.next_leg(request), Ok(Answer::Status(_))));
    assert_eq!(
        lines(&world),
        [(TimelineKind::LegEnded(LegEnd::NotInTime), Some("telegram"))]
    );
    assert_eq!(
        (world.last().work, under_way(&world, request)),
        (Some(Work::Deliver), Some("sms"))
    );
    assert_eq!(
        world.next_leg(request),
        Err(ApiError::ResendNotPossible),
        "there is no third leg"
    );
}
