//! The change of the master key, as a server sees it: the new key's file, which it takes in as soon as it lies beside the old one; the work
//! in the books, which one node does; and the files' new places once it is done. The operator's API begins it and tells how far it is.
//!
//! A server that finds a change under way at its start goes on with it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use countersign_store::{KeyFingerprint, KeyProgress, KeyStanding, KeysRotated, StoreError};
use tokio::sync::Notify;

use crate::start::files;
use crate::{App, clock};

/// How often it is looked for a new key, and whether another node began a change.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What this server knows of a change of the master key.
#[derive(Debug, Default)]
pub(crate) struct RotationDesk {
    state: Mutex<State>,
    /// A change has begun.
    begun: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The new key's file as it was last read, and the key in it.
    seen: Option<(FileState, Option<KeyFingerprint>)>,
    /// The key that was asked for here, until it is the books' own.
    asked: Option<KeyFingerprint>,
    /// This server does the work, and hasn't put the files in their places yet.
    working: bool,
    /// The log has said that the files can't be put in their places.
    misplaced: bool,
    progress: Arc<KeyProgress>,
    /// How the last change that this server saw through ended.
    end: Option<Result<KeysRotated, String>>,
}

/// By what a changed file is told.
type FileState = (Option<SystemTime>, u64);

/// How a change stands.
#[derive(Debug, Clone)]
pub(crate) struct RotationView {
    pub(crate) key: KeyFingerprint,
    /// The key in the new file, if there is one.
    pub(crate) next: Option<KeyFingerprint>,
    pub(crate) running: bool,
    /// Rows that were gone through, and about how many there are.
    pub(crate) rows: (u64, u64),
    pub(crate) resealed: u64,
    pub(crate) end: Option<Result<KeysRotated, String>>,
}

impl RotationDesk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn view(&self, standing: KeyStanding) -> RotationView {
        let mut state = self.lock();
        if !standing.rotating && state.asked == Some(standing.present) {
            state.asked = None;
        }
        RotationView {
            key: standing.present,
            next: state.seen.as_ref().and_then(|(_, key)| *key),
            running: standing.rotating || state.asked.is_some() || state.working,
            rows: state.progress.rows(),
            resealed: state.progress.resealed(),
            end: state.end.clone(),
        }
    }

    /// Begins the change to the key in the new file.
    pub(crate) async fn begin(&self, app: &App, key: KeyFingerprint) -> Result<(), StoreError> {
        {
            let mut state = self.lock();
            state.asked = Some(key);
            state.end = None;
            state.progress = Arc::default();
        }
        let begun = app
            .site
            .begin_key_rotation(clock::now(), countersign_store::Actor::Operator)
            .await;
        if begun.is_err() {
            self.lock().asked = None;
        }
        self.begun.notify_one();
        begun
    }
}

/// Looks after keys until the server ends.
pub(crate) fn attend(app: &Arc<App>) {
    let app = Arc::clone(app);
    let mut draining = app.draining.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                // Whatever is under way stands in the books: it goes on after the next start.
                _ = draining.wait_for(|draining| *draining) => return,
                () = look(&app) => {}
            }
            let begun = app.vitals.key_rotation.begun.notified();
            // Either way it looks again.
            let _ = tokio::time::timeout(LOOK_EVERY, begun).await;
        }
    });
}

async fn look(app: &App) {
    if let Err(error) = learn(app).await {
        tracing::warn!(%error, "the new master key can't be taken");
    }
    let rotating = match app.site.key_standing() {
        Ok(standing) => standing.rotating,
        Err(_) => false,
    };
    if rotating {
        see_through(app).await;
    }
    put_in_place_or_say_so(app);
}

fn put_in_place_or_say_so(app: &App) {
    let placed = put_in_place(app);
    // Tried again and again; said once.
    let was_misplaced = std::mem::replace(&mut app.vitals.key_rotation.lock().misplaced, placed.is_err());
    if let (Err(error), false) = (placed, was_misplaced) {
        tracing::error!(
            %error,
            "the master key was changed, and its files can't be put in their places: move {} over {} by hand",
            next_file(app).display(),
            app.settings.master_key_file().display(),
        );
    }
}

fn next_file(app: &App) -> PathBuf {
    files::next_key_file(&app.settings.master_key_file())
}

/// Takes in the key of the new file, where there is one that wasn't taken yet. Answers which it is.
pub(crate) async fn learn(app: &App) -> Result<Option<KeyFingerprint>, StoreError> {
    let file = next_file(app);
    let desk = &app.vitals.key_rotation;
    let Some(found) = file_state(&file) else {
        desk.lock().seen = None;
        return Ok(None);
    };
    if let Some((seen, key)) = &desk.lock().seen
        && *seen == found
    {
        return Ok(*key);
    }
    let learned = match files::read_master_key(&file) {
        Ok(key) => {
            let present = app.site.key_standing()?.present;
            match key.fingerprint()? {
                same if same == present => Ok(Some(same)),
                _ => app.site.learn_master_key(key).await.map(Some),
            }
        }
        Err(error) => {
            tracing::warn!("{error}");
            Ok(None)
        }
    };
    // What the books refused at the moment is asked for again.
    if let Ok(key) = &learned {
        desk.lock().seen = Some((found, *key));
    }
    learned
}

fn file_state(file: &Path) -> Option<FileState> {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.modified().ok(), metadata.len()))
}

/// Does the work, where no other node does it.
async fn see_through(app: &App) {
    match app.store.claim_task("key rotation").await {
        Ok(true) => {}
        Ok(false) => return,
        Err(error) => {
            tracing::warn!(%error, "the change of the master key could not go on; it is tried again");
            return;
        }
    }
    let desk = &app.vitals.key_rotation;
    let progress = {
        let mut state = desk.lock();
        state.working = true;
        Arc::clone(&state.progress)
    };
    let rotated = app.site.rotate_keys(&progress, clock::now()).await;
    match &rotated {
        Ok(rotated) => tracing::info!(
            key = %rotated.key, values = rotated.values, unreadable = rotated.unreadable,
            "the master key was changed: no value under the old one is left"
        ),
        Err(error) => tracing::warn!(%error, "the change of the master key could not go on; it is tried again"),
    }
    put_in_place_or_say_so(app);
    let mut state = desk.lock();
    state.working = false;
    state.end = Some(rotated.map_err(|error| error.to_string()));
}

/// Once the new key is the books' own, its file takes the old one's place. The old one stays under another name, for backups that were
/// sealed with it.
fn put_in_place(app: &App) -> io::Result<()> {
    let desk = &app.vitals.key_rotation;
    let Some(next) = desk.lock().seen.as_ref().and_then(|(_, key)| *key) else {
        return Ok(());
    };
    let standing = app.site.key_standing().map_err(io::Error::other)?;
    if standing.rotating || standing.present != next {
        return Ok(());
    }
    files::put_next_key_in_place(&app.settings.master_key_file())?;
    desk.lock().seen = None;
    tracing::info!("the new master key's file took the old one's place, which has .old behind its name now");
    Ok(())
}
