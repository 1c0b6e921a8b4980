//! SQL of orders of credit that wait for their payment.

use super::SqliteStore;
use crate::orders::Orders;

impl Orders for SqliteStore {}
