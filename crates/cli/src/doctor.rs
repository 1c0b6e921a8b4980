//! `countersign doctor`: reads the operator's texts, looks at the PostgreSQL database and tries every channel of the configuration without
//! sending anything to anyone, and says what is wrong and what to do.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use countersign_channels::{Finding, Verdict};
use countersign_server::doctor::{Examined, examine};
use countersign_server::settings::{Environment, Overrides, Settings};
use serde::Serialize;

use crate::arguments::Common;
use crate::connection::{Connection, block_on};
use crate::output::{Output, Style};
use crate::route;

/// Options of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
It reads the same configuration as `serve`, beside a running server too. No code is sent to anyone, and no upstream is asked
anything that costs money; in a PostgreSQL database nothing is changed. Exit code 1: a channel doesn't work, no node could work on
the database, or your texts have a mistake.

Examples:
  countersign doctor
  countersign doctor --config /etc/countersign.toml")]
pub(crate) struct DoctorArguments {
    /// The configuration file [env: COUNTERSIGN_CONFIG] [default: ./countersign.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Serialize)]
struct DoctorView {
    ok: bool,
    /// Of the operator's own texts, where they have some.
    #[serde(skip_serializing_if = "Option::is_none")]
    texts: Option<FindingView>,
    /// Of the PostgreSQL database, where the books are in one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    database: Vec<FindingView>,
    channels: Vec<ChannelView>,
    warnings: Vec<String>,
    /// Whether a server was there to compare prices with costs.
    prices_compared: bool,
}

#[derive(Serialize)]
struct ChannelView {
    channel: String,
    kind: String,
    ok: bool,
    findings: Vec<FindingView>,
}

#[derive(Serialize)]
struct FindingView {
    verdict: &'static str,
    found: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    remedy: String,
}

impl From<Examined> for ChannelView {
    fn from(examined: Examined) -> Self {
        Self {
            ok: examined.works(),
            channel: examined.name.to_string(),
            kind: examined.kind,
            findings: examined.findings.into_iter().map(FindingView::from).collect(),
        }
    }
}

impl From<Finding> for FindingView {
    fn from(finding: Finding) -> Self {
        Self {
            verdict: match finding.verdict {
                Verdict::Well => "well",
                Verdict::Warning => "warning",
                Verdict::Broken => "broken",
            },
            found: finding.found,
            remedy: finding.remedy,
        }
    }
}

/// Examines; exit code 1 where a channel, the database or a text doesn't work.
pub(crate) fn run(arguments: &DoctorArguments, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
    // Channels take the process's provider of TLS; a second install is no harm.
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    let overrides = Overrides {
        config: arguments.config.clone(),
        data_dir: common.named_data_dir(),
        ..Overrides::default()
    };
    let settings = Settings::load(&overrides, &Environment::of_process())?;
    let (examination, running) = block_on(async {
        let examination = examine(&settings).await;
        let running = match Connection::operator(common) {
            Ok(connection) => route::list(&connection).await.ok(),
            Err(_) => None,
        };
        anyhow::Ok((examination, running))
    })?;
    let view = DoctorView {
        ok: examination.works(),
        texts: examination.texts.map(FindingView::from),
        database: examination.database.into_iter().map(FindingView::from).collect(),
        channels: examination.channels.into_iter().map(ChannelView::from).collect(),
        prices_compared: running.is_some(),
        warnings: settings
            .warnings
            .into_iter()
            .chain(running.into_iter().flat_map(|routes| routes.warnings))
            .collect(),
    };
    output.show(&view, |output| text(&view, output))?;
    Ok(if view.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(view: &DoctorView, output: &Output) -> String {
    let mut text = String::new();
    if let Some(finding) = &view.texts {
        text.extend([&output.styled(Style::Strong, "texts"), "\n"]);
        show_finding(&mut text, finding, output);
    }
    if !view.database.is_empty() {
        text.extend([&output.styled(Style::Strong, "database"), "\n"]);
    }
    for finding in &view.database {
        show_finding(&mut text, finding, output);
    }
    if view.channels.is_empty() {
        text.push_str("No channel is set: all messages go to the built-in inbox, where it is on. docs/channels.md has the kinds.\n");
    }
    for channel in &view.channels {
        text.extend([
            &output.styled(Style::Strong, &channel.channel),
            " (",
            &channel.kind,
            ")\n",
        ]);
        for finding in &channel.findings {
            show_finding(&mut text, finding, output);
        }
    }
    for warning in &view.warnings {
        text.extend([&output.styled(Style::Waiting, "!"), " ", warning, "\n"]);
    }
    if !view.prices_compared && !view.channels.is_empty() {
        let hint = "No server was there to ask, so costs were not compared with prices.";
        text.extend([&output.styled(Style::Quiet, hint), "\n"]);
    }
    text
}

fn show_finding(text: &mut String, finding: &FindingView, output: &Output) {
    let sign = match finding.verdict {
        "well" => output.styled(Style::Good, "✓"),
        "warning" => output.styled(Style::Waiting, "!"),
        _ => output.styled(Style::Bad, "✗"),
    };
    text.extend(["  ", &sign, " ", &finding.found, "\n"]);
    if !finding.remedy.is_empty() {
        text.extend(["    ", &output.styled(Style::Quiet, &finding.remedy), "\n"]);
    }
}
