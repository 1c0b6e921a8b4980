//! `countersign recipient`: where channels reach people, and who said stop, through the operator's API.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::arguments::Common;
use crate::connection::{Connection, block_on};
use crate::format;
use crate::output::Output;

/// Rows of one call: what the server takes at once.
const ROWS_AT_ONCE: usize = 1_000;
/// The largest table that is read.
const MAX_TABLE_BYTES: u64 = 64 * 1024 * 1024;

/// What to do with recipients.
#[derive(Debug, Args)]
#[command(after_help = "\
An account can give an e-mail address with each send. What is set here is for all accounts: set only what you know to be the number's own.

Examples:
  countersign recipient set mail +391234567890 --address ida@example.com
  countersign recipient import mail addresses.csv
  countersign recipient stop sms +391234567890
  countersign recipient forget mail +391234567890")]
pub(crate) struct RecipientArguments {
    #[command(subcommand)]
    action: RecipientAction,
}

#[derive(Debug, Args)]
struct Named {
    /// The channel's name, as the configuration has it
    channel: String,
    /// The phone number, like +391234567890
    phone: String,
}

#[derive(Debug, Subcommand)]
enum RecipientAction {
    /// Show what a channel knows of a number
    Show(Named),
    /// Set the address at which a channel reaches a number
    Set {
        #[command(flatten)]
        named: Named,
        /// The address, like ida@example.com
        #[arg(long)]
        address: String,
    },
    /// Set the addresses of many numbers from a CSV file with the columns phone_number and address
    Import {
        /// The channel's name, as the configuration has it
        channel: String,
        /// The file
        file: PathBuf,
    },
    /// Note that a number wants no messages over a channel
    Stop(Named),
    /// Note that it may be reached again
    Start(Named),
    /// Forget a number on a channel, and that it said stop
    Forget(Named),
}

#[derive(Debug, Serialize, Deserialize)]
struct Recipient {
    channel: String,
    phone_number: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    stopped: bool,
    since: i64,
}

#[derive(Serialize)]
struct SetBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<bool>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Row {
    phone_number: String,
    address: String,
}

#[derive(Serialize)]
struct ImportBody<'a> {
    rows: &'a [Row],
}

#[derive(Debug, Serialize, Deserialize)]
struct Imported {
    set: usize,
}

/// Does it.
pub(crate) fn run(arguments: &RecipientArguments, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
    let rows = match &arguments.action {
        RecipientAction::Import { file, .. } => read_table(file)?,
        _ => Vec::new(),
    };
    let connection = Connection::operator(common)?;
    let nothing: Option<&()> = None;
    block_on(async {
        let (method, named, body) = match &arguments.action {
            RecipientAction::Import { channel, .. } => return import(&connection, channel, &rows, output).await,
            RecipientAction::Show(named) => (Method::GET, named, None),
            RecipientAction::Forget(named) => (Method::DELETE, named, None),
            RecipientAction::Set { named, address } => (Method::PUT, named, Some((Some(address.as_str()), None))),
            RecipientAction::Stop(named) => (Method::PUT, named, Some((None, Some(true)))),
            RecipientAction::Start(named) => (Method::PUT, named, Some((None, Some(false)))),
        };
        let path = ["recipients", named.channel.as_str(), named.phone.as_str()];
        let forgotten = method == Method::DELETE;
        let recipient: Recipient = match body {
            None => connection.ask(method, &path, &[], nothing).await?,
            Some((address, stopped)) => {
                let body = SetBody { address, stopped };
                connection.ask(method, &path, &[], Some(&body)).await?
            }
        };
        show(&recipient, forgotten, output)
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn import(connection: &Connection, channel: &str, rows: &[Row], output: &Output) -> anyhow::Result<()> {
    let path = ["recipients", channel, "import"];
    let mut done = Imported { set: 0 };
    for rows in rows.chunks(ROWS_AT_ONCE) {
        let body = ImportBody { rows };
        let imported: anyhow::Result<Imported> = connection.ask(Method::POST, &path, &[], Some(&body)).await;
        let context = || match done.set {
            0 => "no address was set".to_owned(),
            set => format!("the first {set} addresses were set; rows count from the one after them"),
        };
        done.set += imported.with_context(context)?.set;
    }
    output.show(&done, |_| format!("{} addresses set\n", done.set))
}

fn read_table(file: &Path) -> anyhow::Result<Vec<Row>> {
    let context = || format!("can't read {}", file.display());
    let length = std::fs::metadata(file).with_context(context)?.len();
    if length > MAX_TABLE_BYTES {
        bail!("{} is larger than 64 MiB: split it", file.display());
    }
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(file)
        .with_context(context)?;
    let mut rows = Vec::new();
    for row in reader.deserialize() {
        let row = row.map_err(|error| {
            let line = error.position().map_or(1, csv::Position::line);
            anyhow::anyhow!(
                "{}, line {line}: expected the columns phone_number and address, as its first line names them",
                file.display()
            )
        });
        rows.push(row?);
    }
    if rows.is_empty() {
        bail!("{} has no rows below its first line", file.display());
    }
    Ok(rows)
}

fn show(recipient: &Recipient, forgotten: bool, output: &Output) -> anyhow::Result<()> {
    output.show(recipient, |output| {
        let state = match (forgotten, recipient.stopped) {
            (true, _) => "forgotten",
            (false, true) => "wants no messages",
            (false, false) => "may be reached",
        };
        let address = recipient.address.as_deref().unwrap_or("the number itself");
        output.facts(&[
            ("Recipient", recipient.phone_number.clone()),
            ("Channel", recipient.channel.clone()),
            ("Address", address.to_owned()),
            ("State", state.to_owned()),
            ("Since", format::time(recipient.since, format::now())),
        ])
    })
}
