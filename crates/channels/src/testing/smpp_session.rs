//! An SMPP session in memory, without a message centre: for what no message centre would send. `fuzz/` uses it.

use countersign_core::LegName;

use crate::{OutgoingMessage, Ports};

/// A channel of that name binds nothing and submits one message, whose request has the sequence number 1. The message centre says
/// these bytes and closes the connection. What it was sent until then; news and the like go where the ports lead.
pub async fn smpp_session(ports: Ports, name: LegName, message: &OutgoingMessage, said: &[u8]) -> Vec<u8> {
    crate::smpp::rehearse(name, ports, message, said).await
}
