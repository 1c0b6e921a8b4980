//! P2 and P3 by the hundred thousand: random histories of commands go through `decide` into books in memory, and after
//! every command the books must balance and every state must have moved along the graph. What fails is shrunk to the
//! shortest history that fails.

#[cfg(test)]
mod checks;
#[cfg(test)]
mod legs;
#[cfg(test)]
mod live;
#[cfg(test)]
mod money;
#[cfg(test)]
mod seen;

use std::sync::atomic::{AtomicU32, Ordering};

use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};

use countersign_model::{Books, Happening, History, Shape, Submitted, any_history};

use crate::seen::Seen;

/// How many histories must have run in all.
const HISTORIES: u32 = 100_000;

#[test]
fn a_hundred_thousand_random_histories_keep_the_books_and_the_graphs() {
    let threads = u32::try_from(std::thread::available_parallelism().map_or(2, usize::from)).unwrap_or(2);
    let ran = AtomicU32::new(0);
    let seen = Seen::default();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| run(HISTORIES.div_ceil(threads), &ran, &seen));
        }
    });
    let ran = ran.into_inner();
    println!("{ran} histories, {} commands", seen.commands());
    assert!(ran >= HISTORIES, "only {ran} histories ran");
    seen.assert_nothing_was_left_out();
}

#[cfg(test)]
fn run(cases: u32, ran: &AtomicU32, seen: &Seen) {
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..Config::default()
    });
    let outcome = runner.run(&any_history(), |history| {
        ran.fetch_add(1, Ordering::Relaxed);
        happens(&history, seen).map_err(TestCaseError::fail)
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, history)) => panic!("{reason}\nshortest history that does it: {history:#?}"),
        Err(other) => panic!("{other}"),
    }
}

/// Lets a history happen; answers with a sentence where something doesn't hold.
#[cfg(test)]
fn happens(history: &History, seen: &Seen) -> Result<(), String> {
    let mut books = Books::new(&history.rules, Shape::SHORT.places);
    for step in books.first_steps().iter().chain(&history.steps) {
        if let Happening::Command(submitted) = books.prepare(step) {
            judged(&mut books, seen, &submitted)?;
        }
    }
    // All that waits runs out: no message may be under way then, and no fee on hold.
    books.now = books.now.plus_millis(2 * 3_600_000);
    for index in 0..books.requests.len() {
        let submitted = books.wake(index);
        judged(&mut books, seen, &submitted)?;
    }
    checks::nothing_is_left_open(&books)
}

#[cfg(test)]
fn judged(books: &mut Books, seen: &Seen, submitted: &Submitted) -> Result<(), String> {
    let decision = books.decide(submitted);
    seen.note(&decision);
    checks::decision(books, seen, submitted, &decision)
        .and_then(|()| {
            books.apply(submitted, decision);
            checks::books(books, submitted.account)
        })
        .and_then(|()| checks::readers_see_what_a_command_would_say(books, submitted.account))
        .map_err(|broken| format!("{broken}\nby {:?}", submitted.command))
}
