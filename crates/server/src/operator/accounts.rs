//! Accounts: made, listed, shown, credited, closed; their tokens and the addresses from which they may call.
//!
//! An account is named by its id or by its phone number with the leading `+`; digits alone are tried as an id first.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, RawQuery, State};
use countersign_core::{
    AccountId, AccountKey, Action, ApiToken, Autofill, Command, Credits, DailyBudget, MAX_PURCHASE, PhoneNumber,
    SandboxNumbers, Timestamp,
};
use countersign_store::{AccountProfile, Actor, NewAccount, StoreError};
use serde::{Deserialize, Serialize};

use crate::allow_list::{AllowList, NoRange};
pub(super) use crate::answer::Amount;
use crate::answer::{self, Answer, Refusal};
use crate::app::{App, Mode};
use crate::autofill::{AutofillBody, AutofillView};
use crate::budget::{self, BudgetBody, BudgetView};
use crate::{clock, random, statement};

/// Longest name of an account, in bytes: it is a label, not a description.
const MAX_NAME_BYTES: usize = 100;
/// Address ranges in one account's allow-list: each call is compared with all of them.
pub(super) const MAX_ALLOWED_RANGES: usize = 1000;
/// Accounts in one page of a list, unless fewer are asked for.
const PAGE_ACCOUNTS: usize = 100;
/// Accounts in one page of a list at most.
const MAX_PAGE_ACCOUNTS: usize = 1000;

/// A body as it came.
pub(super) type Body = Result<Bytes, BytesRejection>;

/// An account as this API shows it. Ids are strings: they have 63 bits, more than a JSON number keeps in JavaScript.
#[derive(Serialize)]
pub(super) struct AccountView {
    account_id: String,
    phone_number: String,
    name: String,
    balance: Credits,
    held: Credits,
    allow_list: Vec<String>,
    /// What its short messages end with; left out where nothing is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    autofill: Option<AutofillView>,
    /// What it may spend in a day, and what it spent today; left out where no budget is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<BudgetView>,
    /// Whole Unix seconds.
    created_at: i64,
    /// Whole Unix seconds; left out where the account is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_at: Option<i64>,
}

impl From<AccountProfile> for AccountView {
    fn from(profile: AccountProfile) -> Self {
        let budget = profile.budget.is_some().then(|| BudgetView::from(&profile));
        Self {
            account_id: profile.key.id.to_string(),
            phone_number: profile.phone.to_string(),
            name: profile.name,
            balance: profile.balance,
            held: profile.held,
            allow_list: profile.allow_list.iter().map(ToString::to_string).collect(),
            autofill: (!profile.autofill.is_empty()).then(|| AutofillView::from(&profile.autofill)),
            budget,
            created_at: profile.created_at.unix_seconds(),
            closed_at: profile.closed_at.map(Timestamp::unix_seconds),
        }
    }
}

#[derive(Deserialize)]
struct CreateBody {
    phone_number: String,
    name: String,
    #[serde(default)]
    credit: Option<Amount>,
}

#[derive(Serialize)]
struct CreatedView {
    account_id: String,
    phone_number: String,
    name: String,
    token: String,
    balance: Credits,
}

/// `POST /accounts`: a new account with its token and, where `credit` is given, its first credit.
pub(super) async fn create(State(app): State<Arc<App>>, body: Body) -> Result<Answer, Refusal> {
    let example = r#"{"phone_number":"+391234567890","name":"Acme","credit":10}"#;
    let body: CreateBody = answer::body(body, example)?;
    let credit = body.credit.map_or(Credits::ZERO, |amount| amount.0);
    let (profile, token) = make(&app, &body.phone_number, &body.name, credit).await?;
    Answer::created(&CreatedView {
        account_id: profile.key.id.to_string(),
        phone_number: profile.phone.to_string(),
        name: profile.name,
        token: token.as_str().to_owned(),
        balance: profile.balance,
    })
}

/// Makes an account with its token and, unless it is zero, its first credit.
pub(crate) async fn make(
    app: &App,
    phone: &str,
    name: &str,
    credit: Credits,
) -> Result<(AccountProfile, ApiToken), Refusal> {
    let phone = parse_phone(app, phone)?;
    let name = parse_name(name)?;
    if credit != Credits::ZERO {
        check_purchase(credit)?;
    }
    let id = AccountId::from_entropy(u64::from_ne_bytes(random::bytes()));
    let token = ApiToken::new(id, random::bytes());
    let new = NewAccount {
        key: AccountKey::of_new(id),
        token: token.clone(),
        name: name.to_owned(),
        phone,
        now: clock::now(),
    };
    let profile = app
        .store
        .create_account(new, Actor::Operator)
        .await
        .map_err(|error| match error {
            StoreError::Conflict(_) => Refusal::conflict(format!(
                "an open account with the phone number {phone} exists already: use it, or close it first"
            )),
            error => error.into(),
        })?;
    tracing::info!(account = %id, phone = ?phone, "operator: account made");
    if credit != Credits::ZERO {
        purchase(app, profile.key, credit).await.map_err(|refusal| {
            tracing::error!(account = %id, ?refusal, "a new account's first credit failed");
            Refusal::half_done(format!(
                "the account {id} was made, but without its credit: look at it, then credit it with \
                 `countersign account credit {id} {credit}`"
            ))
        })?;
    }
    Ok((reload(app, profile.key).await?, token))
}

#[derive(Serialize)]
struct ListView {
    accounts: Vec<AccountView>,
    /// The `after` of the next page; left out on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// `GET /accounts?after=ID&limit=N`: accounts by id.
pub(super) async fn list(State(app): State<Arc<App>>, RawQuery(raw): RawQuery) -> Result<Answer, Refusal> {
    let mut after = None;
    let mut limit = PAGE_ACCOUNTS;
    for (name, value) in answer::query(raw.as_deref()) {
        match name.as_str() {
            "after" => {
                let id = value.parse().ok().and_then(AccountId::new);
                after = Some(id.ok_or_else(|| {
                    Refusal::bad_request("`after` must be an account id: take `next` of the page before")
                })?);
            }
            "limit" => {
                let number = value.parse().ok().filter(|n| (1..=MAX_PAGE_ACCOUNTS).contains(n));
                limit = number.ok_or_else(|| {
                    Refusal::bad_request(format!("`limit` must be a whole number from 1 to {MAX_PAGE_ACCOUNTS}"))
                })?;
            }
            _ => {}
        }
    }
    // One more than asked for tells whether there is a next page.
    let mut profiles = app.store.accounts(after, limit + 1).await?;
    let more = profiles.len() > limit;
    profiles.truncate(limit);
    let next = profiles
        .last()
        .filter(|_| more)
        .map(|profile| profile.key.id.to_string());
    Answer::ok(&ListView {
        accounts: profiles.into_iter().map(AccountView::from).collect(),
        next,
    })
}

/// `GET /accounts/{account}`.
pub(super) async fn show(State(app): State<Arc<App>>, Path(account): Path<String>) -> Result<Answer, Refusal> {
    Answer::ok(&AccountView::from(find(&app, &account).await?))
}

#[derive(Deserialize)]
struct CreditBody {
    amount: Amount,
}

/// `POST /accounts/{account}/credit`: adds bought credit. It isn't safe to repeat: each call buys again.
pub(super) async fn credit(
    State(app): State<Arc<App>>,
    Path(account): Path<String>,
    body: Body,
) -> Result<Answer, Refusal> {
    let body: CreditBody = answer::body(body, r#"{"amount":10}"#)?;
    Answer::ok(&AccountView::from(add_credit(&app, &account, body.amount.0).await?))
}

/// Adds bought credit to an open account.
pub(crate) async fn add_credit(app: &App, account: &str, amount: Credits) -> Result<AccountProfile, Refusal> {
    check_purchase(amount)?;
    let profile = find(app, account).await?;
    require_open(&profile)?;
    purchase(app, profile.key, amount).await?;
    tracing::info!(account = %profile.key.id, %amount, "operator: credit added");
    reload(app, profile.key).await
}

/// `GET /accounts/{account}/statement?from=&to=&after=&limit=`.
pub(super) async fn statement(
    State(app): State<Arc<App>>,
    Path(account): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Answer, Refusal> {
    let profile = find(&app, &account).await?;
    statement::page(&app, profile.key, query.as_deref()).await
}

/// `POST /accounts/{account}/close`: for good; closing a closed account changes nothing.
pub(super) async fn close(State(app): State<Arc<App>>, Path(account): Path<String>) -> Result<Answer, Refusal> {
    Answer::ok(&AccountView::from(close_for_good(&app, &account).await?))
}

/// Closes an account, unless it is closed already.
pub(crate) async fn close_for_good(app: &App, account: &str) -> Result<AccountProfile, Refusal> {
    let profile = find(app, account).await?;
    if profile.closed_at.is_none() {
        app.store
            .close_account(profile.key, clock::now(), Actor::Operator)
            .await?;
        tracing::info!(account = %profile.key.id, "operator: account closed");
    }
    reload(app, profile.key).await
}

#[derive(Deserialize)]
struct AllowListBody {
    addresses: Vec<String>,
}

/// `PUT /accounts/{account}/allow-list`: the addresses from which the account may call; none allows all.
pub(super) async fn set_allow_list(
    State(app): State<Arc<App>>,
    Path(account): Path<String>,
    body: Body,
) -> Result<Answer, Refusal> {
    let body: AllowListBody = answer::body(body, r#"{"addresses":["192.0.2.7","2001:db8::/32"]}"#)?;
    if body.addresses.len() > MAX_ALLOWED_RANGES {
        return Err(Refusal::bad_request(format!(
            "an allow-list holds at most {MAX_ALLOWED_RANGES} ranges: join neighbours into larger ones"
        )));
    }
    let ranges = AllowList::read(body.addresses.iter().map(String::as_str))
        .map_err(|NoRange(shown)| {
            Refusal::bad_request(format!(
                "`{shown}` is not an address range: write it like 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32"
            ))
        })?
        .ranges;
    let profile = find(&app, &account).await?;
    require_open(&profile)?;
    let count = ranges.len();
    app.store.set_allow_list(profile.key, ranges, Actor::Operator).await?;
    tracing::info!(account = %profile.key.id, ranges = count, "operator: allow-list set");
    Answer::ok(&AccountView::from(reload(&app, profile.key).await?))
}

/// `PUT /accounts/{account}/autofill`: what its short messages end with, both parts at once.
pub(super) async fn set_autofill(
    State(app): State<Arc<App>>,
    Path(account): Path<String>,
    body: Body,
) -> Result<Answer, Refusal> {
    let autofill = AutofillBody::read(body)?;
    autofilled(&app, &account, autofill).await
}

/// `DELETE /accounts/{account}/autofill`: they end with their sentence.
pub(super) async fn clear_autofill(
    State(app): State<Arc<App>>,
    Path(account): Path<String>,
) -> Result<Answer, Refusal> {
    autofilled(&app, &account, Autofill::default()).await
}

async fn autofilled(app: &App, account: &str, autofill: Autofill) -> Result<Answer, Refusal> {
    let profile = find(app, account).await?;
    require_open(&profile)?;
    let now = clock::now();
    app.site
        .set_autofill(profile.key, autofill, Actor::Operator, now)
        .await?;
    tracing::info!(account = %profile.key.id, "operator: autofill set");
    Answer::ok(&AccountView::from(reload(app, profile.key).await?))
}

/// `PUT /accounts/{account}/budget`: what it may spend in a day, and where the alarm goes.
pub(super) async fn set_budget(
    State(app): State<Arc<App>>,
    Path(account): Path<String>,
    body: Body,
) -> Result<Answer, Refusal> {
    let budget = BudgetBody::read(&app, body)?;
    budgeted(&app, &account, Some(budget)).await
}

/// `DELETE /accounts/{account}/budget`: its balance alone bounds what it may spend.
pub(super) async fn clear_budget(State(app): State<Arc<App>>, Path(account): Path<String>) -> Result<Answer, Refusal> {
    budgeted(&app, &account, None).await
}

async fn budgeted(app: &App, account: &str, budget: Option<DailyBudget>) -> Result<Answer, Refusal> {
    let profile = find(app, account).await?;
    require_open(&profile)?;
    let set = budget::set(app, &profile, budget, Actor::Operator).await?;
    tracing::info!(account = %profile.key.id, "operator: daily budget set");
    Answer::ok(&AccountView::from(set.unwrap_or(profile)))
}

/// The account of that id or phone number.
pub(crate) async fn find(app: &App, text: &str) -> Result<AccountProfile, Refusal> {
    // `"+39…".parse::<i64>()` takes the sign: a text with `+` is a phone number, never an id.
    let digits = Some(text).filter(|text| !text.starts_with('+'));
    if let Some(id) = digits.and_then(|digits| digits.parse().ok()).and_then(AccountId::new)
        && let Some(profile) = app.store.account(id).await?
    {
        return Ok(profile);
    }
    if let Some(phone) = PhoneNumber::parse(text, sandbox_numbers(app))
        && let Some(profile) = app.store.account_of_phone(phone).await?
    {
        return Ok(profile);
    }
    let shown: String = text.chars().take(40).collect();
    Err(Refusal::not_found(format!(
        "no account has the phone number or id {shown}: `countersign account list` shows them all"
    )))
}

/// The account as it stands after a change.
pub(super) async fn reload(app: &App, key: AccountKey) -> Result<AccountProfile, Refusal> {
    app.store.account(key.id).await?.ok_or_else(|| {
        tracing::error!(account = %key.id, "an account that was just used is gone");
        Refusal::internal()
    })
}

async fn purchase(app: &App, account: AccountKey, amount: Credits) -> Result<(), Refusal> {
    let command = Command {
        now: clock::now(),
        token: None,
        idempotency: None,
        action: Action::Purchase { amount },
    };
    match app.store.submit_by(account, command, Actor::Operator).await? {
        Ok(_) => Ok(()),
        Err(_) => Err(Refusal::conflict(
            "the account can't take this much more credit: its sums would leave their range",
        )),
    }
}

fn check_purchase(amount: Credits) -> Result<(), Refusal> {
    if amount > Credits::ZERO && amount <= MAX_PURCHASE {
        return Ok(());
    }
    Err(Refusal::bad_request(format!(
        "{amount} can't be credited: credit is more than 0 and at most {MAX_PURCHASE} at a time"
    )))
}

pub(super) fn require_open(profile: &AccountProfile) -> Result<(), Refusal> {
    if profile.closed_at.is_none() {
        return Ok(());
    }
    Err(Refusal::conflict(format!(
        "the account {} is closed, for good: make a new one with `countersign account create`",
        profile.key.id
    )))
}

const fn sandbox_numbers(app: &App) -> SandboxNumbers {
    match app.mode {
        Mode::Sandbox => SandboxNumbers::Accepted,
        Mode::Production => SandboxNumbers::Refused,
    }
}

fn parse_phone(app: &App, text: &str) -> Result<PhoneNumber, Refusal> {
    PhoneNumber::parse(text, sandbox_numbers(app)).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        Refusal::bad_request(format!(
            "`{shown}` is not a possible phone number: write it in international form, like +391234567890"
        ))
    })
}

fn parse_name(text: &str) -> Result<&str, Refusal> {
    let name = text.trim();
    if !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.chars().any(char::is_control) {
        return Ok(name);
    }
    Err(Refusal::bad_request(format!(
        "an account needs a name of 1 to {MAX_NAME_BYTES} bytes on one line"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_read_exactly_from_a_number_or_a_string() {
        let read = |json: &str| serde_json::from_str::<CreditBody>(json).map(|body| body.amount.0);
        for json in [r#"{"amount":0.1}"#, r#"{"amount":"0.1"}"#, r#"{"amount":0.1000000000}"#] {
            assert_eq!(read(json).unwrap(), Credits::from_micros(100_000), "{json}");
        }
        assert_eq!(
            read(r#"{"amount":9007199254.740993}"#).unwrap(),
            Credits::from_micros(9_007_199_254_740_993)
        );
        for json in [
            r#"{"amount":1e2}"#,
            r#"{"amount":0.0000001}"#,
            r#"{"amount":null}"#,
            r#"{"amount":true}"#,
            r#"{"amount":"ten"}"#,
            r"{}",
        ] {
            assert!(read(json).is_err(), "{json} passed");
        }
    }

    #[test]
    fn a_purchase_is_more_than_nothing_and_bounded() {
        assert!(check_purchase(Credits::from_micros(1)).is_ok());
        assert!(check_purchase(MAX_PURCHASE).is_ok());
        for amount in [
            Credits::ZERO,
            Credits::from_micros(-1),
            MAX_PURCHASE + Credits::from_micros(1),
        ] {
            assert!(check_purchase(amount).is_err(), "{amount} passed");
        }
    }

    #[test]
    fn a_name_is_one_short_line() {
        assert_eq!(parse_name("  Acme ").unwrap(), "Acme");
        for bad in ["", "   ", "two\nlines", &"x".repeat(101)] {
            assert!(parse_name(bad).is_err(), "{bad:?} passed");
        }
    }
}
