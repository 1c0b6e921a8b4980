//! Accepts connections and speaks HTTP/1.1 on them, with a bound on everything a caller can make us wait for or keep.
//!
//! What is asked and answered is the router's business; here are the listeners ([`HttpServer`]), time-outs, TLS ([`tls`]),
//! the cap on connections, and the orderly end. [`same_site`] guards pages against foreign sites.
//!
//! A connection is in one of three phases, and each but the second ends by itself: its caller owes us the rest of a
//! request's head (`request_timeout` from its first byte, or from the connection's begin); we owe an answer (a body that
//! doesn't come within `request_timeout` makes that answer 408 `REQUEST_TIMEOUT`); or it is idle or still being written
//! (`idle_timeout` since the last byte that the caller took).

mod accept;
mod activity;
mod body;
mod connection;
mod open_files;
mod request_id;
mod same_site;
pub mod tls;

pub use accept::{HttpServer, bind};
pub use open_files::allow_open_files;
pub use request_id::RequestLabel;
pub use same_site::{ForeignSite, same_site};

use std::net::SocketAddr;
use std::time::Duration;

/// Where a request's connection comes from; every request carries it among its extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress(pub SocketAddr);

/// The bounds of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpLimits {
    /// Connections at once. A further one gets 503 `UNAVAILABLE` with `Retry-After` and is closed: a caller learns at once
    /// what is wrong, where a silent queue would let it run into its own time-out.
    pub max_connections: usize,
    /// For a TLS handshake, for a request's head, and for its body, each.
    pub request_timeout: Duration,
    /// For a connection that nothing happens on between two requests, and for a caller that doesn't take its answer.
    pub idle_timeout: Duration,
    /// For what is in flight when the server ends.
    pub drain_timeout: Duration,
}

impl HttpLimits {
    /// The limits that aren't settings: an idle connection may stay longer than the pools of usual clients and proxies
    /// keep it (60 s), so that they close it and not we, in the middle of their next request.
    pub const fn new(max_connections: usize, request_timeout: Duration) -> Self {
        Self {
            max_connections,
            request_timeout,
            idle_timeout: Duration::from_secs(75),
            drain_timeout: Duration::from_secs(10),
        }
    }
}
