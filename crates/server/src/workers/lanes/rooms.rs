//! Which lanes are remembered. An account may have as many as would be left free, and beyond that only in place of quiet ones
//! of its own: whoever makes up destinations forgets its own circuits by it, and nobody else's. Where nothing is left free, an
//! account without any takes the place of a quiet one whose circuit says nothing.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use countersign_core::AccountKey;
use countersign_store::ReportLane;
use tokio::time::Instant;

use super::{Lane, Lanes, OPEN_LIFE, QUIET_LIFE};

impl Lanes {
    /// Sees to it that a lane is there; `false` where its account has its share, and all of it is busy.
    pub(super) fn make_lane(&mut self, key: &ReportLane, now: Instant) -> bool {
        if self.by_name.contains_key(key) {
            return true;
        }
        while !self.has_room_for_lane(key.account) {
            if !self.forget_a_quiet_one(key.account) && !self.forget_anothers(key.account) {
                return false;
            }
        }
        self.by_name.insert(key.clone(), Lane::new(self.circuits, now));
        self.accounts.entry(key.account).or_default().lanes += 1;
        true
    }

    fn has_room_for_lane(&self, account: AccountKey) -> bool {
        let free = self.bounds.lanes.saturating_sub(self.by_name.len());
        let own = self.accounts.get(&account).map_or(0, |account| account.lanes);
        own < free
    }

    /// Takes the account's longest quiet lane off its list, and forgets it where it is quiet still; `false` where none is left.
    fn forget_a_quiet_one(&mut self, account: AccountKey) -> bool {
        let quiet = self.accounts.get_mut(&account).and_then(|own| own.quiet.pop_front());
        let Some((_, host)) = quiet else { return false };
        self.forget_if_quiet(&ReportLane { account, host });
        true
    }

    /// Forgets a quiet lane of another account for one that has none yet: one without a circuit to remember.
    fn forget_anothers(&mut self, newcomer: AccountKey) -> bool {
        if self.accounts.contains_key(&newcomer) {
            return false;
        }
        let quiet = self.accounts.iter().find_map(|(account, own)| {
            let (_, host) = own.quiet.front()?;
            let key = ReportLane {
                account: *account,
                host: Arc::clone(host),
            };
            let lane = self.by_name.get(&key)?;
            (lane.is_quiet() && lane.circuit.is_pristine()).then_some(key)
        });
        quiet.is_some_and(|quiet| self.forget_a_quiet_one(quiet.account))
    }

    /// Forgets lanes that have had nothing to do for a while.
    pub(in super::super) fn forget_quiet(&mut self, now: Instant) {
        let accounts: Vec<AccountKey> = self.accounts.keys().copied().collect();
        for account in accounts {
            self.forget_quiet_of(account, now);
        }
    }

    fn forget_quiet_of(&mut self, account: AccountKey, now: Instant) {
        let listed = self.accounts.get(&account).map_or(0, |own| own.quiet.len());
        for _ in 0..listed {
            let Some(own) = self.accounts.get_mut(&account) else {
                return;
            };
            let is_time = |(since, _): &mut (Instant, Arc<str>)| now.duration_since(*since) >= QUIET_LIFE;
            let Some((_, host)) = own.quiet.pop_front_if(is_time) else {
                return;
            };
            let key = ReportLane { account, host };
            let Some(lane) = self.by_name.get(&key) else { continue };
            let is_pristine = lane.circuit.is_pristine();
            let life = if is_pristine { QUIET_LIFE } else { OPEN_LIFE };
            if lane.is_quiet() && now.duration_since(lane.used) < life {
                let since = if is_pristine { lane.used } else { now };
                own.quiet.push_back((since, key.host));
            } else {
                self.forget_if_quiet(&key);
            }
        }
    }

    fn forget_if_quiet(&mut self, key: &ReportLane) {
        let Entry::Occupied(mut entry) = self.by_name.entry(key.clone()) else {
            return;
        };
        entry.get_mut().is_listed_quiet = false;
        if !entry.get().is_quiet() {
            return;
        }
        entry.remove();
        if let Entry::Occupied(mut account) = self.accounts.entry(key.account) {
            account.get_mut().lanes -= 1;
            if account.get().lanes == 0 {
                account.remove();
            }
        }
    }

    pub(super) fn note_quiet(&mut self, key: &ReportLane, now: Instant) {
        let Some(lane) = self.by_name.get_mut(key).filter(|lane| lane.is_quiet()) else {
            return;
        };
        lane.used = now;
        if !lane.is_listed_quiet
            && let Some(account) = self.accounts.get_mut(&key.account)
        {
            lane.is_listed_quiet = true;
            account.quiet.push_back((now, Arc::clone(&key.host)));
        }
    }
}
