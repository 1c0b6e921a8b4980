//! OpenTelemetry traces, off unless `traces.endpoint` names a collector: a span for each call of a Gateway method, with one inside for its
//! way through the books, and one for each hand-over to a leg and each attempt to send a report. They go there by OTLP over HTTP, in
//! batches, from a thread of their own; what doesn't fit into its queue is left out, and no call waits for it.
//!
//! Spans name methods, outcomes, legs and ids of requests: neither numbers nor codes, tokens or URLs.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use countersign_core::RequestId;
use futures_util::TryFutureExt as _;
use http::{HeaderMap, Request, Response};
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{
    FutureExt as _, Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HeaderExtractor, HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use thiserror::Error;
use tokio::runtime::Handle;

use crate::http::RequestLabel;
use crate::settings::TraceSettings;

/// How long the collector may take with a batch of spans.
const EXPORT_LIMIT: Duration = Duration::from_secs(5);
/// How long the end of the server waits for the last batch.
const END_LIMIT: Duration = Duration::from_secs(2);

/// Why no traces can be sent as it was set.
#[derive(Debug, Error)]
#[error("traces.endpoint: {0}")]
pub struct TracesError(String);

/// Where spans go; nowhere by default. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Traces(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// The span of a call that is being answered; `None` where there are none.
#[derive(Debug)]
pub(crate) struct CallSpan(Option<Context>);

impl CallSpan {
    /// Does something within it: spans that are made meanwhile are inside of this one.
    pub(crate) async fn around<T>(&self, doing: impl Future<Output = T>) -> T {
        match &self.0 {
            Some(context) => doing.with_context(context.clone()).await,
            None => doing.await,
        }
    }

    /// It was answered.
    pub(crate) fn end(self, outcome: &'static str, failed: bool) {
        let Some(context) = self.0 else { return };
        let span = context.span();
        span.set_attribute(KeyValue::new("countersign.outcome", outcome));
        if failed {
            span.set_status(Status::error(outcome));
        }
        span.end();
    }
}

impl Traces {
    /// Begins to send where a collector is named. Needs a tokio runtime.
    pub(crate) fn start(settings: &TraceSettings) -> Result<Self, TracesError> {
        let Some(endpoint) = &settings.endpoint else {
            return Ok(Self::default());
        };
        let failed = |error: &dyn Error| TracesError(error.to_string());
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Collector::new(endpoint).map_err(|error| failed(&error))?)
            .with_endpoint(endpoint.as_str())
            .build()
            .map_err(|error| failed(&error))?;
        let share = f64::from(settings.sample_percent) / 100.0;
        let resource = Resource::builder_empty()
            .with_service_name("countersign")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share))))
            .with_resource(resource)
            .build();
        let tracer = provider.tracer("countersign");
        Ok(Self(Some(Arc::new(Inner { provider, tracer }))))
    }

    /// The span of a call, in its caller's trace where a `traceparent` names one.
    pub(crate) fn call(&self, method: &'static str, headers: &HeaderMap) -> CallSpan {
        let Some(inner) = &self.0 else { return CallSpan(None) };
        let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers));
        let mut attributes = vec![KeyValue::new("rpc.method", method)];
        if let Some(id) = RequestLabel::with(str::to_owned) {
            attributes.push(KeyValue::new("countersign.http_request", id));
        }
        let span = inner
            .tracer
            .span_builder(method)
            .with_kind(SpanKind::Server)
            .with_attributes(attributes)
            .start_with_context(&inner.tracer, &parent);
        CallSpan(Some(parent.with_span(span)))
    }

    /// Does something within a span of its own, inside of the one that it happens in.
    pub(crate) async fn around<T>(&self, name: &'static str, doing: impl Future<Output = T>) -> T {
        let Some(inner) = &self.0 else { return doing.await };
        let context = Context::current_with_span(inner.tracer.start(name));
        let answer = doing.with_context(context.clone()).await;
        context.span().end();
        answer
    }

    /// Says which request the call that is being answered is about.
    pub(crate) fn about(&self, request: &str) {
        if self.0.is_some() {
            let request = KeyValue::new("countersign.request_id", request.to_owned());
            Context::current().span().set_attribute(request);
        }
    }

    /// A call of ours to another party that has ended, `took` after it began. `failure` says why it was no success.
    pub(crate) fn called(&self, called: Called<'_>) {
        let Some(inner) = &self.0 else { return };
        let mut attributes = vec![KeyValue::new("countersign.request_id", called.request.to_string())];
        attributes.extend(
            called
                .more
                .iter()
                .map(|(key, value)| KeyValue::new(*key, (*value).to_owned())),
        );
        let now = SystemTime::now();
        let mut span = inner
            .tracer
            .span_builder(called.name)
            .with_kind(SpanKind::Client)
            .with_start_time(now - called.took)
            .with_attributes(attributes)
            .start_with_context(&inner.tracer, &Context::new());
        if let Some(failure) = called.failure {
            span.set_status(Status::error(failure));
        }
        span.end_with_timestamp(now);
    }

    /// Sends what is still waiting, at most for some seconds.
    pub(crate) async fn end(&self) {
        let Some(inner) = self.0.clone() else { return };
        // It blocks its thread, and the exporter needs the runtime meanwhile.
        let ended = tokio::task::spawn_blocking(move || inner.provider.shutdown_with_timeout(END_LIMIT));
        if let Ok(Err(error)) = ended.await {
            tracing::debug!(%error, "the last traces could not be sent");
        }
    }
}

/// A call of ours to another party.
pub(crate) struct Called<'a> {
    pub(crate) name: &'static str,
    pub(crate) request: RequestId,
    pub(crate) took: Duration,
    pub(crate) more: &'a [(&'static str, &'a str)],
    pub(crate) failure: Option<String>,
}

/// How spans come to the collector: on the server's runtime, since the thread that asks for it has none.
#[derive(Debug)]
struct Collector {
    client: reqwest::Client,
    runtime: Handle,
}

impl Collector {
    fn new(endpoint: &url::Url) -> Result<Self, reqwest::Error> {
        // Fails only where there is a provider already, which serves as well.
        let _already_installed = rustls::crypto::ring::default_provider().install_default();
        // The exporter's own limit holds for its own clients alone; a collector that never answers must not hold its thread.
        let client = reqwest::Client::builder()
            .timeout(EXPORT_LIMIT)
            .redirect(reqwest::redirect::Policy::none());
        let client = match endpoint.host() {
            Some(url::Host::Domain("localhost")) => client.no_proxy(),
            Some(url::Host::Ipv4(address)) if address.is_loopback() => client.no_proxy(),
            Some(url::Host::Ipv6(address)) if address.is_loopback() => client.no_proxy(),
            _ => client,
        };
        let client = match endpoint.scheme() {
            "http" => client.tls_certs_only([]),
            _ => client,
        };
        Ok(Self {
            client: client.build()?,
            runtime: Handle::current(),
        })
    }
}

#[async_trait::async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let exchange = async move {
            let answer = client.execute(request.try_into()?).await?;
            let mut response = Response::builder().status(answer.status());
            if let Some(headers) = response.headers_mut() {
                headers.clone_from(answer.headers());
            }
            Ok::<_, HttpError>(response.body(answer.bytes().await?)?)
        };
        self.runtime.spawn(exchange).map_err(HttpError::from).await?
    }
}
