//! Files of the data directory: the directory itself, its lock, and the master key.

use std::fmt::Write as _;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use countersign_store::MasterKey;

use super::StartError;
use crate::{Mode, random};

/// Held by the server that uses the data directory.
const LOCK_FILE: &str = "countersign.lock";
/// The database; it is the store's, and looked for here only to see whether there is one.
const DATABASE_FILE: &str = "countersign.db";
/// A master key has 32 bytes, or twice as many hexadecimal digits; nothing longer is read.
const MAX_KEY_FILE_BYTES: u64 = 1024;

/// Makes the data directory, for its owner only, where it is missing.
pub(crate) fn make_data_dir(path: &Path) -> Result<(), StartError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|source| StartError::DataDir {
        path: path.to_owned(),
        source,
    })
}

/// Keeps a second server off the data directory, as long as the answer lives. The system lifts the lock of a process that
/// was killed.
pub(crate) fn lock(data_dir: &Path) -> Result<File, StartError> {
    let path = data_dir.join(LOCK_FILE);
    let failed = |source| StartError::DataDir {
        path: path.clone(),
        source,
    };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartError::InUse(data_dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Reads the master key. The sandbox makes one where there is neither a key nor a database.
pub(super) fn master_key(path: &Path, data_dir: &Path, mode: Mode) -> Result<MasterKey, StartError> {
    if matches!(std::fs::metadata(path), Err(error) if error.kind() == io::ErrorKind::NotFound) {
        return new_master_key(path, data_dir, mode);
    }
    read_master_key(path)
}

/// Where the key lies that is to follow a master key.
pub(crate) fn next_key_file(path: &Path) -> PathBuf {
    with_ending(path, ".next")
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Reads the master key, and the one that is to follow it where there is one. Between the two renames that end a change, only that
/// one is there.
pub(super) fn master_keys(path: &Path, data_dir: &Path, mode: Mode) -> Result<MasterKey, StartError> {
    let next = next_key_file(path);
    if !next.exists() {
        return master_key(path, data_dir, mode);
    }
    let next = read_master_key(&next)?;
    if path.exists() {
        Ok(read_master_key(path)?.followed_by(&next))
    } else {
        Ok(next)
    }
}

/// Puts the new key in the old one's place, which is kept with `.old` behind its name.
pub(crate) fn put_next_key_in_place(path: &Path) -> io::Result<()> {
    if path.exists() {
        std::fs::rename(path, with_ending(path, ".old"))?;
    }
    std::fs::rename(next_key_file(path), path)?;
    sync_directory(path)
}

/// Reads a master key that is there.
pub(crate) fn read_master_key(path: &Path) -> Result<MasterKey, StartError> {
    let failed = |reason: String| StartError::MasterKey {
        path: path.to_owned(),
        reason,
    };
    let metadata = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?;
    #[cfg(unix)]
    if std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o077 != 0 {
        tracing::warn!(
            "others than its owner may read the master key {}: `chmod 600` it",
            path.display()
        );
    }
    if metadata.len() > MAX_KEY_FILE_BYTES {
        return Err(failed("it is too long".to_owned()));
    }
    let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let key = parse_key(&bytes)
        .ok_or_else(|| failed("it holds neither 64 hexadecimal digits nor 32 raw bytes".to_owned()))?;
    Ok(MasterKey::from_bytes(key))
}

fn new_master_key(path: &Path, data_dir: &Path, mode: Mode) -> Result<MasterKey, StartError> {
    let failed = |reason: String| StartError::MasterKey {
        path: path.to_owned(),
        reason,
    };
    if mode == Mode::Production {
        return Err(failed("it isn't there: production never makes one".to_owned()));
    }
    if data_dir.join(DATABASE_FILE).exists() {
        return Err(failed(
            "it isn't there, and the database can't be opened without it: restore it, or delete the data directory to begin \
             anew"
                .to_owned(),
        ));
    }
    let key = random::bytes::<32>();
    write_secret(path, key_text(&key).as_bytes()).map_err(|error| failed(error.to_string()))?;
    Ok(MasterKey::from_bytes(key))
}

/// A key as its file has it: hexadecimal digits on a line.
pub(crate) fn key_text(key: &[u8; 32]) -> String {
    let mut text = String::with_capacity(65);
    for byte in key {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.push('\n');
    text
}

fn parse_key(bytes: &[u8]) -> Option<[u8; 32]> {
    if let Ok(key) = bytes.try_into() {
        return Some(key);
    }
    let text = bytes.trim_ascii();
    if text.len() != 64 {
        return None;
    }
    let mut key = [0; 32];
    for (byte, pair) in key.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |letter: u8| char::from(letter).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(key)
}

/// Writes a file that only its owner may read, whole or not at all, durably: a database must never outlive its key by a
/// power cut.
pub(crate) fn write_secret(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_whole(path, bytes, 0o600)
}

/// Writes a file that others may read, whole or not at all.
pub(crate) fn write_public(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_whole(path, bytes, 0o644)
}

fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    // Left over from a start that was cut off; a file made anew has the right mode for sure.
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    let mut file = options.open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    sync_directory(path)
}

/// Makes durable which names the files beside this one have.
fn sync_directory(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_hexadecimal_digits_or_as_raw_bytes() {
        let hex = "00ff".repeat(16);
        let key = parse_key(format!("{hex}\n").as_bytes()).unwrap();
        assert_eq!(key[..4], [0, 255, 0, 255]);
        assert_eq!(parse_key(&[7; 32]), Some([7; 32]));
        for wrong in ["", "00ff", &hex[1..], &"zz".repeat(32)] {
            assert_eq!(parse_key(wrong.as_bytes()), None, "{wrong:?} passed");
        }
    }

    #[test]
    fn the_sandbox_makes_a_key_once_and_only_for_itself() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        master_key(&path, dir.path(), Mode::Sandbox).unwrap();
        let made = std::fs::read(&path).unwrap();
        master_key(&path, dir.path(), Mode::Sandbox).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), made);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn no_key_is_made_for_a_database_that_is_already_there_nor_in_production() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        let error = master_key(&path, dir.path(), Mode::Production).unwrap_err();
        assert!(error.to_string().contains("production never makes one"), "{error}");
        std::fs::write(dir.path().join(DATABASE_FILE), "").unwrap();
        let error = master_key(&path, dir.path(), Mode::Sandbox).unwrap_err();
        assert!(error.to_string().contains("restore it"), "{error}");
        assert!(!path.exists());
    }

    #[test]
    fn a_second_server_is_kept_off_the_data_directory() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path()).unwrap();
        let error = lock(dir.path()).unwrap_err();
        assert!(matches!(error, StartError::InUse(_)), "{error}");
        drop(held);
        lock(dir.path()).unwrap();
    }
}
