//! Two nodes on one PostgreSQL: either is killed, the database is stopped or killed, again and again under load; callers take turns
//! between the nodes, and go on. The same with a database whose primary is lost, where `COUNTERSIGN_FAILOVERS` says how often.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use countersign_core::Credits;
use countersign_e2e::{Api, Lost, Patroni, Postgres, Server, Sink, Site, Stop};
use hyper::StatusCode;

use crate::load::{Load, Nodes, Record};
use crate::{OWNER, REPORTS_DEADLINE, caller, kills, moment, proof};

/// How long a database may be away before callers get through again. A member of Patroni's that is gone is missed after 8 s.
const BACK_DEADLINE: Duration = Duration::from_mins(1);
/// How long a node may take to see that its database is there again.
const HEALTH_DEADLINE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_the_loss_of_either_node_and_of_the_database() -> Result<()> {
    let Some(database) = Postgres::start(&["recovery_init_sync_method=syncfs"])? else {
        println!("PostgreSQL isn't installed: not tried");
        return Ok(());
    };
    let mut pair = Pair::start(database.url()).await?;
    for round in 0..kills()? {
        let fault = async |pair: &mut Pair| match round % 5 {
            0 => pair.lose_node(0),
            1 => stop_and_start(&database, Stop::Immediate),
            2 => pair.lose_node(1),
            3 => stop_and_start(&database, Stop::Kill),
            _ => {
                database.stop(Stop::Immediate)?;
                pair.servers[0].kill9()?;
                let lost_at = Instant::now();
                database.restart()?;
                pair.start_again(0)?;
                Ok(lost_at)
            }
        };
        let told = pair.round(round, fault).await?;
        println!("round {round}: {told}");
    }
    println!("{}", pair.prove().await?);
    Ok(())
}

/// Needs Patroni and etcd: `.ci/failover` runs it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_the_loss_of_the_primary() -> Result<()> {
    let Ok(rounds) = std::env::var("COUNTERSIGN_FAILOVERS") else {
        println!("COUNTERSIGN_FAILOVERS isn't set: not tried");
        return Ok(());
    };
    let rounds: u32 = rounds.parse().context("COUNTERSIGN_FAILOVERS is a number")?;
    let database = Patroni::start()?;
    let mut pair = Pair::start(database.url()).await?;
    for round in 0..rounds {
        let lost = if round % 2 == 0 { Lost::Machine } else { Lost::Server };
        let mut killed = String::new();
        let fault = async |_: &mut Pair| {
            killed = database.kill(lost)?;
            Ok(Instant::now())
        };
        let told = pair.round(round, fault).await?;
        println!("failover {round}, {lost:?} of {killed} lost: {told}");
        if lost == Lost::Machine {
            database.revive(&killed)?;
        }
        database.whole()?;
    }
    println!("{}", pair.prove().await?);
    Ok(())
}

fn stop_and_start(database: &Postgres, how: Stop) -> Result<Instant> {
    database.stop(how)?;
    let lost_at = Instant::now();
    database.restart()?;
    Ok(lost_at)
}

/// Two nodes on one database, their callers, and what these were told.
struct Pair {
    servers: Vec<Server>,
    nodes: std::sync::Arc<Nodes>,
    sink: Sink,
    first_balance: Credits,
    record: Record,
    next_number: u64,
    /// Where their key is.
    _site: Site,
}

impl Pair {
    async fn start(database: &str) -> Result<Self> {
        let site = Site::new(database)?;
        let sink = Sink::start().await?;
        sink.refuse_a_third();
        let mut servers = Vec::new();
        for name in ["one", "two"] {
            let mut options = site.node(name);
            // Short delays, so that retries of retries meet faults too.
            options.env.push((
                "COUNTERSIGN_CALLBACKS_RETRY_DELAYS_SECONDS".to_owned(),
                "1,2,3,4,5,6,7,8,9,10".to_owned(),
            ));
            servers.push(Server::start(options)?);
        }
        // Enough for any number of rounds. It is the account's second purchase, as the proofs know.
        servers[0].cli_json(["account", "credit", OWNER, "1000"])?;
        let first_balance = proof::balance(&servers[0], OWNER)?;
        let apis = servers.iter().map(caller).collect::<Result<Vec<_>>>()?;
        Ok(Self {
            servers,
            nodes: Nodes::new(apis),
            sink,
            first_balance,
            record: Record::default(),
            next_number: 0,
            _site: site,
        })
    }

    /// Load, a fault in the middle of it, the first success afterwards, some more load, and the proofs. The fault says from when on nobody
    /// could be served by what it took away.
    async fn round(&mut self, round: u32, fault: impl AsyncFnOnce(&mut Self) -> Result<Instant>) -> Result<String> {
        let told = self.fault_under_load(round, fault).await;
        let logs: Vec<_> = self.servers.iter().map(Server::log).collect();
        told.with_context(|| format!("in round {round}; the nodes' logs:\n{}", logs.join("\n")))
    }

    async fn fault_under_load(
        &mut self,
        round: u32,
        fault: impl AsyncFnOnce(&mut Self) -> Result<Instant>,
    ) -> Result<String> {
        self.sink.answer(StatusCode::OK);
        let mut load = Load::start(&self.nodes, self.sink.url(), self.next_number);
        // No two rounds meet their fault at the same point of their work.
        load.acknowledged(30 + moment(round)).await?;
        let lost_at = fault(self).await?;
        let back = load.success_after(lost_at, BACK_DEADLINE).await?;
        load.acknowledged(50).await?;
        for server in &self.servers {
            wait_until_well(&caller(server)?).await?;
            proof::log_is_clean(server)?;
        }
        let (made, mut of_round) = load.end().await?;
        self.next_number = made;
        let unanswered = of_round.unknown.len();
        of_round.resolve(&self.nodes).await?;
        let api = self.nodes.next();
        proof::requests(&api, &mut of_round).await?;
        proof::clock(&api, &of_round).await?;
        let told = format!(
            "first success after {back:.1?}; {} acknowledged, {} refused, {unanswered} without an answer",
            of_round.known.len(),
            of_round.refused,
        );
        self.record.absorb(of_round);
        proof::money(&self.servers[0], OWNER, self.first_balance, &self.record)?;
        Ok(told)
    }

    fn lose_node(&mut self, index: usize) -> Result<Instant> {
        self.servers[index].kill9()?;
        let lost_at = Instant::now();
        self.start_again(index)?;
        Ok(lost_at)
    }

    fn start_again(&mut self, index: usize) -> Result<()> {
        proof::log_is_clean(&self.servers[index])?;
        self.servers[index].restart()?;
        self.nodes.replace(index, caller(&self.servers[index])?);
        Ok(())
    }

    /// What must hold at the end: all that was under way came to its end, was paid for once, and was reported.
    async fn prove(mut self) -> Result<String> {
        let proved = self.prove_all().await;
        let logs: Vec<_> = self.servers.iter().map(Server::log).collect();
        proved.with_context(|| format!("at the end; the nodes' logs:\n{}", logs.join("\n")))
    }

    async fn prove_all(&mut self) -> Result<String> {
        // A destination that refuses five in a row, as this one does by chance, is let rest for longer and longer.
        self.sink.refuse_no_more();
        let api = self.nodes.next();
        proof::scripted_ones_arrive(&api, &self.record, REPORTS_DEADLINE).await?;
        let moved = api.advance_clock(2 * 3600).await?;
        ensure!(moved["ok"] == true, "the clock: {moved}");
        proof::requests(&api, &mut self.record)
            .await
            .context("after the last expiry")?;
        proof::nothing_is_under_way(&self.record)?;
        proof::money(&self.servers[0], OWNER, self.first_balance, &self.record)?;
        let started = Instant::now();
        proof::reports(&self.sink, &self.record, api.token(), REPORTS_DEADLINE).await?;
        let mut ready_in: Vec<_> = self.servers.iter().map(Server::ready_in).collect();
        let told = proof::told(&self.record, &self.sink, &mut ready_in, started.elapsed());
        for server in &mut self.servers {
            let status = server.terminate()?;
            ensure!(status.success(), "the end was {status}; its log:\n{}", server.log());
        }
        proof::money_at_rest(&self.servers[0], &self.record)?;
        Ok(told)
    }
}

async fn wait_until_well(api: &Api) -> Result<()> {
    let started = Instant::now();
    loop {
        let answer = api.client().get(format!("{}/readyz", api.url())).send().await?;
        if answer.status() == StatusCode::OK {
            return Ok(());
        }
        let says = answer.text().await?;
        ensure!(
            started.elapsed() < HEALTH_DEADLINE,
            "after {HEALTH_DEADLINE:?} its health is {says:?}"
        );
        // Health has no events: a load balancer asks again too.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
