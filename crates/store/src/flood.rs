//! Flood counters as the books keep them: what a batch counts on, what it changed, and what a process remembers of the batches before. The
//! arithmetic is [`countersign_core::Limit`]'s; rows are each backend's own, written in the batch's transaction.

use countersign_core::{AccountKey, Action, FloodCounters, LimitState, PhoneNumber, Timestamp, TokenKind};
use foldhash::HashMap;

/// From so many flood counters on, those that count for nothing any more are looked for; then again at twice what was left.
const SWEEP_FLOOD_COUNTERS_AT: usize = 200_000;
/// Most flood counters that are remembered; beyond it all begin anew, which forgives rather than refuses.
pub(crate) const MAX_FLOOD_COUNTERS: usize = 2_000_000;

/// Whose calls are counted: an account's tests don't use up what its customers need.
pub(crate) type Caller = (AccountKey, TokenKind);

/// What a flood counter counts, of one account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum FloodCounter {
    /// All its calls, with tokens of one kind.
    OfAccount(TokenKind),
    /// Those to one number.
    OfNumber(PhoneNumber),
}

impl FloodCounter {
    /// How it is named in its row: test mode, and the number.
    pub(crate) fn columns(self) -> (i16, i64) {
        match self {
            Self::OfAccount(kind) => (i16::from(kind == TokenKind::Test), 0),
            Self::OfNumber(phone) => (0, phone.digits().cast_signed()),
        }
    }

    /// What [`Self::columns`] names.
    pub(crate) fn of_columns(test: i64, phone: i64) -> Self {
        match (phone, test) {
            (0, 0) => Self::OfAccount(TokenKind::Live),
            (0, _) => Self::OfAccount(TokenKind::Test),
            (phone, _) => Self::OfNumber(PhoneNumber::from_stored(phone.cast_unsigned())),
        }
    }
}

/// Flood counters in memory: all that the books hold on SQLite, whose process is alone; those of a batch on PostgreSQL.
#[derive(Debug)]
pub(crate) struct FloodBook {
    accounts: HashMap<Caller, LimitState>,
    numbers: HashMap<(AccountKey, PhoneNumber), LimitState>,
    sweep_at: usize,
}

impl Default for FloodBook {
    fn default() -> Self {
        Self {
            accounts: HashMap::default(),
            numbers: HashMap::default(),
            sweep_at: SWEEP_FLOOD_COUNTERS_AT,
        }
    }
}

impl FloodBook {
    /// Takes in what stands in the books: of two states of a counter the later is the truth.
    pub(crate) fn take_in(&mut self, account: AccountKey, counter: FloodCounter, state: LimitState) {
        let kept = match counter {
            FloodCounter::OfAccount(kind) => self.accounts.entry((account, kind)).or_default(),
            FloodCounter::OfNumber(phone) => self.numbers.entry((account, phone)).or_default(),
        };
        *kept = state.max(*kept);
    }

    /// A counter's state; `None` where it was never taken in or noted, or forgotten.
    pub(crate) fn state(&self, account: AccountKey, counter: FloodCounter) -> Option<LimitState> {
        match counter {
            FloodCounter::OfAccount(kind) => self.accounts.get(&(account, kind)).copied(),
            FloodCounter::OfNumber(phone) => self.numbers.get(&(account, phone)).copied(),
        }
    }

    /// Notes the counters of a batch that was committed.
    pub(crate) fn note(&mut self, batch: BatchFlood) {
        self.accounts
            .extend(batch.accounts.into_iter().map(|(caller, (state, _))| (caller, state)));
        for (key, (state, now)) in batch.numbers {
            if self.numbers.len() >= self.sweep_at {
                self.sweep(now);
            }
            self.numbers.insert(key, state);
        }
    }

    fn sweep(&mut self, now: Timestamp) {
        self.accounts.retain(|_, state| !state.is_spent(now));
        self.numbers.retain(|_, state| !state.is_spent(now));
        if self.numbers.len() >= MAX_FLOOD_COUNTERS {
            tracing::warn!("too many numbers are counted for flood limits: the counters begin anew");
            self.numbers.clear();
        }
        self.sweep_at = (2 * self.numbers.len()).clamp(SWEEP_FLOOD_COUNTERS_AT, MAX_FLOOD_COUNTERS);
    }
}

/// Flood counters that a batch changed, each with the time of the command that changed it last.
#[derive(Debug, Default)]
pub(crate) struct BatchFlood {
    accounts: HashMap<Caller, (LimitState, Timestamp)>,
    numbers: HashMap<(AccountKey, PhoneNumber), (LimitState, Timestamp)>,
}

/// A counter that a batch changed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChangedCounter {
    pub(crate) account: AccountKey,
    pub(crate) counter: FloodCounter,
    pub(crate) state: LimitState,
    /// When it was changed last.
    pub(crate) at: Timestamp,
}

impl BatchFlood {
    /// The counters that a command meets: the batch's own, else those of the batches before it.
    pub(crate) fn counters(&self, book: &FloodBook, caller: Caller, phone: PhoneNumber) -> FloodCounters {
        let number = (caller.0, phone);
        let of_account = self.accounts.get(&caller).map(|(state, _)| state);
        let of_number = self.numbers.get(&number).map(|(state, _)| state);
        FloodCounters {
            account: of_account.or(book.accounts.get(&caller)).copied().unwrap_or_default(),
            number: of_number.or(book.numbers.get(&number)).copied().unwrap_or_default(),
        }
    }

    /// Takes a decision's counters in. Only what changed: a counter that no limit asked for may not have been loaded either, and must stay
    /// as it stands in the books.
    pub(crate) fn note(
        &mut self,
        caller: Caller,
        phone: PhoneNumber,
        now: Timestamp,
        before: FloodCounters,
        after: FloodCounters,
    ) {
        if before.account != after.account {
            self.accounts.insert(caller, (after.account, now));
        }
        if before.number != after.number {
            self.numbers.insert((caller.0, phone), (after.number, now));
        }
    }

    /// What the batch changed, in no order.
    pub(crate) fn changed(&self) -> impl Iterator<Item = ChangedCounter> + '_ {
        let accounts = self.accounts.iter().map(|((account, kind), changed)| {
            let counter = FloodCounter::OfAccount(*kind);
            (*account, counter, *changed)
        });
        let numbers = self.numbers.iter().map(|((account, phone), changed)| {
            let counter = FloodCounter::OfNumber(*phone);
            (*account, counter, *changed)
        });
        accounts
            .chain(numbers)
            .map(|(account, counter, (state, at))| ChangedCounter {
                account,
                counter,
                state,
                at,
            })
    }
}

/// The number whose flood counter an action counts on.
pub(crate) fn flood_phone(action: &Action) -> Option<PhoneNumber> {
    match action {
        Action::Send(send) => Some(send.phone),
        Action::CheckAbility { phone, .. } => Some(*phone),
        _ => None,
    }
}
