//! The daily budget of an account, as the owner's and the operator's API and the pages take and show it.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use countersign_core::{Action, CallbackUrl, Command, Credits, DailyBudget, MAX_PURCHASE, PlainHttp};
use countersign_store::{AccountProfile, Actor, StoreError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::answer::{self, Amount, Refusal};
use crate::app::{App, Mode};
use crate::clock;

/// What is set, and what was spent. Budget and URL are left out where none is set.
#[derive(Serialize, ToSchema)]
pub(crate) struct BudgetView {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = f64, nullable = false, required = false)]
    per_day: Option<Credits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    url: Option<String>,
    /// Today, by UTC on the account's clock: fees that were charged or are on hold, less what came back.
    #[schema(value_type = f64)]
    spent: Credits,
}

impl From<&AccountProfile> for BudgetView {
    fn from(profile: &AccountProfile) -> Self {
        let now = clock::now().plus_millis(profile.clock_offset_ms);
        let budget = profile.budget.as_ref();
        let url = budget.and_then(|budget| budget.url.as_ref());
        Self {
            per_day: budget.map(|budget| budget.amount),
            url: url.map(|url| url.as_str().to_owned()),
            spent: profile.spending.at(now).spent,
        }
    }
}

/// What may be spent in a day, and where the alarm goes.
#[derive(Deserialize, ToSchema)]
pub(crate) struct BudgetBody {
    /// The most that a day's messages may cost.
    #[schema(value_type = f64, exclusive_minimum = 0, maximum = 1_000_000_000, example = 50)]
    per_day: Amount,
    /// Where the alarm goes, at 80 and at 100 percent; like a `callback_url`. Without it the pages alone show it.
    #[serde(default)]
    #[schema(example = "https://example.com/budget", max_length = 256, nullable = false)]
    url: Option<String>,
}

impl BudgetBody {
    /// Reads a body.
    pub(crate) fn read(app: &App, body: Result<Bytes, BytesRejection>) -> Result<DailyBudget, Refusal> {
        let body: Self = answer::body(body, r#"{"per_day":50,"url":"https://example.com/budget"}"#)?;
        let amount = body.per_day.0;
        if !is_amount(amount) {
            return Err(Refusal::bad_request(format!(
                "`per_day` must be more than 0 and at most {MAX_PURCHASE}; DELETE takes the budget away"
            )));
        }
        let url = body.url.map(|url| {
            callback(app, &url).ok_or_else(|| {
                Refusal::bad_request(
                    "`url` must be an absolute https:// URL of at most 256 bytes, without user name and password (the sandbox takes \
                     http:// too)",
                )
            })
        });
        Ok(DailyBudget {
            amount,
            url: url.transpose()?,
        })
    }
}

/// Whether an amount can be a budget.
pub(crate) fn is_amount(amount: Credits) -> bool {
    amount > Credits::ZERO && amount <= MAX_PURCHASE
}

/// Where an alarm may go.
pub(crate) fn callback(app: &App, url: &str) -> Option<CallbackUrl> {
    let plain_http = match app.mode {
        Mode::Sandbox => PlainHttp::Accepted,
        Mode::Production => PlainHttp::Refused,
    };
    CallbackUrl::parse(url, plain_http)
}

/// Sets it, and answers the account as it stands then. What was told already isn't told again for being set again.
pub(crate) async fn set(
    app: &App,
    account: &AccountProfile,
    budget: Option<DailyBudget>,
    by: Actor,
) -> Result<Option<AccountProfile>, StoreError> {
    if account.budget != budget {
        app.site.set_budget(account.key, budget, by, clock::now()).await?;
        // Whatever is true of today's spending is seen by this command, which moves nothing else.
        let look = Command {
            now: clock::now(),
            token: None,
            idempotency: None,
            action: Action::Lapse,
        };
        let _ = app.store.submit(account.key, look).await?;
    }
    app.store.account(account.key.id).await
}
