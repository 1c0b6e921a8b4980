//! The budget of a day: what an account may spend between two midnights of UTC on its clock, net of what came back on the same day. Exact,
//! since it is counted in the account's own row, where the money is (docs/limits.md, "Daily budget").

use std::sync::Arc;

use serde::Serialize;

use crate::account::Account;
use crate::command::DeliveryReport;
use crate::ids::RequestId;
use crate::low_balance::AccountReport;
use crate::money::Credits;
use crate::parameters::CallbackUrl;
use crate::time::{DAY_MS, Timestamp};
use crate::token::TokenClaim;

/// The share of a budget, in percent, from which its owner is warned.
const WARN_PERCENT: u8 = 80;
/// Nothing is left of it, or the next message would be too much.
const USED_UP_PERCENT: u8 = 100;

/// What may be spent in a day, and who is told when it runs out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DailyBudget {
    /// The most that a day's messages may cost; above zero.
    pub amount: Credits,
    /// Where the alarm goes, at 80 and at 100 percent; `None`: the pages alone show it.
    pub url: Option<CallbackUrl>,
}

/// What an account spent on one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DaySpending {
    /// The day since the epoch, on the account's clock.
    pub day: i64,
    /// Fees that were charged or are on hold, less what came back.
    pub spent: Credits,
    /// The share of the budget, in percent, that was told of on that day; 0 for none.
    pub told_percent: u8,
}

/// The body. Its `event` tells it from a delivery report, which has none.
#[derive(Serialize)]
struct Body {
    event: &'static str,
    /// A string: it has 63 bits, more than a JSON number keeps in JavaScript.
    account_id: String,
    spent: Credits,
    budget: Credits,
    percent: u8,
    /// Whole Unix seconds on the account's clock.
    at: i64,
}

const fn day_of(at: Timestamp) -> i64 {
    at.millis().div_euclid(DAY_MS)
}

impl DaySpending {
    /// Nothing, ever.
    pub const NONE: Self = Self {
        day: 0,
        spent: Credits::ZERO,
        told_percent: 0,
    };

    /// As it stands at that time on the account's clock: a new day begins with nothing.
    #[must_use]
    pub fn at(self, at: Timestamp) -> Self {
        if self.day == day_of(at) {
            self
        } else {
            Self {
                day: day_of(at),
                ..Self::NONE
            }
        }
    }
}

impl Account {
    /// Whether a fee may be spent; `Err` says how many seconds until the next day.
    pub(crate) fn within_budget(&self, fee: Credits, at: Timestamp) -> Result<(), u32> {
        let Some(budget) = &self.budget else { return Ok(()) };
        if fee.is_zero() || self.spending.at(at).spent + fee <= budget.amount {
            return Ok(());
        }
        let rest_ms = DAY_MS - at.millis().rem_euclid(DAY_MS);
        Err(u32::try_from(rest_ms / 1000 + 1).unwrap_or(u32::MAX))
    }

    /// Counts a fee that is charged or put on hold. Also without a budget: one may be set later in the day.
    pub(crate) fn spend(&mut self, fee: Credits, at: Timestamp) {
        if fee.is_zero() {
            return;
        }
        self.spending = self.spending.at(at);
        self.spending.spent += fee;
    }

    /// A fee came back that was spent at some time: it counts where that was on the same day.
    pub(crate) fn unspend(&mut self, fee: Credits, spent_at: Timestamp, at: Timestamp) {
        if self.spending.day == day_of(at) && day_of(spent_at) == day_of(at) {
            self.spending.spent = (self.spending.spent - fee).max(Credits::ZERO);
        }
    }

    /// Looks how much of the budget is used up; answers the report where that must be told. `was_refused`: a send just was too much.
    pub(crate) fn watch_budget(&mut self, was_refused: bool, real_now: Timestamp) -> Option<AccountReport> {
        let budget = self.budget.as_ref().map(Arc::clone)?;
        let now = self.clock(real_now);
        let spending = self.spending.at(now);
        let is_used_up = was_refused || spending.spent >= budget.amount;
        let percent = if is_used_up {
            USED_UP_PERCENT
        } else if spending.spent >= budget.share(WARN_PERCENT) {
            WARN_PERCENT
        } else {
            return None;
        };
        if percent <= spending.told_percent || self.closed {
            return None;
        }
        self.spending = DaySpending {
            told_percent: percent,
            ..spending
        };
        let url = budget.url.clone()?;
        self.low_balance_reports += 1;
        let body = Body {
            event: "daily_budget",
            account_id: self.key.id.to_string(),
            spent: spending.spent,
            budget: budget.amount,
            percent,
            at: now.unix_seconds(),
        };
        Some(AccountReport {
            id: RequestId::new(now, self.low_balance_reports),
            report: DeliveryReport {
                number: 0,
                callback_url: url,
                // It always serialises: it holds strings, integers and exact amounts only.
                body: serde_json::to_vec(&body).unwrap_or_default(),
                token: TokenClaim::PRESENT,
                created_at: real_now,
            },
        })
    }
}

impl DailyBudget {
    /// The share of it that a day's spending is, in whole percent and at most 100.
    pub fn percent_used(&self, spent: Credits) -> u8 {
        let share = i128::from(spent.micros()) * 100 / i128::from(self.amount.micros().max(1));
        u8::try_from(share.clamp(0, 100)).unwrap_or(100)
    }

    /// A share of it, rounded up to a micro-credit.
    fn share(&self, percent: u8) -> Credits {
        let micros = i128::from(self.amount.micros()) * i128::from(percent);
        Credits::from_micros(i64::try_from((micros + 99) / 100).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{AccountId, AccountKey, Bucket};
    use crate::phone::PhoneNumber;

    /// Noon of a day.
    const NOON: Timestamp = Timestamp::from_millis(20_717 * DAY_MS + DAY_MS / 2);

    fn credits(text: &str) -> Credits {
        Credits::parse(text).unwrap()
    }

    fn account() -> Account {
        let key = AccountKey {
            bucket: Bucket(3),
            id: AccountId::new(1).unwrap(),
        };
        let mut account = Account::new(key, PhoneNumber::from_stored(391_234_567_890));
        account.budget = Some(Arc::new(DailyBudget {
            amount: credits("1"),
            url: Some(CallbackUrl::from_stored("https://example.com/budget".into())),
        }));
        account
    }

    #[test]
    fn the_budget_may_be_spent_to_the_last_micro_credit_and_begins_anew_at_midnight() {
        let mut account = account();
        account.spend(credits("0.99"), NOON);
        assert_eq!(account.within_budget(credits("0.01"), NOON), Ok(()));
        let too_much = credits("0.01") + Credits::from_micros(1);
        assert_eq!(account.within_budget(too_much, NOON), Err(43_201));
        assert_eq!(account.within_budget(Credits::ZERO, NOON), Ok(()));
        let midnight = NOON.plus_millis(DAY_MS / 2);
        assert!(account.within_budget(credits("1"), midnight.plus_millis(-1)).is_err());
        assert_eq!(account.within_budget(credits("1"), midnight), Ok(()));
    }

    #[test]
    fn what_comes_back_on_the_same_day_may_be_spent_again() {
        let mut account = account();
        account.spend(credits("1"), NOON);
        account.unspend(credits("0.4"), NOON, NOON);
        assert_eq!(account.within_budget(credits("0.4"), NOON), Ok(()));
        let tomorrow = NOON.plus_millis(DAY_MS);
        account.spend(credits("1"), tomorrow);
        // It was yesterday's money.
        account.unspend(credits("0.6"), NOON, tomorrow);
        assert!(account.within_budget(credits("0.1"), tomorrow).is_err());
    }

    #[test]
    fn eighty_and_a_hundred_percent_are_told_once_a_day() {
        let mut account = account();
        account.spend(credits("0.79"), NOON);
        assert_eq!(account.watch_budget(false, NOON), None);
        account.spend(credits("0.01"), NOON);
        let warned = account.watch_budget(false, NOON).unwrap();
        assert_eq!(
            String::from_utf8(warned.report.body).unwrap(),
            r#"{"event":"daily_budget","account_id":"1","spent":0.8,"budget":1,"percent":80,"at":1789992000}"#
        );
        assert_eq!(account.watch_budget(false, NOON), None);
        // The next message would be too much, and the first that was refused says so.
        let used_up = account.watch_budget(true, NOON).unwrap();
        assert_ne!(used_up.id, warned.id);
        assert_eq!(account.watch_budget(true, NOON), None);
        let tomorrow = NOON.plus_millis(DAY_MS);
        assert_eq!(account.watch_budget(false, tomorrow), None);
        account.spend(credits("1"), tomorrow);
        assert!(account.watch_budget(false, tomorrow).is_some());
    }

    #[test]
    fn without_an_address_nothing_is_sent() {
        let mut account = account();
        account.budget = Some(Arc::new(DailyBudget {
            amount: credits("1"),
            url: None,
        }));
        account.spend(credits("1"), NOON);
        assert_eq!(account.watch_budget(false, NOON), None);
        assert_eq!(account.spending.told_percent, 100);
    }
}
