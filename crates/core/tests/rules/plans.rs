//! How a request comes to its plan: legs that are passed over, admissions, ability checks, prices.

use countersign_core::{
    Action, Answer, ApiError, Credits, Detail, DueStep, News, NumberPrefix, PriceChange, PriceRoute, PriceRow,
    RouteName, TimelineKind, Work,
};

use crate::routes::{lines, plan, send_over, skipped, under_way};
use crate::world::{PHONE, START, World, credits, id};

#[test]
fn legs_that_were_passed_over_are_lines_before_all_others() {
    let mut world = World::new();
    let sent = world.send_with(|send| {
        send.plan = plan(&["sms"]);
        send.skipped = skipped(&[("telegram", "no opt-in"), ("gateway", "its circuit is open")]);
    });
    let request = id(&sent.unwrap());
    let timeline = world.last().timeline.clone();
    assert_eq!(
        lines(&world),
        [
            (TimelineKind::LegSkipped, Some("telegram")),
            (TimelineKind::LegSkipped, Some("gateway"))
        ]
    );
    assert_eq!(timeline[0].detail, Some(Detail::new("no opt-in")));
    assert_eq!(timeline.iter().map(|event| event.number).collect::<Vec<_>>(), [1, 2]);
    world.news_by(request, "sms", News::Delivered);
    assert_eq!(world.last().timeline[0].number, 3);
}

#[test]
fn a_send_that_is_refused_has_no_lines() {
    let mut world = World::new();
    let refused = world.send_with(|send| {
        send.skipped = skipped(&[("telegram", "no opt-in")]);
        send.reach = countersign_core::Reach::Unreachable;
    });
    assert_eq!(refused, Err(ApiError::PhoneNumberNotFound));
    assert!(world.last().timeline.is_empty() && world.last().request.is_none());
}

#[test]
fn an_admission_is_settled_with_the_legs_that_are_left() {
    let mut world = World::new();
    let mut send = world.parameters();
    send.reach = countersign_core::Reach::MustAsk;
    send.plan = plan(&["gateway", "sms"]);
    send.skipped = skipped(&[("telegram", "no opt-in")]);
    let Ok(Answer::Admitted(request)) = world.submit(None, Action::Send(Box::new(send))) else {
        panic!("not admitted")
    };
    assert_eq!(lines(&world), [(TimelineKind::LegSkipped, Some("telegram"))]);
    world.pass_seconds(2);
    let settle = Action::Settle {
        request,
        reachable: true,
        plan: plan(&["sms"]),
        skipped: skipped(&[("gateway", "not on Telegram")]),
        guard: None,
    };
    world.submit(Some(request), settle).unwrap();
    assert_eq!(lines(&world), [(TimelineKind::LegSkipped, Some("gateway"))]);
    assert_eq!(under_way(&world, request), Some("sms"));
    assert_eq!(world.request(request).plan, plan(&["sms"]));
    let legs = world.request(request).message.as_ref().unwrap().legs;
    assert_eq!(legs.started_at, world.now, "its first leg begins with the sending");
    assert_eq!(world.last().work, Some(Work::Deliver));
}

#[test]
fn an_admission_that_no_leg_reaches_says_why() {
    let mut world = World::new();
    let request = world.admit();
    let settle = Action::Settle {
        request,
        reachable: false,
        plan: None,
        skipped: skipped(&[("gateway", "not on Telegram")]),
        guard: None,
    };
    assert_eq!(world.submit(Some(request), settle), Err(ApiError::PhoneNumberNotFound));
    assert_eq!(lines(&world), [(TimelineKind::LegSkipped, Some("gateway"))]);
    assert_eq!(world.account.balance, credits("1"));
}

#[test]
fn a_send_on_an_ability_check_goes_by_the_plan_of_the_check() {
    let mut world = World::new();
    let check = |plan| Action::CheckAbility {
        email: None,
        phone: PHONE,
        id_entropy: 9,
        reach: countersign_core::Reach::Reachable,
        plan,
        skipped: Vec::new(),
        guard: None,
    };
    let checked = world.submit(None, check(plan(&["telegram", "sms"])));
    let Ok(Answer::Status(status)) = checked else {
        panic!("{checked:?}")
    };
    let request = id(&status);
    world.pass_seconds(100);
    let on_it = |send: &mut countersign_core::Send| {
        send.request = Some(request);
        send.plan = plan(&["sms"]);
        send.skipped = skipped(&[("telegram", "no opt-in")]);
    };
    world.send_with(on_it).unwrap();
    assert_eq!(world.request(request).plan, plan(&["telegram", "sms"]));
    assert!(world.last().timeline.is_empty());
    assert_eq!(
        world.request(request).message.as_ref().unwrap().legs.started_at,
        world.now
    );
    // One that has none takes the send's.
    let unplanned = id(&world.ability(PHONE).unwrap());
    world
        .send_with(|send| {
            on_it(send);
            send.request = Some(unplanned);
        })
        .unwrap();
    assert_eq!(world.request(unplanned).plan, plan(&["sms"]));
    assert_eq!(lines(&world), [(TimelineKind::LegSkipped, Some("telegram"))]);
}

#[test]
fn the_price_is_that_of_the_plans_route() {
    let mut world = World::new();
    let row = PriceRow {
        route: PriceRoute::Only(RouteName::parse("europe").unwrap()),
        prefix: NumberPrefix::DEFAULT,
        effective_from: START,
        price: Some(Credits::parse("0.05").unwrap()),
    };
    assert_eq!(world.rules.prices.record(&row), Ok(PriceChange::Added));
    let request = send_over(&mut world, &["telegram", "sms"]);
    assert_eq!(world.request(request).fee, credits("0.05"));
    let alone = world.send();
    assert_eq!(world.request(alone).fee, credits("0.01"));
}

#[test]
fn scripted_numbers_listen_to_their_script_alone() {
    let mut world = World::new();
    let never = countersign_core::PhoneNumber::from_stored(9_996_630_003);
    let sent = world.send_with(|send| {
        send.phone = never;
        send.plan = plan(&["telegram", "sms"]);
    });
    let request = id(&sent.unwrap());
    assert_eq!(world.last().work, Some(Work::Wake));
    assert_eq!(
        world.request(request).next_due().map(|(_, step)| step),
        Some(DueStep::EndOfLife)
    );
    world.news_by(request, "telegram", News::Failed);
    assert_eq!(world.last().request, None);
    world.pass_seconds(5);
    assert_eq!(world.next_leg(request), Err(ApiError::ResendNotPossible));
}
