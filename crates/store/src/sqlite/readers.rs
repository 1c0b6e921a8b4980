//! Connections that only read, beside the writer.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::schema::open_for_reading;
use crate::sql::Connection;
use crate::sql::read::Reader;
use crate::types::{Lease, StoreError};
use crate::vault::Vault;

/// Connections kept open; more are opened when they are needed and closed again.
const KEPT_CONNECTIONS: usize = 4;

pub(super) struct Readers {
    directory: PathBuf,
    idle: Mutex<Vec<rusqlite::Connection>>,
    vault: Arc<Vault>,
}

impl Readers {
    pub(super) fn open(directory: &Path, vault: Arc<Vault>) -> Result<Self, StoreError> {
        let first = open_for_reading(directory)?;
        Ok(Self {
            directory: directory.to_owned(),
            idle: Mutex::new(vec![first]),
            vault,
        })
    }

    pub(super) fn ask<T>(&self, ask: impl FnOnce(Reader<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => open_for_reading(&self.directory)?,
        };
        let answer = ask(Reader {
            connection: Connection::Sqlite(&connection),
            vault: &self.vault,
            lease: Lease::default(),
        });
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT_CONNECTIONS {
            idle.push(connection);
        }
        answer
    }
}
