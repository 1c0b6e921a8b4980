//! A disk that fills up in the middle of work: the process ends rather than answer what the disk doesn't hold (P1), and what
//! it had answered is there once there is room again.

use anyhow::{Context as _, Result, ensure};
use countersign_e2e::{Options, Server};
use serde_json::{Value, json};

/// Room for some dozens of messages in the write-ahead log.
const MAX_FILE_KIB: u32 = 2_048;
/// Far more messages than fit.
const ATTEMPTS: u64 = 2_000;

#[tokio::test]
async fn a_failed_commit_ends_the_process_and_loses_nothing_that_was_acknowledged() -> Result<()> {
    // An error says that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut server = Server::start(Options {
        max_file_kib: Some(MAX_FILE_KIB),
        sqlite: true,
        ..Options::default()
    })?;
    let token = server.ready().token.clone().context("the sandbox printed no token")?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let mut acknowledged = Vec::new();
    for number in 0..ATTEMPTS {
        let call = client
            .post(format!("{}/sendVerificationMessage", server.api_url()))
            .bearer_auth(&token)
            .json(&json!({ "phone_number": format!("+39123{number:07}") }));
        let Ok(answer) = call.send().await else { break };
        let answer: Value = serde_json::from_slice(&answer.bytes().await?)?;
        let Some(id) = answer["result"]["request_id"].as_str() else {
            break;
        };
        acknowledged.push(id.to_owned());
    }
    ensure!(!acknowledged.is_empty(), "not even one message fitted");
    ensure!((acknowledged.len() as u64) < ATTEMPTS, "the disk never filled up");
    let end = server.wait_for_end()?;
    ensure!(!end.success(), "the server ended as if all were well");
    ensure!(
        server.log().contains("a commit failed"),
        "the log says nothing of it:\n{}",
        server.log()
    );

    server.lift_file_limit();
    server.restart()?;
    for id in &acknowledged {
        let answer = client
            .post(format!("{}/checkVerificationStatus", server.api_url()))
            .bearer_auth(&token)
            .json(&json!({ "request_id": id }))
            .send()
            .await?;
        let answer: Value = serde_json::from_slice(&answer.bytes().await?)?;
        ensure!(answer["ok"] == true, "{id} was acknowledged and is gone: {answer}");
    }
    let audit = server.cli(["audit"])?;
    ensure!(audit.status.success(), "{}", String::from_utf8_lossy(&audit.stderr));
    Ok(())
}
