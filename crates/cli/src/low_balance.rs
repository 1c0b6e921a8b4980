//! `countersign low-balance`: when an account's owner is told that the credit runs out, and where, through the owner's API.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use countersign_core::Credits;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::arguments::{Common, parse_amount};
use crate::connection::{Connection, block_on};
use crate::format;
use crate::output::{Output, Style};

/// What to do with the low-balance report.
#[derive(Debug, Args)]
#[command(after_help = "\
The report is a signed POST, like a delivery report. It goes out once when the available balance falls below the amount, and
again only after it was above meanwhile.

Examples:
  countersign low-balance set 5 https://example.com/low-balance
  countersign low-balance show
  countersign low-balance off")]
pub(crate) struct LowBalanceArguments {
    /// The account's API token [env: COUNTERSIGN_TOKEN]
    #[arg(long, global = true)]
    token: Option<String>,
    #[command(subcommand)]
    action: LowBalanceAction,
}

#[derive(Debug, Subcommand)]
enum LowBalanceAction {
    /// Be told when the available balance falls below an amount
    Set {
        /// The amount, like 5
        #[arg(value_parser = parse_amount, allow_hyphen_values = true)]
        below: Credits,
        /// Where the report goes
        #[arg(value_name = "URL")]
        report_to: String,
    },
    /// Show what is set
    Show,
    /// Be told no more
    Off,
}

#[derive(Serialize, Deserialize)]
struct LowBalance {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    below: Option<Credits>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

/// Does it.
pub(crate) fn run(arguments: &LowBalanceArguments, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
    let connection = Connection::owner(common, arguments.token.as_deref())?;
    let (method, body) = match &arguments.action {
        LowBalanceAction::Set { below, report_to } => {
            let body = LowBalance {
                below: Some(*below),
                url: Some(report_to.clone()),
            };
            (Method::PUT, Some(body))
        }
        LowBalanceAction::Show => (Method::GET, None),
        LowBalanceAction::Off => (Method::DELETE, None),
    };
    let set: LowBalance = block_on(connection.ask(method, &["low-balance"], &[], body.as_ref()))?;
    output.show(&set, |output| match (&set.below, &set.url) {
        (Some(below), Some(url)) => output.facts(&[("Below", format::money(*below)), ("Report to", url.clone())]),
        _ => output.styled(Style::Quiet, "no low-balance report is set\n"),
    })?;
    Ok(ExitCode::SUCCESS)
}
