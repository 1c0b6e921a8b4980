//! The operator's key: what opens the operator's API. It is read from a file or a flag, kept in memory as a keyed hash only,
//! and compared in constant time.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use thiserror::Error;

use crate::random;
use crate::start::files;

/// Shortest key that is taken, in bytes: a generated one has 43.
const MIN_KEY_BYTES: usize = 16;
/// Longest key that is taken, in bytes, so that a wrong file (a log, a database) isn't read into memory.
const MAX_KEY_BYTES: u64 = 1024;

/// Opens the operator's API. Whoever holds an `OperatorKey` can compare, but not read, the key; `Debug` hides it.
#[derive(Clone)]
pub struct OperatorKey {
    /// Drawn anew in each process: the tag below tells nothing outside of it.
    hash_key: hmac::Key,
    tag: hmac::Tag,
}

/// Why there is no operator key.
#[derive(Debug, Error)]
pub enum OperatorKeyError {
    /// The file can't be read or written.
    #[error("the operator key file {} can't be {attempted}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        attempted: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The file holds something that is no key.
    #[error(
        "the operator key file {} doesn't hold a key: it needs one line of {MIN_KEY_BYTES} to {MAX_KEY_BYTES} visible \
         ASCII characters; delete it to have a new key made",
        path.display()
    )]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The key itself is no key.
    #[error("the operator key needs {MIN_KEY_BYTES} to {MAX_KEY_BYTES} visible ASCII characters")]
    Malformed,
}

impl OperatorKey {
    /// Takes a key as the operator wrote it; white space around it doesn't count.
    pub fn new(text: &str) -> Result<Self, OperatorKeyError> {
        let text = text.trim();
        let long_enough = text.len() >= MIN_KEY_BYTES && u64::try_from(text.len()).is_ok_and(|n| n <= MAX_KEY_BYTES);
        if !long_enough || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(OperatorKeyError::Malformed);
        }
        let hash_key = hmac::Key::new(hmac::HMAC_SHA256, &random::bytes::<32>());
        let tag = hmac::sign(&hash_key, text.as_bytes());
        Ok(Self { hash_key, tag })
    }

    /// Reads the key from a file.
    pub fn load(path: &Path) -> Result<Self, OperatorKeyError> {
        let failed = |source| OperatorKeyError::File {
            path: path.to_owned(),
            attempted: "read",
            source,
        };
        let no_key = || OperatorKeyError::NoKey { path: path.to_owned() };
        // A line feed or two may follow the key.
        if fs::metadata(path).map_err(failed)?.len() > MAX_KEY_BYTES + 2 {
            return Err(no_key());
        }
        let bytes = fs::read(path).map_err(failed)?;
        std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| Self::new(text).ok())
            .ok_or_else(no_key)
    }

    /// Reads the key from a file, or makes a new one there, readable by its owner only.
    pub fn load_or_create(path: &Path) -> Result<Self, OperatorKeyError> {
        if path.exists() {
            return Self::load(path);
        }
        let text = generate();
        files::write_secret(path, format!("{text}\n").as_bytes()).map_err(|source| OperatorKeyError::File {
            path: path.to_owned(),
            attempted: "written",
            source,
        })?;
        Self::new(&text)
    }

    /// Whether this is the key, in time that doesn't depend on where the two differ.
    pub fn matches(&self, presented: &str) -> bool {
        hmac::verify(&self.hash_key, presented.as_bytes(), self.tag.as_ref()).is_ok()
    }
}

impl fmt::Debug for OperatorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OperatorKey(hidden)")
    }
}

/// A new key: 256 random bits, base64url.
fn generate() -> String {
    URL_SAFE_NO_PAD.encode(random::bytes::<32>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("operator.key");
        OperatorKey::load_or_create(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let again = OperatorKey::load_or_create(&path).unwrap();
        assert!(again.matches(text.trim()));
        assert!(!again.matches(&text));
        assert!(!again.matches(""));
        assert!(!format!("{again:?}").contains(text.trim()));
    }

    #[cfg(unix)]
    #[test]
    fn a_made_key_is_readable_by_its_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("operator.key");
        OperatorKey::load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("operator.key");
        for content in [
            "",
            "\n",
            "short",
            "0123456789 0123456789",
            "schlüssel-schlüssel",
            &"k".repeat(2000),
        ] {
            fs::write(&path, content).unwrap();
            let error = OperatorKey::load_or_create(&path).unwrap_err();
            assert!(
                matches!(error, OperatorKeyError::NoKey { .. }),
                "{content:?} gave {error}"
            );
        }
        assert!(matches!(
            OperatorKey::load(&dir.path().join("none")),
            Err(OperatorKeyError::File { attempted: "read", .. })
        ));
    }
}
