-- Replays tell whether somebody works on them and why they were asked for; alarms of a cause end with an all-clear.

ALTER TABLE replay_jobs
    -- When the process that works on it last said so, by the clock of this server; null: none of a build that knows this
    -- has. RUNNING with an old one means that nobody works on it.
    ADD COLUMN heartbeat_at timestamptz,
    -- Why it was asked for, in the operator's words; empty in rows of builds that do not know it.
    ADD COLUMN reason       text   NOT NULL DEFAULT '',
    -- Rows that the filter chose when it was made, eligible or not: what progress is counted against. Null in rows of builds
    -- that do not know it.
    ADD COLUMN chosen       bigint;

ALTER TABLE alarm_causes
    -- It was told of, and nobody has been told yet that nothing of it waits any more.
    ADD COLUMN all_clear_due boolean NOT NULL DEFAULT false,
    -- The cause as it was last told: members masked, control characters escaped. Null: never by a build that knows this.
    ADD COLUMN shown         text;

-- Whether anything of a cause still waits. Each key is held once, however many rows have it.
CREATE INDEX alarm_causes_to_clear ON alarm_causes (alarm_key) WHERE all_clear_due;
CREATE INDEX failed_coupon_issues_pending_cause ON failed_coupon_issues (cause) WHERE status = 'PENDING';
CREATE INDEX dlq_events_undecided_cause ON dlq_events (cause) WHERE status IN ('HELD', 'PARKED');
