//! `countersign inbox`: the sandbox's built-in messenger, for scripts. `list` changes nothing; `read` is what a person does
//! who opens the phone.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use countersign_core::PhoneNumber;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::arguments::{Common, parse_phone};
use crate::connection::{Connection, block_on};
use crate::format;
use crate::output::{Cell, Output, Style};

/// What to do with the inbox.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  countersign inbox list
  countersign inbox list --phone +391234567890 --json | jq -r '.[0].code'
  countersign inbox read --phone +391234567890")]
pub(crate) struct InboxArguments {
    #[command(subcommand)]
    action: InboxAction,
}

#[derive(Debug, Subcommand)]
enum InboxAction {
    /// List messages, newest first; changes nothing
    List {
        /// Only this number's
        #[arg(long, value_parser = parse_phone)]
        phone: Option<PhoneNumber>,
    },
    /// Open a number's messages: they become delivered and read
    Read {
        /// The number
        #[arg(long, value_parser = parse_phone)]
        phone: PhoneNumber,
        /// Only the message of this request
        #[arg(long, value_name = "REQUEST_ID")]
        request: Option<String>,
    },
}

#[derive(Serialize)]
struct ReadBody<'a> {
    phone_number: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

#[derive(Serialize, Deserialize)]
struct Message {
    request_id: String,
    phone_number: String,
    code: String,
    text: String,
    sender: Option<String>,
    sent_at: i64,
    expires_at: i64,
    status: String,
}

/// Does it.
pub(crate) fn run(arguments: &InboxArguments, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
    let connection = Connection::open(common)?;
    let messages: Vec<Message> = block_on(async {
        match &arguments.action {
            InboxAction::List { phone } => {
                let phone = phone.map(|phone| phone.to_string());
                let query: Vec<_> = phone.iter().map(|phone| ("phone", phone.as_str())).collect();
                let nothing: Option<&()> = None;
                connection
                    .ask_inbox(Method::GET, &["inbox", "messages"], &query, nothing)
                    .await
            }
            InboxAction::Read { phone, request } => {
                let body = ReadBody {
                    phone_number: phone.to_string(),
                    request_id: request.as_deref(),
                };
                connection
                    .ask_inbox(Method::POST, &["inbox", "read"], &[], Some(&body))
                    .await
            }
        }
    })?;
    output.show(&messages, |output| table(&messages, output))?;
    Ok(ExitCode::SUCCESS)
}

fn table(messages: &[Message], output: &Output) -> String {
    if messages.is_empty() {
        return "No messages. Send one: countersign send +391234567890\n".to_owned();
    }
    let now = format::now();
    let rows: Vec<Vec<Cell>> = messages
        .iter()
        .map(|message| {
            vec![
                Cell::new(format::phone(&message.phone_number)),
                Cell::new(&message.code).style(Style::Strong),
                Cell::new(message.sender.as_deref().unwrap_or("-")),
                format::state(&message.status),
                Cell::new(format::time(message.sent_at, now)),
                Cell::new(format::time(message.expires_at, now)),
                Cell::new(&message.request_id).style(Style::Quiet),
            ]
        })
        .collect();
    output.table(
        &["Phone", "Code", "Sender", "State", "Sent", "Expires", "Request"],
        &rows,
    )
}
