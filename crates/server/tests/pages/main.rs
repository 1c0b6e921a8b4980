//! The pages through real HTTP, as a browser asks for them: cookies, forms with their hidden fields, redirects.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod balance;
mod support;
