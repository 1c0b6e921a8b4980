//! SQL of what people say of themselves: an account's profile, how a sender looks to recipients.

use super::SqliteStore;
use crate::profiles::Profiles;

impl Profiles for SqliteStore {}
