//! `countersign backup` and `countersign restore`: a consistent copy of the books, beside a running server or of a resting
//! one's data directory, and the way back.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use countersign_server::keys::{lock_data_dir, read_master_key, write_master_key};
use countersign_server::settings::{Environment, Overrides, Settings};
use countersign_server::start::StartError;
use countersign_store::{BackupProgress, back_up_at_rest, restore as restore_books};
use indicatif::ProgressBar;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::arguments::Common;
use crate::connection::{Connection, block_on};
use crate::output::{Output, Style};
use crate::progress::{Unit, bar};

/// How often progress is asked for and shown.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
const DATABASE_FILE: &str = "countersign.db";

/// Options of `backup`.
#[derive(Debug, Args)]
#[command(after_help = "\
Where a server runs on the data directory, it makes the copy while it goes on serving, and FILE is
on its machine; else the data directory is read as it lies. FILE appears once it is whole.
The backup doesn't hold the master key: `countersign key export` does that, and the two are best
kept apart.

Examples:
  countersign backup /var/backups/countersign.db
  countersign backup books.db --force --data-dir DIR")]
pub(crate) struct BackupArguments {
    /// The file to make
    file: PathBuf,
    /// Replace a file that is already there
    #[arg(long)]
    force: bool,
}

/// Options of `restore`.
#[derive(Debug, Args)]
#[command(after_help = "\
No server may run on the data directory. The backup is checked first: that it is whole, that this
program knows its schema, and that the master key fits. Books that are there already are replaced
with --force only, and lie beside the new ones then.

Examples:
  countersign restore /var/backups/countersign.db --data-dir DIR
  countersign restore books.db --key master.key --data-dir new-machine")]
pub(crate) struct RestoreArguments {
    /// The backup
    file: PathBuf,
    /// The master key that the backup was made with [default: the data directory's]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Replace the books that are there; they are kept under another name
    #[arg(long)]
    force: bool,
    /// The server's configuration file, for where its master key is [default: ./countersign.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Serialize)]
struct BackupView {
    file: PathBuf,
    bytes: u64,
    key_fingerprint: String,
}

#[derive(Serialize)]
struct RestoredView {
    data_dir: PathBuf,
    bytes: u64,
    key_fingerprint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_books: Option<PathBuf>,
}

/// A server's backup as the operator's API tells it.
#[derive(Deserialize)]
struct Told {
    state: String,
    copied_bytes: u64,
    total_bytes: u64,
    key_fingerprint: Option<String>,
    error: Option<String>,
}

#[derive(Serialize)]
struct Begin<'a> {
    path: &'a Path,
    force: bool,
}

/// Makes a backup.
pub(crate) fn run(arguments: &BackupArguments, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
    let file = std::path::absolute(&arguments.file).context("the file can't be named from the root")?;
    let bar = bar(Unit::Bytes, output);
    let made = if let Some(_lock) = lock_of_resting_books(common)? {
        at_rest(&common.data_dir(), file, arguments.force, &bar)
    } else {
        block_on(beside_server(common, file, arguments.force, &bar))
    };
    bar.finish_and_clear();
    let view = made?;
    output.show(&view, |output| {
        let facts = output.facts(&[
            ("File", view.file.display().to_string()),
            ("Size", size(view.bytes)),
            ("Master key", view.key_fingerprint.clone()),
        ]);
        let done = output.styled(Style::Good, "✓ the backup is whole and on the disk");
        format!("{done}\n\n{facts}\nIt can't be read without its master key: `countersign key export` writes that, to be kept elsewhere.\n")
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The lock of a data directory whose books no server uses; `None` where one does, or where they are on another machine.
fn lock_of_resting_books(common: &Common) -> anyhow::Result<Option<std::fs::File>> {
    let data_dir = common.data_dir();
    if common.url.is_some() || !data_dir.join(DATABASE_FILE).exists() {
        return Ok(None);
    }
    match lock_data_dir(&data_dir) {
        Ok(lock) => Ok(Some(lock)),
        Err(StartError::InUse(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn at_rest(data_dir: &Path, file: PathBuf, force: bool, bar: &ProgressBar) -> anyhow::Result<BackupView> {
    let done = watched(bar, |progress| back_up_at_rest(data_dir, &file, force, progress))?;
    Ok(BackupView {
        file,
        bytes: done.bytes,
        key_fingerprint: done.key.to_string(),
    })
}

/// Has the server make it, and watches; Ctrl-C ends it there too.
async fn beside_server(common: &Common, file: PathBuf, force: bool, bar: &ProgressBar) -> anyhow::Result<BackupView> {
    let connection = Connection::operator(common)?;
    let begin = Begin { path: &file, force };
    let nothing: Option<&()> = None;
    let mut told: Told = connection.ask(Method::POST, &["backups"], &[], Some(&begin)).await?;
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    while told.state == "running" {
        bar.set_length(told.total_bytes);
        bar.set_position(told.copied_bytes);
        let method = tokio::select! {
            () = tokio::time::sleep(PROGRESS_EVERY) => Method::GET,
            _ = &mut interrupted => {
                // The server's word on it comes with the answer, or with the next one.
                let _: Told = connection.ask(Method::DELETE, &["backups"], &[], nothing).await?;
                bail!("the backup was cancelled: no file was made");
            }
        };
        told = connection.ask(method, &["backups"], &[], nothing).await?;
    }
    match (told.key_fingerprint, told.error) {
        (Some(key_fingerprint), _) => Ok(BackupView {
            file,
            bytes: told.copied_bytes,
            key_fingerprint,
        }),
        (None, error) => {
            Err(anyhow!(error.unwrap_or_else(|| {
                "the server tells of no backup: its log says more".to_owned()
            })))
        }
    }
}

/// Restores a backup.
pub(crate) fn restore(arguments: &RestoreArguments, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
    let settings = settings(arguments.config.as_ref(), common)?;
    let data_dir = settings.data_dir.clone();
    let server_key = settings.master_key_file();
    let key_file = arguments.key.clone().unwrap_or_else(|| server_key.clone());
    if arguments.key.is_none() && !key_file.exists() {
        bail!(
            "the master key is missing: {} isn't there; name the key that the backup was made with as --key FILE",
            key_file.display()
        );
    }
    let key = read_master_key(&key_file)?;
    if server_key.exists() && read_master_key(&server_key)?.fingerprint()? != key.fingerprint()? {
        bail!(
            "{} holds another master key than {}, and was left alone: move it away first, and keep it as long as anything \
             sealed with it is needed",
            server_key.display(),
            key_file.display()
        );
    }
    let _lock = lock_data_dir(&data_dir).map_err(|error| match error {
        StartError::InUse(_) => anyhow!(
            "a server uses the data directory {}: end it first; nothing was restored",
            data_dir.display()
        ),
        error => error.into(),
    })?;
    let bar = bar(Unit::Bytes, output);
    let restored = watched(&bar, |progress| {
        restore_books(&arguments.file, &data_dir, &key, arguments.force, progress)
    });
    bar.finish_and_clear();
    let restored = restored?;
    if !server_key.exists() {
        write_master_key(&server_key, &key).with_context(|| {
            format!(
                "the books are restored, but the key can't be written to {}",
                server_key.display()
            )
        })?;
    }
    let view = RestoredView {
        data_dir,
        bytes: restored.bytes,
        key_fingerprint: restored.key.to_string(),
        old_books: restored.old_books,
    };
    output.show(&view, |output| restored_text(&view, output))?;
    Ok(ExitCode::SUCCESS)
}

fn restored_text(view: &RestoredView, output: &Output) -> String {
    let mut facts = vec![
        ("Data directory", view.data_dir.display().to_string()),
        ("Size", size(view.bytes)),
        ("Master key", view.key_fingerprint.clone()),
    ];
    if let Some(old) = &view.old_books {
        facts.push(("Old books", old.display().to_string()));
    }
    let done = output.styled(Style::Good, "✓ the books are as they were when the backup was made");
    format!(
        "{done}\n\n{}\nWhat happened since then is not in them. `countersign audit` checks them; `countersign serve` goes on \
         with them.\n",
        output.facts(&facts)
    )
}

/// The server's settings, as `serve` would read them.
pub(crate) fn settings(config: Option<&PathBuf>, common: &Common) -> anyhow::Result<Settings> {
    let overrides = Overrides {
        config: config.cloned(),
        data_dir: common.named_data_dir(),
        ..Overrides::default()
    };
    Ok(Settings::load(&overrides, &Environment::of_process())?)
}

/// Runs a copy on this thread while another shows how far it is.
fn watched<T: Send>(bar: &ProgressBar, copy: impl FnOnce(&BackupProgress) -> T + Send) -> T {
    let progress = BackupProgress::default();
    let (done, watching) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let watching = watching;
            // The other end is dropped when the copy is done.
            while watching.recv_timeout(PROGRESS_EVERY) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let (copied, all) = progress.bytes();
                bar.set_length(all);
                bar.set_position(copied);
            }
        });
        let copied = copy(&progress);
        drop(done);
        copied
    })
}

fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}
