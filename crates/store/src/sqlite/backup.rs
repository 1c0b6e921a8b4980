//! A consistent copy of the books while they are written. Its steps run on the writer's own connection, between batches: SQLite
//! then carries each commit over to what was copied already, so that the copy never begins anew, and between two steps no
//! snapshot is held that would let the log grow. What becomes of the finished copy is `crate::backup`'s matter.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};
use tokio::sync::oneshot;

use crate::backup::{BackupError, BackupProgress, make_private_file};

/// How long a step should take: half of the 5 ms by which a backup may hold a batch up, since no two pages take the same time.
const STEP_TARGET: Duration = Duration::from_micros(2_500);
/// Pages of the first step, and of the longest.
const FIRST_PAGES: i32 = 16;
const MAX_PAGES: i32 = 1_024;
/// The copy's own page cache, in KiB: what is in it is written at the last step, which must be short too.
const CACHE_KIB: i32 = 1_024;

/// A backup that the writer is asked for.
pub(super) struct BackupTask {
    pub(super) partial: PathBuf,
    pub(super) progress: Arc<BackupProgress>,
    pub(super) reply: oneshot::Sender<Result<(), BackupError>>,
}

/// Copies the books. `between` runs between two steps, and may end the copy.
pub(crate) fn copy(
    source: &Connection,
    partial: &Path,
    progress: &BackupProgress,
    mut between: impl FnMut() -> ControlFlow<BackupError>,
) -> Result<(), BackupError> {
    let mut target = open_target(partial)?;
    {
        let backup = Backup::new(source, &mut target)?;
        let mut pages = FIRST_PAGES;
        loop {
            let started = Instant::now();
            let step = backup.step(pages)?;
            pages = next_pages(pages, started.elapsed());
            let copied = backup.progress();
            progress.note(copied.pagecount, copied.remaining);
            if step == StepResult::Done {
                break;
            }
            if let ControlFlow::Break(error) = between() {
                return Err(error);
            }
            if progress.is_cancelled() {
                return Err(BackupError::Cancelled);
            }
        }
    }
    target.close().map_err(|(_, error)| error)?;
    Ok(())
}

/// The next step's pages, from what this one took: never more than double, so that a few cached pages promise nothing.
#[expect(clippy::float_arithmetic, reason = "durations and pages, no money")]
fn next_pages(pages: i32, took: Duration) -> i32 {
    let wanted = f64::from(pages) * STEP_TARGET.as_secs_f64() / took.as_secs_f64().max(1e-6);
    #[expect(clippy::cast_possible_truncation, reason = "clamped to a few thousand")]
    let wanted = wanted.clamp(1.0, f64::from(MAX_PAGES)) as i32;
    wanted.min(2 * pages)
}

fn open_target(partial: &Path) -> Result<Connection, BackupError> {
    make_private_file(partial)?;
    let target = Connection::open(partial)?;
    // Nobody reads it before it is whole, and whoever made it syncs it then: no journal, no syncs on the writer's thread.
    target.pragma_update(None, "journal_mode", "off")?;
    target.pragma_update(None, "synchronous", "off")?;
    target.pragma_update(None, "locking_mode", "exclusive")?;
    target.pragma_update(None, "cache_size", -CACHE_KIB)?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_shrink_at_once_and_grow_by_doubling_towards_their_target() {
        assert_eq!(next_pages(100, STEP_TARGET), 100);
        assert_eq!(next_pages(100, 10 * STEP_TARGET), 10);
        assert_eq!(next_pages(100, STEP_TARGET / 50), 200);
        assert_eq!(next_pages(1, 100 * STEP_TARGET), 1);
        assert_eq!(next_pages(MAX_PAGES, Duration::ZERO), MAX_PAGES);
    }
}
