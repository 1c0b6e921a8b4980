//! Backups of a running server: `POST /backups` begins one, `GET` tells how far it is, `DELETE` ends it. The file is made on the
//! server's machine. There is one at a time, and the last one's end is remembered until the next begins.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, State};
use countersign_store::{BackupDone, BackupError, BackupProgress};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::answer::{self, Answer, Refusal};
use crate::app::App;

/// The backup that is made, or was made last.
#[derive(Debug, Default)]
pub(super) struct Backups {
    last: Mutex<Option<Backup>>,
}

#[derive(Debug)]
struct Backup {
    file: PathBuf,
    progress: Arc<BackupProgress>,
    /// `None` while it is under way.
    end: Option<Result<BackupDone, BackupError>>,
}

/// A backup as this API shows it.
#[derive(Debug, Serialize)]
struct BackupView {
    /// `none`, `running`, `done`, `cancelled` or `failed`.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// What is copied, and all there is to copy so far; both grow.
    copied_bytes: u64,
    total_bytes: u64,
    /// Of the key that the backup's secrets need; once it is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_fingerprint: Option<String>,
    /// Why there is no file.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Backups {
    fn lock(&self) -> MutexGuard<'_, Option<Backup>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(&self) -> BackupView {
        let last = self.lock();
        let Some(backup) = &*last else {
            return BackupView {
                state: "none",
                path: None,
                copied_bytes: 0,
                total_bytes: 0,
                key_fingerprint: None,
                error: None,
            };
        };
        let (copied_bytes, total_bytes) = backup.progress.bytes();
        let (state, done, error) = match &backup.end {
            None => ("running", None, None),
            Some(Ok(done)) => ("done", Some(done), None),
            Some(Err(error @ BackupError::Cancelled)) => ("cancelled", None, Some(error.to_string())),
            Some(Err(error)) => ("failed", None, Some(error.to_string())),
        };
        BackupView {
            state,
            path: Some(backup.file.display().to_string()),
            copied_bytes: done.map_or(copied_bytes, |done| done.bytes),
            total_bytes: done.map_or(total_bytes, |done| done.bytes),
            key_fingerprint: done.map(|done| done.key.to_string()),
            error,
        }
    }
}

#[derive(Deserialize)]
struct BeginBody {
    path: PathBuf,
    #[serde(default)]
    force: bool,
}

/// `POST /backups`: begins one. Answers as soon as it is known to be possible.
pub(super) async fn begin(
    State(app): State<Arc<App>>,
    Extension(backups): Extension<Arc<Backups>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Answer, Refusal> {
    let body: BeginBody = answer::body(body, r#"{"path":"/var/backups/countersign.db","force":false}"#)?;
    if !body.path.is_absolute() || body.path.file_name().is_none() {
        return Err(Refusal::bad_request(
            "the path names a file on the server's machine, from its root: send one like /var/backups/countersign.db",
        ));
    }
    if !body.force && body.path.exists() {
        return Err(Refusal::conflict(BackupError::Exists(body.path).to_string()));
    }
    let progress = Arc::new(BackupProgress::default());
    {
        let mut last = backups.lock();
        if last.as_ref().is_some_and(|backup| backup.end.is_none()) {
            return Err(Refusal::conflict(BackupError::UnderWay.to_string()));
        }
        *last = Some(Backup {
            file: body.path.clone(),
            progress: Arc::clone(&progress),
            end: None,
        });
    }
    super::note(&app, "backup begun", "backups", &body.path.display().to_string()).await?;
    tracing::info!(path = %body.path.display(), "operator: a backup begins");
    tokio::spawn(see_through(app, Arc::clone(&backups), body, progress));
    Answer::accepted(&backups.view())
}

/// Waits for the end, and remembers it. A server that ends ends its backup.
async fn see_through(app: Arc<App>, backups: Arc<Backups>, body: BeginBody, progress: Arc<BackupProgress>) {
    let mut draining = app.draining.clone();
    let mut made = app.store.back_up(body.path, body.force, Arc::clone(&progress));
    let end = tokio::select! {
        end = &mut made => end,
        () = ended(&mut draining) => {
            progress.cancel();
            made.await
        }
    };
    match &end {
        Ok(done) => tracing::info!(bytes = done.bytes, key = %done.key, "a backup is done"),
        Err(error) => tracing::warn!(%error, "there is no backup"),
    }
    if let Some(backup) = backups.lock().as_mut() {
        backup.end = Some(end);
    }
}

async fn ended(draining: &mut watch::Receiver<bool>) {
    // A sender that is gone says the same.
    let _ = draining.wait_for(|draining| *draining).await;
}

/// `GET /backups`: how far it is, or how the last one ended.
pub(super) async fn show(Extension(backups): Extension<Arc<Backups>>) -> Result<Answer, Refusal> {
    Answer::ok(&backups.view())
}

/// `DELETE /backups`: ends the one that is under way; no file is made.
pub(super) async fn cancel(Extension(backups): Extension<Arc<Backups>>) -> Result<Answer, Refusal> {
    if let Some(backup) = &*backups.lock() {
        backup.progress.cancel();
    }
    Answer::ok(&backups.view())
}
