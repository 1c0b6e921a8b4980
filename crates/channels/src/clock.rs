//! The system's clock, for channels: the one place in this crate that asks it.

use std::time::{SystemTime, UNIX_EPOCH};

use countersign_core::Timestamp;

/// Real time.
pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}
