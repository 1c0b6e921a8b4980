//! What is copied: every table of SQLite's books, with the key in whose order it is read. Tables that only PostgreSQL has are filled from
//! these, or are the running nodes' own. Flood counters and
//! quotas aren't copied: what they count is soon over.

/// A table, and its key's columns.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) key: &'static [&'static str],
    /// A column that PostgreSQL's table doesn't have.
    pub(super) without: Option<&'static str>,
}

const fn table(name: &'static str, key: &'static [&'static str]) -> Table {
    Table {
        name,
        key,
        without: None,
    }
}

/// In the order in which they are copied: accounts come last, so that nobody takes a copy that was broken off for whole books.
pub(super) const TABLES: [Table; 27] = [
    table("price_row", &["number"]),
    table("sender", &["username"]),
    table("sender_picture", &["username"]),
    table("account_details", &["bucket", "account_id"]),
    table("request", &["bucket", "account_id", "created_at", "random"]),
    table("timeline", &["bucket", "account_id", "created_at", "random", "number"]),
    Table {
        name: "request_summary",
        key: &["bucket", "account_id", "last_created_at", "last_random"],
        without: Some("id"),
    },
    table("ledger_entry", &["bucket", "account_id", "number"]),
    table("purchase", &["bucket", "account_id", "entry"]),
    table("credit_order", &["bucket", "account_id", "id"]),
    table("report", &["bucket", "account_id", "created_at", "random", "number"]),
    table(
        "report_attempt",
        &["bucket", "account_id", "created_at", "random", "number", "try"],
    ),
    table("first_answer", &["bucket", "account_id", "idempotency_key"]),
    table("live_code", &["bucket", "account_id", "phone", "sender", "test"]),
    table(
        "usage_recent",
        &["bucket", "account_id", "quarter", "country", "route", "sender"],
    ),
    table(
        "usage_past",
        &[
            "bucket",
            "account_id",
            "series",
            "country",
            "route",
            "sender",
            "level",
            "start",
        ],
    ),
    table("usage_numbers", &["bucket", "account_id", "level", "start"]),
    table("channel_recipient", &["channel", "phone"]),
    table(
        "channel_handle",
        &["bucket", "account_id", "created_at", "random", "channel"],
    ),
    table("channel_note", &["channel", "name"]),
    table("upstream_cost", &["id"]),
    table("upstream_cost_day", &["day", "channel"]),
    table("settings_audit", &["id"]),
    table("session", &["token_lookup"]),
    table("login_block", &["phone"]),
    table("login_link", &["token_lookup"]),
    table("account", &["bucket", "account_id"]),
];

/// What follows from the tables, and what goes on counting. Each may be run again.
pub(super) const FINISH: [&str; 6] = [
    "INSERT INTO account_place (account_id, phone, bucket, open) \
     SELECT account_id, phone, bucket, CASE WHEN closed_at IS NULL THEN 1 ELSE 0 END FROM account ON CONFLICT DO NOTHING",
    "INSERT INTO held_bucket (bucket) SELECT DISTINCT bucket FROM account ON CONFLICT DO NOTHING",
    "INSERT INTO order_place (id, account_id, bucket) SELECT id, account_id, bucket FROM credit_order ON CONFLICT DO NOTHING",
    "SELECT setval(pg_get_serial_sequence('price_row', 'number'), (SELECT coalesce(max(number), 0) + 1 FROM price_row), false)",
    "SELECT setval(pg_get_serial_sequence('settings_audit', 'id'), (SELECT coalesce(max(id), 0) + 1 FROM settings_audit), false)",
    "SELECT setval(pg_get_serial_sequence('upstream_cost', 'id'), (SELECT coalesce(max(id), 0) + 1 FROM upstream_cost), false)",
];
