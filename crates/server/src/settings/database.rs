//! Which database holds the books, as the operator sets it, and as the store takes it. Its address may hold a password, so nothing here
//! shows one: not in an error, not in a log.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use countersign_store::{Database, PostgresSettings};

use super::Settings;

/// Where the books are, besides the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseSettings {
    /// As it was named; `None`: SQLite in the data directory.
    pub url: Option<DatabaseUrl>,
    /// A PEM file with the authority that signed the database server's certificate.
    pub ca_file: Option<PathBuf>,
    /// Writer lanes: how many batches this node commits at once.
    pub lanes: usize,
    /// Connections for questions and settings besides.
    pub readers: usize,
    /// The longest that one question or batch may take.
    pub timeout: Duration,
    /// What this node is called among the nodes; its host's name where none is named.
    pub node_name: Option<String>,
}

impl DatabaseSettings {
    /// Before the table's defaults are put in.
    pub(super) const fn blank() -> Self {
        Self {
            url: None,
            ca_file: None,
            lanes: 0,
            readers: 0,
            timeout: Duration::ZERO,
            node_name: None,
        }
    }

    /// As the store takes it.
    pub fn of(&self, data_dir: &Path) -> Database {
        match &self.url {
            None | Some(DatabaseUrl::DataDir(_)) => Database::Sqlite(data_dir.to_owned()),
            Some(DatabaseUrl::Postgres(url)) => Database::Postgres(PostgresSettings {
                ca_file: self.ca_file.clone(),
                lanes: self.lanes,
                readers: self.readers,
                timeout: self.timeout,
                node_name: self.node_name.clone().unwrap_or_else(host_name),
                ..PostgresSettings::new(url.0.clone())
            }),
        }
    }
}

/// The address of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// `sqlite://DIR`: the file in that data directory.
    DataDir(PathBuf),
    /// `postgres://…`.
    Postgres(PostgresUrl),
}

impl DatabaseUrl {
    /// Reads one; `None` where it is none.
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("sqlite://") {
            Some(directory) => (!directory.is_empty()).then(|| Self::DataDir(PathBuf::from(directory))),
            None => PostgresSettings::is_address(text).then(|| Self::Postgres(PostgresUrl(text.to_owned()))),
        }
    }
}

/// The address of a PostgreSQL database. Shown without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(String);

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&PostgresSettings::new(self.0.clone()).place())
    }
}

/// Takes a database's address: `postgres://…`, or `sqlite://DIR`, which names a data directory.
pub(super) fn put_database(settings: &mut Settings, text: &str) -> Option<()> {
    settings.database.url = match text {
        "" => None,
        text => Some(DatabaseUrl::parse(text)?),
    };
    if let Some(DatabaseUrl::DataDir(directory)) = &settings.database.url {
        settings.data_dir.clone_from(directory);
    }
    Some(())
}

/// What may be shown of a text that is no address: it may hold a password all the same.
pub(super) fn without_secret(text: &str) -> String {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    match scheme.filter(|scheme| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+')) {
        Some(scheme) => format!("another address that begins with {scheme}://"),
        None => "something without a scheme".to_owned(),
    }
}

fn host_name() -> String {
    #[cfg(unix)]
    {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    }
    #[cfg(not(unix))]
    {
        std::env::var("COMPUTERNAME").unwrap_or_default()
    }
}
