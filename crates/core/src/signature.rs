//! The signature of a delivery report (docs/delivery-reports.md), made by the server and checked by the client.

use ring::hmac;

/// Header with the plain decimal Unix seconds of the attempt.
pub const TIMESTAMP_HEADER: &str = "x-request-timestamp";
/// Header with the signature in lower-case hex.
pub const SIGNATURE_HEADER: &str = "x-request-signature";

/// Lower-case hex of HMAC-SHA-256 over `timestamp + "\n" + body`; the key is SHA-256 of the API token.
pub fn sign_report(report_key: &[u8; 32], timestamp: &str, body: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, report_key));
    context.update(timestamp.as_bytes());
    context.update(b"\n");
    context.update(body);
    let tag = context.sign();
    let mut hex = String::with_capacity(64);
    for byte in tag.as_ref() {
        // Writing to a String can't fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Whether a signature is that of [`sign_report`], compared in constant time.
pub fn signature_matches(report_key: &[u8; 32], timestamp: &str, body: &[u8], signature: &str) -> bool {
    use subtle::ConstantTimeEq;
    sign_report(report_key, timestamp, body)
        .as_bytes()
        .ct_eq(signature.as_bytes())
        .into()
}
