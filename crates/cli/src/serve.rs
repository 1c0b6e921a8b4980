//! `countersign serve`: runs the server in the foreground until it is asked to end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use countersign_server::Mode;
use countersign_server::settings::{Environment, Overrides, Settings};
use countersign_server::start::{RunningServer, end_signal, start};
use serde::Serialize;

use crate::arguments::Common;
use crate::connection::note_address;
use crate::logging::LogFormat;
use crate::output::{Output, Style};

/// The number in the printed example: the one that tutorials use.
const EXAMPLE_PHONE: &str = "+391234567890";

/// Options of `serve`; each wins over the configuration file and the environment.
#[derive(Debug, Default, Args)]
#[command(after_help = "\
Without a configuration file this is a sandbox: on loopback only, with an account of its own, and
an inbox instead of phones.
It ends on Ctrl-C or SIGTERM: no new work is taken, answers in flight are given, exit code 0.

Examples:
  countersign serve
  countersign serve --listen 127.0.0.1:0 --json       a free port; readiness as one JSON line
  countersign serve --sandbox-tls                     for clients that hard-code Telegram's host
  countersign serve --config /etc/countersign.toml    production, if the file says so")]
pub(crate) struct ServeArguments {
    /// Address and port of the API; port 0 takes a free one [default: 127.0.0.1:8099]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Where the books are: postgres://USER@HOST:PORT/NAME, for several nodes [default: SQLite in DIR]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// The configuration file [env: COUNTERSIGN_CONFIG] [default: ./countersign.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How the log is written to standard error [env: COUNTERSIGN_LOG_FORMAT] [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// Let the sandbox listen on other addresses than loopback: whoever reaches it reads every code
    #[arg(long)]
    sandbox_exposed: bool,
    /// Also serve gatewayapi.telegram.org over TLS, with a private authority's certificate
    #[arg(long)]
    sandbox_tls: bool,
    /// Address and port of --sandbox-tls, which it switches on [default: 127.0.0.1:8443]
    #[arg(long, value_name = "ADDRESS:PORT")]
    sandbox_tls_listen: Option<String>,
}

/// What a program learns when the server takes calls.
#[derive(Serialize)]
struct Ready {
    api_url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inbox_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sandbox_ca: Option<PathBuf>,
}

/// Runs the server.
pub(crate) fn run(arguments: &ServeArguments, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
    // Whoever speaks TLS in this process (delivery reports) takes the process's provider; a second install is no harm.
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    let overrides = Overrides {
        config: arguments.config.clone(),
        data_dir: common.named_data_dir(),
        database: arguments.database.clone(),
        listen: arguments.listen.clone(),
        sandbox_exposed: arguments.sandbox_exposed,
        sandbox_tls: arguments.sandbox_tls,
        sandbox_tls_listen: arguments.sandbox_tls_listen.clone(),
    };
    let settings = Settings::load(&overrides, &Environment::of_process())?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime can't start")?
        .block_on(serve(settings, output))
}

async fn serve(settings: Settings, output: &Output) -> anyhow::Result<ExitCode> {
    let mode = settings.mode;
    let data_dir = settings.data_dir.clone();
    let own_tls = settings.server.tls_cert_file.is_some();
    // Asked first, so that a signal during the start ends the process in order too.
    let mut end = pin!(end_signal());
    let server = tokio::select! {
        biased;
        signal = &mut end => {
            signal.context("can't wait for signals")?;
            return Ok(ExitCode::SUCCESS);
        }
        server = start(settings) => server?,
    };
    let local_url = if own_tls {
        server.api_url.clone()
    } else {
        format!("http://{}", reachable(server.api_address))
    };
    let note = match note_address(&data_dir, &local_url) {
        Ok(note) => Some(note),
        Err(error) => {
            tracing::warn!("other commands need --url, since this server's address can't be noted: {error:#}");
            None
        }
    };
    // Nobody need read it: a server goes on without its standard output.
    let surroundings = Surroundings {
        mode,
        data_dir,
        local_url,
    };
    if let Err(error) = print_ready(&server, &surroundings, output) {
        tracing::warn!("readiness can't be printed: {error:#}");
    }
    let signal = end.await;
    if let Some(note) = note {
        // Left behind, it would only be a wrong hint.
        let _ = std::fs::remove_file(note);
    }
    tracing::info!("ending: no new work, answers in flight are given");
    server
        .shutdown()
        .await
        .context("the books could not be closed in order")?;
    signal.context("can't wait for signals")?;
    Ok(ExitCode::SUCCESS)
}

/// What people are told besides.
struct Surroundings {
    mode: Mode,
    data_dir: PathBuf,
    /// The address on this machine, which differs from the API's where a proxy stands in front.
    local_url: String,
}

fn print_ready(server: &RunningServer, surroundings: &Surroundings, output: &Output) -> anyhow::Result<()> {
    let ready = Ready {
        api_url: server.api_url.clone(),
        token: server
            .first_account
            .as_ref()
            .map(|account| account.token.as_str().to_owned()),
        inbox_url: server.inbox_url.clone(),
        tls_url: server
            .tls_address
            .map(|address| format!("https://{}", reachable(address))),
        sandbox_ca: server.sandbox_ca.clone(),
    };
    output.show(&ready, |output| ready_text(&ready, surroundings, output))
}

fn ready_text(ready: &Ready, surroundings: &Surroundings, output: &Output) -> String {
    let mut facts = vec![("API", ready.api_url.clone())];
    if surroundings.local_url != ready.api_url {
        facts.push(("Local", surroundings.local_url.clone()));
    }
    if let Some(token) = &ready.token {
        facts.push(("Token", token.clone()));
    }
    if let Some(inbox) = &ready.inbox_url {
        facts.push(("Inbox", inbox.clone()));
    }
    if let (Some(url), Some(ca)) = (&ready.tls_url, &ready.sandbox_ca) {
        facts.push((
            "TLS",
            format!("{url} as gatewayapi.telegram.org; clients trust {}", ca.display()),
        ));
    }
    let name = match surroundings.mode {
        Mode::Sandbox => "Countersign sandbox",
        Mode::Production => "Countersign",
    };
    let mut text = format!("{}\n\n{}", output.styled(Style::Strong, name), output.facts(&facts));
    let (what, command) = if let (Some(token), Some(_)) = (&ready.token, &ready.inbox_url) {
        let url = &ready.api_url;
        (
            "Send a first code, and see it arrive in the inbox:",
            format!(
                "curl {url}/sendVerificationMessage -H 'Authorization: Bearer {token}' -d phone_number={EXAMPLE_PHONE}"
            ),
        )
    } else {
        let data_dir = surroundings.data_dir.display();
        (
            "Make an account:",
            format!("countersign account create --phone {EXAMPLE_PHONE} --name Acme --credit 10 --data-dir {data_dir}"),
        )
    };
    let what = output.styled(Style::Quiet, what);
    text.extend(["\n", &what, "\n\n  ", &command, "\n\n"]);
    text
}

/// "All addresses" is nowhere that a client could call; loopback is among them.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    address
}
