//! The log: to standard error, so that what a command prints stays clean. As lines for people, or as one JSON object a line for
//! programs ([`json`]); either names the HTTP request that a line is about.

mod json;

use std::fmt;
use std::io::IsTerminal as _;

use anyhow::bail;
use clap::ValueEnum;
use countersign_server::http::RequestLabel;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};

use self::json::JsonLines;
use crate::arguments::{Arguments, Command, option_or_variable};
use crate::output::stderr_colour;

const VARIABLE: &str = "COUNTERSIGN_LOG";
const FORMAT_VARIABLE: &str = "COUNTERSIGN_LOG_FORMAT";

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line, for programs
    Json,
}

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
        // A log that can't be written (its disk is full) is not told on standard error, which is that same log: the attempt
        // would panic, and end the server.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    match format(arguments)? {
        LogFormat::Json => log.with_ansi(false).event_format(JsonLines).init(),
        LogFormat::Text => {
            let on_terminal = std::io::stderr().is_terminal();
            log.with_ansi(stderr_colour())
                .with_target(!on_terminal)
                .fmt_fields(WithRequest(DefaultFields::new()))
                .init();
        }
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

fn format(arguments: &Arguments) -> anyhow::Result<LogFormat> {
    if let Some(Command::Serve(serve)) = &arguments.command
        && let Some(format) = serve.log_format
    {
        return Ok(format);
    }
    let Some(text) = option_or_variable(None, FORMAT_VARIABLE) else {
        return Ok(LogFormat::Text);
    };
    match LogFormat::from_str(&text, true) {
        Ok(format) => Ok(format),
        Err(_) => bail!("{FORMAT_VARIABLE} is {text:?}: set it to text or json, or leave it unset"),
    }
}

/// Ends a line with the id of the HTTP request that is being served, where one is.
struct WithRequest(DefaultFields);

impl<'writer> FormatFields<'writer> for WithRequest {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        self.0.format_fields(writer.by_ref(), fields)?;
        RequestLabel::with(|id| write!(writer, " http_request={id}")).unwrap_or(Ok(()))
    }
}
