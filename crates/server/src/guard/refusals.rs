//! Why sends were refused lately, for each account: what its owner and the operator are shown. Counted in memory and bounded; a line in the
//! books for each refusal would let whoever is refused fill them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use countersign_core::{AccountKey, ApiError, Timestamp};

/// Accounts that are remembered at most.
const MAX_ACCOUNTS: usize = 2_000;
/// Reasons that are remembered of one account.
const MAX_REASONS: usize = 20;

/// Sends that were refused for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// A sentence without its full stop.
    pub(crate) reason: String,
    pub(crate) count: u64,
    /// On the account's clock.
    pub(crate) last_at: Timestamp,
}

/// All accounts' refusals of one node.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<HashMap<AccountKey, Vec<Refused>>>);

impl Refusals {
    /// Counts one.
    pub(super) fn note(&self, account: AccountKey, error: ApiError, at: Timestamp) {
        let Some(reason) = error.reason() else { return };
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if accounts.len() >= MAX_ACCOUNTS && !accounts.contains_key(&account) {
            forget_half(&mut accounts);
        }
        let reasons = accounts.entry(account).or_default();
        if let Some(known) = reasons.iter_mut().find(|known| known.reason == reason) {
            known.count = known.count.saturating_add(1);
            known.last_at = known.last_at.max(at);
            return;
        }
        if reasons.len() >= MAX_REASONS
            && let Some((oldest, _)) = reasons.iter().enumerate().min_by_key(|(_, known)| known.last_at)
        {
            reasons.swap_remove(oldest);
        }
        reasons.push(Refused {
            reason,
            count: 1,
            last_at: at,
        });
    }

    /// An account's, the latest first.
    pub(super) fn of(&self, account: AccountKey) -> Vec<Refused> {
        let accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reasons = accounts.get(&account).cloned().unwrap_or_default();
        reasons.sort_by_key(|known| std::cmp::Reverse(known.last_at));
        reasons
    }
}

/// The half whose last refusal is longest ago; one in a thousand calls pays for it.
fn forget_half(accounts: &mut HashMap<AccountKey, Vec<Refused>>) {
    let last = |reasons: &Vec<Refused>| reasons.iter().map(|known| known.last_at).max();
    let mut times: Vec<_> = accounts.values().map(last).collect();
    let middle = times.len() / 2;
    let (_, limit, _) = times.select_nth_unstable(middle);
    let limit = *limit;
    accounts.retain(|_, reasons| last(reasons) > limit);
}

#[cfg(test)]
mod tests {
    use countersign_core::{AccountId, AreaRefusal, RefusedRange};

    use super::*;

    fn account(number: u64) -> AccountKey {
        AccountKey::of_new(AccountId::from_entropy(number << 20))
    }

    const NOT_ALLOWED: ApiError = ApiError::Refused(AreaRefusal::NotAllowed);
    const FIXED: ApiError = ApiError::Refused(AreaRefusal::Range(RefusedRange::FixedLine));

    #[test]
    fn each_reason_is_counted_and_the_latest_stands_first() {
        let refusals = Refusals::default();
        for (at, error) in [(1, NOT_ALLOWED), (2, FIXED), (3, NOT_ALLOWED)] {
            refusals.note(account(1), error, Timestamp::from_millis(at));
        }
        refusals.note(account(1), ApiError::BalanceNotEnough, Timestamp::from_millis(4));
        let counted: Vec<(u64, i64)> = refusals
            .of(account(1))
            .iter()
            .map(|known| (known.count, known.last_at.millis()))
            .collect();
        assert_eq!(counted, [(2, 3), (1, 2)]);
        assert!(refusals.of(account(2)).is_empty());
    }

    #[test]
    fn memory_is_bounded_and_who_was_refused_last_is_remembered() {
        let refusals = Refusals::default();
        let accounts = 3 * u64::try_from(MAX_ACCOUNTS).unwrap();
        for number in 1..=accounts {
            let at = Timestamp::from_millis(number.cast_signed());
            refusals.note(account(number), NOT_ALLOWED, at);
        }
        assert!(refusals.0.lock().unwrap().len() <= MAX_ACCOUNTS);
        assert_eq!(refusals.of(account(accounts)).len(), 1);
        assert!(refusals.of(account(1)).is_empty());
    }
}
