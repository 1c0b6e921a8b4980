//! Disks that fill up and disks that fail, under load, on the real binary (ARCHITECTURE.md, P1): a full one is survived, and
//! nothing that was refused is half done; a failed sync ends the process, and nothing that was acknowledged is lost. And the disk that
//! is gone: a backup, made under load, takes its place.

#[path = "disk/load.rs"]
mod load;

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use countersign_core::Credits;
use countersign_e2e::{Api, FaultyDisk, Options, Server, SmallDisk, binary};
use reqwest::StatusCode;
use serde_json::json;

use crate::load::Load;

/// The account that a sandbox makes, and what it has at its start: one purchase.
const OWNER: &str = "+9996600000";
const FIRST_BALANCE: Credits = Credits::from_micros(100_000_000);
const FEE_MICROS: i64 = 10_000;
/// How long the books may take to notice a disk, either way: a probe a second, and a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_work_without_charge_and_service_resumes_by_itself() -> Result<()> {
    let disk = FaultyDisk::new()?;
    let server = Server::start(disk.options())?;
    survives(server, || disk.set_full(true), || disk.set_full(false)).await
}

/// The same on a disk that is really full. Where the system permits no namespaces, the test above has to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_disk_that_is_really_full_is_survived_too() -> Result<()> {
    let Some(disk) = SmallDisk::mount(24)? else {
        println!("this system permits no mount namespace: not tried");
        return Ok(());
    };
    let server = Server::start(disk.options())?;
    survives(server, || disk.fill(), || disk.free()).await
}

async fn survives(mut server: Server, fill: impl Fn() -> Result<()>, free: impl Fn() -> Result<()>) -> Result<()> {
    let api = server.api()?;
    let mut acknowledged = Vec::new();
    // Twice: what was full once fills up again.
    for round in 0..2 {
        let mut load = Load::start(&api, round);
        load.acknowledged(100).await?;
        fill()?;
        load.refused(50).await?;
        ensure!(health(&api).await? == (StatusCode::SERVICE_UNAVAILABLE, "disk full".to_owned()));
        acknowledged.extend(load.end().await?);

        // Reads go on; nothing is charged for what was refused, to owners and operators alike.
        statuses(&api, &acknowledged).await?;
        books_hold(&server, acknowledged.len())?;
        let credited = server.cli(["account", "credit", OWNER, "1"])?;
        let said = String::from_utf8_lossy(&credited.stderr).into_owned();
        ensure!(
            !credited.status.success() && said.contains("disk"),
            "the operator is told {said:?}"
        );
        ensure!(health(&api).await?.0 == StatusCode::SERVICE_UNAVAILABLE);

        free()?;
        // Nobody calls for work meanwhile.
        wait_for_health(&api, (StatusCode::OK, "ok"))
            .await
            .with_context(|| server.log())?;
        books_hold(&server, acknowledged.len())?;
        let mut load = Load::start(&api, 10 + round);
        load.acknowledged(20).await?;
        acknowledged.extend(load.end().await?);
        statuses(&api, &acknowledged).await?;
        books_hold(&server, acknowledged.len())?;
    }
    let end = server.terminate()?;
    ensure!(end.success(), "the end was {end}; its log:\n{}", server.log());
    server.restart()?;
    books_hold(&server, acknowledged.len())?;
    statuses(&server.api()?, &acknowledged).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_shows_at_the_probe_although_nobody_calls_for_work() -> Result<()> {
    let disk = FaultyDisk::new()?;
    let mut server = Server::start(disk.options())?;
    let api = server.api()?;
    wait_for_health(&api, (StatusCode::OK, "ok")).await?;
    disk.set_full(true)?;
    wait_for_health(&api, (StatusCode::SERVICE_UNAVAILABLE, "disk full")).await?;
    disk.set_full(false)?;
    wait_for_health(&api, (StatusCode::OK, "ok")).await?;
    ensure!(server.terminate()?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_ends_the_process_and_a_restart_has_all_that_was_acknowledged() -> Result<()> {
    let disk = FaultyDisk::new()?;
    let mut server = Server::start(disk.options())?;
    let mut load = Load::start(&server.api()?, 0);
    load.acknowledged(100).await?;
    disk.set_sync_fails(true)?;
    let end = server.wait_for_end()?;
    ensure!(!end.success(), "the server ended as if all were well");
    let log = server.log();
    ensure!(
        log.contains("a commit failed: the process ends"),
        "the log says nothing of it:\n{log}"
    );
    let acknowledged = load.end().await?;

    disk.set_sync_fails(false)?;
    server.restart()?;
    let api = server.api()?;
    statuses(&api, &acknowledged).await?;
    // A commit whose sync failed may be there or not: its callers were told nothing.
    let audit = server.cli_json(["audit"])?;
    ensure!(audit["ok"] == true, "{audit}");
    let requests = audit["requests"].as_u64().context("requests")?;
    ensure!(
        requests >= acknowledged.len() as u64,
        "{requests} requests, {} acknowledged",
        acknowledged.len()
    );
    Load::start(&api, 1).acknowledged(10).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_is_restored_elsewhere_with_all_that_was_acknowledged_before_it() -> Result<()> {
    let mut server = Server::start(Options {
        sqlite: true,
        ..Options::default()
    })?;
    let api = server.api()?;
    let mut before = Load::start(&api, 0);
    before.acknowledged(300).await?;
    let before = before.end().await?;
    let mut during = Load::start(&api, 1);
    during.acknowledged(10).await?;
    let files = tempfile::tempdir()?;
    let (backup, key) = (files.path().join("backup.db"), files.path().join("exported.key"));
    let (backup, key) = (backup.to_str().context("a path")?, key.to_str().context("a path")?);
    let made = server.cli_json(["backup", backup])?;
    during.acknowledged(20).await?;
    let exported = server.cli_json(["key", "export", key])?;
    ensure!(
        made["key_fingerprint"] == exported["key_fingerprint"],
        "{made} {exported}"
    );
    let during = during.end().await?;
    books_hold(&server, before.len() + during.len())?;
    server.kill9()?;

    let elsewhere = files.path().join("elsewhere");
    let restored = Command::new(binary()?)
        .args(["restore", backup, "--key", key, "--data-dir"])
        .arg(&elsewhere)
        .output()?;
    ensure!(
        restored.status.success(),
        "{}",
        String::from_utf8_lossy(&restored.stderr)
    );
    let other = Server::start(Options {
        data_dir: Some(elsewhere),
        sqlite: true,
        ..Options::default()
    })?;
    statuses(&other.api()?, &before).await?;
    let audit = other.cli_json(["audit"])?;
    let requests = audit["requests"].as_u64().context("requests")?;
    ensure!(audit["ok"] == true && requests >= before.len() as u64, "{audit}");
    Load::start(&other.api()?, 2).acknowledged(10).await
}

/// Every acknowledged request is there.
async fn statuses(api: &Api, acknowledged: &[String]) -> Result<()> {
    for id in acknowledged {
        let answer = api
            .call("checkVerificationStatus", &json!({ "request_id": id }))
            .await?;
        ensure!(answer["ok"] == true, "{id} was acknowledged and is answered {answer}");
    }
    Ok(())
}

/// Exactly the acknowledged requests stand in the books, each charged once.
fn books_hold(server: &Server, acknowledged: usize) -> Result<()> {
    let audit = server.cli_json(["audit"])?;
    let account = server.cli_json(["account", "show", OWNER])?;
    let balance = Credits::parse(&account["balance"].to_string()).context("the balance")?;
    let charged = FEE_MICROS * i64::try_from(acknowledged)?;
    ensure!(
        audit["ok"] == true
            && audit["requests"] == acknowledged
            && audit["entries"] == 1 + acknowledged
            && balance == FIRST_BALANCE - Credits::from_micros(charged),
        "{acknowledged} were acknowledged; the audit says {audit}, the balance is {balance}"
    );
    Ok(())
}

async fn health(api: &Api) -> Result<(StatusCode, String)> {
    let answer = api.client().get(format!("{}/readyz", api.url())).send().await?;
    Ok((answer.status(), answer.text().await?))
}

async fn wait_for_health(api: &Api, wanted: (StatusCode, &str)) -> Result<()> {
    let started = Instant::now();
    loop {
        let found = health(api).await?;
        if (found.0, found.1.as_str()) == wanted {
            return Ok(());
        }
        ensure!(
            started.elapsed() < PATIENCE,
            "after {PATIENCE:?} the health is {found:?}"
        );
        // Health has no events: a load balancer asks again too.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
