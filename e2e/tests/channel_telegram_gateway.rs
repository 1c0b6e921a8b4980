//! The channel `telegram_gateway` against a real upstream: a second Countersign, in its sandbox. How it takes an upstream that
//! misbehaves is tested beside it, in crates/channels.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use countersign_channels::testing::{Server as Lent, config, destination, message};
use countersign_channels::{
    Asked, Channel, ChannelNews, Handle, Handover, MessageKey, OutgoingMessage, UpstreamCost, Verdict, WebhookAnswer,
    WebhookCall, make,
};
use countersign_core::{Credits, News, PhoneNumber, Reach, SandboxNumbers, Timestamp};
use countersign_e2e::{Options, Report, Server, Sink};
use serde_json::json;
use tokio::sync::watch;

/// Far above what anything takes here: a loaded machine is no error.
const PATIENCE: Duration = Duration::from_secs(30);
const ANYBODY: &str = "+391234567890";
const READ_AT_ONCE: &str = "+9996670001";
const NEVER_DELIVERED: &str = "+9996670003";
const UNREACHABLE: &str = "+9996670004";
const THROTTLED: &str = "+9996670005";
const FEE_MICROS: i64 = 10_000;

/// The upstream, and what our own server lends to the channel.
struct World {
    upstream: Server,
    lent: Lent,
}

impl World {
    fn start() -> Result<Self> {
        Ok(Self {
            upstream: Server::start(Options::default())?,
            lent: Lent::new(),
        })
    }

    fn channel(&self, settings: &[(&str, &str)]) -> Result<Arc<dyn Channel>> {
        let token = self
            .upstream
            .ready()
            .token
            .as_deref()
            .context("the upstream printed no token")?;
        self.channel_with(token, settings)
    }

    fn channel_with(&self, token: &str, settings: &[(&str, &str)]) -> Result<Arc<dyn Channel>> {
        let base = [("token", token), ("base_url", self.upstream.api_url())];
        let config = config("official", "telegram_gateway", &[&base, settings].concat()).context("its settings")?;
        Ok(make(config, self.lent.ports.clone())?)
    }

    async fn news(&mut self) -> Result<News> {
        let news: ChannelNews = tokio::time::timeout(PATIENCE, self.lent.news.recv())
            .await?
            .context("the channel is gone")?;
        Ok(news.news)
    }

    async fn cost(&mut self) -> Result<UpstreamCost> {
        tokio::time::timeout(PATIENCE, self.lent.costs.recv())
            .await?
            .context("the channel is gone")
    }

    /// Where a message stands at the upstream.
    async fn state(&self, handle: &Handle) -> Result<String> {
        let asked = json!({"request_id": handle.as_str()});
        let answer = self.upstream.api()?.call("checkVerificationStatus", &asked).await?;
        let status = answer["result"]["delivery_status"]["status"].as_str();
        Ok(status.with_context(|| answer.to_string())?.to_owned())
    }

    /// What is left with the upstream after another question, in millionths.
    async fn next_balance(&self, phone: &str) -> Result<i64> {
        let asked = json!({"phone_number": phone});
        let answer = self.upstream.api()?.call("checkSendAbility", &asked).await?;
        let balance = answer["result"]["remaining_balance"].to_string();
        Ok(Credits::parse(&balance).with_context(|| answer.to_string())?.micros())
    }
}

/// A message that was sent just now.
fn message_to(phone: &str) -> Result<OutgoingMessage> {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let now = Timestamp::from_millis(i64::try_from(since_epoch.as_millis())?);
    let mut made = message(1, ANYBODY, "482913", now).context("a message")?;
    made.phone = PhoneNumber::parse(phone, SandboxNumbers::Accepted).context("a number")?;
    Ok(made)
}

fn key_of(message: &OutgoingMessage) -> MessageKey {
    MessageKey {
        account: message.account,
        request: message.request,
    }
}

async fn accepted(channel: &dyn Channel, message: OutgoingMessage) -> Result<Handle> {
    match channel.deliver(message).await {
        Handover::Accepted(Some(handle)) => Ok(handle),
        other => anyhow::bail!("the message was not accepted: {other:?}"),
    }
}

/// A report as our server would hand it to the channel.
fn call_of(report: &Report) -> Result<WebhookCall> {
    let path = report.path.strip_prefix("/channels/official/");
    let headers = report.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    });
    Ok(WebhookCall {
        is_get: false,
        query: String::new(),
        path: path.context("a report came elsewhere")?.to_owned(),
        headers: headers.collect(),
        body: report.body.to_vec(),
    })
}

#[tokio::test]
async fn a_question_and_the_message_that_follows_cost_one_fee() -> Result<()> {
    let mut world = World::start()?;
    let channel = world.channel(&[])?;
    let sent = message_to(ANYBODY)?;
    let to = destination(&sent);
    // This is a fee, too.
    let start = world.next_balance("+447400123455").await?;
    ensure!(channel.reach(&to).await == Reach::MustAsk);
    ensure!(channel.ask(&to).await == Asked::Reaches);
    let handle = accepted(&*channel, sent.clone()).await?;
    let (asked, followed) = (world.cost().await?, world.cost().await?);
    for cost in [&asked, &followed] {
        ensure!(
            cost.micros == FEE_MICROS && cost.upstream.as_ref() == Some(&handle),
            "{cost:?}"
        );
    }
    ensure!((asked.message, followed.message) == (None, Some(key_of(&sent))));
    // In the upstream's own books the fee was charged once: two messages more cost two fees more.
    let (before, after) = (
        world.next_balance("+447400123456").await?,
        world.next_balance("+447400123457").await?,
    );
    ensure!(
        before == start - 2 * FEE_MICROS && after == start - 3 * FEE_MICROS,
        "{start} {before} {after}"
    );
    Ok(())
}

#[tokio::test]
async fn without_callbacks_the_upstream_is_asked_what_became_of_a_message() -> Result<()> {
    let mut world = World::start()?;
    let channel = world.channel(&[("poll_s", "1")])?;
    let (end, ended) = watch::channel(false);
    let running = tokio::spawn(Arc::clone(&channel).run(ended));
    accepted(&*channel, message_to(READ_AT_ONCE)?).await?;
    ensure!(world.news().await? == News::Read);
    end.send(true)?;
    tokio::time::timeout(PATIENCE, running).await??;
    Ok(())
}

#[tokio::test]
async fn with_callbacks_the_upstreams_reports_are_news() -> Result<()> {
    let mut world = World::start()?;
    let sink = Sink::start().await?;
    world.lent.ports.public_url = Some(sink.url().to_owned());
    let channel = world.channel(&[("callbacks", "true")])?;
    accepted(&*channel, message_to(READ_AT_ONCE)?).await?;
    let reports = sink.wait_until(PATIENCE, |reports| reports.len() == 2).await?;
    let stranger = world.channel_with("another token", &[("callbacks", "true")])?;
    for report in &reports {
        ensure!(stranger.receive(call_of(report)?).await == WebhookAnswer::status(401));
        // Its sender may send it twice.
        for _ in 0..2 {
            ensure!(channel.receive(call_of(report)?).await == WebhookAnswer::status(200));
        }
    }
    ensure!((world.news().await?, world.news().await?) == (News::Delivered, News::Read));
    ensure!(world.lent.news.try_recv().is_err());
    Ok(())
}

#[tokio::test]
async fn a_message_that_never_arrives_fails_and_its_fee_comes_back() -> Result<()> {
    let mut world = World::start()?;
    let sink = Sink::start().await?;
    world.lent.ports.public_url = Some(sink.url().to_owned());
    let channel = world.channel(&[("callbacks", "true")])?;
    let handle = accepted(&*channel, message_to(NEVER_DELIVERED)?).await?;
    world.upstream.api()?.advance_clock(3_600).await?;
    let reports = sink.wait_until(PATIENCE, |reports| !reports.is_empty()).await?;
    ensure!(channel.receive(call_of(&reports[0])?).await == WebhookAnswer::status(200));
    ensure!(world.news().await? == News::Failed);
    let (charge, refund) = (world.cost().await?, world.cost().await?);
    ensure!((charge.micros, refund.micros) == (FEE_MICROS, -FEE_MICROS));
    ensure!(refund.upstream == Some(handle));
    Ok(())
}

#[tokio::test]
async fn a_withdrawn_message_is_revoked_at_the_upstream_even_after_a_restart() -> Result<()> {
    let world = World::start()?;
    let (first, mut second) = (message_to(ANYBODY)?, message_to("+447400123456")?);
    second.account = first.account;
    let channel = world.channel(&[])?;
    let handle = accepted(&*channel, first.clone()).await?;
    ensure!(world.state(&handle).await? == "sent");
    channel.withdraw(first.account, first.request).await;
    ensure!(world.state(&handle).await? == "revoked");

    let handle = accepted(&*channel, second.clone()).await?;
    let restarted = world.channel(&[])?;
    world
        .lent
        .books
        .keep_handle(restarted.name(), handle.clone(), key_of(&second));
    restarted.withdraw(second.account, second.request).await;
    ensure!(world.state(&handle).await? == "revoked");
    Ok(())
}

#[tokio::test]
async fn numbers_without_telegram_and_throttled_ones_are_told_apart() -> Result<()> {
    let mut world = World::start()?;
    let channel = world.channel(&[])?;
    let unreachable = message_to(UNREACHABLE)?;
    ensure!(matches!(
        channel.deliver(unreachable.clone()).await,
        Handover::CannotReach(_)
    ));
    ensure!(channel.reach(&destination(&unreachable)).await == Reach::Unreachable);
    let throttled = message_to(THROTTLED)?;
    ensure!(matches!(channel.ask(&destination(&throttled)).await, Asked::Unknown(_)));
    // What is left of the pause that the answer to the question asked for.
    let handover = channel.deliver(throttled).await;
    let is_later = matches!(handover, Handover::Later(rest) if rest <= Duration::from_secs(30));
    ensure!(is_later, "{handover:?}");
    ensure!(world.lent.costs.try_recv().is_err(), "nothing was charged");
    Ok(())
}

#[tokio::test]
async fn a_message_that_is_handed_over_again_after_a_crash_is_sent_once() -> Result<()> {
    let world = World::start()?;
    let sent = message_to(ANYBODY)?;
    // The ttl is the same in both calls, however long they take.
    let settings = [("ttl_s", "60")];
    let first = accepted(&*world.channel(&settings)?, sent.clone()).await?;
    let again = accepted(&*world.channel(&settings)?, sent).await?;
    ensure!(first == again);
    Ok(())
}

#[tokio::test]
async fn the_examination_tells_a_token_that_works_from_one_that_does_not() -> Result<()> {
    let world = World::start()?;
    let verdict = async |channel: Arc<dyn Channel>| channel.examine().await.first().map(|finding| finding.verdict);
    ensure!(verdict(world.channel(&[])?).await == Some(Verdict::Well));
    let wrong = world.channel_with("AAEuAAAABPmgKDzuMl1g1A9kSnVBmzpB1rdFYmYdkZk2FQ", &[])?;
    ensure!(verdict(Arc::clone(&wrong)).await == Some(Verdict::Broken));
    ensure!(matches!(
        wrong.deliver(message_to(ANYBODY)?).await,
        Handover::Refused(_)
    ));
    Ok(())
}
