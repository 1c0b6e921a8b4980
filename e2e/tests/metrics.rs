//! What `/metrics` says: promtool accepts it, it counts what was called, it names nobody, and documentation and dashboard know
//! the metrics that there are and no others.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use countersign_e2e::{Options, Server, Sink, http_client};
use reqwest::StatusCode;
use serde_json::json;

const DOCUMENTATION: &str = include_str!("../../docs/observability.md");
const DASHBOARD: &str = include_str!("../../deploy/grafana/countersign.json");
const PHONE: &str = "+391234567890";
/// A scripted number of the sandbox.
const DELIVERED_AND_READ: &str = "+9996670001";
const PATIENCE: Duration = Duration::from_secs(30);

fn start() -> Result<Server> {
    Server::start(Options {
        env: vec![("COUNTERSIGN_METRICS_LISTEN".to_owned(), "127.0.0.1:0".to_owned())],
        ..Options::default()
    })
}

async fn metrics(server: &Server) -> Result<String> {
    let url = server.ready().metrics_url.as_deref().context("no address of metrics")?;
    let answer = http_client()?.get(url).send().await?;
    ensure!(
        answer.status() == StatusCode::OK
            && answer.headers()["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    );
    Ok(answer.text().await?)
}

/// The families that are exposed.
fn families(text: &str) -> BTreeSet<String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}

/// The names in a text that a metric of ours could have, those of a histogram's series as the family's.
fn names(text: &str) -> BTreeSet<String> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| word.starts_with("countersign_") || word.starts_with("process_"))
        .map(|word| {
            let series = ["_bucket", "_sum", "_count"];
            series
                .iter()
                .find_map(|end| word.strip_suffix(end))
                .unwrap_or(word)
                .to_owned()
        })
        .collect()
}

#[tokio::test]
async fn promtool_finds_nothing_to_mend() -> Result<()> {
    let promtool = std::env::var_os("COUNTERSIGN_TEST_PROMTOOL")
        .context("COUNTERSIGN_TEST_PROMTOOL says where promtool is, or `none`; ./test fetches it")?;
    if promtool == "none" {
        return Ok(());
    }
    let server = start()?;
    let text = metrics(&server).await?;
    let mut promtool = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    promtool
        .stdin
        .take()
        .context("promtool's input")?
        .write_all(text.as_bytes())?;
    let output = promtool.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.is_empty(), "{said}\n{text}");
    Ok(())
}

#[tokio::test]
async fn calls_are_counted_by_method_and_outcome_and_nobody_is_named() -> Result<()> {
    let server = start()?;
    let api = server.api()?;
    for _ in 0..3 {
        api.call("sendVerificationMessage", &json!({ "phone_number": PHONE }))
            .await?;
    }
    api.call("checkSendAbility", &json!({ "phone_number": "12" })).await?;
    api.client()
        .get(format!("{}/nothing/{}", api.url(), api.token()))
        .send()
        .await?;
    let text = metrics(&server).await?;
    for line in [
        "countersign_calls_total{method=\"sendVerificationMessage\",outcome=\"OK\"} 3\n",
        "countersign_calls_total{method=\"checkSendAbility\",outcome=\"PHONE_NUMBER_INVALID\"} 1\n",
        "countersign_calls_total{method=\"unknown\",outcome=\"UNKNOWN_METHOD\"} 1\n",
        "countersign_call_duration_seconds_count{method=\"sendVerificationMessage\"} 3\n",
        "countersign_ready 1\n",
    ] {
        ensure!(text.contains(line), "{line} is not in\n{text}");
    }
    ensure!(
        !text.contains(api.token()) && !text.contains(PHONE.trim_start_matches('+')),
        "{text}"
    );
    Ok(())
}

#[tokio::test]
async fn steps_states_commits_and_attempts_of_reports_are_counted_once_they_are_durable() -> Result<()> {
    let server = start()?;
    let api = server.api()?;
    let reports = Sink::start().await?;
    let parameters = json!({
        "phone_number": DELIVERED_AND_READ, "code": "4829", "callback_url": format!("{}/reports", reports.url()),
    });
    let sent = api.call("sendVerificationMessage", &parameters).await?;
    let request = sent["result"]["request_id"].as_str().context("a request")?;
    reports.wait_until(PATIENCE, |came| came.len() == 2).await?;
    api.call(
        "checkVerificationStatus",
        &json!({ "request_id": request, "code": "4829" }),
    )
    .await?;
    // A receiver has its report before the books know that.
    let acknowledged = |text: &str| text.contains("countersign_report_attempts_total{end=\"acknowledged\"} 2\n");
    let text = tokio::time::timeout(PATIENCE, async {
        loop {
            let text = metrics(&server).await?;
            if acknowledged(&text) {
                break Ok::<_, anyhow::Error>(text);
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .context("the attempts are never counted")??;
    for line in [
        "countersign_verifications_total{step=\"sent\"} 1\n",
        "countersign_verifications_total{step=\"delivered\"} 1\n",
        "countersign_verifications_total{step=\"valid\"} 1\n",
        "countersign_verifications_total{step=\"expired\"} 0\n",
        "countersign_charged_credits_total 0.01\n",
        "countersign_deliveries_total{leg=\"\",state=\"delivered\"} 1\n",
        "countersign_deliveries_total{leg=\"\",state=\"read\"} 1\n",
    ] {
        ensure!(text.contains(line), "{line} is not in\n{text}");
    }
    let value = |name: &str| -> Result<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        Ok(line.with_context(|| format!("no {name}"))?.trim().parse()?)
    };
    let commits = value("countersign_commit_duration_seconds_count ")?;
    // The send and the check at least, and no batch without a job.
    ensure!(
        commits >= 2.0 && commits <= value("countersign_batch_size_sum ")?,
        "{text}"
    );
    ensure!(value("countersign_commit_duration_seconds_sum ")? > 0.0, "{text}");
    Ok(())
}

#[tokio::test]
async fn metrics_are_served_at_their_own_address_only_and_nothing_else_there() -> Result<()> {
    let server = start()?;
    let client = http_client()?;
    let at_the_api = client
        .get(format!("{}/metrics", server.api_url()))
        .send()
        .await?
        .text()
        .await?;
    ensure!(!at_the_api.contains("countersign_ready"), "{at_the_api}");
    let url = server.ready().metrics_url.as_deref().context("no address of metrics")?;
    let elsewhere = client
        .get(url.replace("/metrics", "/operator/v1/accounts"))
        .send()
        .await?;
    ensure!(elsewhere.status() == StatusCode::NOT_FOUND, "{elsewhere:?}");
    ensure!(Server::start(Options::default())?.ready().metrics_url.is_none());
    Ok(())
}

#[tokio::test]
async fn documentation_has_every_metric_and_the_dashboard_none_that_isnt_there() -> Result<()> {
    let server = start()?;
    let exposed = families(&metrics(&server).await?);
    let table = DOCUMENTATION.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = table
        .filter_map(|line| line.split('`').next())
        .collect::<Vec<_>>()
        .join(" ");
    let documented = names(&rows);
    ensure!(documented == exposed, "documented {documented:?}\nexposed {exposed:?}");
    let shown = names(DASHBOARD);
    ensure!(
        shown.len() > 10 && shown.is_subset(&exposed),
        "shown {shown:?}\nexposed {exposed:?}"
    );
    Ok(())
}
