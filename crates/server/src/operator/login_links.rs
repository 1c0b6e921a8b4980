//! `POST /accounts/{account}/login-link`: a link that signs an account's owner in to the pages, once. For servers that have no
//! channel yet over which they could ask, and for owners who lost their phone.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use countersign_core::Timestamp;
use countersign_store::{AccountProfile, LoginToken};
use serde::Serialize;

use super::accounts::{find, require_open};
use crate::answer::{Answer, Refusal};
use crate::app::App;
use crate::site::address::site_url;
use crate::site::csrf;
use crate::{clock, random};

/// How long a link stands: 15 minutes.
const LINK_LIFE_MS: i64 = 900_000;

#[derive(Serialize)]
struct LinkView {
    account_id: String,
    phone_number: String,
    url: String,
    /// Whole Unix seconds.
    expires_at: i64,
}

pub(super) async fn make(
    State(app): State<Arc<App>>,
    Path(account): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Answer, Refusal> {
    let (profile, url, expires_at) = link_for(&app, &account, &uri, &headers).await?;
    Answer::created(&LinkView {
        account_id: profile.key.id.to_string(),
        phone_number: profile.phone.to_string(),
        url,
        expires_at: expires_at.unix_seconds(),
    })
}

/// Makes a link for an open account's owner; answers it, and until when it stands.
pub(crate) async fn link_for(
    app: &App,
    account: &str,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(AccountProfile, String, Timestamp), Refusal> {
    let profile = find(app, account).await?;
    require_open(&profile)?;
    let (secret, now) = (random::bytes::<32>(), clock::now());
    app.site
        .make_login_link(profile.key, LoginToken(secret), now, LINK_LIFE_MS)
        .await?;
    tracing::info!(account = %profile.key.id, "operator: login link made");
    let url = format!(
        "{}/login/link/{}",
        site_url(&app.settings, uri, headers),
        csrf::written(&secret)
    );
    Ok((profile, url, now.plus_millis(LINK_LIFE_MS)))
}
