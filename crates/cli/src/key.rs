//! `countersign key`: the master key, which backups don't hold: its export, the fingerprint by which people tell keys apart, and its
//! change while the server serves.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::{Args, Subcommand};
use countersign_server::keys::{next_key_file, next_master_key, read_master_key, write_master_key};
use indicatif::ProgressBar;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::arguments::Common;
use crate::backup::settings;
use crate::connection::{Connection, block_on};
use crate::output::{Output, Style};
use crate::progress::{Unit, bar};

/// How often progress is asked for and shown.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// What to do with the key.
#[derive(Debug, Args)]
#[command(after_help = "\
The master key seals codes and tokens in the books. Whoever has it and a backup can read both, so keep
them apart; whoever has lost it can read neither.

Examples:
  countersign key fingerprint
  countersign key export /media/safe/countersign.key
  countersign keys rotate")]
pub(crate) struct KeyArguments {
    /// The server's configuration file, for where its master key is [default: ./countersign.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    action: KeyAction,
}

#[derive(Debug, Subcommand)]
enum KeyAction {
    /// Write the key to a new file that only you may read
    Export {
        /// The file; one that is already there is left alone
        file: PathBuf,
    },
    /// Tell which key this is, without telling the key
    Fingerprint,
    /// Change the key while the server serves: all that it sealed is sealed anew
    #[command(after_help = "\
Makes a new key beside the old one, with .next behind its name, and has the server seal everything
under it. Interrupted, here or there, it goes on when the server runs; call it again to watch. Once no
value under the old key is left, the new file takes the old one's place, and the old one has .old
behind its name: keep it as long as you keep backups that were made before.
Everybody who is signed in to the pages signs in anew. Several nodes: copy the new file to each first.")]
    Rotate,
}

#[derive(Serialize)]
struct KeyView {
    key_fingerprint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
}

/// Does it.
pub(crate) fn run(arguments: &KeyArguments, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
    let file = settings(arguments.config.as_ref(), common)?.master_key_file();
    if let KeyAction::Rotate = arguments.action {
        return rotate(&file, common, output);
    }
    let key = read_master_key(&file)?;
    let mut view = KeyView {
        key_fingerprint: key.fingerprint()?.to_string(),
        file: None,
    };
    if let KeyAction::Export { file } = &arguments.action {
        write_master_key(file, &key).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => anyhow!(
                "{} is already there and was left alone: name another file",
                file.display()
            ),
            _ => anyhow!("{} can't be written: {error}", file.display()),
        })?;
        view.file = Some(file.clone());
    }
    output.show(&view, |output| match &view.file {
        None => format!("{}\n", view.key_fingerprint),
        Some(file) => {
            let done = output.styled(Style::Good, "✓ the master key is exported");
            let facts = [
                ("File", file.display().to_string()),
                ("Master key", view.key_fingerprint.clone()),
            ];
            format!(
                "{done}\n\n{}\nKeep it where the backups are not.\n",
                output.facts(&facts)
            )
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// A change of the key as the operator's API tells it.
#[derive(Deserialize)]
struct Told {
    state: String,
    key_fingerprint: String,
    rows: u64,
    all_rows: u64,
    resealed: u64,
    values: Option<u64>,
    unreadable: Option<u64>,
}

#[derive(Serialize)]
struct Begin<'a> {
    key_fingerprint: &'a str,
}

#[derive(Serialize)]
struct RotatedView {
    key_fingerprint: String,
    resealed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<u64>,
}

/// Has the server change its key, and watches.
fn rotate(file: &Path, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
    if !file.exists() {
        bail!(
            "there is no master key {} on this machine: call this on a machine where the server runs, with its configuration",
            file.display()
        );
    }
    // Asked before a key is made, so that a mistyped address leaves nothing behind.
    let connection = Connection::operator(common)?;
    let next = next_key_file(file);
    let bar = bar(Unit::Rows, output);
    let rotated = block_on(async {
        let nothing: Option<&()> = None;
        let _: Told = connection.ask(Method::GET, &["key-rotation"], &[], nothing).await?;
        let key = next_master_key(file)?.fingerprint()?.to_string();
        see_through(&connection, &key, &bar).await.map_err(|error| {
            let there = next.exists();
            error.context(if there {
                format!("the key isn't changed; the new one is in {}", next.display())
            } else {
                "the key isn't changed".to_owned()
            })
        })
    });
    bar.finish_and_clear();
    let view = rotated?;
    output.show(&view, |output| {
        let done = output.styled(Style::Good, "✓ the master key is changed: no value under the old one is left");
        let mut facts = vec![
            ("Master key", view.key_fingerprint.clone()),
            ("Sealed anew", view.resealed.to_string()),
        ];
        facts.extend(view.values.map(|values| ("Values", values.to_string())));
        facts.extend(
            view.unreadable
                .filter(|unreadable| *unreadable > 0)
                .map(|unreadable| ("Under no known key", unreadable.to_string())),
        );
        format!(
            "{done}\n\n{}\nBackups that were made before need the old key, which is in {}.old. Export the new one: `countersign key export`.\n",
            output.facts(&facts),
            file.display()
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn see_through(connection: &Connection, key: &str, bar: &ProgressBar) -> anyhow::Result<RotatedView> {
    let nothing: Option<&()> = None;
    let begin = Begin { key_fingerprint: key };
    let mut told: Told = connection
        .ask(Method::POST, &["key-rotation"], &[], Some(&begin))
        .await?;
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    while told.state == "running" {
        bar.set_length(told.all_rows);
        bar.set_position(told.rows);
        tokio::select! {
            () = tokio::time::sleep(PROGRESS_EVERY) => {}
            _ = &mut interrupted => bail!("the server goes on with it: call this again to watch"),
        }
        told = connection.ask(Method::GET, &["key-rotation"], &[], nothing).await?;
    }
    if told.key_fingerprint != key {
        bail!("the server's log says why");
    }
    Ok(RotatedView {
        key_fingerprint: told.key_fingerprint,
        resealed: told.resealed,
        values: told.values,
        unreadable: told.unreadable,
    })
}
