//! `countersign token`: an account's API token, shown or replaced through the operator's API.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::account::{AccountName, confirm};
use crate::arguments::Common;
use crate::connection::{Connection, block_on};
use crate::format;
use crate::output::{Output, Style};

/// What to do with a token.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  export COUNTERSIGN_TOKEN=$(countersign token show +391234567890 --json | jq -r .token)
  countersign token rotate +391234567890")]
pub(crate) struct TokenArguments {
    #[command(subcommand)]
    action: TokenAction,
}

#[derive(Debug, Subcommand)]
enum TokenAction {
    /// Show an account's present token
    Show(AccountName),
    /// Make a new token; the old one is refused from now on
    Rotate {
        #[command(flatten)]
        account: AccountName,
        /// Don't ask
        #[arg(long, short)]
        yes: bool,
    },
}

#[derive(Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names of the operator's API")]
struct Token {
    account_id: String,
    phone_number: String,
    token: String,
}

/// Does it.
pub(crate) fn run(arguments: &TokenArguments, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
    let connection = Connection::operator(common)?;
    let token: Token = block_on(async {
        let nothing: Option<&()> = None;
        match &arguments.action {
            TokenAction::Show(name) => {
                let path = ["accounts", &name.account, "token"];
                connection.ask(Method::GET, &path, &[], nothing).await
            }
            TokenAction::Rotate { account, yes } => {
                let account = &account.account;
                if !yes {
                    confirm(&format!(
                        "Replace the token of {account}? Whoever still calls with the old one is refused at once."
                    ))?;
                }
                let path = ["accounts", account, "token", "rotate"];
                connection.ask(Method::POST, &path, &[], nothing).await
            }
        }
    })?;
    output.show(&token, |output| {
        output.facts(&[
            ("Account", token.account_id.clone()),
            ("Owner", format::phone(&token.phone_number)),
            ("Token", output.styled(Style::Strong, &token.token)),
        ])
    })?;
    Ok(ExitCode::SUCCESS)
}
