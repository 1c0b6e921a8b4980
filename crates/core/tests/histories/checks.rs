//! What must hold of every decision and of the books after it (ARCHITECTURE.md, P2 to P4), said without the code
//! under test.

use countersign_core::{
    Action, Answer, ApiError, Credits, Decision, DeliveryState, EnteredCode, EntryKind, HeldCode, Message, News,
    RequestStatus, TimelineKind, TokenClaim, TokenKind, VerificationRequest, VerificationState, status_at,
};

use countersign_model::{Books, RequestBook, Submitted, must_ask};

use crate::seen::Seen;
use crate::{legs, live, money};

/// Ends the check with a sentence where something doesn't hold.
macro_rules! hold {
    ($condition:expr, $($said:tt)+) => {
        if !$condition {
            return Err(format!($($said)+));
        }
    };
}
pub(crate) use hold;

pub(crate) type Held = Result<(), String>;

/// Whether a decision may follow from what stands in the books.
pub(crate) fn decision(books: &Books, seen: &Seen, submitted: &Submitted, decision: &Decision) -> Held {
    if refused_or_repeated(books, submitted, decision)? {
        return Ok(());
    }
    entries(books, submitted, decision)?;
    money::low_balance(books, submitted, decision)?;
    money::budget(books, submitted, decision)?;
    money::adjustment(submitted, decision)?;
    money::lapses(books, submitted, decision)?;
    errors_charge_nothing(decision)?;
    live::ended(books, seen, submitted, decision)?;
    // A token knows nothing of what one of the other kind made: it may say no more than that there is no such request.
    let is_test = |token: TokenClaim| token.kind == TokenKind::Test;
    let before = submitted.request.map(|index| &books.requests[index]);
    let hidden = before
        .zip(submitted.command.token)
        .is_some_and(|(book, token)| book.request.test != is_test(token));
    hold!(
        !hidden
            || (decision.outcome == Err(ApiError::RequestIdInvalid)
                || decision.outcome == Err(ApiError::PhoneNumberInvalid)),
        "a token sees what one of the other kind made: {:?}",
        decision.outcome
    );
    let before = before.filter(|_| !hidden);
    let Some(after) = &decision.request else {
        hold!(
            decision.timeline.is_empty() && decision.reports.is_empty(),
            "events without a change"
        );
        hold!(
            before.is_none_or(|book| book
                .request
                .next_due()
                .is_none_or(|(at, _)| at > books.account_now(submitted.account))),
            "something overdue was left as it is"
        );
        return Ok(());
    };
    hold!(decision.request_is_new == before.is_none(), "request_is_new is wrong");
    code_goes_when_it_ends(before.map(|book| &book.request), after)?;
    if let Some(before) = before {
        states(books, seen, before, after, decision)?;
        what_never_changes(&before.request, after)?;
    } else {
        let of_skipped_legs = decision
            .timeline
            .iter()
            .all(|event| event.kind == TimelineKind::LegSkipped);
        hold!(
            of_skipped_legs && decision.reports.is_empty(),
            "a new request has events"
        );
    }
    events(before, after, decision)?;
    let account_now = decision.account.clock(submitted.command.now);
    legs::of(before.map(|book| &book.request), after, decision, account_now)?;
    charge_and_refund(before, after, decision)?;
    let advanced = decision.account.clock_offset_ms != books.accounts[submitted.account].account.clock_offset_ms;
    let scripted = countersign_core::Script::of(after.phone).is_some() && decision.work.is_some();
    hold!(
        advanced || scripted || after.next_due().is_none_or(|(at, _)| at > account_now),
        "something is overdue after the command"
    );
    answer(books, submitted, decision, after)
}

/// Whether a token works: the present one of its kind, or the one before it until its grace is over.
fn works(books: &Books, account: usize, token: TokenClaim) -> bool {
    let account = &books.accounts[account].account;
    let standing = if token.kind == TokenKind::Test {
        account.test
    } else {
        account.live
    };
    let age = i64::from(standing.generation) - i64::from(token.generation);
    let in_grace = standing.grace_until.is_some_and(|until| books.now < until);
    token.generation > 0 && (age == 0 || (age == 1 && in_grace))
}

/// A stale token, a repeated key, a key that came again for something else: nothing may change. Answers whether it was so.
fn refused_or_repeated(books: &Books, submitted: &Submitted, decision: &Decision) -> Result<bool, String> {
    let account = &books.accounts[submitted.account].account;
    let command = &submitted.command;
    let stale = command
        .token
        .is_some_and(|token| account.closed || !works(books, submitted.account, token));
    let kept = submitted
        .first_answer
        .as_ref()
        .filter(|first| command.now.millis() - first.at.millis() < 86_400_000);
    let expected = match (&command.idempotency, kept) {
        _ if stale => Err(ApiError::AccessTokenInvalid),
        (Some(used), Some(first)) if used.fingerprint == first.idempotency.fingerprint => {
            Ok(Answer::Again(again(&command.action, &first.result)))
        }
        (Some(_), Some(_)) => Err(ApiError::BadRequest),
        _ => {
            hold!(
                !matches!(decision.outcome, Ok(Answer::Again(_))),
                "an answer again without a first one"
            );
            return Ok(false);
        }
    };
    hold!(
        decision.outcome == expected,
        "{:?} instead of {expected:?}",
        decision.outcome
    );
    let admitted = submitted.request.map(|index| &books.requests[index].request);
    let given_free = admitted.filter(|_| !stale && matches!(command.action, Action::Settle { .. }));
    let (left, became) = money::without_hold(account, given_free, books.account_now(submitted.account));
    let is = decision.request.as_ref().map(|request| request.delivery);
    let nothing_changes = decision.account == left
        && is == became
        && decision.entries.is_empty()
        && decision.purchases.is_empty()
        && decision.timeline.is_empty()
        && decision.reports.is_empty()
        && decision.first_answer.is_none()
        && decision.work.is_none();
    hold!(
        nothing_changes,
        "a refused or repeated call changed something: {decision:?}"
    );
    Ok(true)
}

/// A kept answer as it is given again: one about a code doesn't hold the code, and repeats the one that is entered again.
fn again(action: &Action, kept: &[u8]) -> Vec<u8> {
    let status = serde_json::from_slice::<RequestStatus>(kept);
    if let (
        Action::Check {
            code: Some(entered), ..
        },
        Ok(mut status),
    ) = (action, status)
        && let Some(verification) = status.verification_status.as_mut()
        && verification.code_entered.is_none()
    {
        verification.code_entered = Some(entered.as_str().to_owned());
        return serde_json::to_vec(&status).unwrap_or_default();
    }
    kept.to_vec()
}

/// Entries are numbered without a gap, with the right balance after each, chained, and in order of time.
fn entries(books: &Books, submitted: &Submitted, decision: &Decision) -> Held {
    let account = &books.accounts[submitted.account].account;
    let (mut number, mut balance) = (account.entries, account.balance);
    let (mut head, mut at) = (account.head, account.last_entry_at);
    for entry in &decision.entries {
        number += 1;
        balance += entry.amount;
        hold!(entry.account == account.key, "an entry in another account's ledger");
        hold!(entry.number == number, "entry {} instead of {number}", entry.number);
        hold!(
            entry.balance_after == balance,
            "balance after {:?} instead of {balance:?}",
            entry.balance_after
        );
        let of_a_request = matches!(entry.kind, EntryKind::Charge | EntryKind::Refund);
        hold!(
            entry.request.is_some() == of_a_request,
            "{:?} names the wrong thing",
            entry.kind
        );
        let gives = matches!(entry.kind, EntryKind::Purchase | EntryKind::Refund);
        let adjusts = entry.kind == EntryKind::Adjustment;
        hold!(
            !entry.amount.is_zero() && (adjusts || entry.amount.is_negative() != gives),
            "{:?} has the wrong sign",
            entry.kind
        );
        hold!(entry.reason.is_some() == adjusts, "{:?} and its reason", entry.kind);
        hold!(
            entry.previous == head,
            "entry {number} isn't chained to the one before it"
        );
        hold!(entry.at >= at, "entry {number} is booked before the one before it");
        (head, at) = (entry.hash(), entry.at);
    }
    hold!(
        decision.account.head == head && decision.account.last_entry_at == at,
        "the account's head isn't its last entry's"
    );
    hold!(
        decision.account.entries == number,
        "the account counts {} entries of {number}",
        decision.account.entries
    );
    hold!(
        decision.account.balance == balance,
        "the balance isn't its last entry's"
    );
    Ok(())
}

fn errors_charge_nothing(decision: &Decision) -> Held {
    if decision.outcome.is_ok() {
        return Ok(());
    }
    let due_only = decision
        .entries
        .iter()
        .all(|entry| matches!(entry.kind, EntryKind::Refund | EntryKind::Lapse));
    hold!(due_only, "an error charged something");
    hold!(decision.first_answer.is_none(), "an error was kept as a first answer");
    hold!(!decision.request_is_new, "an error made a request");
    Ok(())
}

/// P3: each move is one of the graph's, and nothing moves unseen by the timeline once a message is under way.
pub(crate) fn states(
    books: &Books,
    seen: &Seen,
    before: &RequestBook,
    after: &VerificationRequest,
    decision: &Decision,
) -> Held {
    let mut state = before.request.delivery;
    let mut step = |next: DeliveryState| {
        hold!(state.may_become(next), "{state:?} became {next:?}");
        seen.delivery_moved(state, next);
        state = next;
        Ok(())
    };
    for event in &decision.timeline {
        if let TimelineKind::Became(next) = event.kind {
            step(next)?;
        }
    }
    let unreported = matches!(
        after.delivery,
        DeliveryState::Sent | DeliveryState::Checked | DeliveryState::Unreachable
    );
    if unreported && after.delivery != before.request.delivery {
        step(after.delivery)?;
    }
    hold!(
        state == after.delivery,
        "{state:?} is {:?} without an event",
        after.delivery
    );
    let (was, is) = (before.request.verification, after.verification);
    let wrong_again = after.wrong_attempts > before.request.wrong_attempts;
    if was != is || wrong_again {
        hold!(was.may_become(is), "a code {was:?} became {is:?}");
        seen.verification_moved(was, is);
    }
    hold!(
        after.wrong_attempts <= books.rules.max_check_attempts,
        "more wrong codes than allowed"
    );
    let exceeded = after.wrong_attempts == books.rules.max_check_attempts;
    hold!(
        exceeded == (is == VerificationState::AttemptsExceeded),
        "{} wrong codes, yet {is:?}",
        after.wrong_attempts
    );
    hold!(
        after.delivery_updated_at >= before.request.delivery_updated_at,
        "the delivery state's time went back"
    );
    hold!(
        after.verification_updated_at >= before.request.verification_updated_at,
        "the code's time went back"
    );
    Ok(())
}

/// The code is there as long as it may be entered or has to be handed over, and not a write longer; then only a code that was used
/// leaves something, which tells it from others. No code ever comes back.
pub(crate) fn code_goes_when_it_ends(before: Option<&VerificationRequest>, after: &VerificationRequest) -> Held {
    let Some(message) = &after.message else { return Ok(()) };
    let may_be_entered = matches!(
        after.verification,
        VerificationState::Unchecked | VerificationState::Invalid
    );
    let is_to_be_sent = after.delivery == DeliveryState::Sent && !message.accepted;
    let was = before
        .and_then(|before| before.message.as_ref())
        .map(|message| message.code);
    let was_gone = was.filter(|code| code.whole().is_none());
    let holds = match message.code {
        HeldCode::Whole(code) => {
            (may_be_entered || is_to_be_sent) && was.is_none_or(|was| was == HeldCode::Whole(code))
        }
        HeldCode::Used(_) | HeldCode::Wiped if may_be_entered || is_to_be_sent => false,
        gone @ HeldCode::Used(_) => {
            let told = |code: &countersign_core::Code| EnteredCode::new(code.as_str().to_owned());
            let entered = was.and_then(|was| was.whole().and_then(told));
            after.verification == VerificationState::Valid
                && was_gone.is_none_or(|was| was == gone)
                && entered.is_none_or(|entered| gone.matches(after.id, &entered))
        }
        HeldCode::Wiped => {
            after.verification != VerificationState::Valid && was_gone.is_none_or(|was| was == HeldCode::Wiped)
        }
    };
    hold!(
        holds,
        "{:?} is held of a code that is {:?}, of a message that is {:?}",
        message.code,
        after.verification,
        after.delivery
    );
    let right_is_recorded = after.verification == VerificationState::Valid && after.code_entered.is_some();
    hold!(!right_is_recorded, "the right code is recorded as entered");
    Ok(())
}

pub(crate) fn what_never_changes(before: &VerificationRequest, after: &VerificationRequest) -> Held {
    hold!(
        (before.id, before.account, before.phone, before.test) == (after.id, after.account, after.phone, after.test),
        "a request became another"
    );
    hold!(after.refunded || !before.refunded, "a refund was taken back");
    if after.delivery == DeliveryState::Unreachable {
        hold!(
            after.fee.is_zero() && after.message.is_none(),
            "an unreachable request keeps its fee or its code"
        );
        return Ok(());
    }
    hold!(before.fee == after.fee, "the fee changed");
    if let Some(was) = &before.message {
        let mut is = after.message.clone().ok_or("a message vanished")?;
        // What becomes of its legs and of its code is judged by itself.
        (is.accepted, is.legs, is.code) = (was.accepted, was.legs, was.code);
        if before.delivery == DeliveryState::Admitted && after.delivery == DeliveryState::Sent {
            // Its life, as long as before, begins with the sending.
            let life_ms = |message: &Message| message.expires_at.millis() - message.sent_at.millis();
            hold!(
                life_ms(&is) == life_ms(was) && is.sent_at == after.delivery_updated_at,
                "a life changed"
            );
            (is.sent_at, is.expires_at) = (was.sent_at, was.expires_at);
        }
        hold!(is == *was, "a message changed");
    }
    Ok(())
}

/// Events count on without a gap; each delivery state after `sent` is reported once, in order, as it was then (P4).
pub(crate) fn events(before: Option<&RequestBook>, after: &VerificationRequest, decision: &Decision) -> Held {
    let events_before = before.map_or(0, |book| book.request.events);
    let callback = after.message.as_ref().and_then(|message| message.callback_url.as_ref());
    let mut reports = decision.reports.iter();
    for (event, number) in decision.timeline.iter().zip(events_before + 1..) {
        hold!(event.number == number, "event {} instead of {number}", event.number);
        let TimelineKind::Became(state) = event.kind else {
            continue;
        };
        let Some(callback) = callback else { continue };
        let report = reports.next().ok_or_else(|| format!("{state:?} isn't reported"))?;
        hold!(
            report.number == number && report.callback_url == *callback,
            "the report is another event's"
        );
        let body: RequestStatus = serde_json::from_slice(&report.body).map_err(|error| error.to_string())?;
        let delivery = body.delivery_status.ok_or("a report without a delivery status")?;
        hold!(
            Some(delivery.status.as_str()) == state.wire_name(),
            "{state:?} is reported as {}",
            delivery.status
        );
        hold!(
            delivery.updated_at == event.at.unix_seconds(),
            "the report's time isn't the event's"
        );
        hold!(
            body.request_id == after.id.to_string(),
            "the report is of another request"
        );
        hold!(body.remaining_balance.is_none(), "a report shows the balance");
        let refunded = state == DeliveryState::Expired && !after.fee.is_zero();
        hold!(
            body.is_refunded == refunded,
            "the report of {state:?} says is_refunded = {}",
            body.is_refunded
        );
    }
    hold!(reports.next().is_none(), "a report without an event");
    let last = events_before + u16::try_from(decision.timeline.len()).unwrap();
    hold!(after.events == last, "{} events counted of {last}", after.events);
    let reported = before
        .and_then(|book| book.reports.last())
        .map_or(0, |report| report.number);
    hold!(
        decision.reports.iter().all(|report| report.number > reported),
        "a report was made again"
    );
    Ok(())
}

/// P2: the fee is charged when the request leaves `Admitted` for good or begins without it, and given back when it expires.
fn charge_and_refund(before: Option<&RequestBook>, after: &VerificationRequest, decision: &Decision) -> Held {
    let amounts = |kind| {
        let of_kind = decision.entries.iter().filter(move |entry| entry.kind == kind);
        of_kind.map(|entry| (entry.request, entry.amount)).collect::<Vec<_>>()
    };
    let unpaid = |state| matches!(state, DeliveryState::Admitted | DeliveryState::Unreachable);
    let was_unpaid = before.is_none_or(|book| unpaid(book.request.delivery));
    let charged = was_unpaid && !unpaid(after.delivery) && !after.fee.is_zero();
    let wanted = if charged {
        vec![(Some(after.id), -after.fee)]
    } else {
        Vec::new()
    };
    hold!(
        amounts(EntryKind::Charge) == wanted,
        "charges {:?} instead of {wanted:?}",
        amounts(EntryKind::Charge)
    );

    let expired_now = after.delivery == DeliveryState::Expired
        && before.is_some_and(|book| book.request.delivery != DeliveryState::Expired);
    let refunded = expired_now && !after.fee.is_zero();
    let wanted = if refunded {
        vec![(Some(after.id), after.fee)]
    } else {
        Vec::new()
    };
    hold!(
        amounts(EntryKind::Refund) == wanted,
        "refunds {:?} instead of {wanted:?}",
        amounts(EntryKind::Refund)
    );
    let before_refunded = before.is_some_and(|book| book.request.refunded);
    hold!(
        after.refunded == (before_refunded || refunded),
        "refunded = {} is wrong",
        after.refunded
    );
    let arrived = |kind: TimelineKind| {
        matches!(
            kind,
            TimelineKind::Became(DeliveryState::Delivered | DeliveryState::Read)
        )
    };
    let ever_arrived = before
        .into_iter()
        .flat_map(|book| &book.timeline)
        .chain(&decision.timeline);
    hold!(
        !refunded || !ever_arrived.map(|event| event.kind).any(arrived),
        "refunded though it arrived in time"
    );
    Ok(())
}

/// What the caller is told is what stands there, at the price of the list.
fn answer(books: &Books, submitted: &Submitted, decision: &Decision, after: &VerificationRequest) -> Held {
    let owner = books.accounts[submitted.account].account.owner;
    if decision.request_is_new {
        let asked_by = submitted.command.token.ok_or("a request that no token made")?;
        hold!(
            (after.test, after.generation) == (asked_by.kind == TokenKind::Test, asked_by.generation),
            "{:?} isn't remembered",
            asked_by
        );
        hold!(
            !after.test || after.phone.is_sandbox(),
            "a test reached {:?}",
            after.phone
        );
        let price = match asked_by.kind {
            TokenKind::Test => Credits::ZERO,
            TokenKind::Live => money::price(&books.rules, owner, after),
        };
        hold!(after.fee == price, "the fee is {:?} instead of {price:?}", after.fee);
        let admitted = decision.outcome == Ok(Answer::Admitted(after.id));
        hold!(
            admitted == must_ask(&submitted.command.action),
            "admitted = {admitted} is wrong"
        );
    }
    let Ok(Answer::Status(status) | Answer::Verified(status)) = &decision.outcome else {
        return Ok(());
    };
    let charged = decision.entries.iter().any(|entry| entry.kind == EntryKind::Charge);
    let rest = charged.then(|| decision.account.balance - decision.account.held);
    hold!(
        status.remaining_balance == rest,
        "remaining_balance {:?} instead of {rest:?}",
        status.remaining_balance
    );
    hold!(
        status.request_cost == after.fee && status.is_refunded == after.refunded,
        "the answer's money is wrong"
    );
    let shown = status.delivery_status.as_ref().map(|delivery| delivery.status.as_str());
    hold!(shown == after.delivery.wire_name(), "the answer shows {shown:?}");
    let Action::Check {
        code: Some(entered), ..
    } = &submitted.command.action
    else {
        return Ok(());
    };
    let message = after.message.as_ref().ok_or("a code was judged without a message")?;
    let right = message.code.matches(after.id, entered);
    let said = status.verification_status.as_ref().ok_or("no word about the code")?;
    hold!(
        said.code_entered.as_deref() == Some(entered.as_str()),
        "the answer is about another code"
    );
    hold!(
        (said.status == "code_valid") == (right && after.verification == VerificationState::Valid),
        "{} is wrong",
        said.status
    );
    Ok(())
}

/// What must hold of an account's books between any two commands (P2).
pub(crate) fn books(books: &Books, account: usize) -> Held {
    let book = &books.accounts[account];
    let standing = &book.account;
    let sum: Credits = book.entries.iter().map(|entry| entry.amount).sum();
    hold!(
        standing.balance == sum,
        "balance {:?} isn't the sum {sum:?}",
        standing.balance
    );
    hold!(
        standing.balance >= standing.held && !standing.held.is_negative(),
        "on hold {:?} of {sum:?}",
        standing.held
    );
    let own = || {
        books
            .requests
            .iter()
            .filter(|request| request.owner == account)
            .map(|book| &book.request)
    };
    let held: Credits = own()
        .filter(|request| request.delivery == DeliveryState::Admitted)
        .map(|request| request.fee)
        .sum();
    hold!(
        standing.held == held,
        "held {:?}, yet admitted requests hold {held:?}",
        standing.held
    );
    hold!(
        standing.purchased - standing.consumed == standing.balance,
        "bought less used isn't the balance"
    );
    let bought: Credits = book
        .entries
        .iter()
        .filter(|entry| entry.kind == EntryKind::Purchase)
        .map(|entry| entry.amount)
        .sum();
    hold!(
        standing.purchased == bought,
        "purchased {:?} instead of {bought:?}",
        standing.purchased
    );
    hold!(
        book.entries
            .iter()
            .zip(1..)
            .all(|(entry, number)| entry.number == number),
        "a gap in the ledger"
    );
    for request in own() {
        let count = |kind| {
            book.entries
                .iter()
                .filter(|entry| entry.kind == kind && entry.request == Some(request.id))
                .count()
        };
        hold!(count(EntryKind::Charge) <= 1, "a request was charged twice");
        hold!(
            count(EntryKind::Refund) == usize::from(request.refunded),
            "refunds don't match the request"
        );
        hold!(
            count(EntryKind::Refund) <= count(EntryKind::Charge),
            "a refund without a charge"
        );
    }
    Ok(())
}

/// A reader of the stored request and a command see the same; where the reader can't know, it says so.
pub(crate) fn readers_see_what_a_command_would_say(books: &Books, account: usize) -> Held {
    // The newest is the one that histories mostly work on; all of them each time would cost more than it finds.
    let Some(index) = books.requests.iter().rposition(|request| request.owner == account) else {
        return Ok(());
    };
    let request = &books.requests[index].request;
    let read = status_at(request, books.account_now(account));
    let told = books.status(index);
    match (&read, &told) {
        (Some(read), Ok(Answer::Status(told))) => hold!(read == &**told, "a reader sees {read:?}, a command {told:?}"),
        (Some(_), other) => return Err(format!("a reader sees a status where a command says {other:?}")),
        (None, _) => {
            let unknown = matches!(request.delivery, DeliveryState::Admitted | DeliveryState::Unreachable);
            let overdue = request
                .next_due()
                .is_some_and(|(at, _)| at <= books.account_now(account));
            hold!(unknown || overdue, "a reader sees nothing of {:?}", request.delivery);
        }
    }
    Ok(())
}

/// After everything had its time, no message is under way and nothing is on hold.
pub(crate) fn nothing_is_left_open(books: &Books) -> Held {
    for book in &books.requests {
        let state = book.request.delivery;
        hold!(
            !matches!(state, DeliveryState::Admitted | DeliveryState::Sent),
            "{state:?} for ever"
        );
        let late =
            |event: &&countersign_core::TimelineEvent| matches!(event.kind, TimelineKind::TooLate(News::Accepted));
        hold!(
            book.timeline.iter().find(late).is_none(),
            "an acceptance was called too late"
        );
    }
    hold!(
        books.accounts.iter().all(|book| book.account.held.is_zero()),
        "something is on hold for ever"
    );
    Ok(())
}
