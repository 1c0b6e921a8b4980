//! What the whole-system tests share: the real binary as a child process ([`Server`]), a caller of its API ([`Api`]),
//! a receiver of delivery reports ([`Sink`]), a real browser ([`Browser`]), the pages
//! that it shows ([`site`]), and disks that fail ([`FaultyDisk`],
//! [`SmallDisk`]). The tests themselves are in `tests/`, one file a subject.

mod api;
mod binary;
pub mod browser;
mod faults;
mod server;
mod sink;
pub mod site;

pub use api::{Api, http_client};
pub use binary::binary;
pub use browser::{Browser, Look};
pub use faults::{FaultyDisk, SmallDisk};
pub use server::{Options, Ready, Server};
pub use sink::{Report, Sink};
