//! SQL of who is signed in to the pages, and who is about to.

use countersign_core::Timestamp;
use futures_util::future::BoxFuture;

use super::{SqliteStore, answered};
use crate::sessions::{Session, SessionToken, Sessions};
use crate::types::StoreError;

impl Sessions for SqliteStore {
    fn session(&self, _token: &SessionToken, _now: Timestamp) -> BoxFuture<'_, Result<Option<Session>, StoreError>> {
        answered(Ok(None))
    }
}
