//! The pages as a browser gets them, over real HTTP: one file for each place in the navigation.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod api;
mod console;
mod guard;
mod login;
mod messages;
mod overview;
mod senders;
mod settings;
mod site;
mod statistics;
mod support;
mod texts;
