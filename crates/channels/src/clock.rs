//! The system's clock, for channels: the one place in this crate that asks it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use countersign_core::Timestamp;

/// Real time.
pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// How long it is from one moment to a later one; zero where that is over.
pub(crate) fn between(now: Timestamp, end: Timestamp) -> Duration {
    let millis = end.millis().saturating_sub(now.millis());
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
