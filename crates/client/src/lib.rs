#![doc = include_str!("../README.md")]

mod answer;
mod client;
mod error;
mod report;
mod send;

pub use client::{Client, ClientBuilder, DEFAULT_TIMEOUT};
pub use countersign_core::{
    ApiError, Credits, DeliveryStatus, RequestStatus, SIGNATURE_HEADER, TIMESTAMP_HEADER, VerificationStatus,
};
pub use error::ClientError;
pub use report::{REPORT_MAX_AGE, REPORT_MAX_FUTURE_SKEW, ReportError, verify_report};
pub use send::SendRequest;

/// Whether the code that was just checked is the right one: the only answer that should let a person in.
pub fn is_code_valid(status: &RequestStatus) -> bool {
    let verification = status.verification_status.as_ref();
    verification.is_some_and(|verification| verification.status == "code_valid")
}
