//! The guard at work: what is found out about a number before its send reaches the books, and what the books' answers teach.
//!
//! What an account allows stands in the books and is judged by core's `decide`, in its turn; here stands what would be slow there (the
//! numbering plan), what each node learns by itself (which codes come back), and why sends were refused lately. `view` shows it in both
//! APIs, `page` on the owner's and the operator's pages.

mod body;
mod page;
mod refusals;
mod view;

pub(crate) use body::{AreaBody, RulesBody, changed_areas};
pub(crate) use page::{DONE, GuardForm, GuardParts};
pub(crate) use refusals::Refused;
pub(crate) use view::GuardView;

use std::sync::{Mutex, MutexGuard, PoisonError};

use countersign_core::{
    AccountKey, Action, Answer, ApiError, GuardWord, Pace, PhoneNumber, Pumping, PumpingPlace, PumpingRules,
    RefusedRange, RoutePlan, Timestamp, TokenKind,
};
use countersign_store::Outcome;

use crate::app::App;
use crate::routes::Sending;
use refusals::Refusals;

/// What a node knows beside the books. Nothing of it is stored; a restart begins anew.
#[derive(Debug)]
pub(crate) struct Guard {
    pumping: Mutex<Pumping>,
    refusals: Refusals,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            pumping: Mutex::new(Pumping::new(PumpingRules::STANDARD)),
            refusals: Refusals::default(),
        }
    }
}

impl Guard {
    /// Places of an account that are slowed or stopped on this node.
    pub(crate) fn held_places(&self, account: AccountKey, account_now: Timestamp) -> Vec<(PumpingPlace, Pace)> {
        self.pumping().held_places(account, account_now)
    }

    /// Why sends of an account were refused on this node, the latest first.
    pub(crate) fn refused(&self, account: AccountKey) -> Vec<Refused> {
        self.refusals.of(account)
    }

    fn pumping(&self) -> MutexGuard<'_, Pumping> {
        self.pumping.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A send or an ability check under way, as far as the guard cares.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guarded {
    sending: Sending,
    phone: PhoneNumber,
    /// Whether a code goes out, and not a question alone.
    sends: bool,
    /// On the account's clock, which the sandbox moves.
    account_now: Timestamp,
}

impl Guarded {
    /// A command's; `None` where it sends nothing and asks nothing.
    pub(crate) fn of(action: &Action, sending: Sending, now: Timestamp) -> Option<Self> {
        let (phone, sends) = match action {
            Action::Send(send) => (send.phone, true),
            Action::CheckAbility { phone, .. } => (*phone, false),
            _ => return None,
        };
        Some(Self {
            sending,
            phone,
            sends,
            account_now: now.plus_millis(sending.clock_offset_ms),
        })
    }

    /// What is known of the number before the books are asked. Where its surroundings are slowed, its turn is used up, unless a quota is
    /// over anyway.
    pub(crate) fn word(
        &self,
        app: &App,
        action: &Action,
        plan: Option<&RoutePlan>,
        over_quota: Option<u32>,
    ) -> Option<Box<GuardWord>> {
        // A send on an ability check was judged with that.
        let judged_before = matches!(action, Action::Send(send) if send.request.is_some());
        let judges = !judged_before && over_quota.is_none() && self.is_judged(app);
        let held = judges.then(|| {
            let mut pumping = app.vitals.guard.pumping();
            pumping.judge(self.sending.account, self.phone, self.account_now).err()
        });
        GuardWord {
            range: self.range(app, plan),
            held: held.flatten(),
            over_quota,
        }
        .boxed()
    }

    /// The kind of range that texts are kept from. It is asked for only where each leg is a text: the numbering plan's regular expressions
    /// cost microseconds, and whoever is reached by a messenger has no such range.
    pub(crate) fn range(&self, app: &App, plan: Option<&RoutePlan>) -> Option<RefusedRange> {
        let texts_only = app.settings.guard.refuse_ranges && plan.is_some_and(|plan| app.routes.is_texts_only(plan));
        if texts_only { RefusedRange::of(self.phone) } else { None }
    }

    /// Learns from how it ended.
    pub(crate) fn ended(&self, app: &App, outcome: &Outcome) {
        match outcome {
            Ok(Answer::Status(_)) if self.sends && self.is_judged(app) => {
                let mut pumping = app.vitals.guard.pumping();
                pumping.sent(self.sending.account, self.phone, self.account_now);
            }
            Err(error @ (ApiError::Refused(_) | ApiError::Held(_))) => {
                let refusals = &app.vitals.guard.refusals;
                refusals.note(self.sending.account, *error, self.account_now);
            }
            _ => {}
        }
    }

    fn is_judged(&self, app: &App) -> bool {
        is_judged(app, self.sending, self.phone)
    }
}

/// A code was typed in rightly, for the first time: it came back.
pub(crate) fn came_back(app: &App, sending: Sending, outcome: &Outcome, now: Timestamp) {
    let Ok(Answer::Verified(status)) = outcome else { return };
    // Our own way of writing a number that the books hold.
    let Ok(digits) = status.phone_number.trim_start_matches('+').parse() else {
        return;
    };
    let phone = PhoneNumber::from_stored(digits);
    if is_judged(app, sending, phone) {
        let account_now = now.plus_millis(sending.clock_offset_ms);
        let mut pumping = app.vitals.guard.pumping();
        pumping.came_back(sending.account, phone, account_now);
    }
}

/// Whether what comes back from a number counts. An owner's tries with the own number tell nothing of others, and cost nothing.
fn is_judged(app: &App, sending: Sending, phone: PhoneNumber) -> bool {
    app.settings.guard.pumping && sending.kind == TokenKind::Live && phone != sending.owner
}
