//! What every page's answer carries, and who may ask for one: same-origin browsers only.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::page::PageError;
use crate::app::{App, Mode};
use crate::http::{ForeignSite, same_site};

/// Everything comes from here, nothing from elsewhere, and no other page may frame this one.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// The same for a page that shows [`Framing::Framed`] ones.
const FRAMING_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                              frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// What is shown in a frame of ours: no script, nothing loaded, an origin of its own; styles of its own alone.
const FRAMED_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; \
                             frame-ancestors 'self'; sandbox";

/// What an answer is, where it isn't a page like all others: among its extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// A page with frames.
    Frames,
    /// What stands in a frame: a letter as its recipient sees it.
    Framed,
}

pub(super) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    // A sandbox answers under loopback names alone, as its inbox does; production doesn't know all of its names.
    let any_host = app.mode == Mode::Production || app.settings.sandbox.exposed;
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut response = match same_site(request.uri(), request.headers(), any_host) {
        Err(ForeignSite::Host) => PageError::Foreign.into_response(),
        Err(ForeignSite::Origin) if !reads => PageError::Foreign.into_response(),
        _ if *app.draining.borrow() && !reads => PageError::Draining.into_response(),
        _ => next.run(request).await,
    };
    dress(&mut response);
    response
}

/// What every page's answer carries.
pub(crate) fn dress(response: &mut Response) {
    let (policy, framed) = match response.extensions().get::<Framing>() {
        None => (POLICY, "DENY"),
        Some(Framing::Frames) => (FRAMING_POLICY, "DENY"),
        Some(Framing::Framed) => (FRAMED_POLICY, "SAMEORIGIN"),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, policy),
        (REFERRER_POLICY, "same-origin"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, framed),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), geolocation=(), microphone=()",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
}
