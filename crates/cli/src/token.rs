//! `countersign token`: an account's API tokens, shown or replaced through the operator's API.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
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
  countersign token show +391234567890 --test
  countersign token rotate +391234567890 --grace 24h")]
pub(crate) struct TokenArguments {
    #[command(subcommand)]
    action: TokenAction,
}

#[derive(Debug, Subcommand)]
enum TokenAction {
    /// Show an account's present token
    Show {
        #[command(flatten)]
        account: AccountName,
        /// The token for test mode, which reaches +99966 numbers alone and costs nothing
        #[arg(long)]
        test: bool,
    },
    /// Make a new token; the old one is refused from now on, or after a grace
    Rotate {
        #[command(flatten)]
        account: AccountName,
        /// The token for test mode
        #[arg(long)]
        test: bool,
        /// How long the old token still works
        #[arg(long, value_enum, default_value_t = Grace::None)]
        grace: Grace,
        /// Don't ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// How long a token works that was rotated away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Grace {
    /// Not at all
    None,
    /// One hour
    #[value(name = "1h")]
    Hour,
    /// A day
    #[value(name = "24h")]
    Day,
    /// A week
    #[value(name = "7d")]
    Week,
}

impl Grace {
    /// As the operator's API calls it.
    const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Hour => "1h",
            Self::Day => "24h",
            Self::Week => "7d",
        }
    }

    /// What becomes of the old token.
    fn said(self) -> &'static str {
        match self {
            Self::None => "is refused at once",
            Self::Hour => "is refused in an hour",
            Self::Day => "is refused in 24 hours",
            Self::Week => "is refused in 7 days",
        }
    }
}

#[derive(Serialize)]
struct RotateBody {
    grace: &'static str,
}

#[derive(Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names of the operator's API")]
struct Token {
    account_id: String,
    phone_number: String,
    kind: String,
    token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    old_token_until: Option<i64>,
}

const fn resource(test: bool) -> &'static str {
    if test { "test-token" } else { "token" }
}

/// Does it.
pub(crate) fn run(arguments: &TokenArguments, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
    let connection = Connection::operator(common)?;
    let token: Token = block_on(async {
        match &arguments.action {
            TokenAction::Show { account, test } => {
                let nothing: Option<&()> = None;
                let path = ["accounts", &account.account, resource(*test)];
                connection.ask(Method::GET, &path, &[], nothing).await
            }
            TokenAction::Rotate {
                account,
                test,
                grace,
                yes,
            } => {
                let account = &account.account;
                if !yes {
                    let which = if *test { "test-mode token" } else { "token" };
                    confirm(&format!(
                        "Replace the {which} of {account}? Whoever still calls with the old one {}.",
                        grace.said()
                    ))?;
                }
                let body = RotateBody { grace: grace.name() };
                let path = ["accounts", account, resource(*test), "rotate"];
                connection.ask(Method::POST, &path, &[], Some(&body)).await
            }
        }
    })?;
    output.show(&token, |output| {
        let label = if token.kind == "test" { "Test token" } else { "Token" };
        let mut facts = vec![
            ("Account", token.account_id.clone()),
            ("Owner", format::phone(&token.phone_number)),
            (label, output.styled(Style::Strong, &token.token)),
        ];
        let until = token
            .old_token_until
            .map(|until| ("Old token until", format::date(until)));
        facts.extend(until);
        output.facts(&facts)
    })?;
    Ok(ExitCode::SUCCESS)
}
