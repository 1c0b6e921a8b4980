//! The sandbox's scripted numbers: +99966X0001 to +99966X0006, for any digit X. Other people's CI relies on them.

use crate::code::{Code, CodeLength};
use crate::phone::PhoneNumber;
use crate::request::DeliveryState;

/// What `FLOOD_WAIT_n` answers for +99966X0005, in seconds.
pub const SCRIPTED_FLOOD_WAIT_SECONDS: u32 = 30;
/// When +99966X0006 is delivered, in milliseconds of the account's clock.
pub const SCRIPTED_DELAY_MS: i64 = 5_000;

/// How a scripted number behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// …0001: delivered and read at once.
    ReadAtOnce,
    /// …0002: delivered at once, never read.
    DeliveredAtOnce,
    /// …0003: never delivered; expires and is refunded.
    NeverDelivered,
    /// …0004: can't be reached.
    Unreachable,
    /// …0005: answers `FLOOD_WAIT_n`.
    FloodWait,
    /// …0006: delivered after 5 seconds.
    DeliveredLater,
}

impl Script {
    /// The script of a number, if it has one.
    pub fn of(phone: PhoneNumber) -> Option<Self> {
        if !phone.is_sandbox() {
            return None;
        }
        match phone.digits() % 10_000 {
            1 => Some(Self::ReadAtOnce),
            2 => Some(Self::DeliveredAtOnce),
            3 => Some(Self::NeverDelivered),
            4 => Some(Self::Unreachable),
            5 => Some(Self::FloodWait),
            6 => Some(Self::DeliveredLater),
            _ => None,
        }
    }

    /// The code that a scripted number gets where we generate one: its digit X, repeated.
    pub fn code(phone: PhoneNumber, length: CodeLength) -> Option<Code> {
        Self::of(phone)?;
        let digit = u8::try_from(phone.digits() / 10_000 % 10).ok()?;
        Some(Code::repeated(digit, length))
    }

    /// The state that follows a state by script, and how many milliseconds after the send.
    pub const fn next_state(self, delivery: DeliveryState) -> Option<(i64, DeliveryState)> {
        match (self, delivery) {
            (Self::ReadAtOnce | Self::DeliveredAtOnce, DeliveryState::Sent) => Some((0, DeliveryState::Delivered)),
            (Self::ReadAtOnce, DeliveryState::Delivered) => Some((0, DeliveryState::Read)),
            (Self::DeliveredLater, DeliveryState::Sent) => Some((SCRIPTED_DELAY_MS, DeliveryState::Delivered)),
            _ => None,
        }
    }
}
