//! Several servers on one database: what nodes of one site have in common, and what tells them apart.

use std::path::PathBuf;

use anyhow::Result;
use tempfile::TempDir;

use crate::server::Options;

/// A site of several nodes: the database and the master key that all of them have.
#[derive(Debug)]
pub struct Site {
    database: String,
    /// Holds the key, as long as a node may start.
    folder: TempDir,
}

impl Site {
    /// A site on that database.
    pub fn new(database: &str) -> Result<Self> {
        let folder = TempDir::with_prefix("countersign-nodes-")?;
        let site = Self {
            database: database.to_owned(),
            folder,
        };
        let key = site.key();
        std::fs::write(&key, "5a".repeat(32))?;
        #[cfg(unix)]
        std::fs::set_permissions(key, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        Ok(site)
    }

    /// How one of its nodes starts.
    pub fn node(&self, name: &str) -> Options {
        let key = self.key().display().to_string();
        Options {
            database: Some(self.database.clone()),
            env: vec![
                ("COUNTERSIGN_KEYS_MASTER_KEY_FILE".to_owned(), key),
                ("COUNTERSIGN_DATABASE_NODE_NAME".to_owned(), name.to_owned()),
            ],
            ..Options::default()
        }
    }

    /// The same with a configuration file of its own, which is kept beside the key.
    pub fn configured_node(&self, name: &str, configuration: &str) -> Result<Options> {
        let file = self.folder.path().join(format!("{name}.toml"));
        std::fs::write(&file, configuration)?;
        let mut options = self.node(name);
        options.args.extend(["--config".to_owned(), file.display().to_string()]);
        Ok(options)
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("master.key")
    }
}
