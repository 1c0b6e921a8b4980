//! The books' SQL, written once for both backends: questions, settings, and how core's types stand in columns. `connection` is
//! the small layer over SQLite and PostgreSQL that it speaks to; `backend` is what a backend lends to it. What must be fast, the
//! batch of commands, is each backend's own (`crate::sqlite`, `crate::postgres`).
//!
//! SQL here is in SQLite's way of writing parameters (`?1`), and must run on both: `dialect` turns it into PostgreSQL's, and says what
//! can't be written. Every statement about an account's rows says `bucket = ?n`: on a sharded database it then concerns one shard.

pub(crate) mod access;
pub(crate) mod actions;
pub(crate) mod backend;
pub(crate) mod channel_books;
pub(crate) mod codec;
pub(crate) mod connection;
pub(crate) mod console;
pub(crate) mod dialect;
pub(crate) mod elsewhere;
mod ended_codes;
pub(crate) mod history;
pub(crate) mod keys;
pub(crate) mod load;
pub(crate) mod logins;
pub(crate) mod message_summaries;
pub(crate) mod messages;
pub(crate) mod orders;
pub(crate) mod prices;
pub(crate) mod privacy;
pub(crate) mod privacy_number;
pub(crate) mod profiles;
pub(crate) mod quotas;
pub(crate) mod read;
pub(crate) mod report_reads;
pub(crate) mod reports;
pub(crate) mod reseal;
pub(crate) mod senders;
pub(crate) mod sessions;
pub(crate) mod settings;
#[cfg(feature = "testing")]
pub(crate) mod shards;
pub(crate) mod statement;
pub(crate) mod store;
pub(crate) mod tokens;
pub(crate) mod usage;

pub(crate) use connection::{Connection, Error, OptionalExtension, Params, Row, Statement, params};
