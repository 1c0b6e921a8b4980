//! The SMPP channel against a message centre that others wrote: the npm package `smpp`, told how to behave by each test
//! (`e2e/node/smsc.js`).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod fixture;
mod inbound;
mod link;
mod submit;
mod tls;
