//! Quotas at the door of sends and ability checks: what may go to one number, prefix or country, or come from one network, of all accounts
//! together. This node counts in memory, and settles with the books' counters in chunks (`countersign_core::Quota`); those who wait for that are
//! settled together. What is refused here `decide` refuses in its turn, so that a repeated call still gets its first answer.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use countersign_core::{Asked, Country, PhoneNumber, Quota, Share, Timestamp};
use countersign_store::{QuotaTaken, SiteStore, StoreError};
use ipnet::IpNet;

use crate::settings::{QuotaOf, QuotaSettings};

/// From so many shares on, those that are over are looked for; then again at twice what was left.
const SWEEP_SHARES_AT: usize = 100_000;
/// Most shares in memory, some 100 MB with the table; beyond it those go that the books don't know, each of which forgives a chunk at most.
const MAX_SHARES: usize = 500_000;
/// How often one call waits for a settlement until it is told to come again.
const MAX_SETTLEMENTS: usize = 32;
/// Keys that are settled at once, at most.
const SETTLED_AT_ONCE: usize = 512;

/// The quotas of a server, with what this node counts.
pub(crate) struct Quotas {
    /// Those of single countries behind the general ones.
    all: Vec<Quota>,
    general: Vec<QuotaOf>,
    /// The places of countries' own quotas.
    countries: BTreeMap<Country, usize>,
    shares: Mutex<Shares>,
    /// Held by who settles; the others wait, and find theirs settled.
    turn: tokio::sync::Mutex<()>,
}

/// What one share counts: the place of its quota, and of what. No `Debug`: it may hold a number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    quota: usize,
    of: Counted,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Counted {
    Number(PhoneNumber),
    /// The digits that are the same.
    Prefix(u64),
    Network(IpNet),
    Country(Country),
}

/// What was counted of a send that passed.
#[must_use = "what came to nothing is given back"]
#[derive(Default)]
pub(crate) struct Pass(Vec<Key>);

struct Shares {
    by_key: HashMap<Key, Share>,
    /// Keys whose chunk is full, and for which somebody waits.
    to_settle: Vec<Key>,
    sweep_at: usize,
}

impl Quotas {
    /// Quotas as they were set.
    pub(crate) fn new(settings: &QuotaSettings) -> Self {
        let general = settings.general.iter().map(|quota| quota.limit);
        let of_countries = settings.countries.iter().map(|(_, limit)| *limit);
        let places = settings.general.len()..;
        Self {
            all: general.chain(of_countries).map(Quota::new).collect(),
            general: settings.general.iter().map(|quota| quota.of).collect(),
            countries: settings
                .countries
                .iter()
                .map(|(country, _)| *country)
                .zip(places)
                .collect(),
            shares: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Counts a send to a number from an address on every quota that concerns it; `Err` says in how many seconds it may be tried again,
    /// and then it counts nowhere.
    pub(crate) async fn ask(
        &self,
        books: &dyn SiteStore,
        phone: PhoneNumber,
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Result<Pass, u32>, StoreError> {
        let mut pass = Pass::default();
        if self.all.is_empty() {
            return Ok(Ok(pass));
        }
        for key in self.keys(phone, address) {
            match self.take(books, key, now).await {
                Ok(Ok(())) => pass.0.push(key),
                Ok(Err(seconds)) => {
                    self.give_back(pass);
                    return Ok(Err(seconds));
                }
                Err(error) => {
                    self.give_back(pass);
                    return Err(error);
                }
            }
        }
        Ok(Ok(pass))
    }

    /// What passed came to nothing: it was refused later, or was a repetition.
    pub(crate) fn give_back(&self, pass: Pass) {
        if pass.0.is_empty() {
            return;
        }
        let mut shares = self.shares();
        for key in pass.0 {
            // Where it was forgotten meanwhile there is nothing to give back.
            if let Some(share) = shares.by_key.get_mut(&key) {
                share.give_back(self.all[key.quota]);
            }
        }
    }

    /// What a send is counted as.
    fn keys(&self, phone: PhoneNumber, address: Option<IpAddr>) -> Vec<Key> {
        let country = Country::of(phone);
        let own_quota = self.countries.get(&country);
        let counted = |of: &QuotaOf| match of {
            QuotaOf::Number => Some(Counted::Number(phone)),
            QuotaOf::Prefix(open_digits) => Some(Counted::Prefix(phone.digits() / 10_u64.pow(*open_digits))),
            QuotaOf::Ipv4(bits) => address
                .filter(IpAddr::is_ipv4)
                .and_then(|address| network(address, *bits)),
            QuotaOf::Ipv6(bits) => address
                .filter(IpAddr::is_ipv6)
                .and_then(|address| network(address, *bits)),
            QuotaOf::Country => own_quota.is_none().then_some(Counted::Country(country)),
        };
        let general = self.general.iter().enumerate();
        let general = general.filter_map(|(quota, of)| {
            Some(Key {
                quota,
                of: counted(of)?,
            })
        });
        let own = own_quota.map(|quota| Key {
            quota: *quota,
            of: Counted::Country(country),
        });
        general.chain(own).collect()
    }

    /// Counts one send on one share.
    async fn take(&self, books: &dyn SiteStore, key: Key, now: Timestamp) -> Result<Result<(), u32>, StoreError> {
        for _ in 0..MAX_SETTLEMENTS {
            match self.take_now(key, now) {
                Asked::Passed => return Ok(Ok(())),
                Asked::Refused(seconds) => return Ok(Err(seconds)),
                Asked::MustSettle => self.settle(books).await?,
            }
        }
        // So many come for one key that others use up each settlement.
        Err(StoreError::Busy)
    }

    fn take_now(&self, key: Key, now: Timestamp) -> Asked {
        let mut shares = self.shares();
        if shares.by_key.len() >= shares.sweep_at && !shares.by_key.contains_key(&key) {
            shares.sweep(&self.all, now);
        }
        let asked = shares.by_key.entry(key).or_default().take(self.all[key.quota], now);
        if asked == Asked::MustSettle {
            shares.to_settle.push(key);
        }
        asked
    }

    /// Settles what somebody waits for, with what others wait for.
    async fn settle(&self, books: &dyn SiteStore) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        let (keys, taken) = self.begin_to_settle();
        if keys.is_empty() {
            return Ok(());
        }
        let mut under_way = UnderWay { quotas: self, keys };
        let counters = books.settle_quotas(taken).await?;
        let keys = std::mem::take(&mut under_way.keys);
        let mut shares = self.shares();
        for (key, counter) in keys.iter().zip(counters) {
            if let Some(share) = shares.by_key.get_mut(key) {
                share.settled(counter);
            }
        }
        Ok(())
    }

    fn begin_to_settle(&self) -> (Vec<Key>, Vec<QuotaTaken>) {
        let mut shares = self.shares();
        let most = shares.to_settle.len().min(SETTLED_AT_ONCE);
        let wanted: Vec<Key> = shares.to_settle.drain(..most).collect();
        let (mut keys, mut all_taken) = (Vec::new(), Vec::new());
        for key in wanted {
            // Nothing: somebody else waited for the same, and it is settled.
            if let Some(taken) = shares.by_key.get_mut(&key).and_then(Share::settle) {
                all_taken.push(QuotaTaken {
                    key: self.name_of(key),
                    limit: self.all[key.quota].limit(),
                    taken,
                });
                keys.push(key);
            }
        }
        (keys, all_taken)
    }

    /// What the books make their hash of: the same on every node, whatever else is set there.
    fn name_of(&self, key: Key) -> String {
        match (key.of, self.general.get(key.quota)) {
            (Counted::Number(phone), _) => format!("number {}", phone.digits()),
            (Counted::Prefix(digits), Some(of)) => format!("{of} {digits}"),
            (Counted::Prefix(digits), None) => format!("prefix {digits}"),
            (Counted::Network(network), _) => format!("network {network}"),
            (Counted::Country(country), _) => format!("country {country}"),
        }
    }

    fn shares(&self) -> MutexGuard<'_, Shares> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn network(address: IpAddr, bits: u8) -> Option<Counted> {
    let network = IpNet::new(address, bits).ok()?;
    Some(Counted::Network(network.trunc()))
}

/// What is being settled. Where nobody waits for the answer any more, or there is none, it counts on.
struct UnderWay<'q> {
    quotas: &'q Quotas,
    keys: Vec<Key>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if self.keys.is_empty() {
            return;
        }
        let mut shares = self.quotas.shares();
        for key in &self.keys {
            if let Some(share) = shares.by_key.get_mut(key) {
                share.not_settled(self.quotas.all[key.quota]);
            }
        }
    }
}

impl Default for Shares {
    fn default() -> Self {
        Self {
            by_key: HashMap::new(),
            to_settle: Vec::new(),
            sweep_at: SWEEP_SHARES_AT,
        }
    }
}

impl Shares {
    fn sweep(&mut self, quotas: &[Quota], now: Timestamp) {
        self.by_key.retain(|key, share| !share.is_over(quotas[key.quota], now));
        if self.by_key.len() >= MAX_SHARES {
            tracing::warn!("too many keys are counted for quotas: those that were seldom sent to begin anew");
            self.by_key.retain(|_, share| share.was_settled());
            if self.by_key.len() > MAX_SHARES / 2 {
                self.by_key.clear();
            }
        }
        self.sweep_at = (2 * self.by_key.len()).clamp(SWEEP_SHARES_AT, MAX_SHARES);
    }
}
