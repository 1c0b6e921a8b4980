//! P5: the same random commands, in the same order, against the reference books in memory and against the database give the
//! same outcomes, one by one, and the same final books, row for row. Commands wait in the queue by the hundred, so that real
//! batches form; the store is closed and opened again under way, under other rules.
//!
//! `COUNTERSIGN_MODEL_COMMANDS` says how many commands, `COUNTERSIGN_MODEL_SEED` repeats a run that failed.

#[cfg(test)]
mod compare;
#[cfg(test)]
mod copied;
#[cfg(test)]
mod drive;
#[cfg(test)]
mod usage;

use std::time::Instant;

use countersign_core::Rules;
use countersign_model::{Books, Expected, Shape, any_rules, any_step};
use countersign_store::{audit, testing};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use ring::rand::{SecureRandom, SystemRandom};

use crate::drive::Driver;

/// Unless the environment says otherwise: some seconds' worth.
const COMMANDS: usize = 50_000;
/// The store is closed and opened again so often in a run.
const RESTARTS: usize = 4;

#[tokio::test]
async fn random_commands_leave_the_same_books_in_memory_and_in_the_database() {
    let commands = from_environment("COUNTERSIGN_MODEL_COMMANDS").map_or(COMMANDS, |text| text.parse().unwrap());
    let seed = from_environment("COUNTERSIGN_MODEL_SEED").map_or_else(random_seed, |text| text.parse().unwrap());
    println!("{commands} commands; to repeat: COUNTERSIGN_MODEL_SEED={seed} COUNTERSIGN_MODEL_COMMANDS={commands}");
    let started = Instant::now();
    if let Err(difference) = run(seed, commands).await {
        panic!(
            "{difference}\nto repeat: COUNTERSIGN_MODEL_SEED={seed} COUNTERSIGN_MODEL_COMMANDS={commands} \
             cargo test -p countersign-store --test model"
        );
    }
    println!("{commands} commands in {:.1} s", started.elapsed().as_secs_f32());
}

#[cfg(test)]
async fn run(seed: u64, commands: usize) -> Result<(), String> {
    let mut random = Random::new(seed);
    let directory = tempfile::tempdir().unwrap();
    let rules = random.rules();
    let mut books = Books::new(&rules, Shape::LONG.places);
    let mut driver = Driver::open(directory.path(), &rules);
    for setting in books.accounts_at_the_start() {
        driver.set(setting, Expected::Done).await?;
    }
    for step in books.first_steps() {
        driver.step(&mut books, &step).await?;
    }
    let steps = any_step(Shape::LONG);
    for segment in 0..=RESTARTS {
        if segment > 0 {
            driver.close().await?;
            no_violation(directory.path())?;
            let rules = random.rules();
            books.restart(&rules);
            driver.reopen(directory.path(), &rules);
        }
        while driver.commands() < commands * (segment + 1) / (RESTARTS + 1) {
            driver.step(&mut books, &random.draw(&steps)).await?;
        }
    }
    driver.settle().await?;
    compare::through_the_store(&books, &driver).await?;
    driver.close().await?;
    compare::rows(&books, directory.path())?;
    no_violation(directory.path())?;
    copied::compare_with_a_copy(&books, directory.path())?;
    if commands >= COMMANDS {
        assert_everything_was_met(&driver);
    }
    println!(
        "{} accounts, {} requests, {} entries; met: {:?}",
        books.accounts.len(),
        books.requests.len(),
        books.accounts.iter().map(|book| book.entries.len()).sum::<usize>(),
        driver.met(),
    );
    Ok(())
}

#[cfg(test)]
fn no_violation(directory: &std::path::Path) -> Result<(), String> {
    let database = testing::database(directory).map_err(|error| error.to_string())?;
    let report = audit(&database, &[], |_| {}).map_err(|error| error.to_string())?;
    report
        .violation
        .map_or(Ok(()), |violation| Err(format!("the audit finds: {violation}")))
}

/// A comparison that never meets a refund proves nothing about refunds.
#[cfg(test)]
fn assert_everything_was_met(driver: &Driver) {
    let wanted = [
        "ACCESS_TOKEN_INVALID",
        "BAD_REQUEST",
        "BALANCE_NOT_ENOUGH",
        "FLOOD_WAIT",
        "PHONE_NUMBER_NOT_FOUND",
        "REQUEST_ID_INVALID",
        "RESEND_NOT_POSSIBLE",
        "SENDER_NOT_OWNED",
        "SENDER_NOT_VERIFIED",
        "SENDER_USERNAME_INVALID",
        "adjustment",
        "admitted",
        "answered again",
        "charge",
        "daily budget",
        "done",
        "lapse",
        "low balance",
        "order cancelled",
        "order confirmed",
        "purchase",
        "refund",
    ];
    let missing: Vec<_> = wanted
        .into_iter()
        .filter(|name| !driver.met().contains_key(*name))
        .collect();
    assert!(
        missing.is_empty(),
        "no command met {missing:?}; met: {:?}",
        driver.met()
    );
}

/// Everything random about a run, out of one number.
#[cfg(test)]
struct Random(TestRunner);

#[cfg(test)]
impl Random {
    fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let generator = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        Self(TestRunner::new_with_rng(Config::default(), generator))
    }

    fn draw<T: std::fmt::Debug>(&mut self, strategy: &impl Strategy<Value = T>) -> T {
        strategy.new_tree(&mut self.0).unwrap().current()
    }

    fn rules(&mut self) -> Rules {
        self.draw(&any_rules())
    }
}

#[cfg(test)]
fn random_seed() -> u64 {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).unwrap();
    u64::from_be_bytes(bytes)
}

#[cfg(test)]
fn from_environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}
