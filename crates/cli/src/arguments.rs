//! The command line's grammar: the commands, and the options that every command takes. A command's own options stand in its
//! file.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use countersign_core::{AccountId, Credits, PhoneNumber, SandboxNumbers, Timestamp};

/// The data directory where none is named.
const DEFAULT_DATA_DIR: &str = "countersign-data";

const EXAMPLES: &str = "\
Examples:
  countersign                                      start a sandbox and print how to use it
  countersign send +391234567890                   send a code (COUNTERSIGN_TOKEN holds the token)
  countersign inbox read --phone +391234567890     see it arrive
  countersign check REQUEST_ID 123456              judge what the person typed
  countersign account create --phone +391234567890 --name Acme --credit 10

Exit codes:
  0  done
  1  refused or failed; the sentence on standard error says what to do
  2  the command line makes no sense
  3  `check`: the code is not the right one

Environment:
  COUNTERSIGN_TOKEN          token of `send`, `check`, `status`, `revoke` and `reports`
  COUNTERSIGN_URL            the server's address, like --url
  COUNTERSIGN_OPERATOR_KEY   like --operator-key
  COUNTERSIGN_DATA_DIR       like --data-dir
  COUNTERSIGN_CA_FILE        like --ca-file
  COUNTERSIGN_LOG            off, error, warn, info, debug or trace
  COUNTERSIGN_LOG_FORMAT     text or json
  NO_COLOR                   no colours
An empty variable counts as absent. Every setting of the server has one too: see `countersign init`.";

/// Self-hosted verification gateway that speaks the Telegram Gateway API
#[derive(Debug, Parser)]
#[command(name = "countersign", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server in the foreground; what happens without a command, too
    Serve(crate::serve::ServeArguments),
    /// Ask what a server needs, and write its configuration file
    Init(crate::init::InitArguments),
    /// Check that the books balance and states only moved forward, beside a live server too
    Audit(crate::audit::AuditArguments),
    /// Look after the PostgreSQL database, and move books to it
    Database(crate::database::DatabaseArguments),
    /// Copy the books into a file, beside a live server too
    Backup(crate::backup::BackupArguments),
    /// Put a backup in the place of a data directory's books
    Restore(crate::backup::RestoreArguments),
    /// Export the master key, tell its fingerprint, or change it
    #[command(visible_alias = "keys")]
    Key(crate::key::KeyArguments),
    /// Make, list, show, credit, adjust and close accounts (operator)
    Account(crate::account::AccountArguments),
    /// Show or replace an account's API token (operator)
    Token(crate::token::TokenArguments),
    /// Register and verify the names that recipients see (operator)
    Sender(crate::sender::SenderArguments),
    /// Export or erase what is kept of one phone number (operator)
    Privacy(crate::privacy::PrivacyArguments),
    /// Say where channels reach people, and who wants no messages (operator)
    Recipient(crate::recipient::RecipientArguments),
    /// List, confirm and cancel orders of credit (operator)
    Order(crate::order::OrderArguments),
    /// Set what messages cost by route and number prefix (operator)
    Price(crate::price::PriceArguments),
    /// Tell which legs messages take, how the legs do, and what upstreams charged (operator)
    Route(crate::route::RouteArguments),
    /// Try every channel without sending anything to anyone, and say what to do
    Doctor(crate::doctor::DoctorArguments),
    /// Write an account's ledger entries of a time, with balances that add up
    Statement(crate::statement::StatementArguments),
    /// Be told when an account's credit runs out
    LowBalance(crate::low_balance::LowBalanceArguments),
    /// End short messages so that phones fill the code in
    Autofill(crate::autofill::AutofillArguments),
    /// Send a code to a phone number
    Send(crate::verify::SendArguments),
    /// Judge the code that the person typed
    Check(crate::verify::CheckArguments),
    /// Tell what became of a message
    Status(crate::verify::RequestArguments),
    /// End a code and withdraw its message
    Revoke(crate::verify::RequestArguments),
    /// List, show, redeliver and try out delivery reports
    Reports(crate::reports::ReportsArguments),
    /// Look into the built-in messenger (sandbox)
    Inbox(crate::inbox::InboxArguments),
    /// Write the manual's pages
    Man(crate::man::ManArguments),
    /// Print a completion script for a shell
    Completions(crate::completions::CompletionsArguments),
}

/// Options of every command, before or after it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Common {
    /// The server's data directory [default: ./countersign-data]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<OsString>,
    /// The server's address [default: the one that runs on DIR, or http://127.0.0.1:8099]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// The operator's key [default: in the file DIR/operator.key]
    #[arg(long, global = true, value_name = "KEY")]
    pub(crate) operator_key: Option<String>,
    /// PEM certificates to trust besides the system's [default: DIR/sandbox-ca.pem]
    #[arg(long, global = true, value_name = "FILE")]
    ca_file: Option<OsString>,
    /// Print JSON, for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Common {
    /// The data directory that the command line names; the server's settings know the rest.
    pub(crate) fn named_data_dir(&self) -> Option<PathBuf> {
        self.data_dir.clone().filter(|text| !text.is_empty()).map(PathBuf::from)
    }

    /// The data directory.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.named_data_dir()
            .or_else(|| path_variable("COUNTERSIGN_DATA_DIR"))
            .unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIR))
    }

    /// The file of trusted certificates that was named.
    pub(crate) fn ca_file(&self) -> Option<PathBuf> {
        self.ca_file
            .clone()
            .filter(|text| !text.is_empty())
            .map(PathBuf::from)
            .or_else(|| path_variable("COUNTERSIGN_CA_FILE"))
    }
}

/// An option's value, or else its environment variable's; empty counts as absent.
pub(crate) fn option_or_variable(option: Option<&str>, variable: &str) -> Option<String> {
    option
        .map(str::to_owned)
        .filter(|text| !text.is_empty())
        .or_else(|| std::env::var(variable).ok().filter(|text| !text.is_empty()))
}

fn path_variable(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable)
        .filter(|text| !text.is_empty())
        .map(PathBuf::from)
}

/// Reads a phone number; whether it may be a sandbox one is the server's to say.
pub(crate) fn parse_phone(text: &str) -> Result<PhoneNumber, String> {
    PhoneNumber::parse(text, SandboxNumbers::Accepted).ok_or_else(|| {
        "this is not a possible phone number: write it in international form, like +391234567890".to_owned()
    })
}

/// Reads a date, or a time with its offset.
pub(crate) fn parse_time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc_3339(text).ok_or_else(|| {
        "this is not a time: write a date like 2026-12-31 (UTC), or a time like 2026-12-31T12:00:00Z".to_owned()
    })
}

/// Reads the name of an account: its phone number or its id.
pub(crate) fn parse_account(text: &str) -> Result<String, String> {
    let is_id = || !text.starts_with('+') && text.parse().ok().and_then(AccountId::new).is_some();
    if is_id() || PhoneNumber::parse(text, SandboxNumbers::Accepted).is_some() {
        return Ok(text.to_owned());
    }
    Err("an account is named by its owner's phone number, like +391234567890, or by its id".to_owned())
}

/// Reads an amount of credit.
pub(crate) fn parse_amount(text: &str) -> Result<Credits, String> {
    Credits::parse(text).map_err(|error| error.to_string())
}
