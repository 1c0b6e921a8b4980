//! The balance and what belongs to it, over real HTTP, as a browser asks for it: cookies, forms with their hidden fields,
//! redirects, files.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod balance;
mod support;
