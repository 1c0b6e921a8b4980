//! HTTP and the workers, around the books.
//!
//! Rooms: [`site`] has what all pages share, with the owner's pages in `portal` and the operator's in `console`; [`api`] speaks the wire contract, [`account`] the owner's API, [`operator`] the operator's API, [`inbox`] shows the
//! built-in messenger, [`workers`] deliver, expire and report, [`http`] accepts connections, [`keys`] serves commands in a
//! server's place, [`settings`] reads what the operator set, and
//! [`start`] puts them together. What they share is an [`App`].

pub mod account;
mod allow_list;
mod answer;
pub mod api;
mod app;
mod autofill;
mod budget;
pub mod clock;
mod console;
pub mod doctor;
mod guard;
pub mod http;
pub mod inbox;
mod key_rotation;
pub mod keys;
mod login;
mod metrics;
mod onlookers;
mod openapi;
pub mod operator;
mod orders;
mod pace;
mod payment;
mod portal;
pub mod price_table;
mod quotas;
pub mod random;
mod reports;
mod routes;
mod senders;
pub mod settings;
pub mod site;
pub mod start;
mod statement;
mod traces;
mod vitals;
pub mod workers;

pub use app::{App, Mode};
pub use login::LoginDesk;
pub use routes::Routes;
pub use vitals::Vitals;
