//! The binary `countersign`: the server, its operator's tools, and a client of the Gateway API. Nothing is decided here: each
//! command is one file that reads its arguments, asks a server (or starts one), and prints what came of it.

#![expect(
    clippy::doc_markdown,
    reason = "documentation of arguments is what --help shows on a terminal, where backticks are noise"
)]

mod account;
mod arguments;
mod audit;
mod autofill;
mod backup;
mod caller;
mod completions;
mod connection;
mod database;
mod doctor;
mod failure;
mod files;
mod format;
mod guard;
mod heads;
mod inbox;
mod init;
mod key;
mod logging;
mod low_balance;
mod man;
mod order;
mod output;
mod price;
mod price_table;
mod privacy;
mod progress;
mod recipient;
mod reports;
mod route;
mod sender;
mod serve;
mod statement;
mod token;
mod verify;

use std::process::ExitCode;

use arguments::{Arguments, Command};
use clap::Parser as _;
use output::Output;

/// A request's memory is taken on one thread and given back on another; this allocator does that cheaply (measured: see
/// ARCHITECTURE.md, "Libraries").
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output::new(arguments.common.json);
    let result = logging::start(&arguments).and_then(|()| run(&arguments, &output));
    match result {
        Ok(exit) => exit,
        Err(error) => failure::report(&error, &output),
    }
}

fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<ExitCode> {
    let common = &arguments.common;
    match &arguments.command {
        None => serve::run(&serve::ServeArguments::default(), common, output),
        Some(Command::Serve(serve)) => serve::run(serve, common, output),
        Some(Command::Init(init)) => init::run(init, common, output),
        Some(Command::Audit(audit)) => audit::run(audit, common, output),
        Some(Command::Database(database)) => database::run(database, common, output),
        Some(Command::Backup(backup)) => backup::run(backup, common, output),
        Some(Command::Restore(restore)) => backup::restore(restore, common, output),
        Some(Command::Key(key)) => key::run(key, common, output),
        Some(Command::Account(account)) => account::run(account, common, output),
        Some(Command::Statement(statement)) => statement::run(statement, common, output),
        Some(Command::LowBalance(low_balance)) => low_balance::run(low_balance, common, output),
        Some(Command::Autofill(autofill)) => autofill::run(autofill, common, output),
        Some(Command::Order(order)) => order::run(order, common, output),
        Some(Command::Token(token)) => token::run(token, common, output),
        Some(Command::Recipient(recipient)) => recipient::run(recipient, common, output),
        Some(Command::Privacy(privacy)) => privacy::run(privacy, common, output),
        Some(Command::Sender(sender)) => sender::run(sender, common, output),
        Some(Command::Price(price)) => price::run(price, common, output),
        Some(Command::Route(route)) => route::run(route, common, output),
        Some(Command::Doctor(doctor)) => doctor::run(doctor, common, output),
        Some(Command::Send(send)) => verify::send(send, common, output),
        Some(Command::Check(check)) => verify::check(check, common, output),
        Some(Command::Status(status)) => verify::status(status, common, output),
        Some(Command::Revoke(revoke)) => verify::revoke(revoke, common, output),
        Some(Command::Reports(reports)) => reports::run(reports, common, output),
        Some(Command::Inbox(inbox)) => inbox::run(inbox, common, output),
        Some(Command::Man(man)) => man::run(man, output),
        Some(Command::Completions(completions)) => completions::run(completions, output),
    }
}
