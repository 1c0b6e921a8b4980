//! P2 and P3 by the hundred thousand: random histories of commands go through `decide` into books in memory, and after
//! every command the books must balance and every state must have moved along the graph. What fails is shrunk to the
//! shortest history that fails.

#[cfg(test)]
mod books;
#[cfg(test)]
mod checks;
#[cfg(test)]
mod history;
#[cfg(test)]
mod seen;

use std::sync::atomic::{AtomicU32, Ordering};

use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};

use crate::books::Books;
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
    let outcome = runner.run(&history::any_history(), |history| {
        ran.fetch_add(1, Ordering::Relaxed);
        let mut books = Books::new(&history.rules, seen);
        for step in &history.steps {
            books.step(step).map_err(TestCaseError::fail)?;
        }
        books.end().map_err(TestCaseError::fail)
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, history)) => panic!("{reason}\nshortest history that does it: {history:#?}"),
        Err(other) => panic!("{other}"),
    }
}
