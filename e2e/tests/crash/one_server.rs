//! One server, killed under load and started again on its own data.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use countersign_e2e::{Options, Server, Sink};
use hyper::StatusCode;

use crate::load::{Load, Nodes, Record};
use crate::{OWNER, REPORTS_DEADLINE, caller, kills, moment, proof};

/// In this round the receiver of reports refuses them all, so that retries meet kills too.
const REFUSING_ROUND: u32 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_after_kill_under_load() -> Result<()> {
    let kills = kills()?;
    let sink = Sink::start().await?;
    sink.refuse_a_third();
    let mut server = Server::start(Options {
        // Short delays, so that retries of retries meet kills too.
        env: vec![(
            "COUNTERSIGN_CALLBACKS_RETRY_DELAYS_SECONDS".to_owned(),
            "1,2,3,4,5,6,7,8,9,10".to_owned(),
        )],
        ..Options::default()
    })?;
    // Enough for any number of kills. It is the account's second purchase, as the proofs know.
    server.cli_json(["account", "credit", OWNER, "1000"])?;
    let first = proof::balance(&server, OWNER)?;
    let mut record = Record::default();
    let mut ready_in = Vec::new();
    let mut next_number = 0;
    for round in 0..kills {
        sink.answer(if round == REFUSING_ROUND {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::OK
        });
        let mut load = Load::start(&Nodes::new([caller(&server)?]), sink.url(), next_number);
        // No two rounds are killed at the same point of their work.
        load.acknowledged(30 + moment(round)).await?;
        if round % 4 == 1 {
            proof::audit(&server).context("the audit beside a busy server")?;
        }
        server.kill9()?;
        proof::log_is_clean(&server)?;
        let (made, mut of_round) = load.end().await.with_context(|| format!("round {round}"))?;
        next_number = made;
        server
            .restart()
            .with_context(|| format!("the start after kill {round}"))?;
        ready_in.push(server.ready_in());
        let api = caller(&server)?;
        of_round.resolve(&Nodes::new([api.clone()])).await?;
        proof::requests(&api, &mut of_round)
            .await
            .with_context(|| format!("after kill {round}"))?;
        proof::clock(&api, &of_round).await?;
        record.absorb(of_round);
        proof::money(&server, OWNER, first, &record).with_context(|| format!("after kill {round}"))?;
    }
    sink.answer(StatusCode::OK);

    // All that is still under way runs out: it must expire and be refunded, whichever server it was sent to.
    let api = caller(&server)?;
    let moved = api.advance_clock(2 * 3600).await?;
    ensure!(moved["ok"] == true, "the clock: {moved}");
    proof::requests(&api, &mut record)
        .await
        .context("after the last expiry")?;
    proof::nothing_is_under_way(&record)?;
    proof::money(&server, OWNER, first, &record)?;
    let started = Instant::now();
    proof::reports(&sink, &record, api.token(), REPORTS_DEADLINE).await?;
    println!("{}", proof::told(&record, &sink, &mut ready_in, started.elapsed()));

    let status = server.terminate()?;
    ensure!(status.success(), "the end was {status}; its log:\n{}", server.log());
    proof::money_at_rest(&server, &record)
}
