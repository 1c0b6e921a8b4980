//! The channel `email` against mail servers that others wrote: the Python package `aiosmtpd`, told how to behave by each test
//! (`e2e/python/smtp.py`).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod answers;
mod connections;
mod exim;
mod fixture;
mod messages;
mod refusals;
mod reports;
