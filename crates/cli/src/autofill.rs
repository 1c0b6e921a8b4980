//! `countersign autofill`: what an account's short messages end with, so that phones fill the code in, through the owner's API.

use std::process::ExitCode;

use anyhow::ensure;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::arguments::Common;
use crate::connection::{Connection, block_on};
use crate::output::{Output, Style};

/// What to do with the ends of short messages.
#[derive(Debug, Args)]
#[command(after_help = "\
With a website, a message ends in a line that binds its code to that website: browsers offer the code there and nowhere else.
With an app's hash, that Android app reads the message by itself. Both make messages longer.

Examples:
  countersign autofill set --domain example.com --android-hash FA+9qCX9VSu
  countersign autofill show
  countersign autofill off")]
pub(crate) struct AutofillArguments {
    /// The account's API token [env: COUNTERSIGN_TOKEN]
    #[arg(long, global = true)]
    token: Option<String>,
    #[command(subcommand)]
    action: AutofillAction,
}

#[derive(Debug, Subcommand)]
enum AutofillAction {
    /// End short messages so that phones fill the code in
    Set(AutofillOptions),
    /// Show what is set
    Show,
    /// End short messages with their sentence
    Off,
}

/// One of them or both; what isn't given is taken away.
#[derive(Debug, Args, Serialize)]
pub(crate) struct AutofillOptions {
    /// The host name of the website on which the code is entered
    #[arg(long, value_name = "HOST")]
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<String>,
    /// The hash of the Android app that reads the code, 11 characters, as Google's SMS Retriever computes it
    #[arg(long, value_name = "HASH", allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    android_hash: Option<String>,
}

impl AutofillOptions {
    /// As a body, unless nothing was given: that would take away what is set.
    pub(crate) fn body(&self) -> anyhow::Result<Option<&Self>> {
        ensure!(
            self.domain.is_some() || self.android_hash.is_some(),
            "nothing was changed: give --domain, --android-hash or both"
        );
        Ok(Some(self))
    }
}

/// What is set, as both APIs show it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Autofill {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    domain: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    android_hash: Option<String>,
}

impl Autofill {
    /// As facts for a person; none where nothing is set.
    pub(crate) fn facts(&self) -> Vec<(&'static str, String)> {
        let domain = self.domain.iter().map(|domain| ("Website", domain.clone()));
        let app = self.android_hash.iter().map(|hash| ("Android app", hash.clone()));
        domain.chain(app).collect()
    }
}

/// Does it.
pub(crate) fn run(arguments: &AutofillArguments, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
    let connection = Connection::owner(common, arguments.token.as_deref())?;
    let (method, body) = match &arguments.action {
        AutofillAction::Set(options) => (Method::PUT, options.body()?),
        AutofillAction::Show => (Method::GET, None),
        AutofillAction::Off => (Method::DELETE, None),
    };
    let set: Autofill = block_on(connection.ask(method, &["autofill"], &[], body))?;
    output.show(&set, |output| match set.facts() {
        facts if facts.is_empty() => output.styled(Style::Quiet, "short messages end with their sentence\n"),
        facts => output.facts(&facts),
    })?;
    Ok(ExitCode::SUCCESS)
}
