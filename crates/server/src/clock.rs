//! The one place that reads the clock.

use std::time::{SystemTime, UNIX_EPOCH};

use countersign_core::Timestamp;

/// Real time now.
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}
