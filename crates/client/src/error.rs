//! Why a call failed, and what that means for its effect.

use std::time::Duration;

use countersign_core::ApiError;
use thiserror::Error;

/// Why a call failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The gateway refused the call; nothing was charged.
    #[error("the gateway answered {0}")]
    Api(ApiError),
    /// The gateway refused the call with an error that this version doesn't know.
    #[error("the gateway answered {0}")]
    UnknownError(String),
    /// The gateway can't take the call now; nothing was done.
    #[error("the gateway can't take the call now{}", again(retry_after.as_ref()))]
    Unavailable {
        /// When it asks to be tried again.
        retry_after: Option<Duration>,
    },
    /// The gateway failed; the call may or may not have had its effect.
    #[error("the gateway failed with HTTP status {status}: whether the call had its effect is unknown")]
    ServerFailed {
        /// The HTTP status, 500 or above.
        status: u16,
    },
    /// No connection came about, so nothing was done: wrong address, nobody listens there, or no trust in its certificate.
    #[error("no connection to {address}: {reason}")]
    Unreachable {
        /// Scheme, host and port.
        address: String,
        /// The innermost cause.
        reason: String,
    },
    /// The connection ended, or time ran out, before the whole answer was there; the call may have had its effect.
    #[error("no answer from {address}: {reason}")]
    Transport {
        /// Scheme, host and port.
        address: String,
        /// The innermost cause.
        reason: String,
    },
    /// Whatever answered doesn't speak the Gateway API.
    #[error("{address} doesn't answer like a gateway (HTTP status {status}): {reason}")]
    Protocol {
        /// Scheme, host and port.
        address: String,
        /// The HTTP status.
        status: u16,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The client can't be built from what it was given.
    #[error("{0}")]
    Settings(String),
}

impl ClientError {
    /// Whether the call may have had its effect all the same. `false`: nothing was done and nothing charged.
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::Api(_)
            | Self::UnknownError(_)
            | Self::Unavailable { .. }
            | Self::Unreachable { .. }
            | Self::Settings(_) => false,
            Self::ServerFailed { .. } | Self::Transport { .. } | Self::Protocol { .. } => true,
        }
    }

    /// When the same call may be tried again, where the gateway named a time.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Api(ApiError::FloodWait { seconds }) => Some(Duration::from_secs(u64::from(*seconds))),
            Self::Unavailable { retry_after } => *retry_after,
            _ => None,
        }
    }
}

fn again(retry_after: Option<&Duration>) -> String {
    retry_after.map_or_else(String::new, |wait| format!(", again in {} s", wait.as_secs()))
}

/// The innermost cause of an error: the outer ones of an HTTP client only repeat that a request failed.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
