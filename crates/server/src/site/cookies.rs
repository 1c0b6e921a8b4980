//! The cookies that pages set. Over TLS their names begin with `__Host-`, which makes browsers refuse them from any other
//! host, path or connection; over plain HTTP that prefix can't be had.

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};

use crate::settings::Settings;

/// What a cookie is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cookie {
    /// An account's session.
    Session,
    /// The operator's session.
    Operator,
    /// A visit without a session: what the login form's CSRF token hangs on.
    Visit,
    /// The sign-in that a browser has begun.
    Login,
    /// The viewer's time zone, set by the page's script.
    Zone,
}

impl Cookie {
    const fn name(self) -> &'static str {
        match self {
            Self::Session => "countersign-session",
            Self::Operator => "countersign-operator",
            Self::Visit => "countersign-visit",
            Self::Login => "countersign-login",
            Self::Zone => "countersign-zone",
        }
    }

    fn full_name(self, secure: bool) -> String {
        // The script can't know how it was reached by a proxy, and a time zone is no secret.
        if secure && self != Self::Zone {
            format!("__Host-{}", self.name())
        } else {
            self.name().to_owned()
        }
    }

    /// What the browser sent.
    pub(crate) fn read(self, headers: &HeaderMap, settings: &Settings) -> Option<String> {
        let name = self.full_name(is_secure(settings));
        headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value.to_owned())
    }

    /// The header that sets it for so many seconds; zero takes it away. `value` is base64url or empty.
    pub(crate) fn set(self, value: &str, seconds: i64, settings: &Settings) -> Option<HeaderValue> {
        let secure = is_secure(settings);
        let flag = if secure { "; Secure" } else { "" };
        let name = self.full_name(secure);
        // Lax: a link from a mail may open a page that is signed in; no other site's form may send with it.
        HeaderValue::try_from(format!(
            "{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{flag}"
        ))
        .ok()
    }
}

/// Whether browsers reach us over TLS: our own, or that of the proxy in front.
pub(crate) fn is_secure(settings: &Settings) -> bool {
    let server = &settings.server;
    match &server.public_url {
        Some(url) => url.starts_with("https://"),
        None => server.tls_cert_file.is_some() || server.behind_proxy,
    }
}
