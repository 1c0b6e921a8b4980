//! What the histories have met: a property that never meets a refund proves nothing about refunds.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use countersign_core::{
    Answer, ApiError, Decision, DeliveryState, EntryKind, LegEnd, TimelineKind, VerificationState, Work,
};

/// Counts by name, over all threads.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    commands: AtomicU64,
    /// Refused calls, ledger entries, answers, late news.
    events: Mutex<BTreeMap<String, u64>>,
}

impl Seen {
    pub(crate) fn commands(&self) -> u64 {
        self.commands.load(Ordering::Relaxed)
    }

    /// Notes what a decision says.
    pub(crate) fn note(&self, decision: &Decision) {
        self.commands.fetch_add(1, Ordering::Relaxed);
        let mut events = self.events.lock().unwrap();
        let mut count = |name: &str| match events.get_mut(name) {
            Some(count) => *count += 1,
            None => drop(events.insert(name.to_owned(), 1)),
        };
        match &decision.outcome {
            Ok(Answer::Again(_)) => count("again"),
            Ok(Answer::Admitted(_)) => count("admitted"),
            Ok(Answer::Verified(_)) => count("verified"),
            Ok(_) => {}
            Err(ApiError::FloodWait { .. }) => count("FLOOD_WAIT"),
            Err(ApiError::Held(_)) => count("held"),
            Err(ApiError::Refused(_)) => count("ruled out"),
            Err(error) => count(&error.wire_name()),
        }
        for entry in &decision.entries {
            count(entry.kind.name());
        }
        for event in &decision.timeline {
            match event.kind {
                TimelineKind::TooLate(_) => count("too late"),
                TimelineKind::DeliveryFailed => count("failed"),
                TimelineKind::LegSkipped => count("leg skipped"),
                TimelineKind::LegAccepted => count("leg accepted"),
                TimelineKind::LegEnded(end) => count(&format!("leg ended: {end:?}")),
                TimelineKind::Disowned => count("disowned"),
                TimelineKind::Became(_) => {}
            }
        }
        if matches!(decision.work, Some(Work::WithdrawOthers { .. })) {
            count("withdrawn from others");
        }
        if decision.ended.is_some() {
            count("ended for another");
        }
        if decision.low_balance.is_some() {
            count("low balance");
        }
        if decision.budget.is_some() {
            count("daily budget");
        }
        if !decision.reports.is_empty() {
            count("report");
        }
    }

    /// Notes a move of a delivery state.
    pub(crate) fn delivery_moved(&self, from: DeliveryState, to: DeliveryState) {
        self.note_name(format!("{from:?} -> {to:?}"));
    }

    /// Notes a move of a verification state.
    pub(crate) fn verification_moved(&self, from: VerificationState, to: VerificationState) {
        self.note_name(format!("code {from:?} -> {to:?}"));
    }

    fn note_name(&self, name: String) {
        *self.events.lock().unwrap().entry(name).or_default() += 1;
    }

    /// Every move of both graphs, every entry that a command can make, every error that `decide` can answer.
    pub(crate) fn assert_nothing_was_left_out(&self) {
        let events = self.events.lock().unwrap();
        let mut wanted: Vec<String> = [
            "again",
            "admitted",
            "too late",
            "failed",
            "report",
            "low balance",
            "FLOOD_WAIT",
            "held",
            "ruled out",
            "verified",
            "leg skipped",
            "leg accepted",
            "disowned",
            "withdrawn from others",
            "ended for another",
        ]
        .map(ToOwned::to_owned)
        .into();
        wanted.extend(LegEnd::ALL.map(|end| format!("leg ended: {end:?}")));
        for from in DeliveryState::ALL {
            let next = DeliveryState::ALL.into_iter().filter(|&to| from.may_become(to));
            wanted.extend(next.map(|to| format!("{from:?} -> {to:?}")));
        }
        for from in VerificationState::ALL {
            let next = VerificationState::ALL.into_iter().filter(|&to| from.may_become(to));
            wanted.extend(next.map(|to| format!("code {from:?} -> {to:?}")));
        }
        wanted.extend(EntryKind::ALL.map(|kind| kind.name().to_owned()));
        let errors = [
            ApiError::AccessTokenInvalid,
            ApiError::BadRequest,
            ApiError::PhoneNumberInvalid,
            ApiError::RequestIdInvalid,
            ApiError::SenderUsernameInvalid,
            ApiError::SenderNotOwned,
            ApiError::SenderNotVerified,
            ApiError::BalanceNotEnough,
            ApiError::PhoneNumberNotFound,
            ApiError::ResendNotPossible,
        ];
        wanted.extend(errors.iter().map(|error| error.wire_name().into_owned()));
        let missing: Vec<_> = wanted.into_iter().filter(|name| !events.contains_key(name)).collect();
        assert!(missing.is_empty(), "no history met {missing:?}; met: {events:#?}");
    }
}
