//! The data directory's lock and master key, for commands that work beside a server or in its place: backup, restoration and
//! the export of the key.

use std::fs::File;
use std::io;
use std::path::Path;

use countersign_store::MasterKey;

use crate::start::{StartError, files};

/// Keeps servers off a data directory as long as the answer lives; fails with [`StartError::InUse`] where one is on it. Makes
/// the directory where it is missing.
pub fn lock_data_dir(data_dir: &Path) -> Result<File, StartError> {
    files::make_data_dir(data_dir)?;
    files::lock(data_dir)
}

/// Reads a master key; never makes one.
pub fn read_master_key(path: &Path) -> Result<MasterKey, StartError> {
    files::read_master_key(path)
}

/// Writes a master key to a new file that only its owner may read, durably. An existing file is left alone:
/// [`io::ErrorKind::AlreadyExists`].
pub fn write_master_key(path: &Path, key: &MasterKey) -> io::Result<()> {
    if path.exists() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    files::write_secret(path, files::key_text(key.bytes()).as_bytes())
}
