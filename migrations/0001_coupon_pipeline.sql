-- The first schema: campaigns, decisions, the work list of failures, the log of dead letters, the audit.
-- Forward only; the rules for the migrations after this one are in README.md beside it.

-- Campaigns. Written by issuer-api (administration) and, for the counters, by whoever writes decisions.
CREATE TABLE coupons (
    -- Internal key; never leaves the pipeline.
    coupon_id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Public name of the campaign, 1 to 50 of A-Z a-z 0-9 _ -; also the hash tag of its Redis keys.
    coupon_code      text        NOT NULL UNIQUE CHECK (coupon_code ~ '^[A-Za-z0-9_-]{1,50}$'),
    -- DRAFT: never opened. OPENING: Redis is being filled. OPEN, CLOSED: as they say.
    -- SUSPECT: Redis and PostgreSQL disagree, nothing is accepted until a rebuild.
    status           text        NOT NULL DEFAULT 'DRAFT'
                                 CHECK (status IN ('DRAFT', 'OPENING', 'OPEN', 'CLOSED', 'SUSPECT')),
    -- How many coupons exist in all. Never below the total in Redis (see total_version).
    total_quantity   bigint      NOT NULL CHECK (total_quantity >= 0),
    -- Counts the changes of the total; Redis ignores a total with an older version than it has.
    total_version    bigint      NOT NULL DEFAULT 0,
    -- ISSUED rows of this coupon, raised in the statement that inserts them.
    issued_quantity  bigint      NOT NULL DEFAULT 0 CHECK (issued_quantity >= 0),
    -- First moment at which a request is accepted.
    opens_at         timestamptz NOT NULL,
    -- First moment at which no request is accepted any more; null means until it is closed by hand.
    closes_at        timestamptz CHECK (closes_at > opens_at),
    -- An issued coupon expires this many days after its reservation.
    valid_days       integer     NOT NULL DEFAULT 30 CHECK (valid_days BETWEEN 1 AND 3650),
    -- Generation of the Redis data. Raised under this row's lock whenever Redis is filled anew, so that
    -- events reserved before can be told from events reserved after.
    epoch            bigint      NOT NULL DEFAULT 0,
    -- Highest reservation sequence seen in an event; a Redis behind it has lost data.
    high_seq         bigint      NOT NULL DEFAULT 0,
    -- When the campaign was created.
    created_at       timestamptz NOT NULL DEFAULT now(),
    -- When its status or total last changed; the counters do not touch it.
    updated_at       timestamptz NOT NULL DEFAULT now(),
    -- The last line of defence against overselling.
    CONSTRAINT coupons_issued_within_total CHECK (issued_quantity <= total_quantity)
)
-- Every batch rewrites the hot counter; room on the page keeps those updates off the indexes (HOT).
WITH (fillfactor = 50);

-- Decisions: one row for each request id, for good. The only arbiter between issuing and compensating.
CREATE TABLE coupon_issues (
    -- The campaign (coupons.coupon_id). No foreign key: a decision outlives everything else.
    coupon_id        bigint      NOT NULL,
    -- The reservation this row decides (UUIDv7, made by issuer-api).
    request_id       uuid        NOT NULL,
    -- Whose request it was: the subject of the token.
    member_id        text        NOT NULL,
    -- ISSUED or COMPENSATED; never changes.
    decision         text        NOT NULL CHECK (decision IN ('ISSUED', 'COMPENSATED')),
    -- Epoch of the Redis data in which the request was reserved.
    epoch            bigint      NOT NULL,
    -- Sequence of the coupon carried by the event.
    seq              bigint      NOT NULL,
    -- When Redis reserved it (Redis clock).
    reserved_at      timestamptz NOT NULL,
    -- When this row was written.
    decided_at       timestamptz NOT NULL DEFAULT now(),
    -- ISSUED: reserved_at plus the campaign's valid_days. COMPENSATED: null.
    expires_at       timestamptz,
    -- COMPENSATED: the request id that holds the coupon of this member instead, to which the mark in Redis
    -- is swapped; null means that the unit is given back.
    superseded_by    uuid,
    -- COMPENSATED: when Redis had been put right; null means the sweeper still has to.
    given_back_at    timestamptz,
    PRIMARY KEY (coupon_id, request_id),
    CONSTRAINT coupon_issues_expiry CHECK ((decision = 'ISSUED') = (expires_at IS NOT NULL)),
    CONSTRAINT coupon_issues_give_back CHECK (decision = 'COMPENSATED' OR (given_back_at IS NULL AND superseded_by IS NULL))
);

-- One coupon each (promise I2).
CREATE UNIQUE INDEX coupon_issues_one_each ON coupon_issues (coupon_id, member_id) WHERE decision = 'ISSUED';

-- What the sweeper looks for; empty nearly always.
CREATE INDEX coupon_issues_to_give_back ON coupon_issues (decided_at)
    WHERE decision = 'COMPENSATED' AND given_back_at IS NULL;

-- The operators' work list: one row for each request that ended COMPENSATED.
CREATE TABLE failed_coupon_issues (
    -- Number by which operators name it.
    id               bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The campaign's public name.
    coupon_code      text        NOT NULL,
    -- Whose request it was.
    member_id        text        NOT NULL,
    -- The request that was given up.
    request_id       uuid        NOT NULL,
    -- PENDING: somebody has to look. RESOLVED: put right. IGNORED: looked at, nothing to do.
    status           text        NOT NULL CHECK (status IN ('PENDING', 'RESOLVED', 'IGNORED')),
    -- Error class as the consumer judged it (UNKNOWN, PERMANENT, …).
    error_class      text        NOT NULL,
    -- SQLSTATE or our own code of the last error.
    error_code       text        NOT NULL,
    -- Last error in words, at most 16 KiB.
    reason           text        NOT NULL,
    -- When the request was given up.
    failed_at        timestamptz NOT NULL DEFAULT now(),
    -- When it left PENDING; null while PENDING.
    resolved_at      timestamptz,
    -- Who moved it out of PENDING; null while PENDING.
    resolved_by      text,
    -- Why it could be resolved or ignored, in the operator's words; null while PENDING.
    resolution       text,
    UNIQUE (coupon_code, request_id),
    CONSTRAINT failed_coupon_issues_resolved CHECK ((status = 'PENDING') = (resolved_at IS NULL))
);

CREATE INDEX failed_coupon_issues_by_status ON failed_coupon_issues (status, id);
CREATE INDEX failed_coupon_issues_by_member ON failed_coupon_issues (coupon_code, member_id);

-- Dead letters: one row for each record of the DLQ topic that ended otherwise than written in silence.
CREATE TABLE dlq_events (
    -- Number by which operators name it.
    id                  bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Where the record lies in the DLQ topic; with the timestamp it stays unique when a topic is made anew.
    dlq_topic           text        NOT NULL,
    -- Partition of the DLQ topic.
    dlq_partition       integer     NOT NULL,
    -- Offset in that partition.
    dlq_offset          bigint      NOT NULL,
    -- Timestamp of the record in ms since 1970-01-01 UTC, unchanged from the first topic; 0 if it had none.
    dlq_timestamp_ms    bigint      NOT NULL,
    -- Topic of the first origin as the headers tell; null if they do not. Never trusted.
    origin_topic        text,
    -- Partition of the first origin.
    origin_partition    integer,
    -- Offset of the first origin.
    origin_offset       bigint,
    -- What was meant to happen: COUPON_ISSUED, or UNKNOWN for a record that cannot be read.
    original_event_type text        NOT NULL,
    -- The event's request id; null for a record that cannot be read.
    original_event_id   uuid,
    -- The campaign's public name; null for a record that cannot be read.
    coupon_code         text,
    -- Whose request it was; null for a record that cannot be read.
    member_id           text,
    -- Version of the event's format; null for a record that cannot be read.
    event_version       bigint,
    -- Key of the record, byte for byte; null if it had none.
    record_key          bytea,
    -- Value of the record, byte for byte; null for a tombstone.
    payload             bytea,
    -- Headers of the record in order: [{"name": …, "value": base64 or null}].
    headers             jsonb       NOT NULL,
    -- Error class of the last attempt.
    error_class         text        NOT NULL,
    -- SQLSTATE or our own code of the last attempt.
    error_code          text        NOT NULL,
    -- Error class, code and message without its numbers and names: what alarms and budgets are counted by.
    cause               text        NOT NULL,
    -- Last error in words, at most 16 KiB.
    error_message       text        NOT NULL,
    -- The chain of errors below it, outermost first, one a line.
    stack_trace         text        NOT NULL,
    -- Attempts of dlq-consumer.
    attempts            integer     NOT NULL,
    -- RECOVERED: written after all. COMPENSATED: given up. DUPLICATE: was decided before.
    -- HELD: readable and undecided. PARKED: cannot be decided as it is. RESOLVED, IGNORED: set by an operator.
    status              text        NOT NULL CHECK (status IN
                                    ('RECOVERED', 'COMPENSATED', 'DUPLICATE', 'HELD', 'PARKED', 'RESOLVED', 'IGNORED')),
    -- The work list row of a COMPENSATED one (failed_coupon_issues.id).
    failed_issue_id     bigint,
    -- Whether somebody has been told; rows that tell nobody anything are born true.
    alarm_sent          boolean     NOT NULL,
    -- When this row was written.
    created_at          timestamptz NOT NULL DEFAULT now(),
    -- When its status last changed.
    updated_at          timestamptz NOT NULL DEFAULT now(),
    UNIQUE (dlq_topic, dlq_partition, dlq_offset, dlq_timestamp_ms)
);

-- What the alarm sweep looks for; empty nearly always.
CREATE INDEX dlq_events_to_announce ON dlq_events (id) WHERE NOT alarm_sent;
CREATE INDEX dlq_events_undecided ON dlq_events (status, id) WHERE status IN ('HELD', 'PARKED');
CREATE INDEX dlq_events_by_request ON dlq_events (original_event_id);

-- Budget of give-ups for each coupon and cause, a token bucket: a bad deployment must not revoke a campaign.
CREATE TABLE give_up_budgets (
    -- The campaign (coupons.coupon_id).
    coupon_id        bigint      NOT NULL,
    -- As dlq_events.cause.
    cause            text        NOT NULL,
    -- Give-ups left at refilled_at; may be a fraction.
    tokens           double precision NOT NULL,
    -- When tokens was last computed.
    refilled_at      timestamptz NOT NULL,
    PRIMARY KEY (coupon_id, cause)
);

-- One row for each cause that has been announced, so that replicas together announce it once a minute.
CREATE TABLE alarm_causes (
    -- Kind of dead letter, campaign and cause together.
    alarm_key        text        PRIMARY KEY,
    -- When it was last announced.
    announced_at     timestamptz NOT NULL,
    -- How many dead letters have been announced under it.
    announced_count  bigint      NOT NULL
);

-- Who changed what by hand. Only ever appended to, in the transaction of the change.
CREATE TABLE operator_audit (
    -- Order of the changes.
    id               bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- When.
    at               timestamptz NOT NULL DEFAULT now(),
    -- Who, as given with --by or by the login name.
    actor            text        NOT NULL,
    -- The command, such as resolve or coupon.close.
    verb             text        NOT NULL,
    -- What it was done to, such as failed_coupon_issues/17 or coupons/SPRING.
    subject          text        NOT NULL,
    -- What changed: {"from": …, "to": …}.
    change           jsonb       NOT NULL,
    -- Why, in the operator's words.
    reason           text        NOT NULL
);

-- One row, written by the consumers' probes: an outage is over when a write commits, not when a port answers.
CREATE TABLE write_probe (
    -- Always true, so there is one row.
    only_row         boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    -- When a probe last committed.
    probed_at        timestamptz NOT NULL
);

-- One row: which binaries may run on this schema. A migration that contracts raises it.
CREATE TABLE schema_compatibility (
    -- Always true, so there is one row.
    only_row         boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    -- A binary built with a newest migration below this one refuses to start.
    oldest_binary    bigint      NOT NULL
);
INSERT INTO schema_compatibility (oldest_binary) VALUES (1);

-- Ends a statement whose guard did not hold. A CTE cannot raise by itself, and rows inserted by the same
-- statement must not stay when the counter beside them could not be raised.
CREATE FUNCTION coupon_guard_failed(what text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    -- CP001: the coupon's epoch moved on while the statement ran.
    RAISE EXCEPTION 'coupon guard: %', what USING ERRCODE = 'CP001';
END
$$;
