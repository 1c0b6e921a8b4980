//! docs/api.md, `revokeVerificationMessage`.

use countersign_core::{Answer, ApiError, DeliveryState, News, TimelineKind, VerificationState, Work};

use crate::world::{CODE, HOUR_MS, World};

#[test]
fn a_sent_message_becomes_revoked_and_is_withdrawn_without_a_refund() {
    let mut world = World::new();
    let request = world.send();
    let balance = world.account.balance;
    assert_eq!(world.revoke(request), Ok(Answer::Revoked));
    assert_eq!(world.delivery(request), DeliveryState::Revoked);
    assert_eq!(world.last().work, Some(Work::Withdraw));
    assert_eq!(world.reported(), [("revoked".to_owned(), false)]);
    world.pass_ms(HOUR_MS);
    world.wake(request);
    assert_eq!(world.account.balance, balance);
    assert_eq!(world.delivery(request), DeliveryState::Revoked);
}

#[test]
fn a_message_that_arrived_stays_and_its_unused_code_ends() {
    for state in [DeliveryState::Delivered, DeliveryState::Read] {
        let mut world = World::new();
        let request = world.bring_to(state);
        assert_eq!(world.revoke(request), Ok(Answer::Revoked));
        assert_eq!(world.delivery(request), state);
        assert_eq!(world.verification(request), VerificationState::Expired);
        assert_eq!(world.last().work, None, "no delivered message is deleted");
        assert!(world.last().reports.is_empty());
    }
}

#[test]
fn a_used_code_stays_valid() {
    let mut world = World::new();
    let request = world.send();
    world.check(request, CODE);
    assert_eq!(world.revoke(request), Ok(Answer::Revoked));
    assert_eq!(world.check(request, CODE), "code_valid");
}

#[test]
fn a_second_revocation_is_received_too_and_changes_nothing() {
    let mut world = World::new();
    let request = world.send();
    world.revoke(request).unwrap();
    world.pass_seconds(1);
    assert_eq!(world.revoke(request), Ok(Answer::Revoked));
    assert_eq!(world.last().request, None);
}

#[test]
fn an_overdue_message_is_expired_and_refunded_before_it_could_be_revoked() {
    let mut world = World::new();
    let request = world.send();
    world.pass_ms(HOUR_MS);
    assert_eq!(world.revoke(request), Ok(Answer::Revoked));
    assert_eq!(world.delivery(request), DeliveryState::Expired);
    assert!(world.request(request).refunded);
}

#[test]
fn what_was_never_sent_cannot_be_revoked() {
    for state in [
        DeliveryState::Admitted,
        DeliveryState::Unreachable,
        DeliveryState::Checked,
    ] {
        let mut world = World::new();
        let request = world.bring_to(state);
        assert_eq!(world.revoke(request), Err(ApiError::RequestIdInvalid), "{state:?}");
    }
    let mut world = World::new();
    let unknown = countersign_core::RequestId::new(world.now, 99);
    assert_eq!(world.revoke(unknown), Err(ApiError::RequestIdInvalid));
}

#[test]
fn news_after_the_revocation_goes_into_the_timeline_only() {
    for news in [News::Delivered, News::Read, News::Failed] {
        let mut world = World::new();
        let request = world.bring_to(DeliveryState::Revoked);
        world.news(request, news);
        assert_eq!(world.delivery(request), DeliveryState::Revoked);
        let kinds: Vec<_> = world.last().timeline.iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [TimelineKind::TooLate(news)]);
        assert!(world.last().reports.is_empty() && world.last().entries.is_empty());
    }
}
