//! What all pages share, and the pages that need no sign-in. The owner's pages are in `portal/`, the operator's in `console/`.
//!
//! A page is a handler that takes its viewer (`viewer`), asks the books, fills a template in `templates/`, and answers
//! `page::html`. A form is a `POST` that takes `form::Form`, which has checked the CSRF token, and answers with a
//! redirect (`page::see_other`) or with the same page and what was wrong. Here are the parts: `assets` what the browser
//! loads, `frame` what stands around every page, `state` how a state looks, `format` how money, time and numbers are
//! written, `icons` the small pictures, `guard` what every answer carries.

pub(crate) mod address;
pub(crate) mod asker;
pub(crate) mod assets;
pub(crate) mod bubbles;
pub(crate) mod cookies;
mod countries;
pub(crate) mod csrf;
mod docs;
pub(crate) mod form;
pub(crate) mod format;
pub(crate) mod frame;
pub(crate) mod guard;
mod icons;
mod landing;
pub(crate) mod nations;
pub(crate) mod page;
mod prices;
pub(crate) mod sign_in;
pub(crate) mod state;
pub(crate) mod terms;
pub(crate) mod viewer;
pub(crate) mod zone;

use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use axum::http::header::ACCEPT;
use axum::http::request::Parts;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};

use crate::app::App;
use crate::{console, openapi, portal, senders};

/// Every page, with what it loads.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .merge(landing::router())
        .merge(docs::router())
        .merge(openapi::router())
        .merge(terms::router())
        .merge(portal::router())
        .merge(console::router())
        .layer(from_fn_with_state(Arc::clone(&app), guard::guard))
        // Each of these says itself what its answers carry.
        .merge(assets::router())
        .merge(senders::router())
        .with_state(app)
}

/// The answer to a person's browser at a path that is nobody's. A program, which doesn't ask for pages, gets `None`, and the
/// API's own answer.
pub(crate) fn no_such_page(parts: &Parts) -> Option<Response> {
    let accepts = parts.headers.get(ACCEPT).and_then(|accepts| accepts.to_str().ok());
    let asks_for_page = accepts.is_some_and(|accepts| accepts.contains("text/html"));
    (parts.method == Method::GET && asks_for_page).then(|| {
        let mut response = page::PageError::NotFound("page").into_response();
        guard::dress(&mut response);
        response
    })
}
