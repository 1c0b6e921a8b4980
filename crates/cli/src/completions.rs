//! `countersign completions`: prints a completion script.

use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use serde::Serialize;

use crate::arguments::Arguments;
use crate::output::Output;

/// Options of `completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  countersign completions bash > ~/.local/share/bash-completion/completions/countersign
  countersign completions zsh > ~/.zfunc/_countersign
  countersign completions fish > ~/.config/fish/completions/countersign.fish")]
pub(crate) struct CompletionsArguments {
    /// The shell
    shell: Shell,
}

#[derive(Serialize)]
struct Completions {
    shell: String,
    script: String,
}

/// Prints the script.
pub(crate) fn run(arguments: &CompletionsArguments, output: &Output) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "countersign", &mut script);
    let script = String::from_utf8(script)?;
    let completions = Completions {
        shell: arguments.shell.to_string(),
        script,
    };
    output.show(&completions, |_| completions.script.clone())?;
    Ok(ExitCode::SUCCESS)
}
