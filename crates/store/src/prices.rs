//! The price list as it goes in and out of the books.

use countersign_core::{PriceRow, Timestamp};

use crate::types::Actor;

/// Rows for the price list: all of them or none.
#[derive(Debug, Clone)]
pub struct PriceSetting {
    /// The rows; they are recorded in order of their time, then as they stand.
    pub rows: Vec<PriceRow>,
    /// Only tells what would come of it.
    pub dry_run: bool,
    /// Who sets them.
    pub set_by: Actor,
    /// Real time.
    pub now: Timestamp,
}

/// What came of setting prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PricesSet {
    /// Rows that are new.
    pub added: usize,
    /// Rows that would have changed nothing.
    pub already_there: usize,
}

/// A row of the price list's history, as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceRecord {
    /// Counts all rows from 1, in the order in which they were set.
    pub number: u64,
    /// The row.
    pub row: PriceRow,
    /// When it was set, real time.
    pub set_at: Timestamp,
    /// Who set it.
    pub set_by: String,
}
