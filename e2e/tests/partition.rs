//! A node that is cut off from its database, in network namespaces: it says 503 in time and nothing wrong, and serves again by itself
//! once the cable is mended. Needs Linux and root; elsewhere it says so.

#![expect(clippy::print_stdout, reason = "it says what it measured, and what it left out")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use countersign_e2e::network::{Cable, Cut, in_own_network};
use countersign_e2e::{Api, Options, Postgres, Server};
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// How long the node waits for its database.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The longest that a caller may wait for an answer: for the batch before its own, which must find out what became of it, and for its own.
const PATIENCE: Duration = Duration::from_secs(8);
/// For so long nothing comes through: several time-outs.
const CUT_FOR: Duration = Duration::from_secs(6);
/// How soon after that the node must serve again.
const RECOVERY: Duration = Duration::from_secs(6);
const CALLERS: usize = 8;
const SEND: &str = "sendVerificationMessage";

#[test]
fn a_node_that_is_cut_off_from_its_database_says_so_in_time_and_comes_back_by_itself() -> Result<()> {
    let test = "a_node_that_is_cut_off_from_its_database_says_so_in_time_and_comes_back_by_itself";
    if !in_own_network(test, cut_off())? {
        println!("no network namespaces here (they need Linux, root and iproute2): not tried");
    }
    Ok(())
}

async fn cut_off() -> Result<()> {
    let mut cable = Cable::lay()?;
    let address = format!("listen_addresses={}", Cable::FAR);
    let Some(database) = Postgres::start_in(&cable.far(), &[&address, "fsync=off"])? else {
        println!("PostgreSQL isn't installed: not tried");
        return Ok(());
    };
    let mut server = Server::start(Options {
        database: Some(format!("{}?sslmode=disable", database.url())),
        env: vec![(
            "COUNTERSIGN_DATABASE_TIMEOUT_SECONDS".to_owned(),
            TIMEOUT.as_secs().to_string(),
        )],
        ..Options::default()
    })?;
    let api = server.api()?;
    let numbers = Arc::new(AtomicU64::new(0));
    let mut sent = Vec::new();
    for what in [Cut::Both, Cut::Answers, Cut::Both] {
        let told = cut_once(&api, &mut cable, what, &numbers)
            .await
            .with_context(|| format!("{what:?}; the node's log:\n{}", server.log()))?;
        sent.extend(told);
        books_hold(&server, &sent)?;
        // Nothing else goes wrong meanwhile.
        for line in server.log().lines().filter(|line| line.contains("INTERNAL_ERROR")) {
            ensure!(line.contains("the outcome is unknown"), "the node logged: {line}");
        }
    }
    // Whose outcome nobody knew asks again with the same key, and there is one request of it.
    for send in sent.iter_mut().filter(|send| send.told == Told::Unknown) {
        let answer = api.call_once(SEND, &send.parameters, &send.key).await?;
        send.told = Told::Done(id_of(&answer)?);
    }
    books_hold(&server, &sent)?;
    let status = server.terminate()?;
    ensure!(status.success(), "the end was {status}; its log:\n{}", server.log());
    Ok(())
}

/// Cuts the cable under load, and mends it.
async fn cut_once(api: &Api, cable: &mut Cable, what: Cut, numbers: &Arc<AtomicU64>) -> Result<Vec<Attempt>> {
    let over = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(call_on(api.clone(), Arc::clone(numbers), Arc::clone(&over)));
    }
    let mut sent = Vec::new();
    let known = acknowledged(api, numbers, &mut sent).await?;
    cable.cut(what)?;
    let cut_at = Instant::now();
    let mut longest_read = Duration::ZERO;
    while cut_at.elapsed() < CUT_FOR {
        let asked_at = Instant::now();
        let (status, answer) = call(api, "checkVerificationStatus", &json!({ "request_id": known }), None).await?;
        longest_read = longest_read.max(asked_at.elapsed());
        ensure!(
            status == StatusCode::SERVICE_UNAVAILABLE && answer["error"] == "UNAVAILABLE",
            "cut off it says {status} {answer}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ensure!(longest_read < PATIENCE, "a status took {longest_read:?}");
    let health = api.client().get(format!("{}/readyz", api.url())).send().await?;
    ensure!(
        health.status() == StatusCode::SERVICE_UNAVAILABLE,
        "cut off, its health is {}",
        health.status()
    );

    cable.mend()?;
    let mended_at = Instant::now();
    acknowledged(api, numbers, &mut sent).await?;
    let back_in = mended_at.elapsed();
    ensure!(back_in < RECOVERY, "it took {back_in:?} to serve again");
    over.store(true, Ordering::Relaxed);
    while let Some(ended) = callers.join_next().await {
        sent.extend(ended??);
    }
    let longest = sent
        .iter()
        .filter(|send| !matches!(send.told, Told::Done(_)))
        .map(|send| send.took)
        .max();
    let of = |told: fn(&Told) -> bool| sent.iter().filter(|send| told(&send.told)).count();
    println!(
        "{what:?} for {CUT_FOR:?}: {} done, {} refused and {} of unknown outcome after {longest:.1?} at most; a status refused after \
         {longest_read:.1?} at most; served again after {back_in:.1?}",
        of(|told| matches!(told, Told::Done(_))),
        of(|told| *told == Told::Refused),
        of(|told| *told == Told::Unknown),
    );
    ensure!(
        longest.is_some_and(|longest| longest < PATIENCE),
        "a send was answered after {longest:?}"
    );
    Ok(sent)
}

/// What was done is there once, and what was refused isn't; the books balance.
fn books_hold(server: &Server, sent: &[Attempt]) -> Result<()> {
    let audit = server.cli_json(["audit"])?;
    let done = sent.iter().filter(|send| matches!(send.told, Told::Done(_))).count();
    let unknown = sent.iter().filter(|send| send.told == Told::Unknown).count();
    let requests = audit["requests"].as_u64().with_context(|| format!("{audit}"))?;
    let possible = u64::try_from(done)?..=u64::try_from(done + unknown)?;
    ensure!(audit["ok"] == true, "{audit}");
    ensure!(
        possible.contains(&requests),
        "{requests} requests are there; {done} were done, of {unknown} nobody knows"
    );
    Ok(())
}

/// What a send was told.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Done(String),
    /// 503: nothing was done.
    Refused,
    /// 500: nobody knows.
    Unknown,
}

#[derive(Debug)]
struct Attempt {
    parameters: Value,
    key: String,
    told: Told,
    took: Duration,
}

/// Sends one after the other until it is over.
async fn call_on(api: Api, numbers: Arc<AtomicU64>, over: Arc<AtomicBool>) -> Result<Vec<Attempt>> {
    let mut sent = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let attempt = send(&api, &numbers).await?;
        let refused = attempt.told == Told::Refused;
        sent.push(attempt);
        if refused {
            // It was told to come again.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(sent)
}

async fn send(api: &Api, numbers: &AtomicU64) -> Result<Attempt> {
    let number = numbers.fetch_add(1, Ordering::Relaxed);
    let parameters = json!({ "phone_number": format!("+393{number:09}") });
    let key = format!("partition-{number}");
    let began = Instant::now();
    let (status, answer) = call(api, SEND, &parameters, Some(&key)).await?;
    let told = match status {
        StatusCode::OK => Told::Done(id_of(&answer)?),
        StatusCode::SERVICE_UNAVAILABLE if answer["error"] == "UNAVAILABLE" => Told::Refused,
        StatusCode::INTERNAL_SERVER_ERROR => Told::Unknown,
        _ => bail!("a send was answered {status} {answer}"),
    };
    Ok(Attempt {
        parameters,
        key,
        told,
        took: began.elapsed(),
    })
}

/// Sends until it is done; its id.
async fn acknowledged(api: &Api, numbers: &AtomicU64, sent: &mut Vec<Attempt>) -> Result<String> {
    let began = Instant::now();
    loop {
        let attempt = send(api, numbers).await?;
        let told = attempt.told.clone();
        sent.push(attempt);
        if let Told::Done(id) = told {
            return Ok(id);
        }
        ensure!(began.elapsed() < RECOVERY, "nothing was done for {RECOVERY:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn call(api: &Api, method: &str, parameters: &Value, key: Option<&str>) -> Result<(StatusCode, Value)> {
    let mut request = api
        .client()
        .post(format!("{}/{method}", api.url()))
        .bearer_auth(api.token())
        .json(parameters);
    if let Some(key) = key {
        request = request.header("Idempotency-Key", key);
    }
    let answer = request.send().await.with_context(|| method.to_owned())?;
    Ok((answer.status(), answer.json().await?))
}

fn id_of(answer: &Value) -> Result<String> {
    let id = answer["result"]["request_id"].as_str();
    id.map(ToOwned::to_owned)
        .with_context(|| format!("a send was answered {answer}"))
}
