//! The log: to standard error, so that what a command prints stays clean.

use std::io::IsTerminal as _;

use anyhow::bail;
use tracing_subscriber::filter::LevelFilter;

use crate::arguments::{Arguments, Command, option_or_variable};
use crate::output::stderr_colour;

const VARIABLE: &str = "COUNTERSIGN_LOG";

/// Starts the log. A server tells what it does, other commands only what goes wrong.
pub(crate) fn start(arguments: &Arguments) -> anyhow::Result<()> {
    let usual = match arguments.command {
        None | Some(Command::Serve(_)) => LevelFilter::INFO,
        _ => LevelFilter::WARN,
    };
    let level = match option_or_variable(None, VARIABLE) {
        None => usual,
        Some(text) => match parse(&text) {
            Some(level) => level,
            None => {
                bail!("{VARIABLE} is {text:?}: set it to off, error, warn, info, debug or trace, or leave it unset")
            }
        },
    };
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(stderr_colour())
        // A log that can't be written (its disk is full) is not told on standard error, which is that same log: the attempt
        // would panic, and end the server.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        log.with_target(false).init();
    } else {
        log.init();
    }
    Ok(())
}

fn parse(text: &str) -> Option<LevelFilter> {
    Some(match text.to_ascii_lowercase().as_str() {
        "off" => LevelFilter::OFF,
        "error" => LevelFilter::ERROR,
        "warn" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        _ => return None,
    })
}
