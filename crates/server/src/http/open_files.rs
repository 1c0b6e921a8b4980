//! The system's limit on open files. A usual shell allows 1,024, fewer than the connections that a server may have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files besides connections: the database, its readers and its log, and listeners; and delivery reports, of which 1,024 may be
/// under way and 512 connections kept.
const RESERVED: u64 = 256 + 1_024 + 512;

/// Raises this process's limit on open files, as far as the system lets it, so that `connections` fit besides everything
/// else; answers how many do.
pub fn allow_open_files(connections: usize) -> usize {
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(RESERVED);
    let limit = getrlimit(Resource::Nofile);
    let mut allowed = limit.current.unwrap_or(u64::MAX);
    if allowed < wanted {
        let raised = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
        let asked = Rlimit {
            current: Some(raised),
            maximum: limit.maximum,
        };
        if setrlimit(Resource::Nofile, asked).is_ok() {
            allowed = raised;
        }
    }
    // Where there is little, callers get half.
    let fit = allowed.saturating_sub(RESERVED.min(allowed / 2)).max(16);
    connections.min(usize::try_from(fit).unwrap_or(usize::MAX))
}
