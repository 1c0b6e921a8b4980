//! Who may be asked over which leg when somebody signs in. A leg that costs the operator money is for numbers of accounts alone,
//! and seldom: otherwise strangers could have others' numbers called at the operator's expense.

use std::net::{IpAddr, Ipv6Addr};

use countersign_core::{Limit, PhoneNumber, Timestamp};
use countersign_store::{Store, StoreError};

use crate::pace::Pace;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Paid questions that one network may cause in a day.
const OF_A_NETWORK: Limit = Limit {
    count: 5,
    period_ms: DAY_MS,
};
/// What a /48 of IPv6 may do, as a multiple of what one network of it may.
const SITE_SHARE: u32 = 16;
/// Paid questions to one number in a day.
const OF_A_NUMBER: Limit = Limit {
    count: 5,
    period_ms: DAY_MS,
};
/// Paid questions to numbers with the same beginning in an hour: whoever is paid for calls to a range has many numbers of it.
const OF_A_PREFIX: Limit = Limit {
    count: 20,
    period_ms: HOUR_MS,
};
/// Digits of that beginning: the calling code and the operator's range.
const PREFIX_DIGITS: usize = 6;

/// Whom limits take for one caller: an address, or what a household gets of IPv6, a /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Network(IpAddr);

impl Network {
    pub(crate) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let prefix = address.to_bits() >> 64 << 64;
                IpAddr::V6(Ipv6Addr::from_bits(prefix))
            }
            address @ IpAddr::V4(_) => address,
        })
    }

    /// The /48 around an address of IPv6: what one site or customer of a provider gets, 65,536 households. `None` for IPv4.
    fn site(self) -> Option<Self> {
        match self.0 {
            IpAddr::V6(address) => {
                let prefix = address.to_bits() >> 80 << 80;
                Some(Self(IpAddr::V6(Ipv6Addr::from_bits(prefix))))
            }
            IpAddr::V4(_) => None,
        }
    }
}

/// A limit of each network, and a higher one of the /48 that it is in: otherwise whoever has a /48 would come from a new network
/// each time, and fill the memory of all networks until strangers are refused.
#[derive(Debug)]
pub(super) struct NetworkPace {
    networks: Pace<Network>,
    sites: Pace<Network>,
}

impl NetworkPace {
    pub(super) fn new(limit: Limit) -> Self {
        let of_a_site = Limit {
            count: limit.count.saturating_mul(SITE_SHARE),
            ..limit
        };
        Self {
            networks: Pace::new(limit),
            sites: Pace::new(of_a_site),
        }
    }

    /// Counts a call; `Err` says in how many seconds the next one may come.
    pub(super) fn take(&self, network: Network, now: Timestamp) -> Result<(), u32> {
        if let Some(site) = network.site() {
            // What its own limit refuses doesn't count against its neighbours.
            self.networks.would_take(&network, now)?;
            self.sites.take(site, now)?;
        }
        self.networks.take(network, now)
    }
}

impl Network {
    fn in_books(self) -> String {
        self.0.to_string()
    }
}

impl NetworkPace {
    /// The same, on whichever node the call comes.
    pub(super) async fn take_on_any_node(
        &self,
        store: &dyn Store,
        name: &'static str,
        network: Network,
        now: Timestamp,
    ) -> Result<Result<(), u32>, StoreError> {
        match self.take(network, now) {
            Ok(()) => self.count_on_all_nodes(store, name, network, now).await,
            refused => Ok(refused),
        }
    }

    /// Counts in the books what was counted here.
    async fn count_on_all_nodes(
        &self,
        store: &dyn Store,
        name: &'static str,
        network: Network,
        now: Timestamp,
    ) -> Result<Result<(), u32>, StoreError> {
        let limits = [
            (Some(network), self.networks.limit()),
            (network.site(), self.sites.limit()),
        ];
        for (of, limit) in limits {
            if let Some(of) = of
                && let Err(seconds) = store
                    .count_call(name, format!("{} {}", limit.count, of.in_books()), limit, now)
                    .await?
            {
                return Ok(Err(seconds));
            }
        }
        Ok(Ok(()))
    }
}

/// Whose holder is asked, and who asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct AskedBy {
    pub(super) standing: Standing,
    pub(super) phone: PhoneNumber,
    pub(super) network: Network,
}

/// What a number is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// An open account's.
    Account,
    /// Nobody's, and whoever confirms it gets an account.
    SignUp,
    /// Nobody's.
    Nobody,
}

/// The rules, with what was used of the limits.
pub(super) struct Policy {
    networks: NetworkPace,
    numbers: Pace<PhoneNumber>,
    prefixes: Pace<u64>,
}

impl Policy {
    pub(super) fn new() -> Self {
        Self {
            networks: NetworkPace::new(OF_A_NETWORK),
            numbers: Pace::new(OF_A_NUMBER),
            prefixes: Pace::new(OF_A_PREFIX),
        }
    }

    /// Whether the holder of a number may be asked over a leg. A paid leg counts by that.
    pub(super) fn may_use(
        &self,
        paid: bool,
        standing: Standing,
        phone: PhoneNumber,
        network: Network,
        now: Timestamp,
    ) -> bool {
        match (standing, paid) {
            (Standing::Nobody, _) | (Standing::SignUp, true) => false,
            (Standing::Account | Standing::SignUp, false) => true,
            (Standing::Account, true) => {
                self.networks.take(network, now).is_ok()
                    && self.numbers.take(phone, now).is_ok()
                    && self.prefixes.take(prefix(phone), now).is_ok()
            }
        }
    }
}

impl Policy {
    /// The same, on whichever node it is asked.
    pub(super) async fn may_use_on_any_node(
        &self,
        store: &dyn Store,
        paid: bool,
        asked: AskedBy,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let AskedBy {
            standing,
            phone,
            network,
        } = asked;
        if !self.may_use(paid, standing, phone, network, now) {
            return Ok(false);
        }
        if !paid {
            return Ok(true);
        }
        let counted = self
            .networks
            .count_on_all_nodes(store, "paid questions of a network", network, now);
        if counted.await?.is_err() {
            return Ok(false);
        }
        for (name, who, limit) in [
            ("paid questions to a number", phone.to_string(), OF_A_NUMBER),
            ("paid questions to a prefix", prefix(phone).to_string(), OF_A_PREFIX),
        ] {
            if store.count_call(name, who, limit, now).await?.is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn prefix(phone: PhoneNumber) -> u64 {
    let digits = phone.digits().to_string();
    digits[..digits.len().min(PREFIX_DIGITS)].parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const PHONE: PhoneNumber = PhoneNumber::from_stored(391_234_567_890);

    fn network(text: &str) -> Network {
        Network::of(text.parse().unwrap())
    }

    #[test]
    fn unpaid_legs_are_for_accounts_and_for_those_who_may_sign_up() {
        let policy = Policy::new();
        for (standing, allowed) in [
            (Standing::Account, true),
            (Standing::SignUp, true),
            (Standing::Nobody, false),
        ] {
            for _ in 0..100 {
                let found = policy.may_use(false, standing, PHONE, network("192.0.2.1"), NOW);
                assert_eq!(found, allowed, "{standing:?}");
            }
        }
    }

    #[test]
    fn paid_legs_are_for_accounts_alone() {
        let policy = Policy::new();
        let address = network("192.0.2.1");
        assert!(!policy.may_use(true, Standing::SignUp, PHONE, address, NOW));
        assert!(!policy.may_use(true, Standing::Nobody, PHONE, address, NOW));
        assert!(policy.may_use(true, Standing::Account, PHONE, address, NOW));
    }

    #[test]
    fn one_network_causes_few_paid_questions_whatever_it_asks_for() {
        let policy = Policy::new();
        let asked = |address: &str, phone: u64, now| {
            let phone = PhoneNumber::from_stored(phone);
            policy.may_use(true, Standing::Account, phone, network(address), now)
        };
        let passed = (0..20_u64).filter(|last| asked("2001:db8::1", 391_000_000_000 + last * 1_000_000, NOW));
        assert_eq!(passed.count(), 5);
        assert!(!asked("2001:db8::ffff", 447_400_123_456, NOW), "the same /64");
        assert!(asked("2001:db8:0:1::1", 447_400_123_456, NOW), "another /64");
        assert!(asked("2001:db8::1", 447_400_123_457, NOW.plus_millis(DAY_MS)));
    }

    #[test]
    fn one_number_and_one_range_of_numbers_are_asked_seldom_whoever_asks() {
        let policy = Policy::new();
        let asked = |host: u8, phone: u64| {
            let phone = PhoneNumber::from_stored(phone);
            let address = network(&format!("192.0.2.{host}"));
            policy.may_use(true, Standing::Account, phone, address, NOW)
        };
        let of_a_number = (0..50).filter(|&host| asked(host, 391_234_567_890)).count();
        assert_eq!(of_a_number, 5);
        let of_a_range = (50..200)
            .filter(|&host| asked(host, 391_234_000_000 + u64::from(host)))
            .count();
        assert_eq!(of_a_range, 20 - of_a_number);
        assert!(asked(201, 447_400_123_456));
    }

    #[test]
    fn mapped_addresses_count_as_what_they_map() {
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }
    #[test]
    fn fresh_networks_of_one_site_are_held_to_a_limit_of_all_of_them() {
        let pace = NetworkPace::new(OF_A_NETWORK);
        let taken = |site: u16, household: u16| {
            let address = format!("2001:db8:{site:x}:{household:x}::1");
            pace.take(network(&address), NOW).is_ok()
        };
        let passed = (0..1_000).filter(|&household| taken(1, household)).count();
        assert_eq!(passed, 80);
        assert!(taken(2, 0), "another site");
        assert!(pace.take(network("192.0.2.1"), NOW).is_ok());
    }

    #[test]
    fn a_network_that_is_refused_takes_nothing_from_its_neighbours() {
        let pace = NetworkPace::new(OF_A_NETWORK);
        let household = network("2001:db8:1:1::1");
        assert_eq!((0..1_000).filter(|_| pace.take(household, NOW).is_ok()).count(), 5);
        assert!(pace.take(network("2001:db8:1:2::1"), NOW).is_ok());
    }
}
