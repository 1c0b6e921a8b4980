//! What the whole-system tests share: the real binary as a child process ([`Server`]), a caller of its API ([`Api`]),
//! a receiver of delivery reports ([`Sink`]), a real browser ([`Browser`]), the pages
//! that it shows ([`site`]), disks that fail ([`FaultyDisk`], [`SmallDisk`]), a PostgreSQL of a test's own ([`Postgres`]), several nodes
//! on one ([`Site`]), and networks that are cut ([`network`]). The tests themselves are in `tests/`, one file a subject.

mod api;
mod binary;
pub mod browser;
mod faults;
pub mod network;
mod nodes;
mod postgres;
mod server;
mod sink;
pub mod site;

pub use api::{Api, http_client};
pub use binary::binary;
pub use browser::{Browser, Look};
pub use faults::{FaultyDisk, SmallDisk};
pub use nodes::Site;
pub use postgres::{Lost, Patroni, Postgres, Stop};
pub use server::{Options, Ready, Server};
pub use sink::{Report, Sink};
