//! `kill -9` under load, again and again, on the real binary (ARCHITECTURE.md, P1, P2 and P4): what was acknowledged is
//! there, once, charged once; the books balance; expiries and delivery reports go on where they stopped.

mod load;
mod nodes;
mod one_server;
mod proof;

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use anyhow::{Context as _, Result};
use countersign_e2e::{Api, Server, http_client};

/// How often something is killed, unless the environment variable `COUNTERSIGN_KILLS` says otherwise.
const KILLS: u32 = 10;
/// The account that a sandbox makes.
const OWNER: &str = "+9996600000";
/// How long the last reports may take: on PostgreSQL a dead process's are taken over after 25 s, and then wait for their retries.
const REPORTS_DEADLINE: Duration = Duration::from_mins(3);

/// How many acknowledgements a round waits for besides: drawn anew at each run.
fn moment(round: u32) -> u32 {
    let drawn = RandomState::new().hash_one(round) % 400;
    u32::try_from(drawn).unwrap_or(0)
}

fn kills() -> Result<u32> {
    match std::env::var("COUNTERSIGN_KILLS") {
        Ok(kills) => kills.parse().context("COUNTERSIGN_KILLS is a number"),
        Err(_) => Ok(KILLS),
    }
}

/// A caller with connections of its own: those to a killed server are of no use.
fn caller(server: &Server) -> Result<Api> {
    let token = server.ready().token.as_deref().context("a sandbox prints its token")?;
    Ok(Api::with_client(http_client()?, server.api_url(), token))
}
