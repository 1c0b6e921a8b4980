//! What must hold of money that moves beside messages, and of what a message costs.

use countersign_core::{
    Account, Action, Answer, ApiError, Credits, DAY_MS, DEFAULT_PRICE, Decision, DeliveryState, EntryKind,
    NumberPrefix, PhoneNumber, PriceRoute, PriceRow, RouteName, Rules, Timestamp, VerificationRequest,
};
use countersign_model::{Books, Submitted};

use crate::checks::{Held, hold};

/// An adjustment is one entry, as the operator said it, or a refusal for the right reason.
pub(crate) fn adjustment(submitted: &Submitted, decision: &Decision) -> Held {
    let of_kind = decision
        .entries
        .iter()
        .filter(|entry| entry.kind == EntryKind::Adjustment);
    let made: Vec<_> = of_kind.map(|entry| (entry.amount, entry.reason.as_ref())).collect();
    let Action::Adjust { amount, reason } = &submitted.command.action else {
        hold!(made.is_empty(), "an adjustment that nobody asked for: {made:?}");
        return Ok(());
    };
    let booked: Credits = made.iter().map(|(amount, _)| *amount).sum();
    let available = decision.account.balance - decision.account.held - booked;
    let expected = if amount.is_zero() || amount.micros().abs() > 1_000_000_000_000_000 {
        Err(ApiError::BadRequest)
    } else if (available + *amount).is_negative() {
        Err(ApiError::BalanceNotEnough)
    } else {
        Ok(Answer::Done)
    };
    hold!(
        decision.outcome == expected,
        "{:?} instead of {expected:?}",
        decision.outcome
    );
    let wanted = expected.map_or_else(|_| Vec::new(), |_| vec![(*amount, Some(reason))]);
    hold!(made == wanted, "adjustments {made:?} instead of {wanted:?}");
    Ok(())
}

/// Whatever is asked, what was due has lapsed; where only that is asked, nothing else happens.
pub(crate) fn lapses(books: &Books, submitted: &Submitted, decision: &Decision) -> Held {
    let account_now = books.account_now(submitted.account);
    hold!(
        decision.account.next_lapse_at.is_none_or(|at| at > account_now),
        "credit that is due didn't lapse"
    );
    let only = decision.entries.iter().all(|entry| entry.kind == EntryKind::Lapse);
    hold!(
        submitted.command.action != Action::Lapse || (only && decision.outcome == Ok(Answer::Done)),
        "more than a lapse: {decision:?}"
    );
    Ok(())
}

/// A low balance is told when it becomes so, once, with what it is; never of a closed account.
pub(crate) fn low_balance(books: &Books, submitted: &Submitted, decision: &Decision) -> Held {
    let (before, after) = (&books.accounts[submitted.account].account, &decision.account);
    let available = after.balance - after.held;
    let is_low = after.low_balance.as_ref().is_some_and(|low| available < low.below);
    let wanted = is_low && !before.low_balance_told && !after.closed;
    hold!(
        decision.low_balance.is_some() == wanted,
        "a low balance of {available:?} is told = {}",
        decision.low_balance.is_some()
    );
    let Some(told) = &decision.low_balance else {
        return Ok(());
    };
    let body = std::str::from_utf8(&told.report.body).map_err(|error| error.to_string())?;
    hold!(
        body.contains(&format!("\"available\":{available},")) && after.low_balance_told,
        "the report of a low balance is wrong: {body}"
    );
    Ok(())
}

/// No fee is taken that a day's budget doesn't cover.
pub(crate) fn budget(books: &Books, submitted: &Submitted, decision: &Decision) -> Held {
    let now = books.account_now(submitted.account);
    let (before, after) = (&books.accounts[submitted.account].account, &decision.account);
    let spent = after.spending.at(now).spent;
    let grew = spent > before.spending.at(now).spent;
    hold!(!spent.is_negative(), "less than nothing was spent: {spent:?}");
    let covered = after.budget.as_ref().is_none_or(|budget| spent <= budget.amount);
    hold!(
        !grew || covered,
        "{spent:?} was spent of a budget of {:?}",
        after.budget
    );
    hold!(
        decision.budget.is_none() || after.spending.told_percent > before.spending.at(now).told_percent,
        "a budget was told of twice"
    );
    Ok(())
}

/// What a first send or ability check costs, told apart from the code under test.
pub(crate) fn price(rules: &Rules, owner: PhoneNumber, request: &VerificationRequest) -> Credits {
    let (phone, at) = (request.phone, request.id.created_at());
    if phone == owner {
        return Credits::ZERO;
    }
    let digits = phone.digits().to_string();
    let mut named: Vec<PriceRow> = rules.prices.history().collect();
    // Of rows for the same numbers the latest that holds already counts, whether it names a price or takes it away.
    named.retain(|row| row.effective_from <= at);
    let overtaken = |row: &PriceRow| {
        let same = |later: &&PriceRow| (&later.route, later.prefix) == (&row.route, row.prefix);
        named
            .iter()
            .filter(same)
            .any(|later| later.effective_from > row.effective_from)
    };
    let matches =
        |row: &&PriceRow| row.prefix == NumberPrefix::DEFAULT || digits.starts_with(&row.prefix.digits().to_string());
    let route = request
        .plan
        .as_ref()
        .map_or(RouteName::INBOX, |plan| plan.route.clone());
    let of_route = |row: &&PriceRow| row.route == PriceRoute::All || row.route == PriceRoute::Only(route.clone());
    let holding = named
        .iter()
        .filter(matches)
        .filter(of_route)
        .filter(|row| row.price.is_some() && !overtaken(row));
    let best = holding.max_by_key(|row| (row.route == PriceRoute::Only(route.clone()), row.prefix.digits()));
    best.and_then(|row| row.price).unwrap_or(DEFAULT_PRICE)
}

/// What a settlement that is charged for no more leaves of an account, and what its request becomes: the hold is given free.
pub(crate) fn without_hold(
    account: &Account,
    settled: Option<&VerificationRequest>,
    account_now: Timestamp,
) -> (Account, Option<DeliveryState>) {
    let mut left = account.clone();
    let admitted = settled.filter(|settled| settled.delivery == DeliveryState::Admitted);
    if let Some(admitted) = admitted {
        left.release(admitted.fee);
        let day = |at: Timestamp| at.millis().div_euclid(DAY_MS);
        let (today, admitted_on) = (day(account_now), day(admitted.id.created_at()));
        if today == admitted_on && today == left.spending.day {
            left.spending.spent = (left.spending.spent - admitted.fee).max(Credits::ZERO);
        }
    }
    (left, admitted.map(|_| DeliveryState::Unreachable))
}
