//! Messages over routes of several legs: fallback, questions to the network, restarts, and what an operator sees of it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod guard;
mod support;

use std::sync::Arc;
use std::time::Duration;

use countersign_channels::{Asked, Handover, Receipts};
use countersign_core::{Credits, Detail, LegEnd, LegName, News, NumberPrefix, Reach, TimelineKind};
use countersign_server::clock;
use countersign_store::{ChannelCost, RequestRef};
use serde_json::json;

use support::{Fake, House, MAX_WEBHOOK_BYTES, OWNER, PHONE};

fn credits(text: &str) -> Credits {
    Credits::parse(text).unwrap()
}

fn detail(text: &str) -> Detail {
    Detail::new(text)
}

#[tokio::test]
async fn a_leg_that_can_not_reach_a_number_makes_way_at_once_with_the_same_code_and_fee() {
    let bot = Arc::new(Fake::new("bot").does([Handover::CannotReach(detail("no opt-in"))]));
    let sms = Arc::new(Fake::new("sms"));
    let house = House::new(&[Arc::clone(&bot), Arc::clone(&sms)], |_| {}).await;
    let request = house.send(PHONE).await;
    let taken = sms.wait_for(1).await;
    assert_eq!(taken[0].code.as_str(), "4829");
    assert_eq!((bot.taken().len(), house.balance().await.0), (1, credits("9.99")));
    house.hears("sms", request, News::Delivered).await;
    house.wait_for_state(request, "delivered").await;
    let kinds: Vec<_> = house
        .timeline(request)
        .await
        .into_iter()
        .map(|event| (event.leg.map(|leg| leg.to_string()), event.kind))
        .collect();
    assert!(
        kinds.contains(&(Some("bot".to_owned()), TimelineKind::LegEnded(LegEnd::CannotReach))),
        "{kinds:?}"
    );
    assert!(
        kinds.contains(&(Some("sms".to_owned()), TimelineKind::LegAccepted)),
        "{kinds:?}"
    );
    assert_eq!(house.balance().await.0, credits("9.99"));
}

#[tokio::test]
async fn a_leg_that_assumes_delivery_has_delivered_when_it_accepts() {
    let mut bot = Fake::new("bot");
    bot.receipts = Receipts::AssumedOnAcceptance;
    let house = House::new(&[Arc::new(bot)], |_| {}).await;
    let request = house.send(PHONE).await;
    house.wait_for_state(request, "delivered").await;
}

#[tokio::test]
async fn where_every_leg_fails_the_message_expires_at_once_and_is_refunded() {
    let bot = Arc::new(Fake::new("bot").does([Handover::Failed(detail("no answer"))]));
    let sms = Arc::new(Fake::new("sms").does([Handover::Refused(detail("0x0B"))]));
    let house = House::new(&[bot, sms], |_| {}).await;
    let request = house.send(PHONE).await;
    let status = house.wait_for_state(request, "expired").await;
    assert_eq!(status["is_refunded"], true);
    assert_eq!(house.balance().await.0, credits("10"));
}

#[tokio::test]
async fn a_throttled_message_goes_later_on_the_same_leg_and_once() {
    let later = || Handover::Later(Duration::from_millis(50));
    let sms = Arc::new(Fake::new("sms").does([later(), later()]));
    let house = House::new(&[Arc::clone(&sms)], |_| {}).await;
    let request = house.send(PHONE).await;
    sms.wait_for(3).await;
    house.hears("sms", request, News::Delivered).await;
    house.wait_for_state(request, "delivered").await;
    assert_eq!(sms.taken().len(), 3);
}

#[tokio::test]
async fn after_a_crash_what_was_accepted_is_not_sent_again_and_what_was_not_is() {
    let sms = Arc::new(Fake::new("sms"));
    let house = House::new(&[Arc::clone(&sms)], |_| {}).await;
    let accepted = house.send(PHONE).await;
    sms.wait_for(1).await;
    loop {
        let timeline = house.timeline(accepted).await;
        if timeline.iter().any(|event| event.kind == TimelineKind::LegAccepted) {
            break;
        }
        tokio::task::yield_now().await;
    }
    // The second one is with the channel when the server dies.
    let gate = sms.gate.write().await;
    let lost = house.send("+391234567891").await;
    sms.wait_for(2).await;
    let again = Arc::new(Fake::new("sms"));
    let house = house.crash(&[Arc::clone(&again)]).await;
    drop(gate);
    let taken = again.wait_for(1).await;
    assert_eq!((taken.len(), taken[0].request), (1, lost));
    house.hears("sms", lost, News::Delivered).await;
    house.wait_for_state(lost, "delivered").await;
    assert_eq!(again.taken().len(), 1);
}

#[tokio::test]
async fn a_backlog_that_finds_no_room_waits_in_the_books_and_goes_once() {
    let sms = Arc::new(Fake::new("sms"));
    let house = House::new(&[Arc::clone(&sms)], |settings| {
        settings.limits.account_sends_per_second = None;
        settings.limits.number_sends_per_hour = None;
    })
    .await;
    house
        .submit(countersign_core::Action::Purchase { amount: credits("100") })
        .await;
    let gate = sms.gate.write().await;
    // More than a lane keeps in memory.
    for number in 0..1_100 {
        house.send(&format!("+39123456{number:04}")).await;
    }
    drop(gate);
    let mut requests: Vec<_> = sms
        .wait_for(1_100)
        .await
        .into_iter()
        .map(|message| message.request)
        .collect();
    requests.sort_unstable();
    requests.dedup();
    assert_eq!(requests.len(), 1_100);
}

#[tokio::test]
async fn a_delivery_on_one_leg_withdraws_the_message_from_the_others() {
    let bot = Arc::new(Fake::new("bot"));
    let sms = Arc::new(Fake::new("sms"));
    let house = House::new(&[Arc::clone(&bot), Arc::clone(&sms)], |_| {}).await;
    let request = house.send(PHONE).await;
    bot.wait_for(1).await;
    // Five seconds must pass between two legs: the account's next call comes as if they had.
    let answer = house
        .call("resendVerificationMessage", json!({"request_id": request.to_string()}))
        .await;
    assert!(
        answer["error"].as_str().unwrap_or_default().starts_with("FLOOD_WAIT_"),
        "{answer}"
    );
    house.hears("bot", request, News::Failed).await;
    sms.wait_for(1).await;
    house.hears("sms", request, News::Delivered).await;
    house.wait_for_state(request, "delivered").await;
    bot.wait_for_withdrawals(request, 1).await;
    let answer = house
        .call("resendVerificationMessage", json!({"request_id": request.to_string()}))
        .await;
    assert_eq!(answer["error"], "RESEND_NOT_POSSIBLE");
}

#[tokio::test]
async fn a_message_that_is_revoked_while_it_waits_is_not_sent_any_more() {
    let later = |millis| Handover::Later(Duration::from_millis(millis));
    let sms = Arc::new(Fake::new("sms").does([later(200), later(400)]));
    let house = House::new(&[Arc::clone(&sms)], |_| {}).await;
    let revoked = house.send(PHONE).await;
    sms.wait_for(1).await;
    house
        .call("revokeVerificationMessage", json!({"request_id": revoked.to_string()}))
        .await;
    let other = house.send("+391234567891").await;
    // The other one is tried again after the time of the first.
    let requests: Vec<_> = sms
        .wait_for(3)
        .await
        .into_iter()
        .map(|message| message.request)
        .collect();
    assert_eq!(requests, [revoked, other, other]);
}

#[tokio::test]
async fn a_message_that_is_revoked_while_it_is_handed_over_is_withdrawn_once_it_was_accepted() {
    let sms = Arc::new(Fake::new("sms"));
    let house = House::new(&[Arc::clone(&sms)], |_| {}).await;
    let gate = sms.gate.write().await;
    let request = house.send(PHONE).await;
    sms.wait_for(1).await;
    house
        .call("revokeVerificationMessage", json!({"request_id": request.to_string()}))
        .await;
    sms.wait_for_withdrawals(request, 1).await;
    drop(gate);
    sms.wait_for_withdrawals(request, 2).await;
}

#[tokio::test]
async fn the_network_is_asked_after_the_fee_is_on_hold_and_the_legs_that_said_no_are_passed_over() {
    let mut gateway = Fake::new("gateway").answers([Asked::CannotReach(detail("not on Telegram"))]);
    gateway.reach = Reach::MustAsk;
    let mut second = Fake::new("second");
    second.reach = Reach::MustAsk;
    let (gateway, second) = (Arc::new(gateway), Arc::new(second));
    let house = House::new(&[Arc::clone(&gateway), Arc::clone(&second)], |_| {}).await;
    let request = house.send(PHONE).await;
    second.wait_for(1).await;
    assert_eq!((gateway.asked(), second.asked(), gateway.taken().len()), (1, 1, 0));
    assert_eq!(house.balance().await, (credits("9.99"), Credits::ZERO));
    let timeline = house.timeline(request).await;
    assert!(timeline.iter().any(|event| {
        event.kind == TimelineKind::LegSkipped
            && event
                .detail
                .as_ref()
                .is_some_and(|detail| detail.as_str() == "not on Telegram")
    }));
}

#[tokio::test]
async fn where_the_network_says_no_or_nothing_in_time_nothing_is_charged() {
    for silent in [false, true] {
        let no = || Asked::CannotReach(detail("not on Telegram"));
        let mut gateway = Fake::new("gateway").answers([no(), no()]);
        gateway.reach = Reach::MustAsk;
        gateway.silent = silent;
        let house = House::new(&[Arc::new(gateway)], |settings| {
            settings.delivery.ask_timeout = Duration::from_millis(100);
        })
        .await;
        for method in ["checkSendAbility", "sendVerificationMessage"] {
            let answer = house.call(method, json!({"phone_number": PHONE})).await;
            assert_eq!(answer["error"], "PHONE_NUMBER_NOT_FOUND", "{answer}");
            assert_eq!(house.balance().await, (credits("10"), Credits::ZERO));
        }
    }
}

#[tokio::test]
async fn nobody_is_asked_where_another_leg_is_known_to_reach_the_number_or_the_caller_can_not_pay() {
    let mut gateway = Fake::new("gateway");
    gateway.reach = Reach::MustAsk;
    let gateway = Arc::new(gateway);
    let sms = Arc::new(Fake::new("sms"));
    let house = House::new(&[Arc::clone(&gateway), sms], |_| {}).await;
    house.send(PHONE).await;
    gateway.wait_for(1).await;
    assert_eq!(gateway.asked(), 0);

    let mut gateway = Fake::new("gateway");
    gateway.reach = Reach::MustAsk;
    let gateway = Arc::new(gateway);
    let house = House::new(&[Arc::clone(&gateway)], |_| {}).await;
    let minus = countersign_core::AdjustmentReason::new("spent").unwrap();
    house
        .submit(countersign_core::Action::Adjust {
            amount: credits("-10"),
            reason: minus,
        })
        .await;
    let answer = house
        .call("sendVerificationMessage", json!({"phone_number": PHONE}))
        .await;
    assert_eq!((&answer["error"], gateway.asked()), (&json!("BALANCE_NOT_ENOUGH"), 0));
}

#[tokio::test]
async fn legs_are_passed_over_by_prefix_for_the_owner_and_while_they_ail() {
    let failed = || Handover::Failed(detail("no answer"));
    let mut dear = Fake::new("dear").does(std::iter::repeat_with(failed).take(5));
    dear.paid = true;
    let dear = Arc::new(dear);
    let cheap = Arc::new(Fake::new("cheap"));
    let house = House::new(&[Arc::clone(&dear), Arc::clone(&cheap)], |settings| {
        settings.routes[0].legs[0].skip = vec![NumberPrefix::parse("+49").unwrap()];
    })
    .await;
    // The route skips it, and a free message doesn't cost the operator anything.
    house.send("+4915112345678").await;
    house.send(OWNER).await;
    cheap.wait_for(2).await;
    assert!(dear.taken().is_empty());
    // It fails five times: then it rests.
    for number in 0..5 {
        house.send(&format!("+39123456789{number}")).await;
        cheap.wait_for(3 + number).await;
    }
    let request = house.send("+391234567899").await;
    cheap.wait_for(8).await;
    assert_eq!(dear.taken().len(), 5);
    let timeline = house.timeline(request).await;
    assert_eq!(timeline[0].kind, TimelineKind::LegSkipped);
    let seen = house.operator("routes").await;
    let leg = &seen["legs"][1];
    assert_eq!(
        (&leg["leg"], &leg["failed"], leg["rests_for_seconds"].is_u64()),
        (&json!("dear"), &json!(5), true)
    );
    assert_eq!(leg["last_failure"], "no answer");
}

#[tokio::test]
async fn route_explain_says_which_way_a_message_would_take_and_why_without_a_question() {
    let mut bot = Fake::new("bot");
    bot.reach = Reach::Unreachable;
    let mut gateway = Fake::new("gateway");
    gateway.reach = Reach::MustAsk;
    let (bot, gateway, sms) = (Arc::new(bot), Arc::new(gateway), Arc::new(Fake::new("sms")));
    let house = House::new(&[bot, Arc::clone(&gateway), sms], |_| {}).await;
    let said = house.operator("routes/explain?phone=%2B391234567890&ttl=60").await;
    assert_eq!(
        (&said["route"], &said["reach"], &said["price"]),
        (&json!("main"), &json!("reachable"), &json!(0.01))
    );
    let verdicts: Vec<_> = said["legs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|leg| {
            (
                leg["leg"].as_str().unwrap(),
                leg["verdict"].as_str().unwrap(),
                leg["waits_seconds"].as_i64(),
            )
        })
        .collect();
    assert_eq!(
        verdicts,
        [
            ("bot", "skipped", None),
            ("gateway", "asks", Some(30)),
            ("sms", "goes", None)
        ]
    );
    assert_eq!(gateway.asked(), 0);
}

#[tokio::test]
async fn a_channels_webhook_is_its_own_to_judge_and_others_are_not_found() {
    let house = House::new(&[Arc::new(Fake::new("bot"))], |_| {}).await;
    assert_eq!(house.webhook("bot/hook", "right").await, 200);
    assert_eq!(house.webhook("bot/hook", "wrong").await, 401);
    assert_eq!(house.webhook("pigeon/hook", "right").await, 404);
    // Bodies are as large as the channel takes them.
    assert_eq!(house.webhook_of("bot/hook", "right", MAX_WEBHOOK_BYTES).await, 200);
    assert_eq!(house.webhook_of("bot/hook", "right", MAX_WEBHOOK_BYTES + 1).await, 413);
}

#[tokio::test]
async fn a_month_of_upstream_costs_names_what_was_charged_and_never_settled() {
    let house = House::new(&[Arc::new(Fake::new("gateway"))], |_| {}).await;
    let settled = house.send(PHONE).await;
    let cost = |message, micros, upstream: &str| ChannelCost {
        channel: LegName::parse("gateway").unwrap(),
        message,
        micros,
        upstream: Some(upstream.to_owned()),
        at: clock::now(),
    };
    let of = RequestRef {
        account: house.account,
        id: settled,
    };
    let costs = vec![
        cost(Some(of), 30_000, "a"),
        cost(None, 30_000, "b"),
        cost(Some(of), -10_000, "a"),
    ];
    house.store.note_costs(costs).await.unwrap();
    let month = house.operator("routes/costs").await;
    let channel = &month["channels"][0];
    assert_eq!(
        (&channel["charges"], &channel["charged"]),
        (&json!(2), &json!(0.06)),
        "{month}"
    );
    assert_eq!((&channel["refunds"], &channel["refunded"]), (&json!(1), &json!(0.01)));
    assert_eq!((&channel["settled"], &channel["sold_for"]), (&json!(1), &json!(0.01)));
    assert_eq!(
        (&channel["unsettled"], &channel["unsettled_amount"]),
        (&json!(1), &json!(0.03))
    );
    assert_eq!(
        (&month["unsettled"][0]["upstream"], &month["complete"]),
        (&json!("b"), &json!(true))
    );
    let refused = house.operator("routes/costs?month=2026-13").await;
    assert!(refused["error"].as_str().unwrap().contains("a month like 2026-11"));
}

#[tokio::test]
async fn a_leg_that_does_not_deliver_within_its_wait_makes_way_and_may_still_deliver() {
    let bot = Arc::new(Fake::new("bot"));
    let sms = Arc::new(Fake::new("sms"));
    let house = House::new(&[Arc::clone(&bot), Arc::clone(&sms)], |_| {}).await;
    let request = house.send(PHONE).await;
    bot.wait_for(1).await;
    // Half of an hour's life is the first leg's.
    house
        .submit(countersign_core::Action::AdvanceClock { by_ms: 1_800_000 })
        .await;
    let taken = sms.wait_for(1).await;
    assert_eq!((taken[0].request, taken[0].code.as_str()), (request, "4829"));
    house.hears("bot", request, News::Delivered).await;
    sms.wait_for_withdrawals(request, 1).await;
    let timeline = house.timeline(request).await;
    let not_in_time = TimelineKind::LegEnded(LegEnd::NotInTime);
    assert!(timeline.iter().any(|event| event.kind == not_in_time), "{timeline:?}");
    assert_eq!(house.balance().await.0, credits("9.99"));
}

#[tokio::test]
async fn an_operator_says_where_recipients_are_reached_and_who_wants_no_messages() {
    let mail = Arc::new(Fake::new("mail"));
    let house = House::new(&[mail], |_| {}).await;
    let one = "recipients/mail/+391234567890";
    let error = |answer: &serde_json::Value| answer["error"].as_str().unwrap_or_default().to_owned();
    let unknown = house.operator(one).await;
    assert!(error(&unknown).contains("nothing is known"), "{unknown}");
    let set = house
        .operator_does("PUT", one, Some(json!({"address": " ida@example.com "})))
        .await;
    assert_eq!(
        (&set["address"], &set["stopped"]),
        (&json!("ida@example.com"), &json!(false))
    );
    // A stop keeps the address, and an import keeps the stop.
    let stopped = house.operator_does("PUT", one, Some(json!({"stopped": true}))).await;
    assert_eq!(
        (&stopped["address"], &stopped["stopped"]),
        (&json!("ida@example.com"), &json!(true))
    );
    let rows = json!({"rows": [
        {"phone_number": "+391234567890", "address": "ida@example.org"},
        {"phone_number": "+391234567891", "address": "bo@example.org"},
    ]});
    let imported = house.operator_does("POST", "recipients/mail/import", Some(rows)).await;
    assert_eq!(imported, json!({"set": 2}));
    let shown = house.operator(one).await;
    assert_eq!(
        (&shown["address"], &shown["stopped"]),
        (&json!("ida@example.org"), &json!(true))
    );

    // A wrong row is named, and none is written.
    let rows = json!({"rows": [
        {"phone_number": "+391234567892", "address": "cy@example.org"},
        {"phone_number": "+391234567893", "address": "no address"},
    ]});
    let refused = house.operator_does("POST", "recipients/mail/import", Some(rows)).await;
    assert!(error(&refused).contains("row 2"), "{refused}");
    assert!(error(&house.operator("recipients/mail/+391234567892").await).contains("nothing is known"));
    for (path, body, said) in [
        (one, json!({}), "say `address`"),
        (one, json!({"address": "x"}), "that is no address"),
        ("recipients/mail/12", json!({"stopped": true}), "international form"),
        (
            "recipients/nowhere/+391234567890",
            json!({"stopped": true}),
            "no channel `nowhere`",
        ),
        (
            "recipients/inbox/+391234567890",
            json!({"stopped": true}),
            "no channel `inbox`",
        ),
    ] {
        let refused = house.operator_does("PUT", path, Some(body)).await;
        assert!(error(&refused).contains(said), "{refused}");
    }
    let forgotten = house.operator_does("DELETE", one, None).await;
    assert_eq!(forgotten["address"], "ida@example.org");
    assert!(error(&house.operator(one).await).contains("nothing is known"));
}
