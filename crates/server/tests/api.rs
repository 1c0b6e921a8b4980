//! The wire contract and the owner's API through real HTTP: each test starts its own server on a free loopback port, with its own books.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "api/account.rs"]
mod account;
#[path = "api/errors.rs"]
mod errors;
#[path = "api/guard.rs"]
mod guard;
#[path = "api/idempotency.rs"]
mod idempotency;
#[path = "api/leniency.rs"]
mod leniency;
#[path = "api/order.rs"]
mod order;
#[path = "api/prices.rs"]
mod prices;
#[path = "api/quotas.rs"]
mod quotas;
#[path = "api/reports.rs"]
mod reports;
#[path = "api/sandbox.rs"]
mod sandbox;
#[path = "api/shapes.rs"]
mod shapes;
#[path = "api/support.rs"]
mod support;
#[path = "api/tokens.rs"]
mod tokens;
#[path = "api/transport.rs"]
mod transport;
