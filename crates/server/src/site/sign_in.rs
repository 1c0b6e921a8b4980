//! What a sign-in does to the browser: a session under a new token, whatever the browser held before, and the cookies that
//! belong to the way there taken away. Also where a sign-in may lead.

use axum::http::header::SET_COOKIE;
use axum::response::Response;
use countersign_core::Timestamp;
use countersign_store::{NewSession, SessionOwner, SessionToken};

use super::asker::Asker;
use super::cookies::Cookie;
use super::csrf;
use super::page::{self, PageError};
use crate::app::App;
use crate::{portal, random};

/// How long an owner stays signed in: 30 days.
const SESSION_SECONDS: i64 = 30 * 86_400;
/// How long the form of the login page can be sent.
const VISIT_SECONDS: i64 = 86_400;

/// Opens a session and sends the browser on. Its token is new each time: what was planted in a browser before opens nothing.
pub(crate) async fn open(
    app: &App,
    owner: SessionOwner,
    asker: &Asker,
    to: &str,
    now: Timestamp,
) -> Result<Response, PageError> {
    let secret = random::bytes::<32>();
    let new = NewSession {
        token: SessionToken(secret),
        id: (i64::from_ne_bytes(random::bytes()) & i64::MAX).max(1),
        owner,
        device: asker.device.clone(),
        address: asker.address_text(),
        now,
        life_ms: SESSION_SECONDS * 1_000,
    };
    app.site.begin_session(new).await?;
    if let SessionOwner::Account(account) = owner {
        portal::note(app, account.id, "signed in", now).await?;
    }
    let mut response = page::see_other(to);
    set_cookie(
        &mut response,
        app,
        Cookie::Session,
        &csrf::written(&secret),
        SESSION_SECONDS,
    );
    set_cookie(&mut response, app, Cookie::Login, "", 0);
    set_cookie(&mut response, app, Cookie::Visit, "", 0);
    Ok(response)
}

/// Adds a cookie to an answer; zero seconds take it away.
pub(crate) fn set_cookie(response: &mut Response, app: &App, cookie: Cookie, value: &str, seconds: i64) {
    if let Some(header) = cookie.set(value, seconds, &app.settings) {
        response.headers_mut().append(SET_COOKIE, header);
    }
}

/// Gives a browser the visit's cookie that the form on its page needs, where it has none.
pub(crate) fn with_visit(mut response: Response, app: &App, cookie: Option<&str>) -> Response {
    if let Some(cookie) = cookie {
        set_cookie(&mut response, app, Cookie::Visit, cookie, VISIT_SECONDS);
    }
    response
}

/// Where a sign-in leads: a path of this site, as the query's `next` names it, else the account's overview. Browsers take
/// `//host` and `/\host` for another site.
pub(crate) fn next_of(query: Option<&str>) -> String {
    let asked = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).find(|(name, _)| name == "next");
    asked
        .map(|(_, path)| path.into_owned())
        .filter(|path| is_own_path(path))
        .unwrap_or_else(|| "/account".to_owned())
}

fn is_own_path(path: &str) -> bool {
    let bytes = path.as_bytes();
    bytes.first() == Some(&b'/')
        && !matches!(bytes.get(1), Some(b'/' | b'\\'))
        && bytes.len() <= 1_000
        && bytes.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'\\')
}

/// A path that carries where to go on afterwards.
pub(crate) fn with_next(path: &str, next: &str) -> String {
    let query: String = form_urlencoded::Serializer::new(String::new())
        .append_pair("next", next)
        .finish();
    format!("{path}?{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_in_leads_to_paths_of_this_site_alone() {
        for (query, path) in [
            ("next=%2Faccount%2Fapi%3Fa%3D1", "/account/api?a=1"),
            ("next=/account/messages", "/account/messages"),
            ("next=//evil.example", "/account"),
            ("next=/%5Cevil.example", "/account"),
            ("next=https://evil.example", "/account"),
            ("next=javascript:alert(1)", "/account"),
            ("next=/%09/evil.example", "/account"),
            ("next=/a%0d%0aSet-Cookie:x", "/account"),
            ("next=", "/account"),
            ("", "/account"),
        ] {
            assert_eq!(next_of(Some(query)), path, "{query}");
        }
        assert_eq!(next_of(None), "/account");
    }
}
