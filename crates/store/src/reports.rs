//! What goes in and out of the books about delivery reports: their names, what became of attempts to send them, the lanes
//! that they wait in, and what an owner is shown. The workers send them; the books keep them.

use std::sync::Arc;

use countersign_core::{AccountKey, CallbackUrl, Timestamp, TokenClaim};

use crate::handover::{HandOver, Handed};
use crate::types::{Lease, RequestRef};

/// Most bytes of a receiver's answer that are kept with an attempt.
pub const MAX_KEPT_RESPONSE_BYTES: usize = 4_096;

/// What a report tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportKind {
    /// A delivery state of a request.
    Delivery,
    /// An account's balance that fell below what its owner set.
    LowBalance,
    /// An account's daily budget that is nearly or wholly used up.
    DailyBudget,
}

/// Names a delivery report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReportKey {
    /// The request that it reports on.
    pub request: RequestRef,
    /// Its number within the request.
    pub number: u16,
}

/// A lane: the reports of one account to one destination. A slow or dead destination holds up its own lane only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReportLane {
    /// The account.
    pub account: AccountKey,
    /// The destination: host, and port where it isn't the scheme's own ([`CallbackUrl::destination`]).
    pub host: Arc<str>,
}

/// A delivery report that may go out now.
#[derive(Debug, Clone)]
pub struct DueReport {
    /// Its name.
    pub key: ReportKey,
    /// The destination that it waits for, with its account its lane.
    pub host: Arc<str>,
    /// Where it goes.
    pub callback_url: CallbackUrl,
    /// The body, byte for byte as it was frozen.
    pub body: Vec<u8>,
    /// The token that made its request; what signs it, [`crate::Store::signing_token`] tells at each attempt.
    pub token: TokenClaim,
    /// How many attempts were made before; those before a redelivery by hand don't count.
    pub attempts: u16,
    /// Since when it is due, real time.
    pub due_at: Timestamp,
    /// Under which it is this node's to send.
    pub lease: Lease,
}

impl DueReport {
    /// The lane that it waits in.
    pub fn lane(&self) -> ReportLane {
        ReportLane {
            account: self.key.request.account,
            host: Arc::clone(&self.host),
        }
    }

    /// Its place in its lane, to go on from.
    pub const fn place(&self) -> DuePlace {
        DuePlace {
            due_at: self.due_at,
            key: self.key,
        }
    }
}

/// A place in a lane, to go on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DuePlace {
    /// Since when the report is due, real time.
    pub due_at: Timestamp,
    /// The report.
    pub key: ReportKey,
}

/// One attempt to send a report, as it is kept for the owner to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportAttempt {
    /// When it began, real time.
    pub at: Timestamp,
    /// How long it took.
    pub duration_ms: u32,
    /// The HTTP status, where an answer came.
    pub status: Option<u16>,
    /// Why it failed, in words for the owner; `None` for a success.
    pub error: Option<String>,
    /// The beginning of the answer's body, at most [`MAX_KEPT_RESPONSE_BYTES`]. Sealed at rest.
    pub response: Vec<u8>,
}

/// What became of an attempt to send a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportOutcome {
    /// The receiver answered 200.
    Acknowledged,
    /// It failed and is tried again.
    Retry {
        /// Real time of the next attempt.
        due_at: Timestamp,
    },
    /// The last retry failed.
    Lost,
    /// Nothing was sent: the destination failed too often lately. That is no retry; being held back several times in a row
    /// is kept as one attempt with a count.
    Held {
        /// Real time of the next attempt.
        due_at: Timestamp,
    },
}

/// Where a report stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportState {
    /// It waits for its attempt, or behind an earlier report of its request.
    Pending,
    /// Its receiver answered 200.
    Acknowledged,
    /// Its last retry failed. It goes again only by hand.
    Lost,
}

/// Which reports an owner asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportFilter {
    /// All.
    All,
    /// Those still to be acknowledged.
    Pending,
    /// Those that were lost.
    Lost,
}

/// A report as its owner sees it in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportProfile {
    /// Its name.
    pub key: ReportKey,
    /// What it tells of.
    pub kind: ReportKind,
    /// Where it stands.
    pub state: ReportState,
    /// Where it goes.
    pub callback_url: CallbackUrl,
    /// Attempts made, those before a redelivery by hand left out.
    pub attempts: u16,
    /// When it goes next, real time; `None` where it is done, or waits behind an earlier report of its request.
    pub due_at: Option<Timestamp>,
    /// When its state was committed, real time.
    pub made_at: Timestamp,
    /// When it was acknowledged or lost, real time.
    pub finished_at: Option<Timestamp>,
}

/// A kept attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAttempt {
    /// What was noted. Where it was held back, `at` is the last time.
    pub attempt: ReportAttempt,
    /// How often in a row it was held back; 0 for an attempt that was made.
    pub held: u32,
}

/// A report with all that happened to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportDetail {
    /// What the list shows of it.
    pub profile: ReportProfile,
    /// The body, byte for byte as it was frozen.
    pub body: Vec<u8>,
    /// Attempts, the oldest first; at most the last 100.
    pub attempts: Vec<KeptAttempt>,
}

/// New reports that are due at once, handed over in memory right after their commit. What doesn't fit stands in the books.
///
/// A report is handed over before the next commit begins. So whoever takes everything from here before looking at the answer
/// of a [`crate::Store::record_report`] never sees a report here that is done already.
#[derive(Debug)]
pub struct NewReports(pub(crate) HandOver<DueReport>);

impl NewReports {
    /// The next batch's; `None` once the books are closed and everything was taken.
    pub async fn next(&mut self) -> Option<Handed<DueReport>> {
        self.0.next().await
    }

    /// What waits already; `None` where nothing does.
    pub fn try_next(&mut self) -> Option<Handed<DueReport>> {
        self.0.try_next()
    }
}
