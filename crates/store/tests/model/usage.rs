//! Statistics, compared: what the store has summed up, change by change, is what the final requests give when each is counted
//! once. The counting is written here anew, apart from the rule that the store goes by; and the cost is the ledger's.

use std::collections::BTreeMap;

use countersign_core::{
    Country, DeliveryState, EntryKind, Quarter, RouteName, SenderUsername, TimelineKind, UsageCount, UsageSum,
    VerificationState, time_slot,
};
use countersign_model::{Books, RequestBook};
use countersign_store::{UsageBy, UsageFilter};

use crate::compare::same;
use crate::drive::Driver;

/// Spans of seven hours: their edges cut days and months.
const SPAN_QUARTERS: i64 = 28;
/// The longest question; histories that last longer are asked in parts.
const SPANS: i64 = 2_000;

/// What one request counts for.
fn counted(book: &RequestBook) -> UsageSum {
    let request = &book.request;
    let mut sum = UsageSum::default();
    let mut count = |count: UsageCount, amount: i64| sum.counts[count as usize] += amount;
    if request.test || request.delivery == DeliveryState::Admitted {
        return sum;
    }
    if request.delivery == DeliveryState::Unreachable {
        count(UsageCount::Unreachable, 1);
        return sum;
    }
    count(UsageCount::Requests, 1);
    count(UsageCount::ChargedMicros, request.fee.micros());
    if request.refunded {
        count(UsageCount::RefundedMicros, request.fee.micros());
    }
    let Some(message) = request
        .message
        .as_ref()
        .filter(|_| request.delivery != DeliveryState::Checked)
    else {
        return sum;
    };
    count(UsageCount::Sent, 1);
    match request.delivery {
        DeliveryState::Delivered => count(UsageCount::Delivered, 1),
        DeliveryState::Read => {
            count(UsageCount::Delivered, 1);
            count(UsageCount::Read, 1);
        }
        DeliveryState::Expired => count(UsageCount::Expired, 1),
        DeliveryState::Revoked => count(UsageCount::Revoked, 1),
        _ => {}
    }
    if request.verification == VerificationState::Valid || request.wrong_attempts > 0 {
        count(UsageCount::Entered, 1);
    }
    if request.verification == VerificationState::Valid {
        count(UsageCount::Valid, 1);
        let took = request.verification_updated_at.millis() - message.sent_at.millis();
        sum.to_valid.add_slot(time_slot(took), 1);
    }
    let arrival = book.timeline.iter().find_map(|event| match event.kind {
        TimelineKind::Became(DeliveryState::Delivered | DeliveryState::Read) => Some(event.at),
        _ => None,
    });
    if let Some(at) = arrival {
        let took = at.millis() - message.sent_at.millis();
        sum.to_delivered.add_slot(time_slot(took), 1);
    }
    sum
}

fn sender(book: &RequestBook) -> String {
    let message = book.request.message.as_ref();
    let sender = message.and_then(|message| message.sender.as_ref());
    sender.map_or("", SenderUsername::as_str).to_owned()
}

fn route(book: &RequestBook) -> String {
    let plan = book.request.plan.as_ref();
    let route = plan.map_or(RouteName::INBOX, |plan| plan.route.clone());
    route.as_str().to_owned()
}

/// How many numbers were new is an estimate: it is left out.
fn without_new_numbers(mut sum: UsageSum) -> UsageSum {
    sum.counts[UsageCount::NewNumbers1024 as usize] = 0;
    sum
}

pub(crate) async fn compare(books: &Books, driver: &Driver) -> Result<(), String> {
    for (owner, book) in books.accounts.iter().enumerate() {
        let of_account = || books.requests.iter().filter(move |request| request.owner == owner);
        let account = book.account.key;
        let quarter = |request: &RequestBook| Quarter::of(request.request.id.created_at()).number();
        let Some(first) = of_account().map(quarter).min() else {
            continue;
        };
        let last = of_account().map(quarter).max().unwrap_or(first);
        // By time.
        let mut spans: BTreeMap<i64, UsageSum> = BTreeMap::new();
        for request in of_account() {
            let span = (quarter(request) - first) / SPAN_QUARTERS;
            spans.entry(span).or_default().add(&counted(request));
        }
        let mut from = 0;
        while first + from * SPAN_QUARTERS <= last {
            let edges = (from..=from + SPANS).map(|span| Quarter::new(first + span * SPAN_QUARTERS));
            let found = driver
                .store
                .usage(account, edges.collect(), UsageFilter::default())
                .await;
            for (span, sum) in (from..).zip(found.map_err(|error| error.to_string())?) {
                let expected = spans.remove(&span).unwrap_or_default();
                same(
                    || format!("usage of {}", account.id),
                    &expected,
                    &without_new_numbers(sum),
                )?;
            }
            from += SPANS;
        }
        same(|| "usage outside of the spans".to_owned(), &spans, &BTreeMap::new())?;
        // By country, by route and by sender.
        let whole = vec![Quarter::new(first), Quarter::new(last + 1)];
        for by in [UsageBy::Country, UsageBy::Route, UsageBy::Sender] {
            let mut expected: BTreeMap<String, UsageSum> = BTreeMap::new();
            for request in of_account() {
                let name = match by {
                    UsageBy::Sender => sender(request),
                    UsageBy::Route => route(request),
                    UsageBy::Country => Country::of(request.request.phone).to_string(),
                };
                expected.entry(name).or_default().add(&counted(request));
            }
            expected.retain(|_, sum| *sum != UsageSum::default());
            let found = driver
                .store
                .usage_by(account, by, whole.clone(), UsageFilter::default())
                .await;
            let mut found: BTreeMap<String, UsageSum> = found
                .map_err(|error| error.to_string())?
                .into_iter()
                .map(|(name, mut spans)| (name, without_new_numbers(spans.remove(0))))
                .collect();
            found.retain(|_, sum| *sum != UsageSum::default());
            same(|| format!("usage of {} {by:?}", account.id), &expected, &found)?;
        }
        // The ledger's money.
        let all = driver.store.usage(account, whole, UsageFilter::default()).await;
        let cost = all.map_err(|error| error.to_string())?.remove(0).cost().micros();
        let moved = book
            .entries
            .iter()
            .filter(|entry| matches!(entry.kind, EntryKind::Charge | EntryKind::Refund));
        let in_ledger: i64 = moved.map(|entry| -entry.amount.micros()).sum();
        same(|| format!("the cost of {}", account.id), &in_ledger, &cost)?;
    }
    Ok(())
}
