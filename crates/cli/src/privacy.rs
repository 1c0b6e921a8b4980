//! `countersign privacy`: what is kept of one phone number, for its owner's request, and its erasure, through the operator's API.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::arguments::Common;
use crate::connection::{Connection, block_on};
use crate::output::{Output, Style};

/// What to do with a number's data.
#[derive(Debug, Args)]
#[command(after_help = "\
Make sure that whoever asks owns the number: a code to it shows that.
Codes are never exported. What is still under way can't be erased yet: ask again an hour later.

Examples:
  countersign privacy export +391234567890 > anna.json
  countersign privacy erase +391234567890")]
pub(crate) struct PrivacyArguments {
    #[command(subcommand)]
    action: PrivacyAction,
}

#[derive(Debug, Subcommand)]
enum PrivacyAction {
    /// Print what is kept of a number, as JSON
    Export {
        /// The phone number, like +391234567890
        phone: String,
    },
    /// Erase a number, with what was written to it
    Erase {
        /// The phone number, like +391234567890
        phone: String,
    },
}

#[derive(Serialize)]
struct NumberBody<'a> {
    phone_number: &'a str,
}

#[derive(Serialize, Deserialize)]
struct Erased {
    requests: u64,
    still_open: u64,
    recipients: u64,
    stops_kept: u64,
}

/// Does it.
pub(crate) fn run(arguments: &PrivacyArguments, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
    let connection = Connection::operator(common)?;
    match &arguments.action {
        PrivacyAction::Export { phone } => {
            let body = NumberBody { phone_number: phone };
            let path = ["privacy", "export"];
            let kept: serde_json::Value = block_on(connection.ask(Method::POST, &path, &[], Some(&body)))?;
            output.show(&kept, |_| format!("{kept:#}\n"))?;
        }
        PrivacyAction::Erase { phone } => {
            let body = NumberBody { phone_number: phone };
            let path = ["privacy", "erase"];
            let erased: Erased = block_on(connection.ask(Method::POST, &path, &[], Some(&body)))?;
            output.show(&erased, |output| {
                let done = if erased.still_open == 0 {
                    output.styled(Style::Good, "✓ the number is erased")
                } else {
                    output.styled(
                        Style::Waiting,
                        "something is still under way: erase again once it has ended",
                    )
                };
                let facts = output.facts(&[
                    ("Requests", erased.requests.to_string()),
                    ("Still open", erased.still_open.to_string()),
                    ("Channels that forgot it", erased.recipients.to_string()),
                    ("Stops that are kept", erased.stops_kept.to_string()),
                ]);
                format!("{done}\n\n{facts}")
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
