//! How senders look, to their owners, to the operator and to recipients: what may be set ([`look`]), which pictures are taken
//! ([`picture`]), and where a picture is served.

pub(crate) mod look;
pub(crate) mod picture;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_core::SenderUsername;
use countersign_store::{SenderDetail, Verification};
use ring::digest::{SHA256, digest};

use crate::app::App;
use crate::site::guard;
use crate::site::page::PageError;
use crate::site::state::Badge;

/// What stands beside a message or in a list: a picture, or the first letter on a colour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SenderFace {
    /// The display name, or the username with its `@`.
    pub(crate) name: String,
    /// `@username`.
    pub(crate) username: String,
    /// Where the picture is.
    pub(crate) picture: Option<String>,
    /// `#rrggbb`.
    pub(crate) colour: String,
    /// The colour of the letter on it.
    pub(crate) ink: &'static str,
    pub(crate) letter: String,
    pub(crate) verified: bool,
    /// Where recipients find help; empty for nowhere.
    pub(crate) support_url: String,
}

impl SenderFace {
    pub(crate) fn of(sender: &SenderDetail) -> Self {
        let username = sender.profile.username.to_string();
        let display = &sender.look.display_name;
        let name = if display.is_empty() {
            username.clone()
        } else {
            display.clone()
        };
        let first = name.trim_start_matches('@').chars().next();
        let colour = if sender.look.colour.is_empty() {
            look::DEFAULT_COLOUR.to_owned()
        } else {
            sender.look.colour.clone()
        };
        Self {
            letter: first.map_or_else(String::new, |letter| letter.to_uppercase().to_string()),
            picture: sender
                .picture
                .as_ref()
                .map(|hash| format!("/senders/{}/picture?v={hash}", sender.profile.username.as_str())),
            ink: look::ink_on(&colour),
            colour,
            name,
            username,
            verified: matches!(sender.verification, Verification::Verified { .. }),
            support_url: sender.look.support_url.clone(),
        }
    }

    /// As recipients see it: nobody passes for another, so only what the operator verified is shown besides the username.
    pub(crate) fn for_recipients(username: &SenderUsername, sender: Option<&SenderDetail>) -> Self {
        if let Some(sender) = sender.filter(|sender| matches!(sender.verification, Verification::Verified { .. })) {
            return Self::of(sender);
        }
        Self {
            name: username.to_string(),
            username: username.to_string(),
            picture: None,
            colour: look::DEFAULT_COLOUR.to_owned(),
            ink: look::ink_on(look::DEFAULT_COLOUR),
            letter: username.as_str().chars().take(1).collect::<String>().to_uppercase(),
            verified: false,
            support_url: String::new(),
        }
    }
}

/// What a verified mark vouches for, as one word: whose sender it is, and what recipients see of it but its colour. Another word
/// means that something of it was changed.
pub(crate) fn look_word(sender: &SenderDetail) -> String {
    // None of these can hold a line's end.
    let look = format!(
        "{}\n{}\n{}\n{}",
        sender.profile.account.id,
        sender.look.display_name,
        sender.look.support_url,
        sender.picture.as_deref().unwrap_or_default()
    );
    URL_SAFE_NO_PAD.encode(digest(&SHA256, look.as_bytes()))
}

/// How far a sender is on its way to the verified mark, as everywhere.
pub(crate) const fn standing(verification: &Verification) -> Badge {
    match verification {
        Verification::None => Badge::new("quiet", "Not verified", "sender"),
        Verification::Requested { .. } => Badge::new("warn", "Requested", "clock"),
        Verification::Verified { .. } => Badge::new("good", "Verified", "shield"),
        Verification::Refused { .. } => Badge::new("bad", "Refused", "cross"),
    }
}

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new().route("/senders/{username}/picture", get(serve))
}

/// A picture is its owner's: it is served as what it was checked to be, in a sandbox of its own, and never as a page.
async fn serve(State(app): State<Arc<App>>, Path(username): Path<String>, headers: HeaderMap) -> Response {
    picture_of(&app, &username, &headers).await.unwrap_or_else(|error| {
        // What says that there is none is a page, and carries what pages carry.
        let mut response = error.into_response();
        guard::dress(&mut response);
        response
    })
}

async fn picture_of(app: &App, username: &str, headers: &HeaderMap) -> Result<Response, PageError> {
    let username = SenderUsername::parse(username).ok_or(PageError::NotFound("picture"))?;
    let picture = app.site.sender_picture(&username).await?;
    let picture = picture.ok_or(PageError::NotFound("picture"))?;
    let kind = picture::KINDS.iter().find(|kind| **kind == picture.kind);
    let kind = kind.ok_or(PageError::NotFound("picture"))?;
    let tag = format!("\"{}\"", picture.hash);
    let known = headers
        .get(IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Response::new(Body::from(picture.bytes))
    };
    let answer = response.headers_mut();
    answer.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; sandbox; frame-ancestors 'none'"),
    );
    // The address changes with the picture, but an old address shows the new one.
    answer.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    if let Ok(tag) = HeaderValue::try_from(tag) {
        answer.insert(ETAG, tag);
    }
    Ok(response)
}
