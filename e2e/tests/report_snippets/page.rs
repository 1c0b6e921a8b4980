use std::time::SystemTime;

use countersign_client::{REPORT_MAX_AGE, verify_report};

fn is_genuine(token: &str, timestamp: &str, body: &[u8], signature: &str) -> bool {
    verify_report(token, timestamp, signature, body, SystemTime::now(), REPORT_MAX_AGE).is_ok()
}
