//! The low-balance report: told once when an account's available balance falls below a sum that its owner set, and again
//! only after it has been at or above that sum meanwhile (docs/money.md, "Low balance").

use serde::Serialize;

use crate::account::Account;
use crate::command::DeliveryReport;
use crate::ids::RequestId;
use crate::money::Credits;
use crate::parameters::CallbackUrl;
use crate::time::Timestamp;
use crate::token::TokenClaim;

/// What an owner wants to be told, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LowBalance {
    /// The sum below which the available balance is low; above zero.
    pub below: Credits,
    /// Where the report goes.
    pub url: CallbackUrl,
}

/// A report about an account, of its balance or its budget, with its id. It is signed, sent and retried as delivery reports are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountReport {
    /// Its id, made like a request's; no request has it.
    pub id: RequestId,
    /// The report; its number is 0.
    pub report: DeliveryReport,
}

/// The body. Its `event` tells it from a delivery report, which has none.
#[derive(Serialize)]
struct Body {
    event: &'static str,
    /// A string: it has 63 bits, more than a JSON number keeps in JavaScript.
    account_id: String,
    available: Credits,
    below: Credits,
    /// Whole Unix seconds on the account's clock.
    at: i64,
}

impl Account {
    /// Looks whether the balance became low, or is no longer; answers the report where it must be told.
    pub(crate) fn watch_balance(&mut self, real_now: Timestamp) -> Option<AccountReport> {
        let low = self.low_balance.as_ref()?;
        let available = self.available();
        let is_low = available < low.below;
        if is_low == self.low_balance_told || self.closed {
            return None;
        }
        self.low_balance_told = is_low;
        if !is_low {
            return None;
        }
        let now = self.clock(real_now);
        self.low_balance_reports += 1;
        let body = Body {
            event: "low_balance",
            account_id: self.key.id.to_string(),
            available,
            below: low.below,
            at: now.unix_seconds(),
        };
        Some(AccountReport {
            id: RequestId::new(now, self.low_balance_reports),
            report: DeliveryReport {
                number: 0,
                callback_url: low.url.clone(),
                // It always serialises: it holds strings, integers and exact amounts only.
                body: serde_json::to_vec(&body).unwrap_or_default(),
                token: TokenClaim::PRESENT,
                created_at: real_now,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ids::{AccountId, AccountKey, Bucket};
    use crate::phone::PhoneNumber;

    const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

    fn account() -> Account {
        let key = AccountKey {
            bucket: Bucket(3),
            id: AccountId::new(1).unwrap(),
        };
        let mut account = Account::new(key, PhoneNumber::from_stored(391_234_567_890));
        account.low_balance = Some(Arc::new(LowBalance {
            below: Credits::parse("1").unwrap(),
            url: CallbackUrl::from_stored("https://example.com/low".into()),
        }));
        account
    }

    #[test]
    fn a_low_balance_is_told_once_and_again_only_after_it_was_above() {
        let mut account = account();
        account.purchase(Credits::parse("1.005").unwrap(), NOW).unwrap();
        assert_eq!(account.watch_balance(NOW), None);
        let fee = Credits::parse("0.01").unwrap();
        account.charge(fee, RequestId::new(NOW, 1), NOW).unwrap();
        let told = account.watch_balance(NOW).unwrap();
        assert_eq!(
            String::from_utf8(told.report.body).unwrap(),
            r#"{"event":"low_balance","account_id":"1","available":0.995,"below":1,"at":1790000000}"#
        );
        account.charge(fee, RequestId::new(NOW, 2), NOW).unwrap();
        assert_eq!(account.watch_balance(NOW), None);
        account.purchase(fee + fee, NOW).unwrap();
        assert_eq!(account.watch_balance(NOW), None);
        account.charge(fee, RequestId::new(NOW, 3), NOW).unwrap();
        let again = account.watch_balance(NOW).unwrap();
        assert_ne!(again.id, told.id);
    }

    #[test]
    fn exactly_the_sum_is_not_low_and_what_is_on_hold_counts_as_gone() {
        let mut account = account();
        account.purchase(Credits::parse("1").unwrap(), NOW).unwrap();
        assert_eq!(account.watch_balance(NOW), None);
        assert!(account.hold(Credits::from_micros(1)));
        assert!(account.watch_balance(NOW).is_some());
        account.release(Credits::from_micros(1));
        assert_eq!(account.watch_balance(NOW), None);
        assert!(!account.low_balance_told);
    }
}
