//! `countersign key`: the master key, which backups don't hold: its export, and the fingerprint by which people tell keys apart.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use countersign_server::keys::{read_master_key, write_master_key};
use serde::Serialize;

use crate::arguments::Common;
use crate::backup::settings;
use crate::output::{Output, Style};

/// What to do with the key.
#[derive(Debug, Args)]
#[command(after_help = "\
The master key seals codes and tokens in the books. Whoever has it and a backup can read both, so keep
them apart; whoever has lost it can read neither.

Examples:
  countersign key fingerprint
  countersign key export /media/safe/countersign.key")]
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
}

#[derive(Serialize)]
struct KeyView {
    key_fingerprint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
}

/// Does it.
pub(crate) fn run(arguments: &KeyArguments, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
    let key = read_master_key(&settings(arguments.config.as_ref(), common)?.master_key_file())?;
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
