//! From leg to leg: which one goes when, what is recorded of it, and that money and code stay one.

use std::sync::Arc;

use countersign_core::{
    Action, DeliveryState, Detail, DueStep, EntryKind, LAST_START_MS, LATE_START_MS, LegEnd, LegName, News, PlannedLeg,
    RequestId, RouteName, RoutePlan, TimelineKind, Ttl, Work,
};

use crate::world::{CODE, HOUR_MS, START, World, credits, id};

pub(crate) fn name(leg: &str) -> LegName {
    LegName::parse(leg).unwrap()
}

/// A route of these legs with equal shares.
#[expect(clippy::unnecessary_wraps, reason = "as a command carries it")]
pub(crate) fn plan(legs: &[&str]) -> Option<Arc<RoutePlan>> {
    let share = u16::try_from(1_000 / legs.len()).unwrap();
    Some(Arc::new(RoutePlan {
        route: RouteName::parse("europe").unwrap(),
        legs: legs.iter().map(|leg| PlannedLeg { name: name(leg), share }).collect(),
    }))
}

pub(crate) fn skipped(legs: &[(&str, &str)]) -> Vec<(LegName, Detail)> {
    legs.iter().map(|(leg, why)| (name(leg), Detail::new(why))).collect()
}

/// A message of a minute's life over these legs.
pub(crate) fn send_over(world: &mut World, legs: &[&str]) -> RequestId {
    let sent = world.send_with(|send| {
        send.plan = plan(legs);
        send.ttl = Ttl::new(60).unwrap();
    });
    id(&sent.unwrap())
}

pub(crate) fn under_way(world: &World, request: RequestId) -> Option<&str> {
    world.request(request).leg_under_way().map(LegName::as_str)
}

/// The last command's lines: what, and of which leg.
pub(crate) fn lines(world: &World) -> Vec<(TimelineKind, Option<&str>)> {
    let lines = world.last().timeline.iter();
    lines
        .map(|event| (event.kind, event.leg.as_ref().map(LegName::as_str)))
        .collect()
}

pub(crate) const NOT_IN_TIME: TimelineKind = TimelineKind::LegEnded(LegEnd::NotInTime);

#[test]
fn a_minute_with_two_legs_gives_each_of_them_half_a_minute() {
    let mut world = World::new();
    let request = send_over(&mut world, &["telegram", "sms"]);
    assert_eq!(world.last().work, Some(Work::Deliver));
    assert_eq!(under_way(&world, request), Some("telegram"));
    assert_eq!(
        world.request(request).next_due(),
        Some((START.plus_millis(30_000), DueStep::NextLeg))
    );
    world.news_by(request, "telegram", News::Accepted);
    world.pass_ms(29_999);
    world.wake(request);
    assert_eq!(
        (world.last().work, under_way(&world, request)),
        (None, Some("telegram"))
    );
    world.pass_ms(1);
    world.wake(request);
    assert_eq!(lines(&world), [(NOT_IN_TIME, Some("telegram"))]);
    assert_eq!(
        (world.last().work, under_way(&world, request)),
        (Some(Work::Deliver), Some("sms"))
    );
    let message = world.request(request).message.clone().unwrap();
    assert!(!message.accepted, "the next leg has accepted nothing yet");
    assert_eq!(
        message.code.whole().map(countersign_core::Code::as_str),
        Some(CODE),
        "the same code"
    );
    assert!(message.legs.is_open(0), "the first leg may still deliver");
    assert_eq!(
        world.request(request).next_due(),
        Some((START.plus_millis(60_000), DueStep::EndOfLife))
    );
    assert!(world.entries().is_empty() && world.last().reports.is_empty());
    assert_eq!(world.account.balance, credits("0.99"), "one fee");
}

#[test]
fn a_leg_that_cannot_reach_refuses_or_fails_gives_way_to_the_next_at_once() {
    for (news, end) in [
        (News::CannotReach, LegEnd::CannotReach),
        (News::Refused, LegEnd::Refused),
        (News::Failed, LegEnd::Failed),
    ] {
        let mut world = World::new();
        let request = send_over(&mut world, &["telegram", "sms"]);
        world.pass_seconds(2);
        world.news_by(request, "telegram", news);
        assert_eq!(lines(&world), [(TimelineKind::LegEnded(end), Some("telegram"))]);
        assert_eq!(world.last().timeline[0].detail, Some(Detail::new("no opt-in")));
        assert_eq!(world.last().work, Some(Work::Deliver));
        assert_eq!(under_way(&world, request), Some("sms"));
        let legs = world.request(request).message.as_ref().unwrap().legs;
        assert_eq!((legs.started_at, legs.open), (world.now, 0b10));
        assert_eq!(world.delivery(request), DeliveryState::Sent);
        assert!(world.last().reports.is_empty());
    }
}

#[test]
fn a_number_without_telegram_gets_its_code_by_sms_and_pays_once() {
    let mut world = World::new();
    let request = send_over(&mut world, &["telegram", "sms"]);
    world.news_by(request, "telegram", News::CannotReach);
    world.news_by(request, "sms", News::Accepted);
    assert_eq!(lines(&world), [(TimelineKind::LegAccepted, Some("sms"))]);
    world.pass_seconds(3);
    world.news_by(request, "sms", News::Delivered);
    assert_eq!(
        lines(&world),
        [(TimelineKind::Became(DeliveryState::Delivered), Some("sms"))]
    );
    assert_eq!(world.reported(), [("delivered".to_owned(), false)]);
    assert_eq!(world.last().work, Some(Work::WithdrawOthers { arrived_on: 1 }));
    assert!(world.entries().is_empty());
    assert_eq!(world.account.balance, credits("0.99"));
    assert_eq!(world.check(request, CODE), "code_valid");
}

#[test]
fn an_acceptance_is_noted_once() {
    let mut world = World::new();
    let request = send_over(&mut world, &["telegram", "sms"]);
    for lines in [1, 0] {
        world.news_by(request, "telegram", News::Accepted);
        assert_eq!(world.last().timeline.len(), lines);
        assert!(world.request(request).message.as_ref().unwrap().accepted);
    }
}

#[test]
fn a_leg_that_hears_of_no_arrival_is_not_open() {
    let mut world = World::new();
    let request = send_over(&mut world, &["telegram", "sms"]);
    world
        .submit(Some(request), Action::news(request, News::Accepted))
        .unwrap();
    let message = world.request(request).message.as_ref().unwrap();
    assert!(message.accepted);
    assert_eq!(message.legs.open, 0);
}

#[test]
fn a_message_that_arrived_on_its_only_leg_so_far_is_withdrawn_from_none() {
    let mut world = World::new();
    let request = send_over(&mut world, &["telegram", "sms"]);
    world.news_by(request, "telegram", News::Accepted);
    world.news_by(request, "telegram", News::Delivered);
    assert_eq!(world.last().work, None);
    world.pass_seconds(31);
    world.wake(request);
    assert_eq!(
        (world.last().request.as_ref(), world.delivery(request)),
        (None, DeliveryState::Delivered),
        "no further leg begins"
    );
}

#[test]
fn a_late_delivery_on_an_earlier_leg_is_the_delivery() {
    let mut world = World::new();
    let request = send_over(&mut world, &["telegram", "sms"]);
    world.news_by(request, "telegram", News::Accepted);
    world.pass_seconds(30);
    world.wake(request);
    world.pass_seconds(1);
    world.news_by(request, "telegram", News::Delivered);
    assert_eq!(
        lines(&world),
        [(TimelineKind::Became(DeliveryState::Delivered), Some("telegram"))]
    );
    assert_eq!(world.last().work, Some(Work::WithdrawOthers { arrived_on: 0 }));
    assert_eq!(world.reported(), [("delivered".to_owned(), false)]);
    assert_eq!(world.account.balance, credits("0.99"));
}

#[test]
fn a_second_delivery_by_another_leg_is_recorded_once_and_neither_charged_nor_reported() {
    let mut world = World::new();
    let request = send_over(&mut world, &["telegram", "sms"]);
    world.news_by(request, "telegram", News::Accepted);
    world.pass_seconds(30);
    world.wake(request);
    world.news_by(request, "sms", News::Accepted);
    world.news_by(request, "sms", News::Delivered);
    for expected in [
        vec![(TimelineKind::TooLate(News::Delivered), Some("telegram"))],
        Vec::new(),
    ] {
        world.news_by(request, "telegram", News::Delivered);
        assert_eq!(lines(&world), expected);
        assert!(world.last().reports.is_empty() && world.entries().is_empty());
        assert_eq!(world.delivery(request), DeliveryState::Delivered);
    }
    world.news_by(request, "sms", News::Delivered);
    assert!(world.last().timeline.is_empty(), "a repeated receipt says nothing new");
    assert_eq!(world.account.balance, credits("0.99"));
}

#[test]
fn a_message_is_given_up_early_only_once_no_leg_may_deliver_it_any_more() {
    let mut world = World::new();
    let request = send_over(&mut world, &["telegram", "sms"]);
    world.news_by(request, "telegram", News::Accepted);
    world.pass_seconds(30);
    world.wake(request);
    world.news_by(request, "sms", News::Refused);
    assert_eq!(
        world.delivery(request),
        DeliveryState::Sent,
        "the first leg may still deliver"
    );
    assert_eq!(under_way(&world, request), None);
    assert!(
        world.request(request).message.as_ref().unwrap().accepted,
        "a restart hands it over to nobody"
    );
    world.news_by(request, "telegram", News::Failed);
    assert_eq!(world.delivery(request), DeliveryState::Expired);
    assert_eq!(
        lines(&world),
        [
            (TimelineKind::LegEnded(LegEnd::Failed), Some("telegram")),
            (TimelineKind::DeliveryFailed, None),
            (TimelineKind::Became(DeliveryState::Expired), None)
        ]
    );
    assert_eq!(world.entries(), [EntryKind::Refund]);
    assert_eq!(world.reported(), [("expired".to_owned(), true)]);
    assert_eq!(world.last().work, Some(Work::Withdraw));
    assert_eq!(world.account.balance, credits("1"));
    for leg in ["telegram", "sms"] {
        world.news_by(request, leg, News::Failed);
        assert_eq!(
            lines(&world),
            [(TimelineKind::TooLate(News::Failed), Some(leg))],
            "refunded once"
        );
        assert!(world.entries().is_empty());
    }
}

#[test]
fn a_message_waits_for_the_end_of_its_life_where_a_leg_may_still_deliver_it() {
    let mut world = World::new();
    let request = send_over(&mut world, &["telegram", "sms"]);
    world.news_by(request, "telegram", News::Accepted);
    world.pass_seconds(30);
    world.wake(request);
    world.news_by(request, "sms", News::Failed);
    world.pass_seconds(30);
    world.wake(request);
    assert_eq!(world.delivery(request), DeliveryState::Expired);
    assert_eq!(world.entries(), [EntryKind::Refund]);
    world.news_by(request, "telegram", News::Delivered);
    assert_eq!(
        lines(&world),
        [(TimelineKind::TooLate(News::Delivered), Some("telegram"))]
    );
    assert_eq!(world.account.balance, credits("1"), "expired is expired");
}

#[test]
fn the_failure_of_all_legs_is_refunded_once() {
    let mut world = World::new();
    let request = send_over(&mut world, &["telegram", "gateway", "sms"]);
    for leg in ["telegram", "gateway"] {
        world.news_by(request, leg, News::CannotReach);
        assert!(world.entries().is_empty());
    }
    world.news_by(request, "sms", News::CannotReach);
    assert_eq!(world.entries(), [EntryKind::Refund]);
    assert_eq!(world.delivery(request), DeliveryState::Expired);
    assert_eq!(world.account.balance, credits("1"));
}

#[test]
fn an_earlier_legs_failure_changes_nothing_while_another_is_under_way() {
    let mut world = World::new();
    let request = send_over(&mut world, &["telegram", "sms"]);
    world.news_by(request, "telegram", News::Accepted);
    world.pass_seconds(30);
    world.wake(request);
    world.news_by(request, "telegram", News::Failed);
    assert_eq!(
        lines(&world),
        [(TimelineKind::LegEnded(LegEnd::Failed), Some("telegram"))]
    );
    assert_eq!(under_way(&world, request), Some("sms"));
    assert_eq!(world.last().work, None);
    assert_eq!(world.request(request).message.as_ref().unwrap().legs.open, 0b10);
    for _ in 0..100 {
        world.news_by(request, "telegram", News::Failed);
    }
    assert_eq!(world.request(request).events, 32, "what changes nothing has a bound");
    world.news_by(request, "sms", News::Delivered);
    assert_eq!(world.delivery(request), DeliveryState::Delivered);
}

#[test]
fn a_leg_that_took_the_message_late_may_still_deliver_it() {
    let mut world = World::new();
    let request = send_over(&mut world, &["telegram", "sms"]);
    world.pass_seconds(30);
    world.wake(request);
    world.news_by(request, "telegram", News::Accepted);
    assert_eq!(lines(&world), [(TimelineKind::LegAccepted, Some("telegram"))]);
    let message = world.request(request).message.as_ref().unwrap();
    assert!(!message.accepted, "the leg under way has accepted nothing");
    assert!(message.legs.is_open(0));
    world.news_by(request, "sms", News::Failed);
    assert_eq!(world.delivery(request), DeliveryState::Sent);
}

#[test]
fn no_leg_begins_in_the_last_twenty_seconds_and_the_one_under_way_goes_on() {
    let mut world = World::new();
    let request = send_over(&mut world, &["telegram", "sms"]);
    world.pass_ms(60_000 - LAST_START_MS + LATE_START_MS + 1);
    // The wait was over before, and nobody woke it: now it is too late to begin.
    world.wake(request);
    assert_eq!(lines(&world), []);
    assert_eq!(
        (world.last().work, under_way(&world, request)),
        (None, Some("telegram"))
    );
    assert!(
        !world.request(request).message.as_ref().unwrap().accepted,
        "a restart still hands it to its leg"
    );
    assert_eq!(
        world.request(request).next_due(),
        Some((START.plus_millis(60_000), DueStep::EndOfLife)),
        "nobody is woken for that wait again"
    );
    world.news_by(request, "telegram", News::Delivered);
    assert_eq!(world.delivery(request), DeliveryState::Delivered);

    let request = send_over(&mut world, &["telegram", "gateway", "sms"]);
    world.pass_ms(60_000 - LAST_START_MS);
    world.wake(request);
    assert_eq!(
        under_way(&world, request),
        Some("gateway"),
        "the last moment is one, whatever was missed before"
    );
    world.pass_ms(1);
    world.news_by(request, "gateway", News::Failed);
    assert_eq!(under_way(&world, request), None);
    world.news_by(request, "telegram", News::Failed);
    assert_eq!(world.delivery(request), DeliveryState::Expired);
}

#[test]
fn a_worker_that_is_a_little_late_costs_no_message_its_last_leg() {
    for (ttl, legs) in [
        (30, vec!["telegram", "sms"]),
        (60, vec!["telegram", "gateway", "sms"]),
        (30, vec!["a", "b", "c", "d", "e"]),
    ] {
        let mut world = World::new();
        let sent = world.send_with(|send| {
            send.plan = plan(&legs);
            send.ttl = Ttl::new(ttl).unwrap();
        });
        let request = id(&sent.unwrap());
        let wait_ms = plan(&legs).unwrap().wait_ms(0, ttl * 1_000);
        for (place, leg) in (1_i64..).zip(&legs[1..]) {
            let (due, step) = world.request(request).next_due().unwrap();
            assert_eq!(step, DueStep::NextLeg, "{leg} of {legs:?}");
            assert_eq!(
                due,
                START.plus_millis(place * wait_ms),
                "what one wake is late, the next isn't"
            );
            world.now = due.plus_millis(300);
            world.wake(request);
            assert_eq!(world.last().work, Some(Work::Deliver));
            assert_eq!(under_way(&world, request), Some(*leg));
        }
        world.now = START.plus_millis(ttl * 1_000);
        world.wake(request);
        assert_eq!(world.delivery(request), DeliveryState::Expired);
    }
}

#[test]
fn a_wake_that_is_later_than_a_whole_wait_passes_over_no_leg() {
    let mut world = World::new();
    let shares = [("a", 500), ("b", 1), ("c", 499)];
    let sent = world.send_with(|send| {
        let legs = shares.map(|(leg, share)| PlannedLeg { name: name(leg), share });
        send.plan = Some(Arc::new(RoutePlan {
            route: RouteName::parse("europe").unwrap(),
            legs: legs.to_vec(),
        }));
        send.ttl = Ttl::new(60).unwrap();
    });
    let request = id(&sent.unwrap());
    world.pass_ms(30_500);
    world.wake(request);
    assert_eq!(
        (under_way(&world, request), world.last().timeline.len()),
        (Some("b"), 1)
    );
    assert_eq!(
        world.request(request).next_due(),
        Some((world.now.plus_millis(60), DueStep::NextLeg))
    );
}

#[test]
fn a_leg_that_has_not_answered_yet_keeps_the_message_open() {
    let mut world = World::new();
    let request = send_over(&mut world, &["telegram", "sms"]);
    // The first leg is still handing over when its wait is over.
    world.pass_seconds(30);
    world.wake(request);
    world.news_by(request, "sms", News::Failed);
    assert_eq!(world.delivery(request), DeliveryState::Sent);
    assert!(world.entries().is_empty());
    world.news_by(request, "telegram", News::Accepted);
    world.news_by(request, "telegram", News::Delivered);
    assert_eq!(world.delivery(request), DeliveryState::Delivered);
    assert_eq!(world.account.balance, credits("0.99"));

    let request = send_over(&mut world, &["telegram", "sms"]);
    world.pass_seconds(30);
    world.wake(request);
    world.news_by(request, "sms", News::Failed);
    world.news_by(request, "telegram", News::CannotReach);
    assert_eq!(
        (world.delivery(request), world.entries()),
        (DeliveryState::Expired, vec![EntryKind::Refund]),
        "the last way to deliver has failed for good"
    );
}

#[test]
fn an_acceptance_that_a_failed_receipt_overtook_moves_nothing() {
    let mut world = World::new();
    let request = send_over(&mut world, &["telegram", "sms"]);
    world.news_by(request, "telegram", News::Failed);
    world.news_by(request, "telegram", News::Accepted);
    assert_eq!(world.last().request, None);
    world.news_by(request, "sms", News::Failed);
    assert_eq!(
        (world.delivery(request), world.entries()),
        (DeliveryState::Expired, vec![EntryKind::Refund])
    );
    // The same on the last leg, while another may still deliver.
    let request = send_over(&mut world, &["telegram", "sms"]);
    world.pass_seconds(30);
    world.wake(request);
    world.news_by(request, "sms", News::Failed);
    world.news_by(request, "sms", News::Accepted);
    assert_eq!(world.last().request, None);
    assert_eq!(
        (under_way(&world, request), world.delivery(request)),
        (None, DeliveryState::Sent)
    );
}

#[test]
fn a_leg_begins_when_it_begins_however_late_the_wake_is() {
    let mut world = World::new();
    let request = id(&world.send_with(|send| send.plan = plan(&["a", "b", "c"])).unwrap());
    world.pass_ms(HOUR_MS / 2);
    world.wake(request);
    assert_eq!(under_way(&world, request), Some("b"), "no leg is passed over");
    let legs = world.request(request).message.as_ref().unwrap().legs;
    assert_eq!(legs.started_at, world.now);
    assert_eq!(
        world.request(request).next_due().unwrap(),
        (world.now.plus_millis(333 * 3_600), DueStep::NextLeg)
    );
}

#[test]
fn news_of_a_leg_that_is_not_in_the_plan_or_has_not_begun_changes_nothing() {
    let mut world = World::new();
    let request = send_over(&mut world, &["telegram", "sms"]);
    for leg in ["inbox", "sms"] {
        for news in [
            News::Accepted,
            News::Delivered,
            News::Read,
            News::Failed,
            News::Disowned,
        ] {
            world.news_by(request, leg, news);
            assert_eq!(world.last().request, None, "{leg} {news:?}");
        }
    }
    let alone = world.send();
    world.news_by(alone, "telegram", News::Delivered);
    assert_eq!(world.last().request, None);
    world.news_by(alone, "inbox", News::Delivered);
    assert_eq!(world.delivery(alone), DeliveryState::Delivered);
}

#[test]
fn the_next_leg_by_time_does_not_hide_what_comes_with_it() {
    // A receipt that comes after the wait was over, before anybody woke the request: the leg ended, and then delivered.
    let mut world = World::new();
    let request = send_over(&mut world, &["telegram", "sms"]);
    world.news_by(request, "telegram", News::Accepted);
    world.pass_seconds(31);
    world.news_by(request, "telegram", News::Delivered);
    assert_eq!(
        lines(&world),
        [
            (NOT_IN_TIME, Some("telegram")),
            (TimelineKind::Became(DeliveryState::Delivered), Some("telegram"))
        ]
    );
    assert_eq!(
        world.last().work,
        Some(Work::WithdrawOthers { arrived_on: 0 }),
        "nothing is handed over"
    );
}
