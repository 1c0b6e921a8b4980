//! What all pages share, and the pages that need no sign-in. The owner's pages are in `portal/`, the operator's in `console/`.
//!
//! A page is a handler that takes its viewer ([`viewer`]), asks the books, fills a template in `templates/`, and answers
//! [`page::html`]. A form is a `POST` that takes [`form::Form`], which has checked the CSRF token, and answers with a
//! redirect ([`page::see_other`]) or with the same page and what was wrong. Here are the parts: [`assets`] what the browser
//! loads, [`frame`] what stands around every page, [`state`] how a state looks, [`format`] how money, time and numbers are
//! written, [`guard`] what every answer carries.

pub(crate) mod address;
pub(crate) mod asker;
pub(crate) mod assets;
pub(crate) mod cookies;
mod countries;
pub(crate) mod csrf;
mod docs;
pub(crate) mod form;
pub(crate) mod format;
pub(crate) mod frame;
mod guard;
mod landing;
pub(crate) mod page;
mod prices;
pub(crate) mod state;
pub(crate) mod terms;
pub(crate) mod viewer;
pub(crate) mod zone;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;

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
