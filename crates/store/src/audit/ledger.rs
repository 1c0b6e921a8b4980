//! P2 within the ledger: entries follow one another, each chained to the one before, and add up to the account's row.

use countersign_core::{Credits, EntryHash, EntryKind, LedgerEntry, RequestId};

use super::{AccountCheck, Finding, require};
use crate::sql::codec::{ENTRY_COLUMNS, entry_from_row};

impl AccountCheck<'_, '_> {
    /// Entries are numbered without a gap and in order of time, each carries the hash of the one before and says the
    /// balance after it, and what the last one says is what the account's row says.
    pub(super) fn entries(&mut self) -> Finding {
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT {ENTRY_COLUMNS} FROM ledger_entry WHERE bucket = ?1 AND account_id = ?2 ORDER BY number"
        ))?;
        let mut rows = statement.stream(self.place())?;
        let (mut last, mut balance, mut head, mut at) = (0, Credits::ZERO, EntryHash::NONE, 0);
        while let Some(row) = rows.next()? {
            let entry = entry_from_row(self.account.key, row)?;
            let number = entry.number;
            require!(number == last + 1, "entry {number} follows entry {last}");
            require!(
                entry.previous == head,
                "entry {number} carries {} as the hash of the one before, which is {head}: an entry was changed, added or \
                 taken away",
                entry.previous
            );
            let sum = balance.checked_add(entry.amount).unwrap_or_default();
            require!(
                sum == entry.balance_after,
                "entry {number} says a balance of {}, its sum is {sum}",
                entry.balance_after
            );
            require!(!sum.is_negative(), "entry {number} leaves a balance below zero");
            require!(
                entry.at.millis() >= at,
                "entry {number} was booked before the one before it"
            );
            if let Some(finding) = self.entry_of_its_kind(&entry) {
                return Ok(Some(finding));
            }
            (last, balance, head, at) = (number, sum, entry.hash(), entry.at.millis());
            if let Some(noted) = self.noted.filter(|noted| noted.entries == number) {
                require!(
                    noted.head == head,
                    "the hash of entry {number} was noted as {}, and is {head}",
                    noted.head
                );
            }
            self.report.entries += 1;
            self.steps.step();
        }
        self.account_row(last, balance, head, at)
    }

    /// Charges and refunds name a request, adjustments a reason, and no other does.
    fn entry_of_its_kind(&mut self, entry: &LedgerEntry) -> Option<String> {
        let number = entry.number;
        let of_a_request = matches!(entry.kind, EntryKind::Charge | EntryKind::Refund);
        if of_a_request != entry.request.is_some() || (entry.kind == EntryKind::Adjustment) != entry.reason.is_some() {
            return Some(format!(
                "entry {number}, a {}, has what only another kind has, or lacks its own",
                entry.kind.name()
            ));
        }
        let adds = matches!(entry.kind, EntryKind::Purchase | EntryKind::Refund);
        let takes = matches!(entry.kind, EntryKind::Charge | EntryKind::Lapse);
        if (adds && entry.amount <= Credits::ZERO) || (takes && entry.amount >= Credits::ZERO) {
            return Some(format!(
                "entry {number}, a {}, moves {}",
                entry.kind.name(),
                entry.amount
            ));
        }
        // Requests of the time before may be gone, and whoever wants to know what they cost has their entries.
        let is_kept = |request: &RequestId| request.created_at().millis() >= self.requests_from;
        if let Some(request) = entry.request.filter(is_kept) {
            self.charged.entry(request, entry.kind, entry.amount);
        }
        None
    }

    fn account_row(&self, last: u64, balance: Credits, head: EntryHash, at: i64) -> Finding {
        let account = self.account;
        require!(
            last == account.entries.cast_unsigned(),
            "{} entries are counted, {last} stand in the ledger",
            account.entries
        );
        require!(
            balance == account.balance,
            "the balance is {}, the sum of entries {balance}",
            account.balance
        );
        require!(
            head == account.head && at == account.last_entry_at,
            "the account's row says that its last entry's hash is {}, and it is {head}",
            account.head
        );
        if let Some(noted) = self.noted {
            require!(
                noted.entries <= last && (noted.entries > 0 || noted.head == EntryHash::NONE),
                "{} entries were noted, and {last} stand in the ledger",
                noted.entries
            );
        }
        require!(
            account.balance >= account.held && !account.held.is_negative(),
            "{} is on hold of a balance of {}",
            account.held,
            account.balance
        );
        require!(
            account.purchased - account.consumed == account.balance,
            "purchases less use are {}, the balance {}",
            account.purchased - account.consumed,
            account.balance
        );
        Ok(None)
    }

    /// Each purchase's entry has a row that says up to which sum it reaches, and the account knows when the next one lapses.
    pub(super) fn purchases(&mut self) -> Finding {
        let mut statement = self.connection.prepare_cached(
            "SELECT p.entry, p.through, p.lapses_at, p.lapsed, e.kind, e.amount FROM purchase p LEFT JOIN ledger_entry e \
             ON e.bucket = p.bucket AND e.account_id = p.account_id AND e.number = p.entry \
             WHERE p.bucket = ?1 AND p.account_id = ?2 ORDER BY p.entry",
        )?;
        let mut rows = statement.stream(self.place())?;
        let (mut bought, mut next_lapse_at) = (Credits::ZERO, None::<i64>);
        while let Some(row) = rows.next()? {
            let entry: i64 = row.get(0)?;
            let (kind, amount): (Option<i64>, Option<i64>) = (row.get(4)?, row.get(5)?);
            require!(
                kind == Some(i64::from(EntryKind::Purchase.number())),
                "purchase {entry} has no entry of its own"
            );
            bought += Credits::from_micros(amount.unwrap_or_default());
            let through = Credits::from_micros(row.get(1)?);
            require!(
                through == bought,
                "purchase {entry} reaches up to {through}, and all up to it are {bought}"
            );
            if !row.get::<bool>(3)? {
                let lapses_at: i64 = row.get(2)?;
                next_lapse_at = Some(next_lapse_at.map_or(lapses_at, |next| next.min(lapses_at)));
            }
        }
        let account = self.account;
        require!(
            bought == account.purchased,
            "{} were bought, and the account's row says {}",
            bought,
            account.purchased
        );
        require!(
            next_lapse_at == account.next_lapse_at,
            "the account's row says that credit lapses at {:?}, its purchases say {next_lapse_at:?}",
            account.next_lapse_at
        );
        Ok(None)
    }
}
