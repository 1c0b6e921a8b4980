//! The contract of the books over what a backend lends: every question and every setting is the same on both.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use countersign_core::{
    AccountId, AccountKey, ApiToken, Command, DAY_MS, Limit, LimitState, LowBalance, PhoneNumber, RequestId,
    SenderUsername, Timestamp, TokenClaim, VerificationRequest,
};
use futures_util::future::BoxFuture;
use ipnet::IpNet;

use super::backend::{Backend, sweep};
use super::message_summaries::Summarising;
use crate::backup::{BackupDone, BackupError, BackupProgress};
use crate::prices::{PriceRecord, PriceSetting, PricesSet};
use crate::reports::{
    DuePlace, DueReport, ReportAttempt, ReportDetail, ReportFilter, ReportKey, ReportLane, ReportOutcome, ReportProfile,
};
use crate::types::{
    AccountAccess, AccountProfile, Actor, Lease, MessageRef, NewAccount, RequestRef, SenderProfile, StatementPage,
    StoreError, Trouble,
};
use crate::{Outcome, Store};

/// Deletes the flood counters that count for nothing, some at a time, on SQLite.
const SPENT_FRONT: &str = "DELETE FROM flood_counter WHERE spread_until_us <= (SELECT max(spread_until_us) FROM \
                           (SELECT spread_until_us FROM flood_counter WHERE spread_until_us < ?1 ORDER BY spread_until_us LIMIT ?2))";

impl<B: Backend> Store for B {
    fn admits(&self, account: AccountKey) -> bool {
        self.admits_callers(account)
    }

    fn submit(&self, account: AccountKey, command: Command) -> BoxFuture<'_, Result<Outcome, StoreError>> {
        self.command(None, account, command, None)
    }

    fn submit_under(
        &self,
        lease: Lease,
        account: AccountKey,
        command: Command,
    ) -> BoxFuture<'_, Result<Outcome, StoreError>> {
        self.command(Some(lease), account, command, None)
    }

    fn lease(&self) -> Lease {
        self.present_lease()
    }

    fn holds(&self, lease: Lease) -> bool {
        self.still_holds(lease)
    }

    fn is_alone(&self) -> bool {
        self.has_no_others()
    }

    fn claim_task(&self, name: &str) -> BoxFuture<'_, Result<bool, StoreError>> {
        if !self.is_shared() {
            return Box::pin(std::future::ready(Ok(true)));
        }
        let name = name.to_owned();
        self.note(move |settings| settings.claim_task(&name))
    }

    fn count_call(
        &self,
        limit_name: &'static str,
        who: String,
        limit: Limit,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Result<(), u32>, StoreError>> {
        if !self.is_shared() {
            return Box::pin(std::future::ready(Ok(Ok(()))));
        }
        self.note(move |settings| settings.count_call(limit_name, &who, limit, now))
    }

    fn messages_elsewhere(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<VerificationRequest>, StoreError>> {
        if self.has_no_others() {
            return Box::pin(std::future::ready(Ok(Vec::new())));
        }
        self.read(move |reader| reader.messages_elsewhere(now, limit))
    }

    fn submit_by(
        &self,
        account: AccountKey,
        command: Command,
        by: Actor,
    ) -> BoxFuture<'_, Result<Outcome, StoreError>> {
        self.command(None, account, command, Some(by))
    }

    fn create_account(&self, new: NewAccount, by: Actor) -> BoxFuture<'_, Result<AccountProfile, StoreError>> {
        self.set(move |settings| settings.create_account(&new, by))
    }

    fn rotate_token(&self, account: AccountKey, token: ApiToken, by: Actor) -> BoxFuture<'_, Result<(), StoreError>> {
        self.set(move |settings| settings.rotate_token(account, token, by))
    }

    fn close_account(&self, account: AccountKey, now: Timestamp, by: Actor) -> BoxFuture<'_, Result<(), StoreError>> {
        self.set(move |settings| settings.close_account(account, now, by))
    }

    fn set_allow_list(
        &self,
        account: AccountKey,
        allow_list: Vec<IpNet>,
        by: Actor,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.set(move |settings| settings.set_allow_list(account, &allow_list, by))
    }

    fn set_low_balance(
        &self,
        account: AccountKey,
        low_balance: Option<LowBalance>,
        by: Actor,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.set(move |settings| settings.set_low_balance(account, low_balance.as_ref(), by))
    }

    fn add_sender(
        &self,
        account: AccountKey,
        username: SenderUsername,
        now: Timestamp,
        by: Actor,
    ) -> BoxFuture<'_, Result<SenderProfile, StoreError>> {
        self.set(move |settings| settings.add_sender(account, username, now, by))
    }

    fn verify_sender(
        &self,
        username: SenderUsername,
        now: Timestamp,
        by: Actor,
    ) -> BoxFuture<'_, Result<SenderProfile, StoreError>> {
        self.set(move |settings| settings.verify_sender(&username, now, by))
    }

    fn set_prices(&self, setting: PriceSetting) -> BoxFuture<'_, Result<PricesSet, StoreError>> {
        self.set(move |settings| settings.set_prices(&setting))
    }

    fn record_report(
        &self,
        key: ReportKey,
        attempt: ReportAttempt,
        outcome: ReportOutcome,
        lease: Lease,
    ) -> BoxFuture<'_, Result<Option<DueReport>, StoreError>> {
        self.report_attempt(lease, key, attempt, outcome)
    }

    fn redeliver_report(
        &self,
        key: ReportKey,
        now: Timestamp,
        by: Actor,
    ) -> BoxFuture<'_, Result<ReportProfile, StoreError>> {
        self.redeliver(key, now, by)
    }

    fn forget_old_answers(&self, now: Timestamp) -> BoxFuture<'_, Result<usize, StoreError>> {
        let over = now.plus_millis(-DAY_MS).millis();
        Box::pin(sweep(self, move |settings, part| {
            let sql = |part: &str| {
                format!(
                    "DELETE FROM first_answer WHERE {part}at < ?1 AND (bucket, account_id, idempotency_key) IN \
                     (SELECT bucket, account_id, idempotency_key FROM first_answer WHERE {part}at < ?1 \
                     ORDER BY at LIMIT ?2)"
                )
            };
            part.forget(settings.connection, sql, over)
        }))
    }

    fn forget_spent_limits(&self, now: Timestamp) -> BoxFuture<'_, Result<usize, StoreError>> {
        let spent_us = LimitState::until(now).spread_until_us();
        Box::pin(sweep(self, move |settings, part| {
            if !settings.connection.is_postgres() {
                // The time leads the key there: what is spent is its front.
                return part.forget(settings.connection, |_| SPENT_FRONT.to_owned(), spent_us);
            }
            let sql = |part: &str| {
                format!(
                    "DELETE FROM flood_counter WHERE {part}spread_until_us < ?1 AND (bucket, account_id, test, phone) IN \
                     (SELECT bucket, account_id, test, phone FROM flood_counter WHERE {part}spread_until_us < ?1 LIMIT ?2)"
                )
            };
            part.forget(settings.connection, sql, spent_us)
        }))
    }

    fn summarise_requests(&self, account: AccountKey, now: Timestamp) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            // Read beside the writer; only the finished summary goes through it.
            let what = self.read(move |reader| reader.next_summary(account, now)).await?;
            if matches!(what, Summarising::Nothing) {
                return Ok(false);
            }
            self.note(move |settings| settings.summarise(account, &what)).await?;
            Ok(true)
        })
    }

    fn authenticate(&self, token: &ApiToken) -> BoxFuture<'_, Result<Option<Arc<AccountAccess>>, StoreError>> {
        let (lookup, id) = (self.vault().token_lookup(token), token.account());
        // While the master key is changed, a token stands under either key's hash.
        let other = self.vault().other_token_lookup(token);
        let of_token = move |stored: &super::access::StoredAccess| {
            let found = stored.of_lookup(&lookup);
            found.or_else(|| other.and_then(|other| stored.of_lookup(&other)))
        };
        if let Some(stored) = self.access().kept(id) {
            return Box::pin(std::future::ready(Ok(of_token(&stored))));
        }
        Box::pin(async move {
            let (drops_before, asked_at) = (self.access().drops(), Instant::now());
            let Some(stored) = self.read(move |reader| reader.access(id)).await?.map(Arc::new) else {
                return Ok(None);
            };
            self.access().keep(id, &stored, drops_before, asked_at);
            Ok(of_token(&stored))
        })
    }

    fn fingerprint(&self, account: AccountKey, text: &[u8]) -> [u8; 32] {
        self.vault().fingerprint(account.id, text)
    }

    fn token(&self, account: AccountKey) -> BoxFuture<'_, Result<ApiToken, StoreError>> {
        self.read(move |reader| reader.token(account))
    }

    fn signing_token(
        &self,
        account: AccountKey,
        made_with: TokenClaim,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<ApiToken, StoreError>> {
        self.read(move |reader| reader.signing_token(account, made_with, now))
    }

    fn account(&self, id: AccountId) -> BoxFuture<'_, Result<Option<AccountProfile>, StoreError>> {
        self.read(move |reader| reader.account(id))
    }

    fn account_of_phone(&self, phone: PhoneNumber) -> BoxFuture<'_, Result<Option<AccountProfile>, StoreError>> {
        self.read(move |reader| reader.account_of_phone(phone))
    }

    fn accounts(
        &self,
        after: Option<AccountId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<AccountProfile>, StoreError>> {
        self.read(move |reader| reader.accounts(after, limit))
    }

    fn statement(
        &self,
        account: AccountKey,
        from: Timestamp,
        to: Timestamp,
        after: Option<u64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<StatementPage, StoreError>> {
        self.read(move |reader| reader.statement(account, from, to, after, limit))
    }

    fn senders(&self, account: Option<AccountKey>) -> BoxFuture<'_, Result<Vec<SenderProfile>, StoreError>> {
        self.read(move |reader| reader.senders(account))
    }

    fn price_history(&self, after: Option<u64>, limit: usize) -> BoxFuture<'_, Result<Vec<PriceRecord>, StoreError>> {
        self.read(move |reader| reader.price_history(after, limit))
    }

    fn request(
        &self,
        account: AccountKey,
        id: RequestId,
    ) -> BoxFuture<'_, Result<Option<VerificationRequest>, StoreError>> {
        self.read(move |reader| reader.request(RequestRef { account, id }))
    }

    fn waiting_messages(
        &self,
        now: Timestamp,
        after: Option<MessageRef>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(MessageRef, VerificationRequest)>, StoreError>> {
        self.read(move |reader| reader.waiting_messages(now, after, limit))
    }

    fn arrived_messages(
        &self,
        since: Timestamp,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<VerificationRequest>, StoreError>> {
        self.read(move |reader| reader.arrived_messages(since, limit))
    }

    fn due_requests(
        &self,
        now: Timestamp,
        account: Option<AccountKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RequestRef>, StoreError>> {
        if let Some(account) = account {
            return self.read(move |reader| reader.due_requests_of(account, now, limit));
        }
        let since = self.due_since(now);
        self.read(move |reader| reader.due_requests(now, since, limit))
    }

    fn due_lapses(&self, now: Timestamp, limit: usize) -> BoxFuture<'_, Result<Vec<AccountKey>, StoreError>> {
        self.read(move |reader| reader.due_lapses(now, limit))
    }

    fn report_accounts(
        &self,
        after: Option<AccountKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<AccountKey>, StoreError>> {
        self.read(move |reader| reader.report_accounts(after, limit))
    }

    fn report_lanes(
        &self,
        account: AccountKey,
        after: Option<Arc<str>>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(ReportLane, Timestamp)>, StoreError>> {
        self.read(move |reader| reader.report_lanes(account, after, limit))
    }

    fn due_reports(
        &self,
        lane: ReportLane,
        now: Timestamp,
        after: Option<DuePlace>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DueReport>, StoreError>> {
        self.read(move |reader| reader.due_reports(&lane, now, after, limit))
    }

    fn reports(
        &self,
        account: AccountKey,
        filter: ReportFilter,
        before: Option<ReportKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ReportProfile>, StoreError>> {
        self.read(move |reader| reader.reports(account, filter, before, limit))
    }

    fn report(&self, key: ReportKey) -> BoxFuture<'_, Result<Option<ReportDetail>, StoreError>> {
        self.read(move |reader| reader.report(key))
    }

    fn trouble(&self) -> Option<Trouble> {
        self.present_trouble()
    }

    fn try_write(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.note(|settings| settings.try_write())
    }

    fn back_up(
        &self,
        file: PathBuf,
        force: bool,
        progress: Arc<BackupProgress>,
    ) -> BoxFuture<'_, Result<BackupDone, BackupError>> {
        self.copy_to(file, force, progress)
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.end()
    }
}
