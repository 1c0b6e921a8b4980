//! SQL of senders as their owners make them and recipients see them. Pictures have a table of their own, so that what a send
//! looks up stays small.

use std::sync::Arc;

use crate::sql::{Connection, OptionalExtension as _, Params, Row, params};
use countersign_core::{AccountKey, SenderUsername, Timestamp};
use futures_util::future::BoxFuture;

use super::backend::Backend;
use super::read::{row_limit, sender_from_row};
use super::settings::{Settings, account_place, sender_subject};
use crate::senders::{MAX_SENDERS, PictureChange, SenderDetail, SenderLook, SenderPicture, Senders, Verification};
use crate::types::{Actor, StoreError};

const DETAIL: &str = "SELECT s.username, s.bucket, s.account_id, s.created_at, s.verified_at, s.display_name, s.colour, \
                      s.support_url, p.hash, s.requested_at, s.request_note, s.refused_at, s.refusal \
                      FROM sender s LEFT JOIN sender_picture p ON p.username = s.username";

impl<B: Backend> Senders for B {
    fn senders_of(&self, account: AccountKey, limit: usize) -> BoxFuture<'_, Result<Vec<SenderDetail>, StoreError>> {
        let [bucket, id] = account_place(account);
        self.read(move |reader| {
            reader.with(|connection| {
                details(
                    connection,
                    "WHERE s.bucket = ?1 AND s.account_id = ?2 ORDER BY s.username LIMIT ?3",
                    params![bucket, id, row_limit(limit)],
                )
            })
        })
    }

    fn requested_senders(
        &self,
        after: Option<(Timestamp, SenderUsername)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SenderDetail>, StoreError>> {
        let (at, name) = after.map_or((i64::MIN, String::new()), |(at, name)| {
            (at.millis(), name.as_str().to_owned())
        });
        self.read(move |reader| {
            reader.with(|connection| {
                details(
                    connection,
                    "WHERE s.requested_at IS NOT NULL AND (s.requested_at, s.username) > (?1, ?2) \
                 ORDER BY s.requested_at, s.username LIMIT ?3",
                    params![at, name, row_limit(limit)],
                )
            })
        })
    }

    fn all_senders(
        &self,
        after: Option<SenderUsername>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SenderDetail>, StoreError>> {
        self.read(move |reader| {
            reader.with(|connection| {
                details(
                    connection,
                    "WHERE s.username > ?1 ORDER BY s.username LIMIT ?2",
                    params![after.as_ref().map_or("", SenderUsername::as_str), row_limit(limit)],
                )
            })
        })
    }

    fn sender_detail(&self, username: &SenderUsername) -> BoxFuture<'_, Result<Option<Arc<SenderDetail>>, StoreError>> {
        let username = username.clone();
        self.read(move |reader| {
            reader.with(|connection| {
                let found = details(connection, "WHERE s.username = ?1", [username.as_str()])?;
                Ok(found.into_iter().next().map(Arc::new))
            })
        })
    }

    fn sender_picture(&self, username: &SenderUsername) -> BoxFuture<'_, Result<Option<SenderPicture>, StoreError>> {
        let username = username.clone();
        self.read(move |reader| {
            reader.with(|connection| {
                let mut statement =
                    connection.prepare_cached("SELECT kind, picture, hash FROM sender_picture WHERE username = ?1")?;
                let picture = statement
                    .query_row([username.as_str()], |row| {
                        Ok(SenderPicture {
                            kind: row.get(0)?,
                            bytes: row.get(1)?,
                            hash: row.get(2)?,
                        })
                    })
                    .optional()?;
                Ok(picture)
            })
        })
    }

    fn register_sender(
        &self,
        account: AccountKey,
        username: SenderUsername,
        look: SenderLook,
        picture: PictureChange,
        now: Timestamp,
        by: Actor,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.set(move |settings| {
            settings.require_room_for_sender(account)?;
            settings.add_sender(account, username.clone(), now, by)?;
            settings.write_look(&username, &look, &picture)
        })
    }

    fn set_sender_look(
        &self,
        account: AccountKey,
        username: SenderUsername,
        look: SenderLook,
        picture: PictureChange,
        now: Timestamp,
        by: Actor,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.set(move |settings| settings.set_sender_look(account, &username, &look, &picture, now, by))
    }

    fn request_verification(
        &self,
        account: AccountKey,
        username: SenderUsername,
        note: String,
        now: Timestamp,
        by: Actor,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.set(move |settings| {
            let [bucket, id] = account_place(account);
            let changed = settings.connection.execute(
                "UPDATE sender SET requested_at = ?4, request_note = ?5, refused_at = NULL, refusal = '' \
                 WHERE username = ?1 AND bucket = ?2 AND account_id = ?3 AND verified_at IS NULL",
                params![username.as_str(), bucket, id, now.millis(), note],
            )?;
            require_sender(changed)?;
            settings.audit_by(by, now, "sender verification requested", &sender_subject(&username))
        })
    }

    fn refuse_sender(
        &self,
        username: SenderUsername,
        reason: String,
        now: Timestamp,
        by: Actor,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.set(move |settings| {
            let changed = settings.connection.execute(
                "UPDATE sender SET verified_at = NULL, requested_at = NULL, refused_at = ?2, refusal = ?3 \
                 WHERE username = ?1",
                params![username.as_str(), now.millis(), reason],
            )?;
            require_sender(changed)?;
            settings.audit_with(by, now, "sender refused", &sender_subject(&username), &reason)
        })
    }

    fn delete_sender(
        &self,
        account: AccountKey,
        username: SenderUsername,
        now: Timestamp,
        by: Actor,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.set(move |settings| {
            let [bucket, id] = account_place(account);
            let deleted = settings.connection.execute(
                "DELETE FROM sender WHERE username = ?1 AND bucket = ?2 AND account_id = ?3 AND verified_at IS NULL",
                params![username.as_str(), bucket, id],
            )?;
            require_sender(deleted)?;
            settings.write_picture(&username, &PictureChange::Remove)?;
            settings.audit_by(by, now, "sender deleted", &sender_subject(&username))
        })
    }
}

impl Settings<'_> {
    fn require_room_for_sender(&self, account: AccountKey) -> Result<(), StoreError> {
        let count: i64 = self.connection.query_row(
            "SELECT count(*) FROM sender WHERE bucket = ?1 AND account_id = ?2",
            account_place(account),
            |row| row.get(0),
        )?;
        if usize::try_from(count).is_ok_and(|count| count < MAX_SENDERS) {
            Ok(())
        } else {
            Err(StoreError::TooMany("senders of this account"))
        }
    }

    fn set_sender_look(
        &self,
        account: AccountKey,
        username: &SenderUsername,
        look: &SenderLook,
        picture: &PictureChange,
        now: Timestamp,
        by: Actor,
    ) -> Result<(), StoreError> {
        let found = details(self.connection, "WHERE s.username = ?1", [username.as_str()])?;
        let before = found
            .into_iter()
            .find(|sender| sender.profile.account == account)
            .ok_or(StoreError::NotFound("sender"))?;
        let same_picture = match picture {
            PictureChange::Keep => true,
            PictureChange::Remove => before.picture.is_none(),
            PictureChange::Set(new) => before.picture.as_ref() == Some(&new.hash),
        };
        let deceives = before.look.display_name != look.display_name
            || before.look.support_url != look.support_url
            || !same_picture;
        if !deceives && before.look.colour == look.colour {
            return Ok(());
        }
        // A hash of 64 bits can be met on purpose: what has the verified picture's must not take its place.
        let picture = if same_picture { &PictureChange::Keep } else { picture };
        self.write_look(username, look, picture)?;
        self.audit_with(
            by,
            now,
            "sender look set",
            &sender_subject(username),
            &look.display_name,
        )?;
        let asked = matches!(
            before.verification,
            Verification::Verified { .. } | Verification::Requested { .. }
        );
        if deceives && asked {
            self.connection.execute(
                "UPDATE sender SET verified_at = NULL, requested_at = NULL WHERE username = ?1",
                [username.as_str()],
            )?;
            self.audit_by(by, now, "sender verification ended", &sender_subject(username))?;
        }
        Ok(())
    }

    fn write_look(
        &self,
        username: &SenderUsername,
        look: &SenderLook,
        picture: &PictureChange,
    ) -> Result<(), StoreError> {
        self.connection.execute(
            "UPDATE sender SET display_name = ?2, colour = ?3, support_url = ?4 WHERE username = ?1",
            params![username.as_str(), look.display_name, look.colour, look.support_url],
        )?;
        self.write_picture(username, picture)
    }

    fn write_picture(&self, username: &SenderUsername, change: &PictureChange) -> Result<(), StoreError> {
        match change {
            PictureChange::Keep => {}
            PictureChange::Remove => {
                self.connection
                    .execute("DELETE FROM sender_picture WHERE username = ?1", [username.as_str()])?;
            }
            PictureChange::Set(picture) => {
                self.connection.execute(
                    "INSERT INTO sender_picture (username, kind, hash, picture) VALUES (?1, ?2, ?3, ?4) \
                     ON CONFLICT (username) DO UPDATE SET kind = ?2, hash = ?3, picture = ?4",
                    params![username.as_str(), picture.kind, picture.hash, picture.bytes],
                )?;
            }
        }
        Ok(())
    }
}

fn require_sender(changed: usize) -> Result<(), StoreError> {
    if changed == 0 {
        Err(StoreError::NotFound("sender"))
    } else {
        Ok(())
    }
}

fn details(
    connection: Connection<'_>,
    condition: &str,
    parameters: impl Params,
) -> Result<Vec<SenderDetail>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("{DETAIL} {condition}"))?;
    let mut rows = statement.query(parameters)?;
    let mut senders = Vec::new();
    while let Some(row) = rows.next()? {
        senders.push(detail_from_row(row)?);
    }
    Ok(senders)
}

fn detail_from_row(row: Row<'_>) -> Result<SenderDetail, StoreError> {
    let profile = sender_from_row(row)?;
    let time = |column| -> Result<Option<Timestamp>, StoreError> {
        Ok(row.get::<Option<i64>>(column)?.map(Timestamp::from_millis))
    };
    let verification = if let Some(at) = profile.verified_at {
        Verification::Verified { at }
    } else if let Some(at) = time(9)? {
        Verification::Requested { at, note: row.get(10)? }
    } else if let Some(at) = time(11)? {
        Verification::Refused {
            at,
            reason: row.get(12)?,
        }
    } else {
        Verification::None
    };
    Ok(SenderDetail {
        profile,
        look: SenderLook {
            display_name: row.get(5)?,
            colour: row.get(6)?,
            support_url: row.get(7)?,
        },
        picture: row.get(8)?,
        verification,
    })
}
