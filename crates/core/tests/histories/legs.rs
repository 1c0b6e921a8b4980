//! What must hold of a message's legs: they only move forward, each has ended before the next begins, none begins when it is of
//! no use any more, and what isn't a leg's has nothing of them.

use countersign_core::{
    Decision, DeliveryState, DueStep, LegName, LegState, RoutePlan, TimelineKind, Timestamp, VerificationRequest, Work,
};

use crate::checks::{Held, hold};

/// Said anew, apart from the code under test.
const LAST_START_MS: i64 = 20_000;
const LATE_START_MS: i64 = 2_000;

pub(crate) fn of(
    before: Option<&VerificationRequest>,
    after: &VerificationRequest,
    decision: &Decision,
    account_now: Timestamp,
) -> Held {
    plan_stays(before, after)?;
    let Some(message) = &after.message else { return Ok(()) };
    let Some(plan) = after.plan.as_deref() else {
        hold!(
            message.legs == LegState::first(message.sent_at),
            "legs without a plan: {:?}",
            message.legs
        );
        let of_legs = decision.timeline.iter().any(|event| {
            matches!(event.kind, TimelineKind::LegAccepted | TimelineKind::LegEnded(_))
                || (event.leg.is_some() && event.kind != TimelineKind::LegSkipped)
        });
        hold!(!of_legs, "lines of legs without a plan");
        return Ok(());
    };
    let legs = plan.legs.len();
    let place = usize::from(message.legs.leg);
    hold!(place <= legs, "leg {place} of {legs}");
    let begun = (place + 1).min(legs);
    hold!(
        u32::from(message.legs.open) >> begun == 0,
        "a leg is open that hasn't begun"
    );
    let last_start = message.expires_at.plus_millis(-LAST_START_MS);
    if let Some((at, DueStep::NextLeg)) = after.next_due() {
        hold!(at <= last_start, "a leg is to begin in the last 20 s");
    }
    let sent_before = before.filter(|before| before.delivery >= DeliveryState::Sent);
    let Some((before, was)) = sent_before.and_then(|before| Some((before, before.message.as_ref()?.legs))) else {
        hold!(
            message.legs == LegState::first(message.sent_at) && !message.accepted,
            "a message begins at {:?}",
            message.legs
        );
        return Ok(());
    };
    moved(plan, usize::from(was.leg), place, decision)?;
    let was_accepted = before.message.as_ref().is_some_and(|message| message.accepted);
    if place == usize::from(was.leg) {
        let too_late_for_another =
            message.legs.started_at == account_now && account_now > last_start.plus_millis(LATE_START_MS);
        hold!(
            was.started_at == message.legs.started_at || too_late_for_another,
            "a leg began again"
        );
        hold!(message.accepted || !was_accepted, "an acceptance was taken back");
        hold!(
            decision.work != Some(Work::Deliver),
            "handed over again on the same leg"
        );
    } else {
        hold!(
            before.delivery == DeliveryState::Sent,
            "a leg after {:?}",
            before.delivery
        );
    }
    if place < legs && place > usize::from(was.leg) {
        let late_ms = account_now.millis() - message.legs.started_at.millis();
        hold!(
            (0..=LATE_START_MS).contains(&late_ms) && account_now <= last_start.plus_millis(LATE_START_MS),
            "a leg began at the wrong time"
        );
        hold!(
            before.verification.is_open(),
            "a leg with the code {:?}",
            before.verification
        );
        let goes_on = after.delivery == DeliveryState::Sent && after.verification.is_open();
        hold!(
            !goes_on || (decision.work == Some(Work::Deliver) && (!message.accepted || accepted_now(decision))),
            "a leg began, and nothing is handed over"
        );
    }
    given_up_early(after, place == legs, decision)?;
    told_once(plan, was, before, decision)
}

/// A plan is made once; an admission's is replaced by what is left of it.
fn plan_stays(before: Option<&VerificationRequest>, after: &VerificationRequest) -> Held {
    let Some(before) = before.filter(|before| before.plan != after.plan) else {
        return Ok(());
    };
    let settled = before.delivery == DeliveryState::Admitted;
    let sent = before.delivery == DeliveryState::Checked && before.plan.is_none();
    hold!(
        (settled || sent) && after.delivery != before.delivery && after.plan.is_some(),
        "a plan changed"
    );
    Ok(())
}

/// Each leg that was left has a line that says how it ended.
fn moved(plan: &RoutePlan, was: usize, is: usize, decision: &Decision) -> Held {
    let mut place = was;
    for event in &decision.timeline {
        let under_way = plan.legs.get(place).map(|leg| &leg.name);
        if matches!(event.kind, TimelineKind::LegEnded(_)) && event.leg.as_ref() == under_way {
            place += 1;
        }
    }
    let none_is_left = is == plan.legs.len() && place > was;
    hold!(
        is == place || none_is_left,
        "leg {was} became {is}, and the lines lead to {place}"
    );
    Ok(())
}

fn accepted_now(decision: &Decision) -> bool {
    decision
        .timeline
        .iter()
        .any(|event| event.kind == TimelineKind::LegAccepted)
}

/// A message is given up before its end only where nothing could deliver it.
fn given_up_early(after: &VerificationRequest, no_leg_under_way: bool, decision: &Decision) -> Held {
    let given_up = decision
        .timeline
        .iter()
        .any(|event| event.kind == TimelineKind::DeliveryFailed);
    let open = after.message.as_ref().is_some_and(|message| message.legs.open != 0);
    hold!(
        !given_up || (no_leg_under_way && !open && after.delivery == DeliveryState::Expired),
        "given up while a leg may still deliver"
    );
    Ok(())
}

/// A delivery that another leg has overtaken is a line once: its leg was open, and is no more.
fn told_once(plan: &RoutePlan, was: LegState, before: &VerificationRequest, decision: &Decision) -> Held {
    if !matches!(before.delivery, DeliveryState::Delivered | DeliveryState::Read) {
        return Ok(());
    }
    let place = |name: &LegName| plan.legs.iter().position(|leg| leg.name == *name);
    for event in &decision.timeline {
        if matches!(event.kind, TimelineKind::TooLate(_)) {
            let place = event.leg.as_ref().and_then(place).ok_or("a late line of no leg")?;
            hold!(was.is_open(place), "told twice that another leg delivered");
        }
    }
    Ok(())
}
