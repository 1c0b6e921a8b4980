//! The operator's pages under `/operator`. Their session is apart from any account's, and opened by the operator key. What
//! they show and do stands behind the same functions as the operator's API (`operator/`).

use std::sync::Arc;

use axum::Router;

use crate::app::App;

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
}
