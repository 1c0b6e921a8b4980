//! The data directory's lock and master key, for commands that work beside a server or in its place: backup, restoration and
//! the export of the key.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use countersign_store::MasterKey;

use crate::random;
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

/// Where the key lies that is to follow the master key in that file.
pub fn next_key_file(master_key_file: &Path) -> PathBuf {
    files::next_key_file(master_key_file)
}

/// The key that is to follow the one in that file; it is made where there is none.
pub fn next_master_key(master_key_file: &Path) -> Result<MasterKey, StartError> {
    let path = files::next_key_file(master_key_file);
    if !path.exists() {
        let key = MasterKey::from_bytes(random::bytes::<32>());
        write_master_key(&path, &key).map_err(|source| StartError::MasterKey {
            path: path.clone(),
            reason: format!("it can't be written: {source}"),
        })?;
    }
    files::read_master_key(&path)
}

/// Writes a master key to a new file that only its owner may read, durably. An existing file is left alone:
/// [`io::ErrorKind::AlreadyExists`].
pub fn write_master_key(path: &Path, key: &MasterKey) -> io::Result<()> {
    if path.exists() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    files::write_secret(path, files::key_text(key.bytes()).as_bytes())
}
