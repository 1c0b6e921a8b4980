//! What the disk itself takes to make a write durable: the yardstick of the single connection.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::numbers::micros;

/// Two pages: about what one small commit adds to a write-ahead log.
const WRITE_BYTES: usize = 8192;

/// A file in the directory of the books, to which the probe appends.
pub(super) struct DiskProbe {
    file: File,
}

impl DiskProbe {
    /// Makes the file.
    pub(super) fn new(directory: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(directory.join("fsync.probe"))
            .context("making the file of the disk probe")?;
        Ok(Self { file })
    }

    /// Appends 8 KiB and makes it durable with `fdatasync`, again and again for `length`; microseconds each.
    pub(super) fn sample(&mut self, length: Duration) -> Result<Vec<f64>> {
        let bytes = [0x5a; WRITE_BYTES];
        let end = Instant::now() + length;
        let mut samples = Vec::new();
        while Instant::now() < end {
            let start = Instant::now();
            self.file.write_all(&bytes).context("writing to the disk probe")?;
            self.file.sync_data().context("syncing the disk probe")?;
            samples.push(micros(start.elapsed()));
        }
        Ok(samples)
    }
}
