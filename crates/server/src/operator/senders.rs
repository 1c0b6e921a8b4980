//! Senders: the names that recipients see.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, RawQuery, State};
use countersign_core::{SenderUsername, Timestamp};
use countersign_store::{Actor, SenderProfile, StoreError};
use serde::{Deserialize, Serialize};

use super::accounts::{find, require_open};
use crate::answer::{self, Answer, Refusal};
use crate::app::App;
use crate::clock;

/// Longest reason of a refusal.
const MAX_REASON_CHARS: usize = 300;

/// A sender as this API shows it.
#[derive(Serialize)]
struct SenderView {
    /// With its leading `@`.
    username: String,
    account_id: String,
    verified: bool,
    /// Whole Unix seconds.
    created_at: i64,
    /// Whole Unix seconds; left out where it isn't verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified_at: Option<i64>,
}

impl From<SenderProfile> for SenderView {
    fn from(profile: SenderProfile) -> Self {
        Self {
            username: profile.username.to_string(),
            account_id: profile.account.id.to_string(),
            verified: profile.verified_at.is_some(),
            created_at: profile.created_at.unix_seconds(),
            verified_at: profile.verified_at.map(Timestamp::unix_seconds),
        }
    }
}

#[derive(Serialize)]
struct SendersView {
    senders: Vec<SenderView>,
}

/// `GET /senders[?account=]`: an account's senders, or all.
pub(super) async fn list(State(app): State<Arc<App>>, RawQuery(raw): RawQuery) -> Result<Answer, Refusal> {
    let account = answer::query(raw.as_deref())
        .into_iter()
        .find_map(|(name, value)| (name == "account" && !value.is_empty()).then_some(value));
    let account = match account {
        Some(account) => Some(find(&app, &account).await?.key),
        None => None,
    };
    let senders = app.store.senders(account).await?;
    Answer::ok(&SendersView {
        senders: senders.into_iter().map(SenderView::from).collect(),
    })
}

#[derive(Deserialize)]
struct AddBody {
    account: String,
    username: String,
}

/// `POST /senders`: registers a name for an account, unverified.
pub(super) async fn add(State(app): State<Arc<App>>, body: Result<Bytes, BytesRejection>) -> Result<Answer, Refusal> {
    let body: AddBody = answer::body(body, r#"{"account":"+391234567890","username":"acme_shop"}"#)?;
    let username = parse_username(&body.username)?;
    let profile = find(&app, &body.account).await?;
    require_open(&profile)?;
    let sender = app
        .store
        .add_sender(profile.key, username.clone(), clock::now(), Actor::Operator)
        .await
        .map_err(|error| match error {
            StoreError::Conflict(_) => Refusal::conflict(format!(
                "the sender {username} is registered already: `countersign sender list` shows whose it is"
            )),
            error => error.into(),
        })?;
    tracing::info!(account = %profile.key.id, sender = %username, "operator: sender added");
    Answer::created(&SenderView::from(sender))
}

/// `POST /senders/{username}/verify`: from now on its account can send by this name.
pub(super) async fn verify(State(app): State<Arc<App>>, Path(username): Path<String>) -> Result<Answer, Refusal> {
    Answer::ok(&SenderView::from(verify_named(&app, &username).await?))
}

/// Gives a sender the verified mark.
pub(crate) async fn verify_named(app: &App, username: &str) -> Result<SenderProfile, Refusal> {
    let username = parse_username(username)?;
    let sender = app
        .store
        .verify_sender(username.clone(), clock::now(), Actor::Operator)
        .await
        .map_err(|error| match error {
            StoreError::NotFound(_) => Refusal::not_found(format!(
                "nobody has registered the sender {username}: `countersign sender add` does"
            )),
            error => error.into(),
        })?;
    tracing::info!(account = %sender.account.id, sender = %username, "operator: sender verified");
    Ok(sender)
}

#[derive(Deserialize)]
struct RefuseBody {
    reason: String,
}

/// `POST /senders/{username}/refuse`: its account can't send by this name; its owner reads the reason.
pub(super) async fn refuse(
    State(app): State<Arc<App>>,
    Path(username): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Answer, Refusal> {
    let body: RefuseBody = answer::body(body, r#"{"reason":"The name is another company's trade mark"}"#)?;
    Answer::ok(&SenderView::from(refuse_named(&app, &username, &body.reason).await?))
}

/// Refuses the verified mark, or takes it away.
pub(crate) async fn refuse_named(app: &App, username: &str, reason: &str) -> Result<SenderProfile, Refusal> {
    let username = parse_username(username)?;
    let reason = reason.trim();
    if reason.is_empty() || reason.chars().count() > MAX_REASON_CHARS || reason.chars().any(char::is_control) {
        return Err(Refusal::bad_request(format!(
            "say why in one line of at most {MAX_REASON_CHARS} characters: the sender’s owner reads it"
        )));
    }
    app.site
        .refuse_sender(username.clone(), reason.to_owned(), clock::now(), Actor::Operator)
        .await
        .map_err(|error| match error {
            StoreError::NotFound(_) => Refusal::not_found(format!("nobody has registered the sender {username}")),
            error => error.into(),
        })?;
    tracing::info!(sender = %username, "operator: sender refused");
    let sender = app.site.sender_detail(&username).await?;
    sender
        .map(|sender| sender.profile.clone())
        .ok_or_else(|| Refusal::not_found(format!("the sender {username} was deleted meanwhile")))
}

fn parse_username(text: &str) -> Result<SenderUsername, Refusal> {
    SenderUsername::parse(text.trim()).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        Refusal::bad_request(format!(
            "`{shown}` can't be a sender: a name has 5 to 32 of a-z, 0-9 and _, a letter first"
        ))
    })
}
