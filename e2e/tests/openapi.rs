//! What `/openapi.json` says is true: a validator of the specification accepts it, and schemathesis, which calls the running
//! server by it with right and wrong values, finds no answer that it doesn't describe.

use std::path::PathBuf;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use countersign_e2e::{Options, Server};

/// What every answer must keep. Wrong values are among what is sent; that they are told by an error name with status 200 is the
/// contract (docs/api.md, "Calling"), which schemathesis' own rules about statuses don't know.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance";

#[test]
fn a_validator_accepts_the_openapi_document() -> Result<()> {
    let server = Server::start(Options::default())?;
    let file = tempfile::NamedTempFile::new()?;
    let fetched = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--output"])
        .arg(file.path())
        .arg(format!("{}/openapi.json", server.api_url()))
        .output()?;
    ensure!(fetched.status.success(), "{}", said(&fetched));
    let output = Command::new(tool("openapi-spec-validator")?)
        .arg(file.path())
        .output()?;
    ensure!(output.status.success(), "{}", said(&output));
    Ok(())
}

#[test]
fn a_fuzzer_finds_no_answer_that_the_openapi_document_doesnt_describe() -> Result<()> {
    let server = Server::start(Options::default())?;
    let token = server.ready().token.clone().context("the server printed no token")?;
    let directory = tempfile::tempdir()?;
    let output = Command::new(tool("schemathesis")?)
        .arg("run")
        .arg(format!("{}/openapi.json", server.api_url()))
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .args([
            "--checks",
            CHECKS,
            "--mode",
            "all",
            "--phases",
            "examples,coverage,fuzzing",
        ])
        // One worker: with more, Python's own compiler fails now and then ("AST constructor recursion depth mismatch").
        // The same cases each time: a test that fails now and then is read by nobody.
        .args([
            "--max-examples",
            "50",
            "--seed",
            "1",
            "--generation-database",
            ":memory:",
        ])
        .args(["--workers", "1", "--no-color"])
        .current_dir(directory.path())
        .env("NO_PROXY", "*")
        .output()?;
    ensure!(
        output.status.success(),
        "{}\nthe server's log:\n{}",
        said(&output),
        server.log()
    );
    Ok(())
}

/// From what an answer names a fuzzer goes on by the document's links, some steps at a time: what a method links to must know it.
#[test]
fn a_fuzzer_that_follows_the_links_finds_every_request_known_and_every_answer_described() -> Result<()> {
    let server = Server::start(Options::default())?;
    let token = server.ready().token.clone().context("the server printed no token")?;
    let directory = tempfile::tempdir()?;
    let report = directory.path().join("report.json");
    let hooks = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("python");
    let output = Command::new(tool("schemathesis")?)
        .arg("run")
        .arg(format!("{}/openapi.json", server.api_url()))
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .args(["--checks", &format!("{CHECKS},linked_requests_are_known")])
        .args(["--phases", "stateful", "--mode", "positive"])
        .args(["--include-path-regex", "^/(check|send|revoke|resend|account/v1/orders)"])
        .args(["--max-examples", "100", "--seed", "1"])
        .args(["--generation-database", ":memory:"])
        .args(["--workers", "1", "--no-color"])
        .current_dir(directory.path())
        .env("NO_PROXY", "*")
        .env("PYTHONPATH", hooks)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SCHEMATHESIS_HOOKS", "openapi_links")
        .env("COUNTERSIGN_LINKS_REPORT", &report)
        .output()?;
    ensure!(
        output.status.success(),
        "{}\nthe server's log:\n{}",
        said(&output),
        server.log()
    );
    // A run that never came as far as a link would prove nothing.
    let followed: serde_json::Value = serde_json::from_slice(&std::fs::read(&report).with_context(|| said(&output))?)?;
    for method in [
        "checkVerificationStatus",
        "revokeVerificationMessage",
        "sendVerificationMessage",
    ] {
        let count = followed[method].as_u64().unwrap_or(0);
        ensure!(count > 0, "no link led to {method}: {followed}\n{}", said(&output));
    }
    Ok(())
}

#[cfg(test)]
fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// A program of the environment that `./test` makes: named in `COUNTERSIGN_TEST_OPENAPI`, else where `./test` puts it.
#[cfg(test)]
fn tool(name: &str) -> Result<PathBuf> {
    let programs = if let Some(named) = std::env::var_os("COUNTERSIGN_TEST_OPENAPI") {
        PathBuf::from(named)
    } else {
        // target/PROFILE/deps/this-test
        let own = std::env::current_exe().context("where this test is")?;
        let target = own.ancestors().nth(3).context("cargo's target directory")?;
        target.join("test-openapi/bin")
    };
    let path = programs.join(name);
    ensure!(
        path.exists(),
        "{} is missing: run ./test once, which makes the environment that it is in",
        path.display()
    );
    Ok(path)
}
