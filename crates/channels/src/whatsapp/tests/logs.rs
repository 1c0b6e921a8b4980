//! What the operator reads in the log, and what nobody does.

use std::sync::Mutex;

use tracing_subscriber::fmt::MakeWriter;

use super::*;

/// What is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(lock(&self.0).clone()).unwrap()
    }

    /// How often something is said.
    fn count(&self, what: &str) -> usize {
        self.text().matches(what).count()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        lock(&self.0).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

fn keep(level: tracing::Level) -> (Log, tracing::subscriber::DefaultGuard) {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.clone())
        .with_ansi(false)
        .with_max_level(level);
    (log, tracing::subscriber::set_default(subscriber.finish()))
}

#[tokio::test]
async fn each_thing_that_the_operator_must_mend_is_said_aloud_once_a_minute() {
    let (log, _guard) = keep(tracing::Level::ERROR);
    let world = World::new().await;
    for _ in 0..5 {
        world.fake.will([error(401, 190)]);
        world.deliver().await;
    }
    assert_eq!(log.count("ERROR"), 1, "{}", log.text());
    // Something else isn't swallowed.
    world.fake.will([error(400, 132_001)]);
    world.deliver().await;
    assert_eq!(log.count("ERROR"), 2, "{}", log.text());
    assert!(
        log.text().contains("190: the access token isn’t valid any more"),
        "{}",
        log.text()
    );
    pass(60).await;
    world.fake.will([error(400, 132_001)]);
    world.deliver().await;
    assert_eq!(log.count("ERROR"), 3, "{}", log.text());
}

#[tokio::test]
async fn no_secret_no_code_and_no_number_is_logged() {
    let (log, _guard) = keep(tracing::Level::TRACE);
    let mut world = World::new().await;
    world.deliver_as(message_of(1), "wamid.A").await;
    world.fake.call().await;
    for reaction in [
        error(400, 190),
        error(500, 131_000),
        Reaction::Say(500, format!("{PHONE} 123456")),
        Reaction::Close,
    ] {
        world.fake.will([reaction]);
        world.deliver().await;
    }
    world.fake.will([error(429, 130_429)]);
    world.deliver().await;
    world.server.books.set_in_trouble(true);
    let call = webhooks::stop_of("391234567890");
    assert_eq!(world.channel.receive(call).await.status, 503);
    world.channel.examine().await;
    assert!(log.text().contains("WhatsApp refuses messages"), "{}", log.text());
    for secret in [TOKEN, APP_SECRET, VERIFY_TOKEN, "123456", "391234567890"] {
        assert_eq!(log.count(secret), 0, "{secret} in {}", log.text());
    }
}

#[tokio::test]
async fn what_cannot_be_read_of_a_signed_update_is_said_once_and_without_what_it_holds() {
    let (log, _guard) = keep(tracing::Level::WARN);
    let world = World::new().await;
    let call = super::webhooks::update_of(&json!([{ "id": 7, "status": PHONE }, { "new": PHONE }]));
    assert_eq!(world.channel.receive(call).await.status, 200);
    assert_eq!(log.count("can’t be read"), 1, "{}", log.text());
    assert!(!log.text().contains(&PHONE[1..]), "{}", log.text());
}
