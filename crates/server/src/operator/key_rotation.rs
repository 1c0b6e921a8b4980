//! The change of the master key: `POST /key-rotation` begins it, `GET` tells how far it is. The new key never comes over this API: it lies
//! in a file beside the old one, on each node's machine.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use countersign_store::StoreError;
use serde::{Deserialize, Serialize};

use crate::answer::{self, Answer, Refusal};
use crate::app::App;
use crate::key_rotation::learn;
use crate::start::files;

/// A change of the key as this API shows it.
#[derive(Debug, Serialize)]
struct KeyRotationView {
    /// `none`, `running` or `done`.
    state: &'static str,
    /// Of the key that seals at present.
    key_fingerprint: String,
    /// Of the key that lies beside it, to follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_key_fingerprint: Option<String>,
    /// Rows that were gone through, and about how many there are.
    rows: u64,
    all_rows: u64,
    /// Values that were sealed anew.
    resealed: u64,
    /// Values that stand under the new key, and under no key that is known, once all were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<u64>,
    /// Why it could not go on; it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

fn view(app: &App) -> Result<KeyRotationView, Refusal> {
    let standing = app.site.key_standing()?;
    let view = app.vitals.key_rotation.view(standing);
    let done = view.end.as_ref().and_then(|end| end.as_ref().ok());
    let (rows, all_rows) = view.rows;
    Ok(KeyRotationView {
        state: match (view.running, done) {
            (true, _) => "running",
            (false, Some(_)) => "done",
            (false, None) => "none",
        },
        key_fingerprint: view.key.to_string(),
        next_key_fingerprint: view.next.filter(|next| *next != view.key).map(|key| key.to_string()),
        rows,
        all_rows,
        resealed: view.resealed,
        values: done.map(|done| done.values),
        unreadable: done.map(|done| done.unreadable),
        error: view.end.as_ref().and_then(|end| end.as_ref().err().cloned()),
    })
}

#[derive(Deserialize)]
struct BeginBody {
    key_fingerprint: String,
}

/// `POST /key-rotation`: begins the change to the key in the new file, which must be the one that is named; answers at once. Where that
/// change is under way, how far it is.
pub(super) async fn begin(State(app): State<Arc<App>>, body: Result<Bytes, BytesRejection>) -> Result<Answer, Refusal> {
    let body: BeginBody = answer::body(body, r#"{"key_fingerprint":"0123-4567-89ab-cdef"}"#)?;
    let learned = learn(&app).await?;
    let Some(key) = learned else {
        return Err(Refusal::conflict(format!(
            "there is no new master key on the server's machine: make one as {}, for instance by `countersign keys rotate` there",
            files::next_key_file(&app.settings.master_key_file()).display()
        )));
    };
    if key.to_string() != body.key_fingerprint {
        return Err(Refusal::conflict(format!(
            "the new key on the server's machine is {key}, and not {}: copy the one that you mean there",
            body.key_fingerprint
        )));
    }
    let standing = app.site.key_standing()?;
    if standing.present != key && !standing.rotating {
        app.vitals
            .key_rotation
            .begin(&app, key)
            .await
            .map_err(|error| match error {
                error @ StoreError::NodesWithoutKey(_) => Refusal::conflict(error.to_string()),
                error => error.into(),
            })?;
        tracing::info!(%key, "operator: a change of the master key begins");
    }
    Answer::accepted(&view(&app)?)
}

/// `GET /key-rotation`: how far it is, or how the last one ended.
pub(super) async fn show(State(app): State<Arc<App>>) -> Result<Answer, Refusal> {
    Answer::ok(&view(&app)?)
}
