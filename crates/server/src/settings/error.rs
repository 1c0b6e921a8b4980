//! Why settings are refused, each as a sentence that says what to do.

use std::path::PathBuf;

use thiserror::Error;

/// Why settings are refused.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The named file can't be read.
    #[error(
        "can't read the configuration file {path}: {source}. Name another one with --config, or write one with `countersign init`"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file isn't TOML.
    #[error("{path} is not valid TOML: {message}")]
    NotToml {
        /// The file.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// The file has a key that doesn't exist.
    #[error("{path} has an unknown setting {name}{}. `countersign init` lists them all", did_you_mean(nearest.as_deref()))]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The key as it stands there.
        name: String,
        /// The known one that is most like it.
        nearest: Option<String>,
    },
    /// A value isn't what its setting expects.
    #[error("{place}: expected {expected}, found {found}")]
    Wrong {
        /// The file and key, the environment variable, or the option.
        place: String,
        /// What is expected.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// Settings that can't stand together, or a production server that would not be safe; the sentence has the remedy.
    #[error("{0}")]
    Refused(String),
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |nearest| format!("; did you mean {nearest}?"))
}
