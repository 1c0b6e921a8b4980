//! An account's tokens, the live one and the one for test mode: shown, and rotated, with a grace for the old one or without.

use std::sync::Arc;

use axum::extract::{Path, State};
use countersign_core::{ApiToken, Grace, Timestamp, TokenKind};
use countersign_store::{AccountProfile, Actor, Rotation};
use serde::{Deserialize, Serialize};

use super::accounts::{Body, find, require_open};
use crate::answer::{self, Answer, Refusal};
use crate::app::App;
use crate::{clock, random};

#[derive(Serialize)]
struct TokenView {
    account_id: String,
    phone_number: String,
    /// `live` or `test`.
    kind: &'static str,
    token: String,
    /// Until when the token before it works, whole Unix seconds; left out where it doesn't.
    #[serde(skip_serializing_if = "Option::is_none")]
    old_token_until: Option<i64>,
}

#[derive(Deserialize, Default)]
struct RotateBody {
    #[serde(default)]
    grace: Option<String>,
}

/// `GET /accounts/{account}/token`: the present live token.
pub(super) async fn show(State(app): State<Arc<App>>, Path(account): Path<String>) -> Result<Answer, Refusal> {
    let profile = find(&app, &account).await?;
    let token = app.store.token(profile.key).await?;
    shown(&app, &profile, &token).await
}

/// `GET /accounts/{account}/test-token`: the token for test mode; it is made where there is none yet.
pub(super) async fn show_test(State(app): State<Arc<App>>, Path(account): Path<String>) -> Result<Answer, Refusal> {
    let profile = find(&app, &account).await?;
    require_open(&profile)?;
    let fresh = ApiToken::of_kind(TokenKind::Test, profile.key.id, random::bytes());
    let token = app.site.test_token(profile.key, fresh, clock::now()).await?;
    shown(&app, &profile, &token).await
}

/// `POST /accounts/{account}/token/rotate`: a new live token. The old one is refused from now on, or after a grace.
pub(super) async fn rotate(
    State(app): State<Arc<App>>,
    Path(account): Path<String>,
    body: Body,
) -> Result<Answer, Refusal> {
    replace(&app, &account, TokenKind::Live, body).await
}

/// `POST /accounts/{account}/test-token/rotate`: a new token for test mode.
pub(super) async fn rotate_test(
    State(app): State<Arc<App>>,
    Path(account): Path<String>,
    body: Body,
) -> Result<Answer, Refusal> {
    replace(&app, &account, TokenKind::Test, body).await
}

async fn replace(app: &App, account: &str, kind: TokenKind, body: Body) -> Result<Answer, Refusal> {
    let grace = read_grace(body)?;
    let (profile, token, grace_until) = renew(app, account, kind, grace).await?;
    Answer::ok(&view(&profile, &token, grace_until))
}

/// Gives an open account a new token; answers it, and until when the old one works.
pub(crate) async fn renew(
    app: &App,
    account: &str,
    kind: TokenKind,
    grace: Grace,
) -> Result<(AccountProfile, ApiToken, Option<Timestamp>), Refusal> {
    let profile = find(app, account).await?;
    require_open(&profile)?;
    let rotation = Rotation {
        token: ApiToken::of_kind(kind, profile.key.id, random::bytes()),
        grace,
        by: Actor::Operator,
        now: clock::now(),
    };
    let token = rotation.token.clone();
    let standing = app.site.rotate(profile.key, rotation).await?;
    tracing::info!(account = %profile.key.id, kind = name(kind), grace = grace.name(), "operator: token rotated");
    Ok((profile, token, standing.grace_until))
}

/// Nothing sent means no grace: so it was before there was one.
fn read_grace(body: Body) -> Result<Grace, Refusal> {
    if matches!(&body, Ok(bytes) if bytes.is_empty()) {
        return Ok(Grace::None);
    }
    let body: RotateBody = answer::body(body, r#"{"grace":"24h"}"#)?;
    let Some(written) = body.grace else {
        return Ok(Grace::None);
    };
    Grace::parse(&written).ok_or_else(|| {
        Refusal::bad_request("`grace` must be `none`, `1h`, `24h` or `7d`: so long the old token still works")
    })
}

async fn shown(app: &App, profile: &AccountProfile, token: &ApiToken) -> Result<Answer, Refusal> {
    // Nobody sees a token without leaving a trace.
    let action = match token.kind() {
        TokenKind::Live => "token shown",
        TokenKind::Test => "test-mode token shown",
    };
    super::note(app, action, &format!("account {}", profile.key.id), "").await?;
    tracing::info!(account = %profile.key.id, kind = name(token.kind()), "operator: token shown");
    let tokens = app.site.tokens(profile.key).await?;
    let state = match token.kind() {
        TokenKind::Live => tokens.live,
        TokenKind::Test => tokens.test,
    };
    let until = state.standing.grace_until.filter(|until| clock::now() < *until);
    Answer::ok(&view(profile, token, until))
}

fn view(profile: &AccountProfile, token: &ApiToken, old_token_until: Option<Timestamp>) -> TokenView {
    TokenView {
        account_id: profile.key.id.to_string(),
        phone_number: profile.phone.to_string(),
        kind: name(token.kind()),
        token: token.as_str().to_owned(),
        old_token_until: old_token_until.map(Timestamp::unix_seconds),
    }
}

const fn name(kind: TokenKind) -> &'static str {
    match kind {
        TokenKind::Live => "live",
        TokenKind::Test => "test",
    }
}
