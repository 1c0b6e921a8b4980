//! Settings in the reference books: accounts, tokens, senders, prices, kept answers. They are no commands, but commands are
//! judged by what they left.

use std::sync::Arc;

use countersign_core::{
    Account, AccountId, AccountKey, Action, ApiToken, Area, AreaChange, AreaVerdict, Bucket, CallbackUrl, Credits,
    DAY_MS, DailyBudget, Grace, LowBalance, NumberPrefix, Order, OrderId, OrderNote, OrderParty, OrderState,
    PhoneNumber, PriceRoute, PriceRow, ProviderName, RouteName, SenderFact, SenderUsername, Timestamp, TokenKind,
    TokenStanding, Verdict,
};

use crate::books::{AccountBook, Books, Happening, Submitted};
use crate::routes::ROUTE;
use crate::step::{PriceOf, SenderName};

/// The prefixes that prices are set for: inside each other, and one of a scripted number.
const PREFIXES: [&str; 6] = ["1", "1650", "1650253", "39", "44", "9996610001"];
/// Countries and prefixes that rules are about: inside each other, and one of a scripted number.
pub(crate) const AREAS: [&str; 6] = ["all", "IT", "49", "1", "1650", "9996610001"];
/// Orders that an account may have open, and may make in a day.
const MAX_OPEN_ORDERS: usize = 10;
const MAX_ORDERS_PER_DAY: usize = 100;
/// Numbers that owners have beyond those that all calls share.
const FIRST_OWNER: u64 = 4_917_000_000_000;

/// A write to the books that is no command, with what it must come to.
#[derive(Debug, Clone)]
#[expect(
    missing_docs,
    reason = "the fields are the parameters of the store's method that each names"
)]
pub enum Setting {
    CreateAccount {
        key: AccountKey,
        token: ApiToken,
        phone: PhoneNumber,
        now: Timestamp,
    },
    RotateToken {
        account: AccountKey,
        token: ApiToken,
        grace: Grace,
        now: Timestamp,
    },
    EndGrace {
        account: AccountKey,
        kind: TokenKind,
        now: Timestamp,
    },
    ForgetOldTokens {
        now: Timestamp,
    },
    CloseAccount {
        account: AccountKey,
        now: Timestamp,
    },
    AddSender {
        account: AccountKey,
        username: SenderUsername,
        now: Timestamp,
    },
    VerifySender {
        username: SenderUsername,
        now: Timestamp,
    },
    SetPrice {
        row: PriceRow,
        now: Timestamp,
    },
    SetLowBalance {
        account: AccountKey,
        low_balance: Option<LowBalance>,
    },
    SetBudget {
        account: AccountKey,
        budget: Option<DailyBudget>,
        now: Timestamp,
    },
    ChangeAreas {
        account: AccountKey,
        change: AreaChange,
        now: Timestamp,
    },
    MakeOrder {
        order: Order,
    },
    ForgetOldAnswers {
        now: Timestamp,
    },
}

/// What a setting must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// It is done.
    Done,
    /// What should be new is there already.
    Conflict,
    /// What was named isn't there, or is closed.
    NotFound,
    /// There are as many as may be.
    TooMany,
    /// So many kept answers or old tokens were deleted.
    Forgot(usize),
}

/// A registered sender.
pub(crate) struct Sender {
    owner: usize,
    verified: bool,
}

impl Books {
    /// The account that holds a place now.
    pub(crate) fn at(&self, place: usize) -> usize {
        self.places[place % self.places.len()]
    }

    /// Makes the next account of a place, unless the last one is open.
    pub(crate) fn open_account(&mut self, place: usize) -> Happening {
        let place = place % self.places.len();
        let open = !self.accounts[self.places[place]].account.closed;
        let number = self.accounts.len();
        if open {
            // An id that nobody has: the conflict is about the phone number.
            return Happening::Setting(self.creation(number, place), Expected::Conflict);
        }
        self.accounts.push(AccountBook::new(key_of(number), owner_phone(place)));
        self.places[place] = number;
        Happening::Setting(self.creation(number, place), Expected::Done)
    }

    fn creation(&self, number: usize, place: usize) -> Setting {
        let key = key_of(number);
        Setting::CreateAccount {
            key,
            token: ApiToken::new(key.id, [0; 32]),
            phone: owner_phone(place),
            now: self.now,
        }
    }

    /// What a store must be told before the first step.
    pub fn accounts_at_the_start(&self) -> Vec<Setting> {
        (0..self.places.len())
            .map(|place| self.creation(place, place))
            .collect()
    }

    pub(crate) fn rotate_token(&mut self, place: usize, kind: TokenKind, grace: Grace) -> Happening {
        let made = self.next_entropy();
        let now = self.now;
        let account = self.at(place);
        let account = &mut self.accounts[account].account;
        let mut random = [0xa5; 32];
        random[..8].copy_from_slice(&made.to_be_bytes());
        let setting = Setting::RotateToken {
            account: account.key,
            token: ApiToken::of_kind(kind, account.key.id, random),
            grace,
            now,
        };
        if account.closed {
            return Happening::Setting(setting, Expected::NotFound);
        }
        let standing = standing_of(account, kind);
        // Told apart from `TokenStanding::rotated`, which the store uses.
        standing.grace_until =
            (grace != Grace::None && standing.generation > 0).then(|| now.plus_millis(grace.millis()));
        standing.generation += 1;
        Happening::Setting(setting, Expected::Done)
    }

    pub(crate) fn end_grace(&mut self, place: usize, kind: TokenKind) -> Happening {
        let account = self.at(place);
        let account = &mut self.accounts[account].account;
        standing_of(account, kind).grace_until = None;
        let setting = Setting::EndGrace {
            account: account.key,
            kind,
            now: self.now,
        };
        Happening::Setting(setting, Expected::Done)
    }

    pub(crate) fn forget_old_tokens(&mut self) -> Happening {
        let now = self.now;
        let mut forgotten = 0;
        for book in &mut self.accounts {
            for kind in [TokenKind::Live, TokenKind::Test] {
                let grace = &mut standing_of(&mut book.account, kind).grace_until;
                if grace.take_if(|until| *until <= now).is_some() {
                    forgotten += 1;
                }
            }
        }
        Happening::Setting(Setting::ForgetOldTokens { now }, Expected::Forgot(forgotten))
    }

    pub(crate) fn close_account(&mut self, place: usize) -> Happening {
        let account = self.at(place);
        let account = &mut self.accounts[account].account;
        let setting = Setting::CloseAccount {
            account: account.key,
            now: self.now,
        };
        if account.closed {
            return Happening::Setting(setting, Expected::NotFound);
        }
        account.closed = true;
        account.live.generation += 1;
        (account.live.grace_until, account.test.grace_until) = (None, None);
        Happening::Setting(setting, Expected::Done)
    }

    pub(crate) fn add_sender(&mut self, place: usize, name: SenderName) -> Happening {
        let owner = self.at(place);
        let username = self.sender_name(owner, name);
        let setting = Setting::AddSender {
            account: self.accounts[owner].account.key,
            username: username.clone(),
            now: self.now,
        };
        if self.senders.contains_key(username.as_str()) {
            return Happening::Setting(setting, Expected::Conflict);
        }
        let sender = Sender { owner, verified: false };
        self.senders.insert(username.as_str().to_owned(), sender);
        Happening::Setting(setting, Expected::Done)
    }

    pub(crate) fn verify_sender(&mut self, place: usize, name: SenderName) -> Happening {
        let username = self.sender_name(self.at(place), name);
        let setting = Setting::VerifySender {
            username: username.clone(),
            now: self.now,
        };
        let Some(sender) = self.senders.get_mut(username.as_str()) else {
            return Happening::Setting(setting, Expected::NotFound);
        };
        sender.verified = true;
        Happening::Setting(setting, Expected::Done)
    }

    pub(crate) fn decide_order(
        &mut self,
        place: usize,
        order: usize,
        verdict: Verdict,
        by: OrderParty,
        noted: bool,
    ) -> Submitted {
        let account = self.at(place);
        let orders = &self.accounts[account].orders;
        let named = orders.len().checked_sub(order + 1).map(|index| orders[index].id);
        let note = noted.then(|| OrderNote::new(&format!("note {}", self.next_entropy())).unwrap());
        let action = Action::DecideOrder {
            // One that nobody made.
            order: named.unwrap_or(OrderId::from_entropy(0)),
            verdict,
            by,
            note,
        };
        self.submit(account, None, None, None, action)
    }

    pub(crate) fn set_price(
        &mut self,
        of: PriceOf,
        of_route: Option<bool>,
        after_ms: i64,
        micros: Option<i64>,
    ) -> Happening {
        let prefix = match of {
            PriceOf::Default => NumberPrefix::DEFAULT,
            PriceOf::Prefix(number) => NumberPrefix::parse(PREFIXES[number % PREFIXES.len()]).unwrap(),
        };
        let route = match of_route {
            None => PriceRoute::All,
            Some(true) => PriceRoute::Only(RouteName::INBOX),
            Some(false) => PriceRoute::Only(RouteName::parse(ROUTE).unwrap()),
        };
        let row = PriceRow {
            route,
            prefix,
            effective_from: self.now.plus_millis(after_ms),
            price: micros.map(Credits::from_micros),
        };
        self.rules.prices.record(&row).unwrap();
        Happening::Setting(Setting::SetPrice { row, now: self.now }, Expected::Done)
    }

    pub(crate) fn set_low_balance(&mut self, place: usize, below_micros: Option<i64>) -> Happening {
        let account = self.at(place);
        let account = &mut self.accounts[account].account;
        let low_balance = below_micros.map(|below| LowBalance {
            below: Credits::from_micros(below),
            url: CallbackUrl::from_stored("https://low.example.com/".into()),
        });
        let setting = Setting::SetLowBalance {
            account: account.key,
            low_balance: low_balance.clone(),
        };
        if account.closed {
            return Happening::Setting(setting, Expected::NotFound);
        }
        account.low_balance = low_balance.map(Arc::new);
        account.low_balance_told = false;
        Happening::Setting(setting, Expected::Done)
    }

    pub(crate) fn put_area(&mut self, place: usize, area: usize, verdict: Option<usize>) -> Happening {
        let account = self.at(place);
        let account = &mut self.accounts[account].account;
        let area = Area::parse(AREAS[area]).unwrap();
        let change = match verdict {
            Some(verdict) => AreaChange::Put(area, AreaVerdict::ALL[verdict]),
            None => AreaChange::Remove(area),
        };
        let setting = Setting::ChangeAreas {
            account: account.key,
            change: change.clone(),
            now: self.now,
        };
        if account.closed {
            return Happening::Setting(setting, Expected::NotFound);
        }
        let rules = account.areas.as_deref().cloned().unwrap_or_default();
        let rules = rules.changed(change).unwrap();
        account.areas = (!rules.is_empty()).then(|| Arc::new(rules));
        Happening::Setting(setting, Expected::Done)
    }

    pub(crate) fn set_budget(&mut self, place: usize, micros: Option<i64>) -> Happening {
        let (account, now) = (self.at(place), self.now);
        let account = &mut self.accounts[account].account;
        let budget = micros.map(|micros| DailyBudget {
            amount: Credits::from_micros(micros),
            // Some owners look at the pages alone.
            url: (micros % 4 > 0).then(|| CallbackUrl::from_stored("https://budget.example.com/".into())),
        });
        let setting = Setting::SetBudget {
            account: account.key,
            budget: budget.clone(),
            now,
        };
        if account.closed {
            return Happening::Setting(setting, Expected::NotFound);
        }
        account.budget = budget.map(Arc::new);
        account.spending.told_percent = 0;
        Happening::Setting(setting, Expected::Done)
    }

    pub(crate) fn make_order(&mut self, place: usize, micros: i64) -> Happening {
        // Counted, not drawn: no two are the same.
        let id = OrderId::from_entropy(self.next_entropy());
        let (account, now) = (self.at(place), self.now);
        let book = &mut self.accounts[account];
        let order = Order {
            account: book.account.key,
            id,
            amount: Credits::from_micros(micros),
            provider: ProviderName::parse("transfer").unwrap(),
            state: OrderState::Open,
            created_at: now,
            decided_at: None,
            decided_by: None,
            note: None,
            entry: None,
        };
        let setting = Setting::MakeOrder { order: order.clone() };
        if book.account.closed {
            return Happening::Setting(setting, Expected::NotFound);
        }
        let open = book
            .orders
            .iter()
            .filter(|order| order.state == OrderState::Open)
            .count();
        let day_ago = now.plus_millis(-DAY_MS);
        let of_today = book.orders.iter().filter(|order| order.created_at > day_ago).count();
        if open >= MAX_OPEN_ORDERS || of_today >= MAX_ORDERS_PER_DAY {
            return Happening::Setting(setting, Expected::TooMany);
        }
        book.orders.push(order);
        Happening::Setting(setting, Expected::Done)
    }

    pub(crate) fn forget_old_answers(&mut self) -> Happening {
        let oldest_kept = self.now.plus_millis(-DAY_MS);
        let mut forgotten = 0;
        for book in &mut self.accounts {
            let before = book.first_answers.len();
            book.first_answers.retain(|_, answer| answer.at >= oldest_kept);
            forgotten += before - book.first_answers.len();
        }
        Happening::Setting(Setting::ForgetOldAnswers { now: self.now }, Expected::Forgot(forgotten))
    }

    /// The name that an account means: one of its own, or of the account in the place after the first's.
    pub(crate) fn sender_name(&self, account: usize, name: SenderName) -> SenderUsername {
        let owner = if name.of_another_account {
            self.another(account)
        } else {
            account
        };
        SenderUsername::parse(&format!("sender_{owner}_{}", name.number)).unwrap()
    }

    pub(crate) fn sender_fact(&self, account: usize, username: &SenderUsername) -> SenderFact {
        match self.senders.get(username.as_str()) {
            None => SenderFact::Unknown,
            Some(sender) if sender.owner != account => SenderFact::OtherAccount,
            Some(sender) if sender.verified => SenderFact::Verified,
            Some(_) => SenderFact::Unverified,
        }
    }
}

/// The n-th account's key. Ids are spread over the buckets, and don't count up.
pub(crate) fn key_of(number: usize) -> AccountKey {
    let number = u64::try_from(number).unwrap();
    let spread = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let id = AccountId::from_entropy(spread);
    // Two accounts in one bucket, some of the time: the store must keep them apart there too.
    let bucket = Bucket(u8::try_from(number / 2 % 256).unwrap());
    AccountKey { bucket, id }
}

/// The phone number of a place's owner; the first two are among those that calls share.
pub(crate) fn owner_phone(place: usize) -> PhoneNumber {
    let digits = crate::books::PHONES.get(place).filter(|_| place < 2).copied();
    PhoneNumber::from_stored(digits.unwrap_or(FIRST_OWNER + u64::try_from(place).unwrap()))
}

const fn standing_of(account: &mut Account, kind: TokenKind) -> &mut TokenStanding {
    match kind {
        TokenKind::Live => &mut account.live,
        TokenKind::Test => &mut account.test,
    }
}
