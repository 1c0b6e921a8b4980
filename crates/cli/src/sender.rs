//! `countersign sender`: the names that recipients see, through the operator's API.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use countersign_core::SenderUsername;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::arguments::{Common, parse_account};
use crate::connection::{Connection, block_on};
use crate::format;
use crate::output::{Cell, Output, Style};

/// What to do with senders.
#[derive(Debug, Args)]
#[command(after_help = "\
A sender can be used for sends once it is verified: verify it when you know that the name is its account's to use.

Examples:
  countersign sender add @acme_shop --account +391234567890
  countersign sender verify @acme_shop
  countersign sender refuse @acme_bank --reason \"The name is another company's\"
  countersign send +391234567890 --sender @acme_shop")]
pub(crate) struct SenderArguments {
    #[command(subcommand)]
    action: SenderAction,
}

#[derive(Debug, Subcommand)]
enum SenderAction {
    /// Register a sender for an account
    Add {
        /// The sender's name, with or without @
        #[arg(value_parser = parse_sender)]
        username: SenderUsername,
        /// Whose it is: the account's owner's phone number, or the account's id
        #[arg(long, value_name = "PHONE|ID", value_parser = parse_account)]
        account: String,
    },
    /// Let a registered sender be used
    Verify {
        /// The sender's name, with or without @
        #[arg(value_parser = parse_sender)]
        username: SenderUsername,
    },
    /// Refuse a sender, or take the verified mark away: its account can't send by it
    Refuse {
        /// The sender's name, with or without @
        #[arg(value_parser = parse_sender)]
        username: SenderUsername,
        /// Why, in one line: the sender's owner reads it
        #[arg(long)]
        reason: String,
    },
    /// List all senders, or an account's
    List {
        /// Only this account's: its owner's phone number, or its id
        #[arg(long, value_name = "PHONE|ID", value_parser = parse_account)]
        account: Option<String>,
    },
}

#[derive(Serialize)]
struct AddBody<'a> {
    account: &'a str,
    username: &'a str,
}

#[derive(Serialize)]
struct RefuseBody<'a> {
    reason: &'a str,
}

#[derive(Serialize, Deserialize)]
struct Sender {
    username: String,
    account_id: String,
    verified: bool,
    created_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verified_at: Option<i64>,
}

#[derive(Deserialize)]
struct Senders {
    senders: Vec<Sender>,
}

fn parse_sender(text: &str) -> Result<SenderUsername, String> {
    let refusal = "a sender's name has 5 to 32 of a-z, 0-9 and _, a letter first";
    SenderUsername::parse(text).ok_or_else(|| refusal.to_owned())
}

/// Does it.
pub(crate) fn run(arguments: &SenderArguments, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
    let connection = Connection::operator(common)?;
    let nothing: Option<&()> = None;
    block_on(async {
        match &arguments.action {
            SenderAction::Add { account, username } => {
                let body = AddBody {
                    account,
                    username: username.as_str(),
                };
                show(
                    &connection.ask(Method::POST, &["senders"], &[], Some(&body)).await?,
                    output,
                )
            }
            SenderAction::Verify { username } => {
                let path = ["senders", username.as_str(), "verify"];
                show(&connection.ask(Method::POST, &path, &[], nothing).await?, output)
            }
            SenderAction::Refuse { username, reason } => {
                let path = ["senders", username.as_str(), "refuse"];
                let body = RefuseBody { reason };
                show(&connection.ask(Method::POST, &path, &[], Some(&body)).await?, output)
            }
            SenderAction::List { account } => {
                let query: Vec<_> = account.iter().map(|account| ("account", account.as_str())).collect();
                let list: Senders = connection.ask(Method::GET, &["senders"], &query, nothing).await?;
                print_list(&list.senders, output)
            }
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn show(sender: &Sender, output: &Output) -> anyhow::Result<()> {
    output.show(sender, |output| {
        let state = state(sender).shown(output);
        output.facts(&[
            ("Sender", sender.username.clone()),
            ("Account", sender.account_id.clone()),
            ("State", state),
        ])
    })
}

fn print_list(senders: &[Sender], output: &Output) -> anyhow::Result<()> {
    output.show(&senders, |output| {
        if senders.is_empty() {
            return "No senders yet. Register one: countersign sender add @acme_shop --account PHONE\n".to_owned();
        }
        let now = format::now();
        let rows: Vec<Vec<Cell>> = senders
            .iter()
            .map(|sender| {
                vec![
                    Cell::new(&sender.username),
                    Cell::new(&sender.account_id),
                    state(sender),
                    Cell::new(format::time(sender.created_at, now)),
                ]
            })
            .collect();
        output.table(&["Sender", "Account", "State", "Registered"], &rows)
    })
}

fn state(sender: &Sender) -> Cell {
    if sender.verified {
        Cell::new("✓ verified").style(Style::Good)
    } else {
        Cell::new("○ not verified").style(Style::Waiting)
    }
}
