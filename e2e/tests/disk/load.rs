//! Callers that send without pause and write down what they were told, until they are stopped or the server is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use countersign_e2e::{Api, http_client};
use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Callers at the same time.
const CALLERS: usize = 8;
/// How long a wait for answers may take.
const DEADLINE: Duration = Duration::from_mins(1);

/// A load that runs.
pub(crate) struct Load {
    callers: JoinSet<Result<Vec<String>>>,
    counts: watch::Receiver<Counts>,
    stopped: Arc<AtomicBool>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    acknowledged: u32,
    refused: u32,
}

impl Load {
    /// Starts the callers; no two loads of a test have the same number.
    pub(crate) fn start(api: &Api, load: u64) -> Self {
        let (told, counts) = watch::channel(Counts::default());
        let stopped = Arc::new(AtomicBool::new(false));
        let numbers = Arc::new(AtomicU64::new(load * 1_000_000));
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let caller = Caller {
                api: api.clone(),
                numbers: Arc::clone(&numbers),
                told: told.clone(),
                stopped: Arc::clone(&stopped),
            };
            callers.spawn(caller.run());
        }
        Self {
            callers,
            counts,
            stopped,
        }
    }

    /// Waits until so many sends were acknowledged.
    pub(crate) async fn acknowledged(&mut self, count: u32) -> Result<()> {
        self.wait(|counts| counts.acknowledged >= count).await
    }

    /// Waits until so many sends were refused as unavailable.
    pub(crate) async fn refused(&mut self, count: u32) -> Result<()> {
        self.wait(|counts| counts.refused >= count).await
    }

    async fn wait(&mut self, enough: impl FnMut(&Counts) -> bool) -> Result<()> {
        let waited = tokio::time::timeout(DEADLINE, self.counts.wait_for(enough)).await;
        let counted = waited.map(|counted| counted.map(|_| ()));
        let counts = *self.counts.borrow();
        counted
            .with_context(|| format!("{counts:?} after {DEADLINE:?}"))?
            .with_context(|| format!("all callers ended after {counts:?}"))
    }

    /// Stops the callers; answers the requests that were acknowledged. Fails where any answer was another than it may be.
    pub(crate) async fn end(mut self) -> Result<Vec<String>> {
        self.stopped.store(true, Ordering::Release);
        let mut acknowledged = Vec::new();
        while let Some(ended) = self.callers.join_next().await {
            acknowledged.extend(ended??);
        }
        Ok(acknowledged)
    }
}

struct Caller {
    api: Api,
    numbers: Arc<AtomicU64>,
    told: watch::Sender<Counts>,
    stopped: Arc<AtomicBool>,
}

impl Caller {
    async fn run(self) -> Result<Vec<String>> {
        // Connections of its own: a server that ends takes them along.
        let client = http_client()?;
        let mut acknowledged = Vec::new();
        while !self.stopped.load(Ordering::Acquire) {
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            let call = client
                .post(format!("{}/sendVerificationMessage", self.api.url()))
                .bearer_auth(self.api.token())
                .json(&json!({ "phone_number": format!("+393{number:09}") }));
            let Ok(answer) = call.send().await else { break };
            let status = answer.status();
            let retry_after = answer.headers().contains_key(RETRY_AFTER);
            let Ok(answer) = answer.json::<Value>().await else {
                break;
            };
            if answer["ok"] == true {
                let id = answer["result"]["request_id"].as_str().context("a request_id")?;
                acknowledged.push(id.to_owned());
                self.told.send_modify(|counts| counts.acknowledged += 1);
            } else {
                ensure!(
                    status == StatusCode::SERVICE_UNAVAILABLE && retry_after && answer["error"] == "UNAVAILABLE",
                    "a send was answered {status} {answer}"
                );
                self.told.send_modify(|counts| counts.refused += 1);
            }
        }
        Ok(acknowledged)
    }
}
