//! How far accounts' clocks are ahead of real time, remembered for a moment: the sandbox alone moves clocks, and a message
//! tells its channel by how much. In production the answer is always zero, and nobody is asked.

use std::collections::HashMap;
use std::time::Duration;

use countersign_core::{AccountId, Timestamp};
use countersign_store::Store;
use tokio::time::Instant;

use crate::Mode;

/// How long an answer of the books is believed.
const BELIEVED_FOR: Duration = Duration::from_secs(1);
/// Most accounts that are remembered; then all are forgotten.
const MAX_REMEMBERED: usize = 4_096;
/// A message that seems to come this far out of the future was sent after its account's clock was moved, which goes by
/// whole seconds; hand-over itself takes some milliseconds.
const MOVED_MS: i64 = 500;

/// The remembered offsets.
#[derive(Debug)]
pub(super) struct ClockOffsets {
    mode: Mode,
    remembered: HashMap<AccountId, (i64, Instant)>,
}

impl ClockOffsets {
    pub(super) fn new(mode: Mode) -> Self {
        Self {
            mode,
            remembered: HashMap::new(),
        }
    }

    /// The offset of an account's clock in milliseconds, for a message that was sent at `sent_at` on that clock. `now` is
    /// real time. Where the books don't answer, it is what was known last, or zero: it only moves what a page shows.
    pub(super) async fn offset_ms(
        &mut self,
        store: &dyn Store,
        account: AccountId,
        sent_at: Timestamp,
        now: Timestamp,
    ) -> i64 {
        if self.mode == Mode::Production {
            return 0;
        }
        let remembered = self.remembered.get(&account).copied();
        if let Some((offset_ms, at)) = remembered {
            let moved_since = sent_at > now.plus_millis(offset_ms.saturating_add(MOVED_MS));
            if !moved_since && at.elapsed() < BELIEVED_FOR {
                return offset_ms;
            }
        }
        match store.account(account).await {
            Ok(Some(profile)) => {
                if self.remembered.len() >= MAX_REMEMBERED {
                    self.remembered.clear();
                }
                self.remembered
                    .insert(account, (profile.clock_offset_ms, Instant::now()));
                profile.clock_offset_ms
            }
            Ok(None) | Err(_) => remembered.map_or(0, |(offset_ms, _)| offset_ms),
        }
    }
}
