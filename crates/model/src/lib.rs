#![doc = include_str!("../README.md")]
//!
//! Start at [`Books`]: it turns a random [`Step`] into a command or a setting, gathers the facts for `decide`, and takes the
//! decision in. Strategies that make steps are in `random`.
#![expect(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

mod books;
mod live;
mod random;
mod routes;
mod settings;
mod step;

pub use books::{AccountBook, Books, Happening, RequestBook, Submitted};
pub use live::must_ask;
pub use random::{Shape, any_history, any_rules, any_step};
pub use settings::{Expected, Setting};
pub use step::{Caller, Entered, History, Key, Named, PriceOf, Recipient, Route, SendStep, SenderName, Step};
