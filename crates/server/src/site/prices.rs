//! The live price list for pages that anybody may ask for: kept in memory, and brought up to date at each look by the rows
//! that were set since. A look costs one small read, however long the list is.

use std::sync::{Mutex, PoisonError};

use countersign_core::{Credits, DEFAULT_PRICE, NumberPrefix, PriceList, PriceRoute, PriceRow, Timestamp};
use countersign_store::StoreError;

use crate::app::App;

/// Rows that are read at once.
const ROWS_AT_ONCE: usize = 1_000;

/// The list as it was at the last look.
#[derive(Default)]
pub(super) struct LivePrices(Mutex<Known>);

#[derive(Default)]
struct Known {
    list: PriceList,
    /// The last row that is in it.
    last: u64,
}

/// A part of the list.
pub(super) struct PricePage {
    /// The price of every number that the list doesn't name.
    pub(super) default: Credits,
    pub(super) rows: Vec<PriceRow>,
    /// The prefix after which the next part begins, where there is one.
    pub(super) next: Option<NumberPrefix>,
}

impl LivePrices {
    /// The prices for all routes that hold at a time, by prefix, after one, so many.
    pub(super) async fn page(
        &self,
        app: &App,
        at: Timestamp,
        after: NumberPrefix,
        limit: usize,
    ) -> Result<PricePage, StoreError> {
        loop {
            let last = self.known(|known| known.last);
            let records = app.store.price_history(Some(last), ROWS_AT_ONCE).await?;
            let more = records.len() == ROWS_AT_ONCE;
            self.known(|known| {
                // Another look may have been quicker.
                for record in records {
                    if record.number > known.last {
                        known.list.restore(&record.row);
                        known.last = record.number;
                    }
                }
            });
            if !more {
                break;
            }
        }
        Ok(self.known(|known| known.page(at, after, limit)))
    }

    fn known<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Known {
    fn page(&self, at: Timestamp, after: NumberPrefix, limit: usize) -> PricePage {
        let mut named = self
            .list
            .in_force(at)
            .take_while(|row| row.route == PriceRoute::All)
            .peekable();
        let default = named
            .next_if(|row| row.prefix == NumberPrefix::DEFAULT)
            .and_then(|row| row.price)
            .unwrap_or(DEFAULT_PRICE);
        let mut rows: Vec<PriceRow> = named.skip_while(|row| row.prefix <= after).take(limit + 1).collect();
        let next = if rows.len() > limit {
            rows.truncate(limit);
            rows.last().map(|row| row.prefix)
        } else {
            None
        };
        PricePage { default, rows, next }
    }
}
