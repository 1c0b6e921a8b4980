//! OpenTelemetry traces: off unless a collector is named, then a span for each call, hand-over and report, and nobody's secrets in them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use countersign_e2e::{Options, Server, Sink};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(30);
/// A scripted number of the sandbox: delivered and read at once.
const PHONE: &str = "+9996670001";
const CODE: &str = "482913";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn start(collector: &Sink) -> Result<Server> {
    Server::start(Options {
        env: vec![(
            "COUNTERSIGN_TRACES_ENDPOINT".to_owned(),
            format!("{}/v1/traces", collector.url()),
        )],
        ..Options::default()
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        // Writing to a string can't fail.
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

fn attributes(span: &Span) -> BTreeMap<&str, &str> {
    let texts = span.attributes.iter().filter_map(|attribute| {
        let value = attribute.value.as_ref()?.value.as_ref()?;
        match value {
            Value::StringValue(text) => Some((attribute.key.as_str(), text.as_str())),
            _ => None,
        }
    });
    texts.collect()
}

/// All spans that came to a collector.
fn spans(collector: &Sink) -> Result<Vec<Span>> {
    let mut spans = Vec::new();
    for came in collector.reports() {
        ensure!(came.path == "/v1/traces" && came.headers["content-type"] == "application/x-protobuf");
        let export = ExportTraceServiceRequest::decode(came.body)?;
        for resource in export.resource_spans {
            let of_server = resource.resource.context("a resource")?.attributes;
            ensure!(of_server.iter().any(|attribute| attribute.key == "service.name"));
            spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
    }
    Ok(spans)
}

// The collector answers while this thread waits for the server's end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_a_span_of_its_callers_trace_with_the_books_inside_and_names_no_secret() -> Result<()> {
    let (collector, reports) = (Sink::start().await?, Sink::start().await?);
    let mut server = start(&collector)?;
    let api = server.api()?;
    let answer = api
        .client()
        .post(format!("{}/sendVerificationMessage", api.url()))
        .bearer_auth(api.token())
        .header("traceparent", format!("00-{TRACE}-{PARENT}-01"))
        .header("X-Request-Id", "checkout-1")
        .json(&json!({ "phone_number": PHONE, "code": CODE, "callback_url": format!("{}/r", reports.url()) }))
        .send()
        .await?
        .json::<serde_json::Value>()
        .await?;
    let request = answer["result"]["request_id"].as_str().context("a request")?;
    reports.wait_until(PATIENCE, |came| came.len() == 2).await?;
    api.call("checkSendAbility", &json!({ "phone_number": "12" })).await?;
    // What still waits is sent before the server ends.
    ensure!(server.terminate()?.success());
    let spans = spans(&collector)?;
    let named = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();

    let [send] = named("sendVerificationMessage")[..] else {
        anyhow::bail!("{spans:?}")
    };
    ensure!(
        hex(&send.trace_id) == TRACE && hex(&send.parent_span_id) == PARENT,
        "{send:?}"
    );
    let of_send = attributes(send);
    ensure!(
        of_send["countersign.outcome"] == "OK" && of_send["countersign.request_id"] == request,
        "{send:?}"
    );
    ensure!(of_send["countersign.http_request"] == "checkout-1", "{send:?}");
    let [books] = named("books")[..] else {
        anyhow::bail!("{spans:?}")
    };
    ensure!(
        books.parent_span_id == send.span_id && books.trace_id == send.trace_id,
        "{books:?}"
    );
    ensure!(
        books.start_time_unix_nano >= send.start_time_unix_nano && books.end_time_unix_nano <= send.end_time_unix_nano
    );

    let [ability] = named("checkSendAbility")[..] else {
        anyhow::bail!("{spans:?}")
    };
    ensure!(attributes(ability)["countersign.outcome"] == "PHONE_NUMBER_INVALID" && ability.parent_span_id.is_empty());
    let attempts = named("delivery report");
    ensure!(attempts.len() == 2, "{spans:?}");
    for report in attempts {
        let of_report = attributes(report);
        ensure!(of_report["countersign.request_id"] == request && of_report["http.response.status_code"] == "200");
        ensure!(report.end_time_unix_nano > report.start_time_unix_nano, "{report:?}");
    }
    for came in collector.reports() {
        for secret in [PHONE.trim_start_matches('+'), CODE, api.token(), reports.url()] {
            let found = came
                .body
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            ensure!(!found, "{secret} came to the collector");
        }
    }
    Ok(())
}

#[tokio::test]
async fn calls_are_answered_and_the_server_ends_while_no_collector_listens() -> Result<()> {
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        format!("http://{}/v1/traces", listener.local_addr()?)
    };
    let mut server = Server::start(Options {
        env: vec![("COUNTERSIGN_TRACES_ENDPOINT".to_owned(), gone)],
        ..Options::default()
    })?;
    let sent = server
        .api()?
        .call("sendVerificationMessage", &json!({ "phone_number": PHONE }))
        .await?;
    ensure!(sent["ok"] == true, "{sent}");
    ensure!(server.terminate()?.success());
    Ok(())
}
