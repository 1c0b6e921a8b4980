//! What the books keep for channels, as channels ask for it.

use std::sync::Arc;

use countersign_channels::{
    Accounts, Autofill, ChannelNews, Handle, Handles, LoginReply, MessageKey, PortError, Ports, Recipient, Recipients,
    Texts, UpstreamCost,
};
use countersign_core::{AccountKey, LegName, PhoneNumber};
use countersign_store::{ChannelRecipient, RequestRef, SiteStore, StoreError};
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use crate::settings::Settings;

/// Numbers that one address may have: somebody with a second phone.
const MOST_AT_ADDRESS: usize = 16;

/// The books' side of the ports.
struct Books(Arc<dyn SiteStore>);

/// All that channels are lent.
pub(crate) fn channel_ports(
    settings: &Settings,
    site: &Arc<dyn SiteStore>,
    news: mpsc::Sender<ChannelNews>,
    logins: mpsc::Sender<LoginReply>,
    costs: mpsc::Sender<UpstreamCost>,
    texts: Arc<Texts>,
) -> Ports {
    let books = Arc::new(Books(Arc::clone(site)));
    Ports {
        news,
        logins,
        costs,
        recipients: Arc::clone(&books) as Arc<dyn Recipients>,
        handles: Arc::clone(&books) as Arc<dyn Handles>,
        accounts: books,
        texts,
        public_url: settings.server.public_url.clone(),
        extra_ca_file: settings.callbacks.extra_ca_file.clone(),
    }
}

fn trouble(error: &StoreError) -> PortError {
    PortError(error.to_string())
}

fn recipient(found: ChannelRecipient) -> Recipient {
    Recipient {
        phone: found.phone,
        address: found.address,
        stopped: found.stopped,
        since: found.since,
    }
}

impl Recipients for Books {
    fn find<'a>(
        &'a self,
        channel: &'a LegName,
        phone: PhoneNumber,
    ) -> BoxFuture<'a, Result<Option<Recipient>, PortError>> {
        Box::pin(async move {
            let found = self
                .0
                .recipient(channel, phone)
                .await
                .map_err(|error| trouble(&error))?;
            Ok(found.map(recipient))
        })
    }

    fn at_address<'a>(
        &'a self,
        channel: &'a LegName,
        address: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Recipient>, PortError>> {
        Box::pin(async move {
            let found = self
                .0
                .recipients_at(channel, address, MOST_AT_ADDRESS)
                .await
                .map_err(|error| trouble(&error))?;
            Ok(found.into_iter().map(recipient).collect())
        })
    }

    fn put<'a>(&'a self, channel: &'a LegName, recipient: Recipient) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async move {
            let recipient = ChannelRecipient {
                phone: recipient.phone,
                address: recipient.address,
                stopped: recipient.stopped,
                since: recipient.since,
            };
            self.0
                .put_recipient(channel.clone(), recipient)
                .await
                .map_err(|error| trouble(&error))
        })
    }

    fn remove<'a>(&'a self, channel: &'a LegName, phone: PhoneNumber) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async move {
            self.0
                .remove_recipient(channel.clone(), phone)
                .await
                .map_err(|error| trouble(&error))
        })
    }
}

impl Handles for Books {
    fn message<'a>(
        &'a self,
        channel: &'a LegName,
        handle: &'a Handle,
    ) -> BoxFuture<'a, Result<Option<MessageKey>, PortError>> {
        Box::pin(async move {
            let found = self
                .0
                .message_of_handle(channel, handle.as_str())
                .await
                .map_err(|error| trouble(&error))?;
            Ok(found.map(|request| MessageKey {
                account: request.account,
                request: request.id,
            }))
        })
    }

    fn handle<'a>(
        &'a self,
        channel: &'a LegName,
        message: MessageKey,
    ) -> BoxFuture<'a, Result<Option<Handle>, PortError>> {
        Box::pin(async move {
            let request = RequestRef {
                account: message.account,
                id: message.request,
            };
            let found = self
                .0
                .handle_of_message(channel, request)
                .await
                .map_err(|error| trouble(&error))?;
            Ok(found.as_deref().and_then(Handle::new))
        })
    }

    fn note<'a>(&'a self, channel: &'a LegName, name: &'a str) -> BoxFuture<'a, Result<Option<String>, PortError>> {
        Box::pin(async move {
            self.0
                .channel_note(channel, name)
                .await
                .map_err(|error| trouble(&error))
        })
    }

    fn put_note<'a>(
        &'a self,
        channel: &'a LegName,
        name: &'a str,
        value: String,
    ) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async move {
            self.0
                .put_channel_note(channel.clone(), name.to_owned(), value)
                .await
                .map_err(|error| trouble(&error))
        })
    }
}

impl Accounts for Books {
    fn autofill(&self, account: AccountKey) -> BoxFuture<'_, Result<Autofill, PortError>> {
        Box::pin(async move {
            let set = self.0.autofill(account).await.map_err(|error| trouble(&error))?;
            Ok(Autofill::from(set))
        })
    }
}

#[cfg(test)]
mod tests {
    use countersign_core::{AccountId, ApiToken, Rules, Timestamp};
    use countersign_store::{Actor, MasterKey, NewAccount, testing};

    use super::*;

    #[tokio::test]
    async fn a_channel_is_told_what_an_account_wants_at_the_end_of_its_messages() {
        let directory = tempfile::tempdir().unwrap();
        let master_key = MasterKey::from_bytes([7; 32]);
        let (store, _committed) = testing::open(directory.path(), master_key, Rules::default()).unwrap();
        let key = AccountKey::of_new(AccountId::from_entropy(1 << 20));
        let now = Timestamp::from_millis(1_800_000_000_000);
        let new = NewAccount {
            key,
            token: ApiToken::new(key.id, [9; 32]),
            name: "Acme".into(),
            phone: PhoneNumber::from_stored(391_234_567_890),
            now,
        };
        store.create_account(new, Actor::Operator).await.unwrap();
        let set = countersign_core::Autofill::parse("Acme.Example", "FA+9qCX9VSu").unwrap();
        store.set_autofill(key, set, Actor::Owner, now).await.unwrap();
        let books: Arc<dyn Accounts> = Arc::new(Books(store));
        let told = books.autofill(key).await.unwrap();
        assert_eq!(told.domain.as_deref(), Some("acme.example"));
        assert_eq!(told.android_hash.as_deref(), Some("FA+9qCX9VSu"));
        let nobody = AccountKey::of_new(AccountId::from_entropy(2 << 20));
        assert_eq!(books.autofill(nobody).await.unwrap(), Autofill::default());
    }
}
