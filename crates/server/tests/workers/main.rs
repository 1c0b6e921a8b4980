//! The workers on real books in a temporary directory, with a receiver of reports that answers as it is told. No process is
//! started; every wait is for an event and ends after [`support::PATIENCE`].

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod dispatch;
mod expiry;
mod fairness;
mod faults;
mod names;
mod postman;
mod reports;
mod safety;
mod sink;
mod support;
