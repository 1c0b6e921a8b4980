//! How often an account may change its settings through the owner's API: each change is a commit of its own, which all callers
//! share the disk with.

use countersign_core::Limit;

use crate::answer::Refusal;
use crate::api::caller::Caller;
use crate::clock;
use crate::pace::Pace;

const LIMIT: Limit = Limit {
    count: 10,
    period_ms: 60_000,
};

/// The changes of a server's accounts.
pub(super) struct Changes(Pace);

impl Default for Changes {
    fn default() -> Self {
        Self(Pace::new(LIMIT))
    }
}

impl Changes {
    pub(super) fn take(&self, caller: &Caller) -> Result<(), Refusal> {
        self.0.take(caller.access.key.id, clock::now()).map_err(|seconds| {
            Refusal::too_many(format!(
                "nothing was changed: an account has {} changes a minute; try again in {seconds} s",
                LIMIT.count
            ))
        })
    }
}
