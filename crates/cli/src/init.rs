//! `countersign init`: writes the commented configuration file.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::Args;
use countersign_server::settings::{DEFAULT_FILE, commented_file};
use serde::Serialize;

use crate::output::Output;

/// Options of `init`.
#[derive(Debug, Args)]
#[command(after_help = "\
Every setting stands in the file with what it does and its default; nothing is set yet.

Examples:
  countersign init
  countersign init --config /etc/countersign.toml")]
pub(crate) struct InitArguments {
    /// The file to write [default: ./countersign.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Replace a file that is already there
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct Written<'a> {
    config_file: &'a PathBuf,
}

/// Writes the file.
pub(crate) fn run(arguments: &InitArguments, output: &Output) -> anyhow::Result<ExitCode> {
    let path = arguments.config.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    let mut options = OpenOptions::new();
    options.write(true);
    if arguments.force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let mut file = options.open(&path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => anyhow!(
            "{} is already there and was left alone: edit it, name another file with --config, or replace it with --force",
            path.display()
        ),
        _ => anyhow!("can't write {}: {error}. Name another file with --config", path.display()),
    })?;
    file.write_all(commented_file().as_bytes())
        .with_context(|| format!("can't write {}", path.display()))?;
    output.show(&Written { config_file: &path }, |_| {
        format!(
            "Wrote {path}. Edit it, then start with: countersign serve --config {path}\n",
            path = path.display()
        )
    })?;
    Ok(ExitCode::SUCCESS)
}
