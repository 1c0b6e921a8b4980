//! The state of a request as a reader sees it, without a change to the books.

use crate::request::{DeliveryState, VerificationRequest};
use crate::time::Timestamp;
use crate::wire::RequestStatus;

/// A stored request's status at a time on its account's clock. `None` where time has changed what only a command may
/// settle (an expiry, a script's step), and where the request isn't known to its caller yet: submit
/// [`crate::Action::Check`] without a code then. Time decides, not the sweep.
pub fn status_at(request: &VerificationRequest, account_now: Timestamp) -> Option<RequestStatus> {
    if matches!(request.delivery, DeliveryState::Admitted | DeliveryState::Unreachable) {
        return None;
    }
    if request.next_due().is_some_and(|(at, _)| at <= account_now) {
        return None;
    }
    if !request.code_life_ended(account_now) {
        return Some(RequestStatus::from(request));
    }
    let mut seen = request.clone();
    seen.end_overdue_code(account_now);
    Some(RequestStatus::from(&seen))
}
