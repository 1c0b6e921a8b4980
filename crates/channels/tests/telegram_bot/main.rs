//! The channel `telegram_bot`: against an emulator of the Bot API that others wrote (`emulator`), and against answers that no
//! emulator gives (`bot_api` speaks them).

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod bot_api;
mod doctor;
mod emulator;
mod languages;
mod listening;
mod sending;
mod settings;
mod support;
mod webhook;
