//! Adjustments: the operator corrects a balance, up or down, and says why. Each is an entry of the ledger with its reason
//! (docs/money.md, "Adjustments"); nothing that stands there is edited.

use std::sync::Arc;

use axum::extract::{Path, State};
use countersign_core::{Action, AdjustmentReason, ApiError, Command, Credits, MAX_PURCHASE};
use countersign_store::{AccountProfile, Actor};
use serde::Deserialize;

use super::accounts::{AccountView, Amount, Body, find, reload, require_open};
use crate::answer::{self, Answer, Refusal};
use crate::app::App;
use crate::clock;

#[derive(Deserialize)]
struct AdjustBody {
    amount: Amount,
    #[serde(default)]
    reason: Option<String>,
}

/// `POST /accounts/{account}/adjust`: adds or takes credit, and notes why. It isn't safe to repeat: each call adjusts again.
pub(super) async fn adjust(
    State(app): State<Arc<App>>,
    Path(account): Path<String>,
    body: Body,
) -> Result<Answer, Refusal> {
    let body: AdjustBody = answer::body(body, r#"{"amount":-0.5,"reason":"credited twice on 3 May"}"#)?;
    let reason = body.reason.unwrap_or_default();
    Answer::ok(&AccountView::from(
        adjust_balance(&app, &account, body.amount.0, &reason).await?,
    ))
}

/// Adds credit to an open account or takes it, and notes why.
pub(crate) async fn adjust_balance(
    app: &App,
    account: &str,
    amount: Credits,
    reason: &str,
) -> Result<AccountProfile, Refusal> {
    check_amount(amount)?;
    let reason = parse_reason(reason)?;
    let profile = find(app, account).await?;
    require_open(&profile)?;
    let command = Command {
        now: clock::now(),
        token: None,
        idempotency: None,
        action: Action::Adjust { amount, reason },
    };
    let outcome = app.store.submit_by(profile.key, command, Actor::Operator).await?;
    let profile = reload(app, profile.key).await?;
    match outcome {
        Ok(_) => {
            tracing::info!(account = %profile.key.id, %amount, "operator: balance adjusted");
            Ok(profile)
        }
        Err(ApiError::BalanceNotEnough) => Err(takes_too_much(amount, &profile)),
        Err(_) => Err(Refusal::conflict(format!(
            "the account can't be adjusted by {amount}: its sums would leave their range"
        ))),
    }
}

fn check_amount(amount: Credits) -> Result<(), Refusal> {
    if amount.is_zero() {
        return Err(Refusal::bad_request(
            "an adjustment by 0 changes nothing: name what is to be added, or with a minus sign, taken",
        ));
    }
    if amount > MAX_PURCHASE || amount < -MAX_PURCHASE {
        return Err(Refusal::bad_request(format!(
            "{amount} is too much for one adjustment: it adds or takes at most {MAX_PURCHASE}"
        )));
    }
    Ok(())
}

fn parse_reason(text: &str) -> Result<AdjustmentReason, Refusal> {
    AdjustmentReason::new(text).ok_or_else(|| {
        let text = text.trim();
        if text.is_empty() {
            return Refusal::bad_request(
                "the reason is missing: say as `reason` why the balance is adjusted; it stands in the ledger for good",
            );
        }
        if text.len() > AdjustmentReason::MAX_BYTES {
            return Refusal::bad_request(format!(
                "the reason has {} bytes, and at most {} have room: say it shorter",
                text.len(),
                AdjustmentReason::MAX_BYTES
            ));
        }
        Refusal::bad_request("the reason holds a line break or another control character: write it on one line")
    })
}

fn takes_too_much(amount: Credits, profile: &AccountProfile) -> Refusal {
    Refusal::conflict(format!(
        "{} can't be taken: {} is available, of a balance of {} with {} on hold; nothing was done",
        -amount,
        profile.balance - profile.held,
        profile.balance,
        profile.held
    ))
}
