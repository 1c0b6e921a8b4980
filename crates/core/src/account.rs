//! An account's money and standing, and the only functions that change its balance.
//!
//! Every change of the balance makes a ledger entry; `balance = sum of entries ≥ held ≥ 0` (P2). Credit lapses oldest
//! first without a charge ever touching a purchase: the account counts what it bought in all and what it used up in
//! all, and each purchase knows up to which sum it reaches.

use std::sync::Arc;

use crate::budget::{DailyBudget, DaySpending};
use crate::error::ApiError;
use crate::guard::AreaRules;
use crate::ids::{AccountKey, RequestId};
use crate::ledger::{AdjustmentReason, EntryHash, EntryKind, LedgerEntry};
use crate::low_balance::LowBalance;
use crate::money::Credits;
use crate::phone::PhoneNumber;
use crate::time::{DAY_MS, Timestamp};
use crate::token::{TokenClaim, TokenKind, TokenStanding};

/// Credits lapse this long after their purchase: 1096 days, the longest that three calendar years can be
/// (docs/api.md, "Money").
pub const CREDIT_LIFE_MS: i64 = 1_096 * DAY_MS;
/// The most that one purchase or adjustment may move: a billion credits.
pub const MAX_PURCHASE: Credits = Credits::from_micros(1_000_000_000_000_000);
/// What no sum of an account may pass: a thousand times that, far inside 64 bits.
const MAX_SUM: Credits = Credits::from_micros(1_000_000_000_000_000_000);

/// What `decide` must know of an account. Its profile (name, address list, token) is not of its concern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Where its rows are.
    pub key: AccountKey,
    /// The owner's own number, to which sends are free.
    pub owner: PhoneNumber,
    /// Closed accounts answer no call.
    pub closed: bool,
    /// How its live token stands.
    pub live: TokenStanding,
    /// How its test-mode token stands.
    pub test: TokenStanding,
    /// The sum of all entries.
    pub balance: Credits,
    /// What admitted requests hold of the balance.
    pub held: Credits,
    /// The number of entries, which is the last entry's number.
    pub entries: u64,
    /// The hash of the last entry: the head of the ledger's chain.
    pub head: EntryHash,
    /// When the last entry was booked, on the account's clock; no later entry is booked before it.
    pub last_entry_at: Timestamp,
    /// All credit that was ever bought.
    pub purchased: Credits,
    /// All credit that was ever used up: charges less refunds, lapses, and adjustments (those in the customer's favour
    /// lower it, as a refund does).
    pub consumed: Credits,
    /// When the next purchase lapses, on the account's clock.
    pub next_lapse_at: Option<Timestamp>,
    /// How far the sandbox moved this account's clock ahead of real time, in milliseconds; zero in production.
    pub clock_offset_ms: i64,
    /// Where its codes may go; `None`: there are no rules. Shared, since accounts are copied.
    pub areas: Option<Arc<AreaRules>>,
    /// What the owner wants to be told when the available balance falls below it. Shared, since accounts are copied.
    pub low_balance: Option<Arc<LowBalance>>,
    /// Whether that was told since the balance was last above.
    pub low_balance_told: bool,
    /// How often it was told, and how often of the budget; numbers the reports.
    pub low_balance_reports: u64,
    /// What may be spent in a day. Shared, since accounts are copied.
    pub budget: Option<Arc<DailyBudget>>,
    /// What was spent today, or on the last day on which anything was.
    pub spending: DaySpending,
    /// The day (since the epoch, on the account's clock) that `free_sends` counts.
    pub free_day: i64,
    /// Free sends to the owner's own number on that day.
    pub free_sends: u32,
}

/// A purchase of credit that may lapse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purchase {
    /// Whose.
    pub account: AccountKey,
    /// The number of its ledger entry.
    pub entry: u64,
    /// The sum of this purchase and all before it.
    pub through: Credits,
    /// When it lapses, on the account's clock.
    pub lapses_at: Timestamp,
    /// Whether it has lapsed.
    pub lapsed: bool,
}

impl Account {
    /// A new account without money.
    pub const fn new(key: AccountKey, owner: PhoneNumber) -> Self {
        Self {
            key,
            owner,
            closed: false,
            live: TokenStanding::FIRST,
            test: TokenStanding::NONE,
            balance: Credits::ZERO,
            held: Credits::ZERO,
            entries: 0,
            head: EntryHash::NONE,
            last_entry_at: Timestamp::from_millis(0),
            purchased: Credits::ZERO,
            consumed: Credits::ZERO,
            next_lapse_at: None,
            clock_offset_ms: 0,
            areas: None,
            low_balance: None,
            low_balance_told: false,
            low_balance_reports: 0,
            budget: None,
            spending: DaySpending::NONE,
            free_day: 0,
            free_sends: 0,
        }
    }

    /// Whether a token opens this account at that real time.
    pub fn accepts(&self, claim: TokenClaim, real_now: Timestamp) -> bool {
        let standing = match claim.kind {
            TokenKind::Live => self.live,
            TokenKind::Test => self.test,
        };
        !self.closed && standing.accepts(claim.generation, real_now)
    }

    /// The account's own time at that real time.
    pub const fn clock(&self, real_now: Timestamp) -> Timestamp {
        real_now.plus_millis(self.clock_offset_ms)
    }

    /// What can be spent: the balance less what is on hold.
    pub fn available(&self) -> Credits {
        self.balance - self.held
    }

    /// Sets a fee aside; `false` where the available balance is smaller.
    pub fn hold(&mut self, fee: Credits) -> bool {
        let enough = !fee.is_negative() && fee <= self.available();
        if enough {
            self.held += fee;
        }
        enough
    }

    /// Gives a held fee free again.
    pub fn release(&mut self, fee: Credits) {
        debug_assert!(fee <= self.held, "released more than was held");
        self.held -= fee;
    }

    /// Takes a fee; `None` where the available balance is smaller.
    pub fn charge(&mut self, fee: Credits, request: RequestId, at: Timestamp) -> Option<LedgerEntry> {
        if fee.is_negative() || fee > self.available() {
            return None;
        }
        self.consumed += fee;
        Some(self.enter(EntryKind::Charge, -fee, Some(request), None, at))
    }

    /// Gives a fee back. Where its credit has lapsed since, it counts as part of the purchase that lapses next.
    pub fn refund(&mut self, fee: Credits, request: RequestId, at: Timestamp) -> LedgerEntry {
        self.consumed -= fee;
        self.enter(EntryKind::Refund, fee, Some(request), None, at)
    }

    /// Corrects the balance by the operator's word. What it adds counts as part of the purchase that lapses next, like a
    /// refund; what it takes is used up, oldest credit first. [`ApiError::BadRequest`] where the amount is zero, beyond
    /// [`MAX_PURCHASE`] either way, or a sum would leave its bounds; [`ApiError::BalanceNotEnough`] where it takes more
    /// than is available.
    pub fn adjust(
        &mut self,
        amount: Credits,
        reason: &AdjustmentReason,
        at: Timestamp,
    ) -> Result<LedgerEntry, ApiError> {
        if amount.is_zero() || amount > MAX_PURCHASE || amount < -MAX_PURCHASE {
            return Err(ApiError::BadRequest);
        }
        if amount.is_negative() && -amount > self.available() {
            return Err(ApiError::BalanceNotEnough);
        }
        let within = |sum: Credits| (-MAX_SUM..=MAX_SUM).contains(&sum);
        if !within(self.balance + amount) || !within(self.consumed - amount) {
            return Err(ApiError::BadRequest);
        }
        self.consumed -= amount;
        Ok(self.enter(EntryKind::Adjustment, amount, None, Some(reason.clone()), at))
    }

    /// Adds bought credit; `None` where the amount isn't above zero and at most [`MAX_PURCHASE`], or a sum would leave its
    /// bounds.
    pub fn purchase(&mut self, amount: Credits, at: Timestamp) -> Option<(LedgerEntry, Purchase)> {
        if amount <= Credits::ZERO || amount > MAX_PURCHASE {
            return None;
        }
        if self.purchased + amount > MAX_SUM || self.balance + amount > MAX_SUM {
            return None;
        }
        self.purchased += amount;
        let entry = self.enter(EntryKind::Purchase, amount, None, None, at);
        let lapses_at = at.plus_millis(CREDIT_LIFE_MS);
        let purchase = Purchase {
            account: self.key,
            entry: entry.number,
            through: self.purchased,
            lapses_at,
            lapsed: false,
        };
        self.next_lapse_at = Some(self.next_lapse_at.map_or(lapses_at, |next| next.min(lapses_at)));
        Some((entry, purchase))
    }

    /// Lets a purchase lapse: whatever of it and of all before it is neither used nor on hold goes; what is on hold stays
    /// and counts as part of the purchase that lapses next. `None` where nothing is left of it.
    pub fn lapse(&mut self, purchase: &mut Purchase, at: Timestamp) -> Option<LedgerEntry> {
        purchase.lapsed = true;
        let left = (purchase.through - self.consumed).min(self.available());
        if left <= Credits::ZERO {
            return None;
        }
        self.consumed += left;
        Some(self.enter(EntryKind::Lapse, -left, None, None, at))
    }

    /// Counts a free send to the owner's own number; `Err` says how many seconds until the next day where `limit` a day
    /// is used up. No limit: `None`.
    pub fn count_free_send(&mut self, limit: Option<u32>, at: Timestamp) -> Result<(), u32> {
        let day = at.millis().div_euclid(DAY_MS);
        if self.free_day != day {
            self.free_day = day;
            self.free_sends = 0;
        }
        if limit.is_some_and(|limit| self.free_sends >= limit) {
            let rest_ms = DAY_MS - at.millis().rem_euclid(DAY_MS);
            return Err(u32::try_from(rest_ms / 1000 + 1).unwrap_or(u32::MAX));
        }
        self.free_sends = self.free_sends.saturating_add(1);
        Ok(())
    }

    /// Makes an entry of a change of the balance. It is booked when it is made, whenever its cause fell due: so the ledger
    /// is in order of time, and a statement of a time that is over never changes.
    fn enter(
        &mut self,
        kind: EntryKind,
        amount: Credits,
        request: Option<RequestId>,
        reason: Option<AdjustmentReason>,
        at: Timestamp,
    ) -> LedgerEntry {
        self.entries += 1;
        self.balance += amount;
        self.last_entry_at = self.last_entry_at.max(at);
        debug_assert!(
            self.balance >= self.held && !self.held.is_negative(),
            "P2: the books don't balance"
        );
        let entry = LedgerEntry {
            account: self.key,
            number: self.entries,
            kind,
            amount,
            balance_after: self.balance,
            request,
            reason,
            at: self.last_entry_at,
            previous: self.head,
        };
        self.head = entry.hash();
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{AccountId, Bucket};

    fn account() -> Account {
        let key = AccountKey {
            bucket: Bucket(3),
            id: AccountId::new(1).unwrap(),
        };
        Account::new(key, PhoneNumber::from_stored(391_234_567_890))
    }

    fn credits(text: &str) -> Credits {
        Credits::parse(text).unwrap()
    }

    fn request() -> RequestId {
        RequestId::new(Timestamp::from_millis(5), 5)
    }

    const NOW: Timestamp = Timestamp::from_millis(1_000);
    const LATER: Timestamp = Timestamp::from_millis(2_000);

    #[test]
    fn credit_lapses_oldest_first_and_only_what_is_left_of_it() {
        let mut account = account();
        let (_, mut first) = account.purchase(credits("10"), NOW).unwrap();
        let (_, mut second) = account.purchase(credits("5"), NOW).unwrap();
        account.charge(credits("4"), request(), NOW).unwrap();
        assert_eq!(account.lapse(&mut first, LATER).unwrap().amount, credits("-6"));
        assert_eq!(account.balance, credits("5"));
        account.charge(credits("5"), request(), NOW).unwrap();
        assert_eq!(account.lapse(&mut second, LATER), None);
        assert_eq!(account.balance, Credits::ZERO);
    }

    #[test]
    fn a_refund_of_lapsed_credit_lapses_with_the_next_purchase() {
        let mut account = account();
        let (_, mut first) = account.purchase(credits("1"), NOW).unwrap();
        let (_, mut second) = account.purchase(credits("2"), NOW).unwrap();
        account.charge(credits("1"), request(), NOW).unwrap();
        assert_eq!(account.lapse(&mut first, LATER), None);
        account.refund(credits("1"), request(), NOW);
        assert_eq!(account.balance, credits("3"));
        assert_eq!(account.lapse(&mut second, LATER).unwrap().amount, credits("-3"));
    }

    #[test]
    fn what_is_on_hold_does_not_lapse_and_cannot_be_spent() {
        let mut account = account();
        let (_, mut purchase) = account.purchase(credits("1"), NOW).unwrap();
        assert!(account.hold(credits("0.4")));
        assert!(!account.hold(credits("0.7")));
        assert!(account.charge(credits("0.7"), request(), NOW).is_none());
        assert_eq!(account.lapse(&mut purchase, LATER).unwrap().amount, credits("-0.6"));
        account.release(credits("0.4"));
        assert!(account.charge(credits("0.4"), request(), NOW).is_some());
    }

    #[test]
    fn an_adjustment_gives_and_takes_with_a_reason_and_within_bounds() {
        let mut account = account();
        let reason = AdjustmentReason::new("a message that never left").unwrap();
        let (_, mut purchase) = account.purchase(credits("1"), NOW).unwrap();
        let given = account.adjust(credits("0.5"), &reason, NOW).unwrap();
        assert_eq!(
            (given.kind, given.balance_after),
            (EntryKind::Adjustment, credits("1.5"))
        );
        assert_eq!(given.reason, Some(reason.clone()));
        assert!(account.hold(credits("0.3")));
        assert_eq!(
            account.adjust(credits("-1.3"), &reason, NOW),
            Err(ApiError::BalanceNotEnough)
        );
        account.adjust(credits("-0.2"), &reason, NOW).unwrap();
        // What an adjustment gave lapses with the purchase that lapses next.
        assert_eq!(account.lapse(&mut purchase, LATER).unwrap().amount, credits("-1"));
        for amount in [
            Credits::ZERO,
            MAX_PURCHASE + Credits::from_micros(1),
            -MAX_PURCHASE - Credits::from_micros(1),
        ] {
            assert_eq!(account.adjust(amount, &reason, NOW), Err(ApiError::BadRequest));
        }
    }

    #[test]
    fn sums_stay_far_inside_64_bits_however_often_a_billion_is_bought_or_given() {
        let reason = AdjustmentReason::new("again").unwrap();
        let (mut buyer, mut favourite) = (account(), account());
        let bought = (0..2_000).filter(|_| buyer.purchase(MAX_PURCHASE, NOW).is_some());
        assert_eq!(bought.count(), 1_000);
        let given = (0..2_000).filter(|_| favourite.adjust(MAX_PURCHASE, &reason, NOW).is_ok());
        assert_eq!(given.count(), 1_000);
    }

    #[test]
    fn entries_are_chained_and_never_go_back_in_time() {
        let mut account = account();
        let (first, _) = account.purchase(credits("1"), LATER).unwrap();
        let second = account.charge(credits("0.1"), request(), NOW).unwrap();
        assert_eq!(first.previous, EntryHash::NONE);
        assert_eq!(second.previous, first.hash());
        assert_eq!(account.head, second.hash());
        assert_eq!((first.at, second.at), (LATER, LATER));
    }

    #[test]
    fn a_purchase_has_bounds() {
        for amount in [Credits::ZERO, credits("-1"), MAX_PURCHASE + Credits::from_micros(1)] {
            assert!(account().purchase(amount, NOW).is_none());
        }
    }

    #[test]
    fn free_sends_are_counted_by_the_day() {
        let mut account = account();
        for _ in 0..20 {
            account.count_free_send(Some(20), NOW).unwrap();
        }
        assert_eq!(account.count_free_send(Some(20), NOW), Err(86_400));
        account.count_free_send(None, NOW).unwrap();
        account.count_free_send(Some(20), NOW.plus_millis(DAY_MS)).unwrap();
    }
}
