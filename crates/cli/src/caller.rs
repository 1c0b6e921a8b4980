//! Who asks about an account: its owner with its API token, through the owner's API; or the operator, who names it.

use clap::Args;
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::arguments::{Common, parse_account};
use crate::connection::Connection;

/// Names the account: by its token, or, for an operator, by its name.
#[derive(Debug, Args)]
pub(crate) struct Caller {
    /// The account's API token [env: COUNTERSIGN_TOKEN]
    #[arg(long)]
    token: Option<String>,
    /// Ask as the operator: the account's owner's phone number, or the account's id
    #[arg(long, value_name = "PHONE|ID", value_parser = parse_account, conflicts_with = "token")]
    account: Option<String>,
}

/// A connection together with the account that is asked about.
pub(crate) struct Asking<'a> {
    connection: Connection,
    /// In front of every path: nothing for the owner, `accounts/X` for the operator.
    account: Vec<&'a str>,
}

impl<'a> Asking<'a> {
    /// The owner's API, or the operator's where the caller names an account.
    pub(crate) fn new(caller: &'a Caller, common: &Common) -> anyhow::Result<Self> {
        Ok(match &caller.account {
            Some(account) => Self {
                connection: Connection::operator(common)?,
                account: vec!["accounts", account],
            },
            None => Self {
                connection: Connection::owner(common, caller.token.as_deref())?,
                account: Vec::new(),
            },
        })
    }

    /// Asks about the account.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&impl Serialize>,
    ) -> anyhow::Result<T> {
        let path = [&self.account[..], path].concat();
        self.connection.ask(method, &path, query, body).await
    }
}
