//! The nodes under load: real servers that share one database and one set of keys, the accounts that the load sends for, and what
//! those were charged. Everything goes through the servers' own HTTP.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use countersign_core::DEFAULT_PRICE;
use serde_json::Value;

use crate::numbers::whole;
use crate::run::processes::{Server, http_get};
use crate::run::traffic::Caller;
use crate::run::wrk::{Load, Round, Wrk};

/// What each account begins with: enough for a hundred million sends.
const CREDIT: f64 = 1_000_000.0;
/// Accounts in one page of the operator's list.
const PAGE: &str = "1000";
/// Rounds whose numbers are apart; later ones begin anew, which only a limit on sends to one number would notice, and there is none.
const DISTINCT_ROUNDS: u64 = 200;

/// A node, the load generator that drives it, and how to start another.
pub(super) struct Node {
    pub(super) server: Server,
    wrk: Wrk,
    data_dir: PathBuf,
    options: Vec<String>,
}

impl Node {
    /// Starts the first node, which makes the keys.
    pub(super) fn first(binary: &Path, data_dir: PathBuf, options: &[String], threads: u32) -> Result<Self> {
        let wrk = Wrk {
            directory: data_dir.with_extension("load"),
            threads,
        };
        fs::create_dir(&wrk.directory).context("making a directory for the load")?;
        Ok(Self {
            server: Server::node(binary, &data_dir, options)?,
            wrk,
            data_dir,
            options: options.to_vec(),
        })
    }

    /// Starts another one with the same keys on the same database.
    pub(super) fn another(&self, binary: &Path, data_dir: PathBuf) -> Result<Self> {
        fs::create_dir(&data_dir).context("making a node's directory")?;
        for key in ["master.key", "operator.key"] {
            fs::copy(self.data_dir.join(key), data_dir.join(key)).with_context(|| format!("copying {key}"))?;
        }
        Self::first(binary, data_dir, &self.options, self.wrk.threads)
    }

    /// The key of the operator's API, which the sandbox wrote down.
    pub(super) fn operator_key(&self) -> Result<String> {
        let key = fs::read_to_string(self.data_dir.join("operator.key")).context("reading the operator's key")?;
        Ok(key.trim().to_owned())
    }
}

/// The accounts that the load sends for.
pub(super) struct Accounts {
    /// A file of all their tokens, one a line.
    all: PathBuf,
    /// The token of one of them.
    one: String,
    operator_key: String,
}

impl Accounts {
    /// Makes so many, each with credit, and writes their tokens down.
    pub(super) async fn make(node: &Node, count: u32, all: PathBuf) -> Result<Self> {
        let operator_key = node.operator_key()?;
        let mut operator = Caller::connect(node.server.address, &operator_key).await?;
        let mut tokens = Vec::new();
        for number in 0..count {
            let body = format!(r#"{{"phone_number":"+3906{number:08}","name":"Benchmark","credit":{CREDIT}}}"#);
            let answer = operator.call("operator/v1/accounts", &body).await?;
            let account: Value = serde_json::from_str(&answer).context("reading an answer")?;
            let token = account["token"].as_str();
            tokens.push(
                token
                    .with_context(|| format!("no account was made: {answer}"))?
                    .to_owned(),
            );
        }
        fs::write(&all, tokens.join("\n")).context("writing the accounts' tokens")?;
        Ok(Self {
            all,
            one: tokens.swap_remove(0),
            operator_key,
        })
    }

    /// How many sends all of them have been charged.
    pub(super) fn charges(&self, server: &Server) -> Result<u64> {
        let mut after = String::new();
        let mut used = 0.0;
        loop {
            let path = format!("/operator/v1/accounts?limit={PAGE}{after}");
            let page = http_get(server.address, &path, Some(&self.operator_key))?;
            let page: Value = serde_json::from_str(&page).context("reading the list of accounts")?;
            let accounts = page["accounts"].as_array().context("there is no list of accounts")?;
            let ours = accounts.iter().filter(|account| account["name"] == "Benchmark");
            for account in ours {
                used += CREDIT - account["balance"].as_f64().context("an account has no balance")?;
            }
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        let price = DEFAULT_PRICE.to_string().parse::<f64>().context("reading the price")?;
        Ok(u64::try_from(whole((used / price).round()))?)
    }
}

/// What one load is: which nodes take it, and for whom it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Course {
    /// How many nodes share the connections.
    pub(super) nodes: usize,
    /// For all accounts, or for one of them alone.
    pub(super) many_accounts: bool,
}

/// Drives nodes at the same time, each with its share of the connections; the sum of what they answered. The latencies are those of
/// the slowest.
pub(super) fn drive(
    nodes: &[&Node],
    accounts: &Accounts,
    many_accounts: bool,
    connections: u32,
    length: Duration,
    drives: &mut u64,
) -> Result<Round> {
    let share = (connections / u32::try_from(nodes.len())?).max(1);
    let rounds: Vec<Result<Round>> = std::thread::scope(|scope| {
        let loads: Vec<_> = nodes
            .iter()
            .map(|node| {
                *drives += 1;
                let round = *drives % DISTINCT_ROUNDS;
                let load = if many_accounts {
                    Load::SendForMany {
                        round,
                        tokens: &accounts.all,
                    }
                } else {
                    Load::Send { round }
                };
                let (wrk, address) = (&node.wrk, node.server.address);
                scope.spawn(move || wrk.round(address, &accounts.one, load, share, length))
            })
            .collect();
        loads
            .into_iter()
            .map(|load| {
                load.join()
                    .unwrap_or_else(|_| Err(anyhow::anyhow!("a load's thread failed")))
            })
            .collect()
    });
    let mut total: Option<Round> = None;
    for round in rounds {
        let round = round?;
        ensure!(
            round.errors == 0,
            "wrk counted {} failures among {} requests",
            round.errors,
            round.requests
        );
        total = Some(total.map_or(round, |total| Round {
            requests: total.requests + round.requests,
            seconds: total.seconds.max(round.seconds),
            p50_us: total.p50_us.max(round.p50_us),
            p99_us: total.p99_us.max(round.p99_us),
            ..total
        }));
    }
    total.context("no node was driven")
}
