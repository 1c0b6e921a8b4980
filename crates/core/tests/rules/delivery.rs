//! The delivery graph, move by move, allowed and forbidden, as commands drive it; expiry, refund, late news and reports.

use countersign_core::{
    ADMISSION_LIFE_MS, ApiError, CallbackUrl, DeliveryState, EntryKind, News, TimelineKind, Ttl, VerificationState,
    Work,
};

use crate::world::{CODE, HOUR_MS, PHONE, World, credits, id};

#[test]
fn admitted_becomes_sent_when_the_network_says_yes() {
    let mut world = World::new();
    let request = world.admit();
    assert_eq!(
        (world.account.balance, world.account.held),
        (credits("1"), credits("0.01"))
    );
    let status = world.settle(request, true).unwrap();
    assert_eq!(world.delivery(request), DeliveryState::Sent);
    assert_eq!(
        (world.account.balance, world.account.held),
        (credits("0.99"), credits("0"))
    );
    assert_eq!(status.remaining_balance, Some(credits("0.99")));
    assert_eq!(world.last().work, Some(Work::Deliver));
}

#[test]
fn admitted_becomes_checked_when_only_the_ability_was_asked() {
    let mut world = World::new();
    let request = world.admit_ability();
    let status = world.settle(request, true).unwrap();
    assert_eq!(status.delivery_status, None);
    assert_eq!(world.delivery(request), DeliveryState::Checked);
    assert_eq!(world.last().work, None);
}

#[test]
fn admitted_becomes_unreachable_when_the_network_says_no_and_nothing_is_charged() {
    let mut world = World::new();
    let request = world.admit();
    assert_eq!(world.settle(request, false), Err(ApiError::PhoneNumberNotFound));
    assert_eq!(world.delivery(request), DeliveryState::Unreachable);
    assert_eq!(
        (world.account.balance, world.account.held),
        (credits("1"), credits("0"))
    );
    assert!(world.entries().is_empty());
    assert_eq!(
        world.request(request).message,
        None,
        "its code doesn't stay in the books"
    );
}

#[test]
fn admitted_becomes_unreachable_when_no_answer_ever_comes() {
    let mut world = World::new();
    let request = world.admit();
    world.pass_ms(ADMISSION_LIFE_MS);
    world.wake(request);
    assert_eq!(world.delivery(request), DeliveryState::Unreachable);
    assert_eq!(world.account.held, credits("0"));
    assert_eq!(
        world.settle(request, true),
        Err(ApiError::PhoneNumberNotFound),
        "too late to settle"
    );
    assert_eq!(world.account.balance, credits("1"));
}

#[test]
fn an_admission_is_settled_once() {
    let mut world = World::new();
    let request = world.admit();
    world.settle(request, true).unwrap();
    for reachable in [true, false] {
        assert_eq!(world.settle(request, reachable), Err(ApiError::PhoneNumberNotFound));
        assert_eq!(world.last().request, None);
        assert_eq!(world.account.balance, credits("0.99"));
    }
}

#[test]
fn the_life_of_an_admitted_message_begins_with_its_sending() {
    let mut world = World::new();
    let mut send = world.parameters();
    send.reach = countersign_core::Reach::MustAsk;
    send.ttl = Ttl::new(30).unwrap();
    let entropy = send.id_entropy;
    let request = countersign_core::RequestId::new(world.now, entropy);
    world
        .submit(None, countersign_core::Action::Send(Box::new(send)))
        .unwrap();
    world.pass_seconds(29);
    world.settle(request, true).unwrap();
    world.pass_ms(29_999);
    world.wake(request);
    assert_eq!(world.delivery(request), DeliveryState::Sent);
    world.pass_ms(1);
    world.wake(request);
    assert_eq!(world.delivery(request), DeliveryState::Expired);
}

#[test]
fn checked_becomes_sent_by_a_send_on_its_id() {
    let mut world = World::new();
    let request = world.bring_to(DeliveryState::Checked);
    world.send_with(|send| send.request = Some(request)).unwrap();
    assert_eq!(world.delivery(request), DeliveryState::Sent);
}

#[test]
fn sent_becomes_delivered_and_then_read() {
    let mut world = World::new();
    let request = world.send();
    world.news(request, News::Delivered);
    assert_eq!(world.delivery(request), DeliveryState::Delivered);
    assert_eq!(world.reported(), [("delivered".to_owned(), false)]);
    world.pass_seconds(2);
    world.news(request, News::Read);
    assert_eq!(world.delivery(request), DeliveryState::Read);
    assert_eq!(world.reported(), [("read".to_owned(), false)]);
    assert_eq!(world.request(request).delivery_updated_at, world.now);
}

#[test]
fn sent_becomes_read_at_once_when_the_receipt_of_delivery_was_lost() {
    let mut world = World::new();
    let request = world.send();
    world.news(request, News::Read);
    assert_eq!(world.delivery(request), DeliveryState::Read);
    assert_eq!(world.reported(), [("read".to_owned(), false)]);
}

#[test]
fn sent_becomes_expired_at_the_end_of_its_life_and_is_refunded() {
    let mut world = World::new();
    let request = id(&world.send_with(|send| send.ttl = Ttl::new(30).unwrap()).unwrap());
    let end = world.now.plus_millis(30_000);
    world.pass_ms(29_999);
    world.wake(request);
    assert_eq!(world.delivery(request), DeliveryState::Sent);
    world.pass_seconds(10);
    world.wake(request);
    assert_eq!(world.delivery(request), DeliveryState::Expired);
    assert_eq!(
        world.request(request).delivery_updated_at,
        end,
        "at the end of its life, not when somebody looked"
    );
    assert_eq!(world.entries(), [EntryKind::Refund]);
    assert_eq!(world.account.balance, credits("1"));
    assert_eq!(world.reported(), [("expired".to_owned(), true)]);
    assert_eq!(world.last().work, Some(Work::Withdraw));
}

#[test]
fn sent_becomes_expired_at_once_when_the_last_way_failed() {
    let mut world = World::new();
    let request = world.send();
    world.pass_seconds(1);
    world.news(request, News::Failed);
    assert_eq!(world.delivery(request), DeliveryState::Expired);
    assert_eq!(world.verification(request), VerificationState::Expired);
    assert_eq!(world.account.balance, credits("1"));
    assert_eq!(world.reported(), [("expired".to_owned(), true)]);
    let kinds: Vec<_> = world.last().timeline.iter().map(|event| event.kind).collect();
    assert_eq!(
        kinds,
        [
            TimelineKind::DeliveryFailed,
            TimelineKind::Became(DeliveryState::Expired)
        ]
    );
    assert_eq!(world.check(request, CODE), "expired");
}

#[test]
fn sent_becomes_revoked_by_a_revocation() {
    let mut world = World::new();
    let request = world.send();
    world.revoke(request).unwrap();
    assert_eq!(world.delivery(request), DeliveryState::Revoked);
}

#[test]
fn delivered_in_time_is_never_refunded() {
    let mut world = World::new();
    let request = world.bring_to(DeliveryState::Delivered);
    world.pass_ms(24 * HOUR_MS);
    world.wake(request);
    assert_eq!(world.delivery(request), DeliveryState::Delivered);
    assert_eq!(world.account.balance, credits("0.99"));
    world.news(request, News::Read);
    assert_eq!(world.delivery(request), DeliveryState::Read, "reading has no deadline");
}

#[test]
fn news_of_a_message_whose_life_is_over_comes_after_its_expiry() {
    let mut world = World::new();
    let request = world.send();
    world.pass_ms(HOUR_MS);
    world.news(request, News::Delivered);
    assert_eq!(world.delivery(request), DeliveryState::Expired);
    assert_eq!(world.entries(), [EntryKind::Refund]);
    let kinds: Vec<_> = world.last().timeline.iter().map(|event| event.kind).collect();
    assert_eq!(
        kinds,
        [
            TimelineKind::Became(DeliveryState::Expired),
            TimelineKind::TooLate(News::Delivered)
        ]
    );
    assert_eq!(world.reported(), [("expired".to_owned(), true)]);
}

#[test]
fn late_news_has_a_bound() {
    let mut world = World::new();
    let request = world.bring_to(DeliveryState::Expired);
    for _ in 0..100 {
        world.news(request, News::Read);
    }
    assert_eq!(world.request(request).events, 32);
    assert!(world.last().timeline.is_empty());
}

/// Every pair of a state and news that the graph has no move for: nothing moves, nothing is reported, no money flows.
#[test]
fn news_that_the_graph_has_no_move_for_moves_nothing() {
    for state in DeliveryState::ALL {
        for news in [
            News::Accepted,
            News::Delivered,
            News::Read,
            News::CannotReach,
            News::Refused,
            News::Failed,
            News::Disowned,
        ] {
            let target = match news {
                News::Accepted | News::Disowned => None,
                News::Delivered => Some(DeliveryState::Delivered),
                News::Read => Some(DeliveryState::Read),
                News::CannotReach | News::Refused | News::Failed => Some(DeliveryState::Expired),
            };
            let allowed = target.is_some_and(|target| state.may_become(target));
            let mut world = World::new();
            let request = world.bring_to(state);
            let balance = world.account.balance;
            world.news(request, news);
            let moved = world.delivery(request) != state;
            assert_eq!(moved, allowed, "{state:?} after {news:?}");
            if !allowed {
                assert!(world.last().reports.is_empty(), "{state:?} after {news:?} was reported");
                assert_eq!(world.account.balance, balance);
            }
        }
    }
}

/// From every state, everything that a caller or time can do: only the graph's moves happen.
#[test]
fn no_command_moves_a_state_where_the_graph_does_not() {
    type Deed = (&'static str, fn(&mut World, countersign_core::RequestId));
    let deeds: [Deed; 7] = [
        ("a revocation", |world, request| drop(world.revoke(request))),
        ("the right code", |world, request| {
            drop(world.check_status(request, Some(CODE)));
        }),
        ("a wrong code", |world, request| {
            drop(world.check_status(request, Some("0")));
        }),
        ("a send on the id", |world, request| {
            drop(world.send_with(|send| send.request = Some(request)));
        }),
        ("yes from the network", |world, request| {
            drop(world.settle(request, true));
        }),
        ("no from the network", |world, request| {
            drop(world.settle(request, false));
        }),
        ("the end of its life", |world, request| {
            world.pass_ms(2 * HOUR_MS);
            world.wake(request);
        }),
    ];
    for state in DeliveryState::ALL {
        for (name, deed) in deeds {
            let mut world = World::new();
            let request = world.bring_to(state);
            deed(&mut world, request);
            let after = world.delivery(request);
            assert!(
                after == state || state.may_become(after),
                "{name} made {state:?} {after:?}"
            );
        }
    }
}

#[test]
fn an_acceptance_is_noted_and_is_no_state() {
    let mut world = World::new();
    let request = world.send();
    assert!(!world.request(request).message.as_ref().unwrap().accepted);
    world.news(request, News::Accepted);
    assert!(world.request(request).message.as_ref().unwrap().accepted);
    assert_eq!(world.delivery(request), DeliveryState::Sent);
    assert!(world.last().timeline.is_empty() && world.last().reports.is_empty());
}

#[test]
fn without_a_callback_nothing_is_reported() {
    let mut world = World::new();
    let request = id(&world.send_with(|send| send.callback_url = None).unwrap());
    world.news(request, News::Delivered);
    assert!(world.last().reports.is_empty());
    assert_eq!(world.last().timeline.len(), 1);
}

#[test]
fn reports_go_to_the_callback_in_the_order_of_their_numbers() {
    let mut world = World::new();
    let request = world.send();
    let mut numbers = Vec::new();
    for news in [News::Delivered, News::Read] {
        world.news(request, news);
        let report = &world.last().reports[0];
        assert_eq!(
            report.callback_url,
            CallbackUrl::from_stored("https://example.com/".to_owned())
        );
        assert_eq!(report.created_at, world.now);
        numbers.push(report.number);
    }
    assert_eq!(numbers, [1, 2]);
}

#[test]
fn a_report_is_the_state_as_it_was_and_shows_no_balance() {
    let mut world = World::new();
    let request = world.send();
    world.news(request, News::Delivered);
    let body = String::from_utf8(world.last().reports[0].body.clone()).unwrap();
    let seconds = world.now.unix_seconds();
    assert_eq!(
        body,
        format!(
            r#"{{"request_id":"{request}","phone_number":"{PHONE}","request_cost":0.01,"delivery_status":{{"status":"delivered","updated_at":{seconds}}}}}"#
        )
    );
}
