-- The operators' console: who may do what, plans, jobs of the service, notes and claims on rows.

ALTER TABLE operator_audit
    -- How the actor is known: {"login": …, "role": …, "source": …, "plan_id": …}. login is SERVICE for a service in an
    -- operator's stead, COMMAND_LINE for what --by claims, TOKEN or ASSERTION for a verified login of the console. role and
    -- source, the address from which it was asked, are those of a verified login; plan_id (plans.plan_id) is the plan by which
    -- it was done. Absent where there is none; null in rows of builds that do not know it.
    ADD COLUMN provenance   jsonb;

-- Operators with a token of their own.
CREATE TABLE operators (
    -- Name in the audit. A revoked one is never given out again.
    name             text        PRIMARY KEY CHECK (name ~ '^[A-Za-z0-9._@-]{1,100}$'),
    -- viewer, support, operator or admin; see `dlq-consumer console roles`.
    role             text        NOT NULL CHECK (role IN ('viewer', 'support', 'operator', 'admin')),
    -- SHA-256 of the token; the token itself is shown once and kept nowhere.
    token_hash       bytea       NOT NULL UNIQUE,
    -- Who added it.
    created_by       text        NOT NULL,
    -- When.
    created_at       timestamptz NOT NULL,
    -- From when on the token is worth nothing.
    expires_at       timestamptz NOT NULL,
    -- When it was revoked, with all its sessions; null while it is not.
    revoked_at       timestamptz,
    -- SHA-256 of the code of its login link, which works once; null while there is none.
    login_code_hash  bytea       UNIQUE,
    -- From when on that code is worth nothing.
    login_code_expires_at timestamptz
);

-- Logins of the console in a browser.
CREATE TABLE operator_sessions (
    -- SHA-256 of the cookie's value.
    session_hash     bytea       PRIMARY KEY,
    -- Whose it is (operators.name).
    operator_name    text        NOT NULL,
    -- From where it was begun.
    source           text        NOT NULL,
    -- When it was begun.
    created_at       timestamptz NOT NULL,
    -- When it ends by itself.
    expires_at       timestamptz NOT NULL,
    -- When it was ended by a logout or a revocation; null while it was not.
    ended_at         timestamptz
);
CREATE INDEX operator_sessions_by_operator ON operator_sessions (operator_name);

-- What would be changed, as it was shown to who asked; a confirmed one has become a job.
CREATE TABLE plans (
    -- Number in its address.
    plan_id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- What would be done: replay, resolve, ignore, reopen, compensate, reconcile, rebuild, archive.
    verb             text        NOT NULL,
    -- What it would be done to and how, as the job takes it.
    parameters       jsonb       NOT NULL,
    -- What it hits, in words.
    predicate        text        NOT NULL,
    -- No row with a higher number; null where it is about no rows.
    up_to_id         bigint,
    -- Rows that would change; null where it is about no rows.
    eligible         bigint,
    -- Rows that would be refused, by reason: {"SOLD_OUT": 3, …}.
    refused          jsonb       NOT NULL DEFAULT '{}',
    -- Up to ten of the rows, as shown.
    sample           jsonb       NOT NULL DEFAULT '[]',
    -- What has to be typed to confirm it: a campaign's name, or all; null where nothing has to.
    typed            text,
    -- Who made it.
    created_by       text        NOT NULL,
    -- When.
    created_at       timestamptz NOT NULL,
    -- From when on it can be confirmed no more.
    expires_at       timestamptz NOT NULL,
    -- Whether two persons have to confirm it.
    needs_second     boolean     NOT NULL DEFAULT false,
    -- Who confirmed it first where two have to; null before.
    first_by         text,
    -- Why, in the words of who confirmed it; empty before.
    reason           text        NOT NULL DEFAULT '',
    -- Who confirmed it last; null before.
    confirmed_by     text,
    -- When; null before.
    confirmed_at     timestamptz,
    -- The job it has become (jobs.job_id, or replay_jobs.job_id for a replay); null before.
    job_id           bigint
);

-- What services do for operators and nobody waits for in a terminal. Replays have a table of their own.
CREATE TABLE jobs (
    -- Number by which operators name it.
    job_id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- RECONCILE, REBUILD, SETTLE, COMPENSATE, ARCHIVE.
    kind             text        NOT NULL CHECK (kind IN ('RECONCILE', 'REBUILD', 'SETTLE', 'COMPENSATE', 'ARCHIVE')),
    -- RUNNING (a replica goes on with it when its worker falls silent), CANCELLED, FAILED, DONE.
    status           text        NOT NULL CHECK (status IN ('RUNNING', 'CANCELLED', 'FAILED', 'DONE')),
    -- What it does and to what, as its kind reads it.
    parameters       jsonb       NOT NULL,
    -- How far it is, as its kind writes it.
    progress         jsonb       NOT NULL DEFAULT '{}',
    -- Why it stands where it stands, in words; empty while there is nothing to say.
    note             text        NOT NULL DEFAULT '',
    -- Why it was asked for, in the operator's words.
    reason           text        NOT NULL,
    -- Who asked for it, in the form of repo::audit::Identity.
    asked_by         jsonb       NOT NULL,
    -- The process that works on it; null when none does.
    worker           text,
    -- When that last said so, by the clock of this server; null: none has yet.
    heartbeat_at     timestamptz,
    -- When it was asked for.
    created_at       timestamptz NOT NULL,
    -- When it last came on.
    updated_at       timestamptz NOT NULL
);
-- What workers look for; empty nearly always.
CREATE INDEX jobs_running ON jobs (job_id) WHERE status = 'RUNNING';

-- The processes that work on jobs, for a command that asks whether it may leave one to them.
CREATE TABLE job_workers (
    -- The process: its host and its number there.
    worker           text        PRIMARY KEY,
    -- When it last said that it is there, by the clock of this server.
    seen_at          timestamptz NOT NULL
);

ALTER TABLE replay_jobs
    -- The process that works on it; null when none does, or one of a build that does not know it.
    ADD COLUMN worker       text,
    -- Whether a service works on it; false: the terminal in which it was begun does.
    ADD COLUMN in_service   boolean NOT NULL DEFAULT false,
    -- Who asked for it, in the form of repo::audit::Identity; null in rows of builds that do not know it.
    ADD COLUMN asked_by     jsonb;
-- What workers look for; empty nearly always.
CREATE INDEX replay_jobs_running ON replay_jobs (job_id) WHERE in_service AND status = 'RUNNING';

-- What operators tell each other about a row of the work list or a dead letter.
CREATE TABLE row_notes (
    -- Order of the notes.
    id               bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The row as in the audit: failed_coupon_issues/17, dlq_events/4.
    subject          text        NOT NULL,
    -- Who wrote it.
    written_by       text        NOT NULL,
    -- When.
    written_at       timestamptz NOT NULL,
    -- The words, at most 4,000 characters.
    note             text        NOT NULL
);
CREATE INDEX row_notes_by_subject ON row_notes (subject, id);

ALTER TABLE failed_coupon_issues
    -- Who looks after it; null when nobody has said so. It holds nobody else up.
    ADD COLUMN claimed_by   text,
    -- Since when.
    ADD COLUMN claimed_at   timestamptz;

-- Views of the work list that operators keep.
CREATE TABLE saved_filters (
    -- Whose it is.
    operator_name    text        NOT NULL,
    -- Its name.
    name             text        NOT NULL CHECK (length(name) BETWEEN 1 AND 60),
    -- Path and query of the view.
    view             text        NOT NULL,
    -- When it was saved.
    created_at       timestamptz NOT NULL,
    PRIMARY KEY (operator_name, name)
);

-- Look-ups by the request.
CREATE INDEX failed_coupon_issues_by_request ON failed_coupon_issues (request_id);

-- The pages of the work list and of the dead letters: each is found by an index, however many rows there are.
CREATE INDEX failed_coupon_issues_by_coupon ON failed_coupon_issues (coupon_code, id);
CREATE INDEX failed_coupon_issues_of_member ON failed_coupon_issues (member_id, id);
CREATE INDEX failed_coupon_issues_by_time ON failed_coupon_issues (failed_at);
CREATE INDEX failed_coupon_issues_claimed ON failed_coupon_issues (claimed_by, id) WHERE claimed_by IS NOT NULL;
CREATE INDEX dlq_events_by_status ON dlq_events (status, id);
CREATE INDEX dlq_events_by_coupon ON dlq_events (coupon_code, id);
CREATE INDEX dlq_events_of_member ON dlq_events (member_id, id);
CREATE INDEX dlq_events_by_time ON dlq_events (created_at);
-- The causes of what waits, found one by one; they take the place of the ones by the cause alone.
CREATE INDEX failed_coupon_issues_pending_by_cause ON failed_coupon_issues (cause, id) WHERE status = 'PENDING';
CREATE INDEX dlq_events_undecided_by_cause ON dlq_events (status, cause, id) WHERE status IN ('HELD', 'PARKED');
DROP INDEX failed_coupon_issues_pending_cause;
DROP INDEX dlq_events_undecided_cause;
-- dlq_events_by_status holds what this one did. Each index costs every dead letter that is told of.
DROP INDEX dlq_events_undecided;
