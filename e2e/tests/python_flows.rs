//! What users of the Telegram Gateway already have, run against the real binary: the quick start with Python's `requests`,
//! and two published client libraries, unmodified, over TLS under the host name that they hard-code. The scripts are in
//! `e2e/python`; `./test` makes the Python environment that they run in.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use countersign_e2e::{Options, Server};

#[test]
fn the_quick_start_works_with_pythons_requests() -> Result<()> {
    let server = Server::start(Options::default())?;
    run("quick_start.py", &server)
}

#[test]
fn the_code_of_the_quick_start_page_runs_as_it_stands_there() -> Result<()> {
    let server = Server::start(Options::default())?;
    run("quick_start_page.py", &server)
}

#[test]
fn the_curl_and_node_code_of_the_quick_start_page_runs_as_it_stands_there() -> Result<()> {
    let server = Server::start(Options::default())?;
    run("quick_start_page_node.py", &server)
}

#[test]
fn the_unmodified_telegram_gateway_library_works_under_its_hard_coded_host_name() -> Result<()> {
    run("library_telegram_gateway.py", &tls_server()?)
}

#[test]
fn the_unmodified_tg_gateway_library_works_under_its_hard_coded_host_name() -> Result<()> {
    run("library_tg_gateway.py", &tls_server()?)
}

/// A sandbox that also answers for `gatewayapi.telegram.org`, on a free port.
fn tls_server() -> Result<Server> {
    let args = ["--sandbox-tls", "--sandbox-tls-listen", "127.0.0.1:0"].map(str::to_owned);
    Server::start(Options {
        args: args.to_vec(),
        ..Options::default()
    })
}

/// Runs a script of `e2e/python` against a server; fails with what the script wrote where it doesn't end well.
fn run(script: &str, server: &Server) -> Result<()> {
    let ready = server.ready();
    let mut command = Command::new(python()?);
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(script))
        .env("COUNTERSIGN_URL", server.api_url())
        .env(
            "COUNTERSIGN_TOKEN",
            ready.token.as_deref().context("the server printed no token")?,
        )
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // The libraries honour proxies of the environment, and none may stand between them and the server.
        .env("NO_PROXY", "*")
        .stdin(Stdio::null());
    if let (Some(url), Some(authority)) = (&ready.tls_url, &ready.sandbox_ca) {
        let port = url.trim_end_matches('/').rsplit(':').next().context("the TLS port")?;
        command
            .env("COUNTERSIGN_TLS_PORT", port)
            .env("REQUESTS_CA_BUNDLE", authority)
            .env("SSL_CERT_FILE", authority);
    }
    let output = command.output().with_context(|| script.to_owned())?;
    ensure!(
        output.status.success(),
        "{script} ended with {}:\n{}{}\nthe server's log:\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        server.log()
    );
    Ok(())
}

/// The interpreter of the environment that `./test` makes: named in `COUNTERSIGN_TEST_PYTHON`, else where `./test` puts it.
fn python() -> Result<PathBuf> {
    let path = if let Some(named) = std::env::var_os("COUNTERSIGN_TEST_PYTHON") {
        PathBuf::from(named)
    } else {
        // target/PROFILE/deps/this-test
        let own = std::env::current_exe().context("where this test is")?;
        let target = own.ancestors().nth(3).context("cargo's target directory")?;
        target.join("test-python/bin/python3")
    };
    ensure!(
        path.exists(),
        "the Python environment of the tests is missing ({}): run ./test once, which makes it",
        path.display()
    );
    Ok(path)
}
