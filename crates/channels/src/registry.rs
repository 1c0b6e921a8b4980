//! Which kinds of channels there are. A new one is a line here.

use std::sync::Arc;

use crate::Channel;
use crate::config::{ChannelConfig, ConfigError};
use crate::ports::Ports;

/// A kind of channel.
pub struct Kind {
    /// As settings write it: `kind = "…"`.
    pub name: &'static str,
    /// Makes a channel as it was set. Opens no connection.
    pub make: fn(ChannelConfig, Ports) -> Result<Arc<dyn Channel>, ConfigError>,
}

/// All kinds, by name.
pub static KINDS: &[Kind] = &[Kind {
    name: crate::smpp::KIND,
    make: crate::smpp::make,
}];

/// Makes a channel as it was set.
pub fn make(config: ChannelConfig, ports: Ports) -> Result<Arc<dyn Channel>, ConfigError> {
    match KINDS.iter().find(|kind| kind.name == config.kind) {
        Some(kind) => (kind.make)(config, ports),
        None => Err(ConfigError::unknown_kind(&config)),
    }
}
