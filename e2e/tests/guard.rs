//! Pumping on the real binary: an account whose people type their codes in is attacked on one block of numbers. The block is slowed, then
//! stopped, while other numbers go on; its owner sees why and lets it through, which a kill doesn't undo.

use anyhow::{Context as _, Result, ensure};
use countersign_e2e::{Api, Options, Server};
use serde_json::{Value, json};

/// The block that is attacked: ten thousand numbers.
const BLOCK: u64 = 992_920_000_000;
const HOME: u64 = 4_915_100_000_000;
const CODE: &str = "482913";

struct World {
    server: Server,
    api: Api,
    people: u64,
}

impl World {
    fn start() -> Result<Self> {
        let server = Server::start(Options {
            env: vec![("COUNTERSIGN_GUARD_PUMPING".to_owned(), "true".to_owned())],
            ..Options::default()
        })?;
        let api = server.api()?;
        Ok(Self { server, api, people: 0 })
    }

    async fn send(&self, number: u64) -> Result<Value> {
        let parameters = json!({ "phone_number": format!("+{number}"), "code": CODE });
        self.api.call("sendVerificationMessage", &parameters).await
    }

    /// People at home, one in ten seconds; three of four type their code in. Answers how many were refused.
    async fn people(&mut self, count: u64) -> Result<usize> {
        let mut refused = 0;
        for _ in 0..count {
            self.people += 1;
            self.api.advance_clock(10).await?;
            let number = HOME + self.people % 8 * 1_000_000_000 + self.people * 7_919 % 1_000_000;
            let sent = self.send(number).await?;
            let Some(request) = sent["result"]["request_id"].as_str() else {
                refused += 1;
                continue;
            };
            if self.people / 8 % 4 < 3 {
                let check = json!({ "request_id": request, "code": CODE });
                let checked = self.api.call("checkVerificationStatus", &check).await?;
                ensure!(
                    checked["result"]["verification_status"]["status"] == "code_valid",
                    "{checked}"
                );
            }
        }
        Ok(refused)
    }

    /// Codes to the block, ten a person, until the guard says that. Answers how many went out.
    async fn pump_until(&mut self, words: &str) -> Result<usize> {
        let mut sent = 0;
        for turn in 0..600 {
            if turn % 10 == 0 {
                ensure!(self.people(1).await? == 0, "somebody at home was refused");
            }
            match self.why_refused(BLOCK + turn % 9_999).await? {
                None => sent += 1,
                Some(why) if why.contains(words) => return Ok(sent),
                Some(_) => {}
            }
        }
        anyhow::bail!("it never said {words:?}; {sent} codes went out")
    }

    /// The reason that a send is answered with; `None` where it went out.
    async fn why_refused(&self, number: u64) -> Result<Option<String>> {
        let answer = self
            .api
            .client()
            .post(format!("{}/sendVerificationMessage", self.api.url()))
            .bearer_auth(self.api.token())
            .json(&json!({ "phone_number": format!("+{number}"), "code": CODE }))
            .send()
            .await?;
        let reason = answer.headers().get("x-refusal-reason");
        let reason = reason
            .map(|reason| reason.to_str().map(ToOwned::to_owned))
            .transpose()?;
        let body: Value = answer.json().await?;
        if reason.is_some() {
            let error = body["error"].as_str().unwrap_or_default();
            ensure!(error.starts_with("FLOOD_WAIT_"), "{body}");
        } else {
            ensure!(body["ok"] == true, "{body}");
        }
        Ok(reason)
    }

    async fn guard(&self, method: &str, path: &str, body: Value) -> Result<Value> {
        let request = self
            .api
            .client()
            .request(method.parse()?, format!("{}/account/v1/guard{path}", self.api.url()));
        let request = request.bearer_auth(self.api.token());
        let request = if body.is_null() { request } else { request.json(&body) };
        request
            .send()
            .await?
            .error_for_status()?
            .json()
            .await
            .context("the guard")
    }
}

#[tokio::test]
async fn a_block_whose_codes_do_not_come_back_is_slowed_then_stopped_until_it_is_trusted() -> Result<()> {
    let mut world = World::start()?;
    ensure!(world.people(100).await? == 0, "somebody was refused before the attack");
    let slowed = world.pump_until("are slowed").await?;
    let stopped = world.pump_until("are stopped").await?;
    ensure!(slowed + stopped < 200, "{slowed} and {stopped} codes went out");
    ensure!(world.people(40).await? == 0, "people at home are hindered");
    ensure!(
        world.why_refused(BLOCK + 500_000).await?.is_none(),
        "another block of the country is held"
    );

    let held = world.guard("GET", "", Value::Null).await?;
    ensure!(
        held["held"] == json!([{"place": "numbers that begin with +99292000", "area": "+99292000", "pace": "stopped"}]),
        "{held}"
    );
    let reason = held["refused"][0]["reason"].as_str().unwrap_or_default();
    ensure!(reason.contains("too few of them come back"), "{held}");
    let trusted = world
        .guard("PUT", "/areas/+99292000", json!({ "verdict": "trust" }))
        .await?;
    ensure!(trusted["held"] == json!([]), "{trusted}");
    ensure!(world.why_refused(BLOCK + 7).await?.is_none(), "trust lifts nothing");

    world.server.kill9()?;
    world.server.restart()?;
    world.api = world.server.api()?;
    let kept = world.guard("GET", "", Value::Null).await?;
    ensure!(
        kept["rules"] == json!([{"area": "+99292000", "verdict": "trust"}]),
        "a restart lost the rule: {kept}"
    );
    ensure!(world.people(80).await? == 0, "people are hindered after the restart");
    for number in 0..80 {
        if number % 10 == 0 {
            world.people(1).await?;
        }
        ensure!(
            world.why_refused(BLOCK + number).await?.is_none(),
            "the trusted block is held"
        );
    }
    Ok(())
}
