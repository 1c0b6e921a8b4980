//! Which kinds of channels there are. A new one is a line here.

use std::sync::Arc;

use crate::Channel;
use crate::config::{ChannelConfig, ConfigError};
use crate::ports::Ports;
use crate::{email, smpp, sms_http, telegram_bot, telegram_gateway, webhook, whatsapp};

/// A kind of channel.
pub struct Kind {
    /// As settings write it: `kind = "…"`.
    pub name: &'static str,
    /// Makes a channel as it was set. Opens no connection.
    pub make: Make,
}

/// All kinds, by name: a line each.
pub static KINDS: &[Kind] = &[
    kind(email::KIND, email::make),
    kind(smpp::KIND, smpp::make),
    kind(sms_http::KIND, sms_http::make),
    kind(telegram_bot::KIND, telegram_bot::make),
    kind(telegram_gateway::KIND, telegram_gateway::make),
    kind(webhook::KIND, webhook::make),
    kind(whatsapp::KIND, whatsapp::make),
];

type Make = fn(ChannelConfig, Ports) -> Result<Arc<dyn Channel>, ConfigError>;

const fn kind(name: &'static str, make: Make) -> Kind {
    Kind { name, make }
}

/// Makes a channel as it was set. Its texts are those that the operator may have written for it alone.
pub fn make(config: ChannelConfig, mut ports: Ports) -> Result<Arc<dyn Channel>, ConfigError> {
    ports.texts = ports.texts.of_channel(&config.name);
    match KINDS.iter().find(|kind| kind.name == config.kind) {
        Some(kind) => (kind.make)(config, ports),
        None => Err(ConfigError::unknown_kind(&config)),
    }
}
