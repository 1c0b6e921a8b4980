//! The books at the start: waits for a database that isn't there yet, and says in the operator's words why they can't be opened.

use std::path::Path;
use std::time::Duration;

use countersign_store::{Database, PostgresSettings, ReachError, StoreError};
use tokio::time::Instant;

use super::StartError;

/// How long a start waits for a database server: after a power cut both may start at once, and its recovery takes longer. Then the
/// process ends, and a supervisor starts it again.
const PATIENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_secs(1);
/// How often the log says again that it waits.
const SAID_EVERY: Duration = Duration::from_secs(15);

/// Waits until the database can be reached. For SQLite there is nothing to wait for.
pub(super) async fn wait_for(database: &Database) -> Result<(), StartError> {
    match database {
        Database::Sqlite(_) => Ok(()),
        Database::Postgres(settings) => wait_for_server(settings, PATIENCE).await,
    }
}

async fn wait_for_server(settings: &PostgresSettings, patience: Duration) -> Result<(), StartError> {
    let place = settings.place();
    let until = Instant::now() + patience;
    let mut said_at: Option<Instant> = None;
    loop {
        let asked = settings.clone();
        let reached = tokio::task::spawn_blocking(move || asked.reach()).await;
        let reason = match reached.map_err(|_| StoreError::Closing)? {
            Ok(()) => return Ok(()),
            Err(ReachError::Never(error)) => return Err(error.into()),
            Err(ReachError::NotYet(reason)) => reason,
        };
        if Instant::now() + PAUSE > until {
            return Err(StartError::NoDatabase {
                place,
                seconds: patience.as_secs(),
                reason,
            });
        }
        if said_at.is_none_or(|said_at| said_at.elapsed() >= SAID_EVERY) {
            tracing::warn!("the database {place} can't be reached yet, and is tried again: {reason}");
            said_at = Some(Instant::now());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Why the books can't be opened, where their master key was read from that file, or made there just now.
pub(super) fn explained(error: StoreError, database: &Database, key_file: &Path, key_is_new: bool) -> StartError {
    let (StoreError::WrongMasterKey, Database::Postgres(settings)) = (&error, database) else {
        return error.into();
    };
    if key_is_new {
        // A sandbox's second node: nothing was sealed with it, and the right one is to take its place.
        let _ = std::fs::remove_file(key_file);
    }
    StartError::MasterKey {
        path: key_file.to_owned(),
        reason: format!(
            "it isn't the one that the books in {} are sealed with, and all nodes need the same: `countersign key export` on a \
             node that runs writes it",
            settings.place()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_database_that_never_comes_is_told_of_without_its_password() {
        // Nobody listens there any more.
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = nobody.local_addr().unwrap().port();
        drop(nobody);
        let settings = PostgresSettings::new(format!("postgres://kim:secret@127.0.0.1:{port}/books"));
        let error = wait_for_server(&settings, Duration::ZERO)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(&format!("127.0.0.1:{port}/books")), "{error}");
        assert!(error.contains("refused") && !error.contains("secret"), "{error}");
    }
}
