//! The process itself, as Linux tells of it under `/proc/self`; elsewhere these families are absent. Names as Prometheus'
//! own client libraries have them, so that dashboards for any process show this one, too.

use super::text::{Exposition, Kind};

/// Ticks of a second in `/proc/self/stat`: `USER_HZ`, fixed in the kernel's interface (proc(5), sysconf).
const TICKS_PER_SECOND: u64 = 100;

pub(super) fn expose(to: &mut Exposition) {
    if let Some(ticks) = cpu_ticks() {
        let seconds = format!("{}.{:02}", ticks / TICKS_PER_SECOND, ticks % TICKS_PER_SECOND);
        to.family(
            "process_cpu_seconds_total",
            Kind::Counter,
            "Processor time, of user and system.",
        );
        to.sample("process_cpu_seconds_total", &[], seconds);
    }
    if let Some(bytes) = resident_bytes() {
        to.gauge("process_resident_memory_bytes", "Memory that is in RAM.", bytes);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        to.gauge("process_open_fds", "Open files and connections.", open.count() as u64);
    }
}

/// Fields 14 and 15; the second, the program's name in brackets, may hold blanks.
fn cpu_ticks() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kib * 1_024)
}
