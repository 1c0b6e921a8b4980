//! Look-ups of names, within bounds. The operating system's resolver blocks a thread for as long as a name server keeps it
//! waiting, and nothing stops it: a look-up holds its places until it has really ended, though nobody may wait for it any more.
//! So an account whose names hang has a few hanging threads, and its own reports wait; others still find a thread.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use countersign_core::AccountId;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connections::Network;

/// Look-ups under way in all, well below the threads there are for blocking work (512), and of one account.
const MAX_LOOKUPS: usize = 256;
const ACCOUNT_LOOKUPS: usize = 8;

type Found = Result<Vec<IpAddr>, Arc<io::Error>>;

/// All look-ups.
pub(super) struct Lookups {
    network: Arc<dyn Network>,
    places: Arc<Semaphore>,
    accounts: Accounts,
}

type Accounts = Arc<Mutex<HashMap<AccountId, Account>>>;

/// One account's look-ups under way, by name: whoever asks for the same name waits for the same answer.
struct Account {
    places: Arc<Semaphore>,
    names: HashMap<String, Shared<BoxFuture<'static, Found>>>,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(ACCOUNT_LOOKUPS)),
            names: HashMap::new(),
        }
    }
}

impl Lookups {
    pub(super) fn new(network: Arc<dyn Network>) -> Self {
        Self {
            network,
            places: Arc::new(Semaphore::new(MAX_LOOKUPS)),
            accounts: Accounts::default(),
        }
    }

    /// The addresses of a name, for a report of this account.
    pub(super) async fn look_up(&self, account: AccountId, name: &str) -> io::Result<Vec<IpAddr>> {
        let looking = self.join_or_begin(account, name).await?;
        looking.await.map_err(io::Error::other)
    }

    async fn join_or_begin(&self, account: AccountId, name: &str) -> io::Result<Shared<BoxFuture<'static, Found>>> {
        let own_places = {
            let mut accounts = lock(&self.accounts);
            let own = accounts.entry(account).or_default();
            if let Some(looking) = own.names.get(name) {
                return Ok(looking.clone());
            }
            Arc::clone(&own.places)
        };
        // Its own place first, so that at most a few of one account stand in the common queue.
        let own_place = own_places.acquire_owned().await.map_err(io::Error::other)?;
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(io::Error::other)?;
        let mut accounts = lock(&self.accounts);
        let own = accounts.entry(account).or_default();
        // Another may have begun it meanwhile.
        if let Some(looking) = own.names.get(name) {
            return Ok(looking.clone());
        }
        let held = Held {
            account,
            name: name.to_owned(),
            accounts: Arc::clone(&self.accounts),
            _places: [own_place, place],
        };
        let network = Arc::clone(&self.network);
        // A task of its own: it goes on, and holds its places, where the attempt that began it is given up.
        let task = tokio::spawn(async move { network.look_up(&held.name).await });
        let looking = async move {
            let found = task.await.map_err(io::Error::other);
            found.flatten().map_err(Arc::new)
        };
        let looking = looking.boxed().shared();
        own.names.insert(name.to_owned(), looking.clone());
        Ok(looking)
    }
}

/// What a look-up holds until it has ended, however it ends.
struct Held {
    account: AccountId,
    name: String,
    accounts: Accounts,
    _places: [OwnedSemaphorePermit; 2],
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut accounts = lock(&self.accounts);
        let Some(own) = accounts.get_mut(&self.account) else {
            return;
        };
        own.names.remove(&self.name);
        // The account's table and this look-up's place; whoever waits for a place has one more.
        if own.names.is_empty() && Arc::strong_count(&own.places) <= 2 {
            accounts.remove(&self.account);
        }
    }
}

fn lock(accounts: &Accounts) -> MutexGuard<'_, HashMap<AccountId, Account>> {
    accounts.lock().unwrap_or_else(PoisonError::into_inner)
}
