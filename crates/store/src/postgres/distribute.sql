-- Turns books on one PostgreSQL, with what they hold, into Citus tables (12 or newer). Run by `countersign database distribute`
-- where the extension is installed, with no node serving: each call locks its table and copies it to its shards. The calls can't all be
-- in one transaction with writes of others, but a call that failed can be made again; those that were made before then say that their
-- table is distributed already. Untried here: written from Citus's manual, and from what 13.2 was seen to refuse.
--
-- 64 shards. There are 256 buckets, so more shards than that would stay empty. A shard holds the buckets whose hashes fall into its
-- range: of 64, one is empty and the fullest has 12 (4 on average); of 32, the fullest has 17; of 128, 18 are empty and the fullest has 8.
-- Every shard is a table for each month of five partitioned tables, whose definitions each connection keeps in memory: 64 is room for as
-- many machines, and few enough tables. A bucket that grows hot gets a shard of its own by isolate_tenant_to_new_shard.
--
-- What Citus refuses, and so what this schema doesn't have: unique indexes without the distribution column, triggers, foreign keys to
-- tables that lie elsewhere, NULL in the distribution column, locking reads and SKIP LOCKED over several shards, rights on single columns.

-- 1. Whole on every machine. First, so that nothing that is distributed later has to wait for them.
SELECT create_reference_table('account_place');
SELECT create_reference_table('held_bucket');
SELECT create_reference_table('sender');
SELECT create_reference_table('sender_picture');

-- 2. By bucket. `account` founds the group; the same bucket of all others lies on the same machine, so a batch is one transaction there.
-- A partitioned table takes its partitions with it, and partitions that are made later follow their parent.
SELECT create_distributed_table('account', 'bucket', shard_count => 64);
SELECT create_distributed_table('account_details', 'bucket', colocate_with => 'account');
SELECT create_distributed_table('batch_marker', 'bucket', colocate_with => 'account');
SELECT create_distributed_table('flood_counter', 'bucket', colocate_with => 'account');
SELECT create_distributed_table('quota_counter', 'bucket', colocate_with => 'account');
SELECT create_distributed_table('ledger_entry', 'bucket', colocate_with => 'account');
SELECT create_distributed_table('purchase', 'bucket', colocate_with => 'account');
SELECT create_distributed_table('credit_order', 'bucket', colocate_with => 'account');
SELECT create_distributed_table('request', 'bucket', colocate_with => 'account');
SELECT create_distributed_table('timeline', 'bucket', colocate_with => 'account');
SELECT create_distributed_table('request_summary', 'bucket', colocate_with => 'account');
SELECT create_distributed_table('live_code', 'bucket', colocate_with => 'account');
SELECT create_distributed_table('first_answer', 'bucket', colocate_with => 'account');
SELECT create_distributed_table('report', 'bucket', colocate_with => 'account');
SELECT create_distributed_table('report_attempt', 'bucket', colocate_with => 'account');
SELECT create_distributed_table('usage_recent', 'bucket', colocate_with => 'account');
SELECT create_distributed_table('usage_past', 'bucket', colocate_with => 'account');
SELECT create_distributed_table('usage_numbers', 'bucket', colocate_with => 'account');
SELECT create_distributed_table('channel_handle', 'bucket', colocate_with => 'account');

-- 3. By keys of their own. 'none': each founds a group of its own, since another type's hash would fall elsewhere anyway.
SELECT create_distributed_table('channel_recipient', 'phone', colocate_with => 'none', shard_count => 64);
SELECT create_distributed_table('order_place', 'id', colocate_with => 'none', shard_count => 64);
SELECT create_distributed_table('handle_place', 'handle', colocate_with => 'none', shard_count => 64);
-- Few channels, so few shards have rows; a line of costs and its day's sum lie together.
SELECT create_distributed_table('upstream_cost', 'channel', colocate_with => 'none', shard_count => 8);
SELECT create_distributed_table('upstream_cost_day', 'channel', colocate_with => 'upstream_cost');
SELECT create_distributed_table('channel_note', 'channel', colocate_with => 'upstream_cost');

-- 4. On the coordinator alone, but known to every machine: meta, node, node_task, limit_counter, price_row, session, login_attempt,
-- login_block, login_link, settings_audit. Nodes connect to the coordinator, where the advisory locks of epochs and settings are: on two
-- machines they are two locks.
SELECT citus_add_local_table_to_metadata('meta');
SELECT citus_add_local_table_to_metadata('node');
SELECT citus_add_local_table_to_metadata('node_task');
SELECT citus_add_local_table_to_metadata('limit_counter');
SELECT citus_add_local_table_to_metadata('price_row');
SELECT citus_add_local_table_to_metadata('session');
SELECT citus_add_local_table_to_metadata('login_attempt');
SELECT citus_add_local_table_to_metadata('login_block');
SELECT citus_add_local_table_to_metadata('login_link');
SELECT citus_add_local_table_to_metadata('settings_audit');

-- 5. Names of messages are looked up by name from now on, each on one shard, instead of in every shard's channel_handle.
INSERT INTO handle_place (handle, channel, noted_at, bucket, account_id, created_at, random)
SELECT handle, channel, noted_at, bucket, account_id, created_at, random FROM channel_handle
ON CONFLICT DO NOTHING;
DROP INDEX channel_handle_name;

-- 6. A table's own rights on its shards are the table's as it was made: take from the owner there, too, what the migration took.
SELECT run_command_on_shards('ledger_entry', 'REVOKE UPDATE, DELETE, TRUNCATE ON %s FROM PUBLIC, CURRENT_USER');
SELECT run_command_on_shards('credit_order', 'REVOKE DELETE, TRUNCATE ON %s FROM PUBLIC, CURRENT_USER');

-- 7. From its next start on, the program works bucket by bucket.
INSERT INTO meta (name, value) VALUES ('sharded', '1');
