//! `countersign man`: writes the manual's pages, one for each command, from the same words as `--help`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use serde::Serialize;

use crate::arguments::Arguments;
use crate::output::Output;

/// Options of `man`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  countersign man ~/.local/share/man/man1")]
pub(crate) struct ManArguments {
    /// The directory to write to; made where it is missing
    directory: PathBuf,
}

#[derive(Serialize)]
struct Written<'a> {
    directory: &'a PathBuf,
    pages: usize,
}

/// Writes the pages.
pub(crate) fn run(arguments: &ManArguments, output: &Output) -> anyhow::Result<ExitCode> {
    let directory = &arguments.directory;
    let written = || {
        std::fs::create_dir_all(directory)?;
        clap_mangen::generate_to(Arguments::command(), directory)?;
        std::fs::read_dir(directory)
    };
    let entries = written().with_context(|| format!("can't write to {}", directory.display()))?;
    let is_ours = |name: std::ffi::OsString| name.to_string_lossy().starts_with("countersign");
    let pages = entries
        .filter_map(Result::ok)
        .filter(|entry| is_ours(entry.file_name()))
        .count();
    output.show(&Written { directory, pages }, |_| {
        format!(
            "Wrote {pages} pages to {}. Read the first with: man {0}/countersign.1\n",
            directory.display()
        )
    })?;
    Ok(ExitCode::SUCCESS)
}
