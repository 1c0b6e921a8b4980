//! Who looks at a page. A handler that takes a [`Viewer`] is for an account's owner, one that takes an [`OperatorViewer`]
//! for the operator: whoever isn't signed in is sent to the login, and comes back.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use countersign_core::Timestamp;
use countersign_store::{AccountDetails, AccountProfile, Session, SessionOwner, SessionToken};

use super::cookies::Cookie;
use super::csrf::{self, Csrf};
use super::page::PageError;
use super::zone::Zone;
use crate::app::App;
use crate::clock;

/// An account's owner, signed in.
#[derive(Clone)]
pub(crate) struct Viewer {
    pub(crate) session: Session,
    pub(crate) account: AccountProfile,
    /// What the owner said of the account.
    pub(crate) details: AccountDetails,
    pub(crate) csrf: Csrf,
    pub(crate) zone: Zone,
    /// Real time of this request.
    pub(crate) now: Timestamp,
}

impl Viewer {
    /// Now on the account's clock, which the sandbox can move.
    pub(crate) const fn account_now(&self) -> Timestamp {
        self.now.plus_millis(self.account.clock_offset_ms)
    }
}

/// An account's owner, signed in, who may still have to answer the questions of the first sign-in. For the page that asks
/// them, and for signing out; every other page takes a [`Viewer`].
#[derive(Clone)]
pub(crate) struct Newcomer(pub(crate) Viewer);

/// The operator, signed in.
#[derive(Clone)]
pub(crate) struct OperatorViewer {
    pub(crate) session: Session,
    pub(crate) csrf: Csrf,
    pub(crate) zone: Zone,
    /// Real time of this request.
    pub(crate) now: Timestamp,
}

/// Anybody: pages that need no sign-in. A form on such a page needs [`Visitor::cookie`] to be set with it.
#[derive(Clone)]
pub(crate) struct Visitor {
    pub(crate) csrf: Csrf,
    pub(crate) zone: Zone,
    /// The name of the account that is signed in, if one is.
    pub(crate) signed_in: Option<String>,
    /// The visit's cookie, where the browser doesn't have one yet.
    pub(crate) cookie: Option<String>,
    pub(crate) now: Timestamp,
}

fn zone_of(headers: &HeaderMap, app: &App) -> Zone {
    // The script writes the name with its slash escaped.
    let told = Cookie::Zone
        .read(headers, &app.settings)
        .map(|name| name.replace("%2F", "/"));
    told.and_then(|name| Zone::named(&name)).unwrap_or_default()
}

async fn session_of(
    cookie: Cookie,
    parts: &Parts,
    app: &App,
    now: Timestamp,
) -> Result<Option<(Session, Csrf)>, PageError> {
    let Some(secret) = Cookie::read(cookie, &parts.headers, &app.settings).and_then(|text| csrf::secret(&text)) else {
        return Ok(None);
    };
    let session = app.site.session(&SessionToken(secret), now).await?;
    Ok(session.map(|session| (session, Csrf::of(&secret))))
}

async fn viewer_of(parts: &Parts, app: &App) -> Result<Option<Viewer>, PageError> {
    let now = clock::now();
    let Some((session, csrf)) = session_of(Cookie::Session, parts, app, now).await? else {
        return Ok(None);
    };
    let SessionOwner::Account(key) = session.owner else {
        return Ok(None);
    };
    let account = app
        .store
        .account(key.id)
        .await?
        .filter(|account| account.closed_at.is_none());
    let Some(account) = account else { return Ok(None) };
    let details = app.site.details(key).await?;
    let chosen = Some(&details.time_zone).filter(|name| !name.is_empty());
    Ok(Some(Viewer {
        session,
        account,
        csrf,
        zone: chosen
            .and_then(|name| Zone::named(name))
            .unwrap_or_else(|| zone_of(&parts.headers, app)),
        details,
        now,
    }))
}

/// Where a page's reader comes back to. A form can't be sent again by following a link: after it that is the overview.
fn back_to(parts: &Parts) -> String {
    match (&parts.method, parts.uri.path_and_query()) {
        (&Method::GET, Some(path)) => path.as_str().to_owned(),
        _ => "/account".to_owned(),
    }
}

impl FromRequestParts<Arc<App>> for Viewer {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, PageError> {
        let Newcomer(viewer) = Newcomer::from_request_parts(parts, app).await?;
        if viewer.details.onboarded_at.is_none() {
            return Err(PageError::Onboarding { back: back_to(parts) });
        }
        Ok(viewer)
    }
}

impl FromRequestParts<Arc<App>> for Newcomer {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, PageError> {
        let viewer = viewer_of(parts, app).await?;
        viewer
            .map(Self)
            .ok_or_else(|| PageError::SignIn { back: back_to(parts) })
    }
}

impl FromRequestParts<Arc<App>> for OperatorViewer {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, PageError> {
        let now = clock::now();
        let found = session_of(Cookie::Operator, parts, app, now).await?;
        let (session, csrf) = found
            .filter(|(session, _)| session.owner == SessionOwner::Operator)
            .ok_or(PageError::OperatorSignIn)?;
        Ok(Self {
            session,
            csrf,
            zone: zone_of(&parts.headers, app),
            now,
        })
    }
}

impl FromRequestParts<Arc<App>> for Visitor {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, PageError> {
        let viewer = viewer_of(parts, app).await?;
        let known = Cookie::Visit
            .read(&parts.headers, &app.settings)
            .and_then(|text| csrf::secret(&text));
        let (secret, cookie) = if let Some(secret) = known {
            (secret, None)
        } else {
            let secret = crate::random::bytes::<32>();
            (secret, Some(csrf::written(&secret)))
        };
        Ok(Self {
            csrf: Csrf::of(&secret),
            zone: zone_of(&parts.headers, app),
            signed_in: viewer.map(|viewer| viewer.account.name),
            cookie,
            now: clock::now(),
        })
    }
}
