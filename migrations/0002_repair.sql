-- Repair: replays, alarms by cause over several channels, reconciliation, rebuild, the end of a campaign.

-- When the campaign was ended for good: its data in Redis is gone, its rows are kept and change no more. Null while
-- it is not. Its status stays CLOSED, which builds that do not know this column understand.
ALTER TABLE coupons ADD COLUMN archived_at timestamptz;

ALTER TABLE failed_coupon_issues
    -- As dlq_events.cause; null in rows written by builds that do not know it.
    ADD COLUMN cause        text,
    -- Replays that were begun and not refused; at most 3.
    ADD COLUMN replay_count integer NOT NULL DEFAULT 0 CHECK (replay_count BETWEEN 0 AND 3),
    -- The row whose replay this request was, if it was one (failed_coupon_issues.id). Such a row is born RESOLVED:
    -- the one it replays stays on the list.
    ADD COLUMN replay_of    bigint;
-- What waits, by coupon and cause, and since when. Each key is held once, however many rows have it.
CREATE INDEX failed_coupon_issues_pending ON failed_coupon_issues (coupon_code, cause, error_class, error_code)
    WHERE status = 'PENDING';
CREATE INDEX failed_coupon_issues_oldest ON failed_coupon_issues (failed_at) WHERE status = 'PENDING';
-- What retention looks through, oldest first.
CREATE INDEX failed_coupon_issues_settled ON failed_coupon_issues (resolved_at, id) WHERE status <> 'PENDING';
CREATE INDEX dlq_events_done ON dlq_events (updated_at, id) WHERE status NOT IN ('HELD', 'PARKED');
-- What was done to one row.
CREATE INDEX operator_audit_by_subject ON operator_audit (subject, id);

-- Replays of compensated requests: the new request id, committed before Redis is asked for it.
CREATE TABLE replays (
    -- The new request.
    request_id       uuid        PRIMARY KEY,
    -- The row of the work list that it replays (failed_coupon_issues.id).
    failed_issue_id  bigint      NOT NULL,
    -- The campaign's public name, as in that row.
    coupon_code      text        NOT NULL,
    -- Whose request it is, as in that row.
    member_id        text        NOT NULL,
    -- The job by which it was begun (replay_jobs.job_id).
    job_id           bigint      NOT NULL,
    -- Null: Redis has not answered yet. RESERVED: it holds a unit. HOLDS_ONE: the member holds one by held_by.
    -- SOLD_OUT, CLOSED, NOT_READY: refused, and not counted. ISSUED, COMPENSATED: decided.
    outcome          text        CHECK (outcome IN
                                 ('RESERVED', 'HOLDS_ONE', 'SOLD_OUT', 'CLOSED', 'NOT_READY', 'ISSUED', 'COMPENSATED')),
    -- With HOLDS_ONE: the request by which the member holds one.
    held_by          uuid,
    -- Whether the window of the campaign counts for it.
    after_close      boolean     NOT NULL,
    -- When it was linked.
    created_at       timestamptz NOT NULL,
    -- When the outcome last changed.
    updated_at       timestamptz NOT NULL
);
CREATE INDEX replays_by_failed_issue ON replays (failed_issue_id);
-- What the settling sweep looks for; empty nearly always.
CREATE INDEX replays_open ON replays (created_at) WHERE outcome IS NULL OR outcome IN ('RESERVED', 'HOLDS_ONE');

-- Replays by the many: what was asked for and how far it has come, so that another process can go on.
CREATE TABLE replay_jobs (
    -- Number by which operators name it.
    job_id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- What is replayed: REQUESTS of the work list, or LETTERS that are held or parked.
    kind             text        NOT NULL CHECK (kind IN ('REQUESTS', 'LETTERS')),
    -- RUNNING (also when its process is gone: resume it), PAUSED, CANCELLED, STOPPED because most failed, DONE.
    status           text        NOT NULL CHECK (status IN ('RUNNING', 'PAUSED', 'CANCELLED', 'STOPPED', 'DONE')),
    -- Which rows, as the filter of the work list.
    filter           jsonb       NOT NULL,
    -- No row with a higher number: what comes later is not meant.
    up_to_id         bigint      NOT NULL,
    -- Everything up to this number has been begun.
    cursor_id        bigint      NOT NULL DEFAULT 0,
    -- Most replays begun in a second.
    per_second       double precision NOT NULL CHECK (per_second > 0),
    -- Whether the window of the campaign counts for nothing.
    after_close      boolean     NOT NULL,
    -- Rows that could be replayed when the job was made.
    eligible         bigint      NOT NULL,
    -- Rows begun so far.
    begun            bigint      NOT NULL DEFAULT 0,
    -- Of these, written as coupons.
    succeeded        bigint      NOT NULL DEFAULT 0,
    -- Of these, refused or given up again, by reason: {"SOLD_OUT": 3, …}.
    refused          jsonb       NOT NULL DEFAULT '{}',
    -- Why it stands where it stands, in words.
    note             text        NOT NULL DEFAULT '',
    -- Who asked for it.
    created_by       text        NOT NULL,
    -- When.
    created_at       timestamptz NOT NULL,
    -- When it last came on.
    updated_at       timestamptz NOT NULL
);

-- One row for each cause is what alarms are claimed by; see alarm_key. From this build on the key is the cause alone.
-- One that was never told of has announced_count 0 and was announced in 1970.
ALTER TABLE alarm_causes
    -- Nobody else tells of it before this moment: a process does, or it could not be told and is tried again then.
    ADD COLUMN claimed_until timestamptz,
    -- Which process tells of it; null when none does.
    ADD COLUMN claimed_by    text;

-- The sweep asks which causes there are, and then for one of them; a hundred thousand letters of one cause must not make
-- the first question slow.
DROP INDEX dlq_events_to_announce;
CREATE INDEX dlq_events_to_announce ON dlq_events (cause, id) WHERE NOT alarm_sent;

-- What somebody has to be told of that is no dead letter.
CREATE TABLE alarm_notices (
    -- Order of the notices.
    id               bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- What it is counted under, such as "SUSPECT SPRING".
    cause            text        NOT NULL,
    -- The campaign's public name, if it is about one.
    coupon_code      text,
    -- What is so, in one sentence.
    message          text        NOT NULL,
    -- What to run.
    command          text        NOT NULL,
    -- When it was noticed.
    created_at       timestamptz NOT NULL,
    -- Whether somebody has been told.
    alarm_sent       boolean     NOT NULL DEFAULT false
);
-- What waits to be told is not noted again.
CREATE UNIQUE INDEX alarm_notices_to_announce ON alarm_notices (cause) WHERE NOT alarm_sent;

-- How the ways of telling somebody fare, one row for each, shared by all replicas.
CREATE TABLE alarm_channels (
    -- slack or webhook.
    channel          text        PRIMARY KEY,
    -- Since when it has failed without a success between; null while it works.
    down_since       timestamptz,
    -- It asked not to be called before this moment (Retry-After); null when it did not.
    not_before       timestamptz,
    -- What it last answered wrongly, in words; null while it works.
    last_error       text
);

-- What reconciliations found.
CREATE TABLE reconciliations (
    -- Order of the reconciliations.
    id               bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The campaign's public name.
    coupon_code      text        NOT NULL,
    -- Who had it run: a name, or dlq-consumer for the one that runs by itself.
    started_by       text        NOT NULL,
    -- When it began.
    started_at       timestamptz NOT NULL,
    -- When it ended.
    finished_at      timestamptz NOT NULL,
    -- Whether it was to repair what it found.
    applied          boolean     NOT NULL,
    -- Marks seen in Redis.
    marks            bigint      NOT NULL,
    -- ISSUED rows seen in PostgreSQL.
    issued_rows      bigint      NOT NULL,
    -- Requests that were still under way and could not be judged.
    in_flight        bigint      NOT NULL,
    -- Drift by kind: {"ORPHAN": {"found": 3, "repaired": 3, "examples": ["…"]}, …}; empty when the two agree.
    drift            jsonb       NOT NULL
);
CREATE INDEX reconciliations_by_coupon ON reconciliations (coupon_code, id);

-- Rebuilds of a campaign's data in Redis: how far each has come, so that another process can go on.
CREATE TABLE rebuilds (
    -- Order of the rebuilds.
    id               bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The campaign's public name.
    coupon_code      text        NOT NULL,
    -- DRAINING: the gate is closed, events are waited for. FILLING: the epoch is new, marks are copied. DONE.
    step             text        NOT NULL CHECK (step IN ('DRAINING', 'FILLING', 'DONE')),
    -- Status the campaign is to have afterwards: OPEN or CLOSED.
    reopen_as        text        NOT NULL CHECK (reopen_as IN ('OPEN', 'CLOSED')),
    -- Who had it run.
    started_by       text        NOT NULL,
    -- When it began.
    started_at       timestamptz NOT NULL,
    -- When it ended; null while it has not.
    finished_at      timestamptz
);
-- One at a time.
CREATE UNIQUE INDEX rebuilds_under_way ON rebuilds (coupon_code) WHERE step <> 'DONE';
