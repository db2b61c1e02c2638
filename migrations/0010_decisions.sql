-- Decisions have numbers, so that other systems can be told of each, and can prove that they have all.

-- A batch of issuing rewrites the row anyway: the number costs no lock of its own.
ALTER TABLE coupons
    -- Number of the last decision on a request of this campaign. It is raised where the row is locked or updated in the
    -- transaction of the decision, so numbers have no gaps and come in the order of the commits. A build before this migration
    -- raises it only by coupon_issue_parts; what else it decides is numbered later.
    ADD COLUMN decision_no  bigint NOT NULL DEFAULT 0;

-- The decisions by their numbers: one row for what one transaction decided. What was decided before this migration, and what a build
-- before it decides, gets its rows by `reconcile`, under the lock of the campaign's row.
CREATE TABLE coupon_decision_batches (
    -- For the purge.
    id               bigint      GENERATED ALWAYS AS IDENTITY UNIQUE,
    -- The campaign (coupons.coupon_id). No foreign key, as in coupon_issues.
    coupon_id        bigint      NOT NULL,
    -- Number of the first request; the one at index i (from 1) has first_no + i - 1.
    first_no         bigint      NOT NULL,
    -- ISSUED or COMPENSATED, all of them.
    decision         text        NOT NULL CHECK (decision IN ('ISSUED', 'COMPENSATED')),
    -- Epoch of their rows.
    epoch            bigint      NOT NULL,
    -- The requests (coupon_issues.request_id).
    request_ids      uuid[]      NOT NULL CHECK (cardinality(request_ids) > 0),
    -- Their coupon_issues.decided_at; of those that were numbered later, when that was done.
    decided_at       timestamptz NOT NULL,
    PRIMARY KEY (coupon_id, first_no)
);
-- What the purge looks for.
CREATE INDEX coupon_decision_batches_by_time ON coupon_decision_batches (decided_at, id);
-- Random bytes are not worth compressing.
ALTER TABLE coupon_decision_batches ALTER COLUMN request_ids SET STORAGE EXTERNAL;

-- How far the decisions of a campaign have been published. Not in coupons, whose row every batch waits for.
CREATE TABLE coupon_decision_marks (
    -- The campaign (coupons.coupon_id).
    coupon_id        bigint      PRIMARY KEY,
    -- Number up to which Kafka has acknowledged every decision; it only grows.
    relayed_to       bigint      NOT NULL DEFAULT 0,
    -- When it last grew, by the clock of this server; null: it has not yet.
    relayed_at       timestamptz,
    -- The process that publishes them; null: none does.
    owner            text,
    -- Until when nobody else does, by the clock of this server.
    owned_until      timestamptz,
    -- Every decision of before is numbered: only those batches are purged. Set by `reconcile`.
    complete_before  timestamptz NOT NULL DEFAULT '-infinity'
);

-- As in 0006, with the numbers. The same signature, so that the build before numbers what it issues by parts.
CREATE OR REPLACE FUNCTION coupon_issue_parts(
    code text, in_epoch bigint, ids uuid[], members text[], seqs bigint[], times timestamptz[],
    part integer, wait_ms integer, not_theirs text[]
)
RETURNS TABLE (
    what text, place integer, next_part integer,
    state text, message text, constraint_name text, table_name text, column_name text
)
LANGUAGE plpgsql
-- A plan made for one part would hold copies of the arrays.
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_variable
DECLARE
    -- Of a transaction with more subtransactions than 64 PostgreSQL looks up each row's in `pg_subtrans`, in all sessions.
    most     CONSTANT integer := 64;
    -- Far below the bound of a statement, whatever a row costs: a fourth of it, at most a second.
    until    CONSTANT timestamptz := clock_timestamp()
        + least(nullif(current_setting('statement_timeout')::interval, interval '0') / 4, interval '1 second');
    patience CONSTANT text := current_setting('lock_timeout');
    total    CONSTANT integer := cardinality(ids);
    coupon   bigint;
    valid    interval;
    step     integer := greatest(part, 1);
    -- Whether rows are looked for that are there: a whole batch comes here because it has met one.
    careful  boolean := part >= total;
    begun    integer := 0;
    first    integer := 1;
    last     integer;
    -- Up to this row one is known to be refused.
    failed   integer := 0;
    missed   integer[];
    -- The places of all rows that are not issued now.
    apart    integer[] := '{}';
    rows     bigint;
    high     bigint;
    issued   uuid[];
    number   bigint;
BEGIN
    SELECT c.coupon_id, make_interval(days => c.valid_days) INTO coupon, valid
    FROM coupons c WHERE c.coupon_code = code AND c.epoch = in_epoch;
    IF NOT FOUND THEN
        apart := ARRAY(SELECT generate_series(1, total));
        RETURN QUERY SELECT 'MISSED', i, NULL::integer, NULL, NULL, NULL, NULL, NULL FROM UNNEST(apart) AS i;
        first := total + 1;
    END IF;
    IF wait_ms IS NOT NULL THEN
        PERFORM set_config('lock_timeout', wait_ms::text, true);
    END IF;
    -- At least two: a conflict takes one to be met and one to be looked for.
    WHILE first <= total AND (begun < 2 OR begun < most AND clock_timestamp() < until) LOOP
        last := CASE WHEN first > failed THEN least(first::bigint + step - 1, total) ELSE (first + failed) / 2 END;
        begun := begun + 1;
        BEGIN
            missed := NULL;
            IF careful THEN
                WITH inserted AS (
                    INSERT INTO coupon_issues
                        (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, expires_at)
                    SELECT coupon, ids[i], members[i], 'ISSUED', in_epoch, seqs[i], times[i], times[i] + valid
                    FROM generate_series(first, last) AS i
                    ON CONFLICT DO NOTHING
                    RETURNING request_id, member_id
                )
                SELECT array_agg(i) INTO missed
                FROM generate_series(first, last) AS i
                LEFT JOIN inserted ON inserted.request_id = ids[i] AND inserted.member_id = members[i]
                -- The same event twice is two neighbours, of which one is issued.
                WHERE inserted.request_id IS NULL
                   OR i > first AND ids[i] = ids[i - 1] AND members[i] = members[i - 1];
                careful := missed IS NOT NULL;
                apart := apart || missed;
                RETURN QUERY SELECT 'MISSED', i, NULL::integer, NULL, NULL, NULL, NULL, NULL FROM UNNEST(missed) AS i;
            ELSE
                INSERT INTO coupon_issues
                    (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, expires_at)
                SELECT coupon, ids[i], members[i], 'ISSUED', in_epoch, seqs[i], times[i], times[i] + valid
                FROM generate_series(first, last) AS i;
                GET DIAGNOSTICS rows = ROW_COUNT;
                IF rows <= last - first THEN
                    -- A trigger passes rows over: which, is found out as with those that are there.
                    RAISE unique_violation;
                END IF;
            END IF;
            IF first > failed AND step < total THEN
                -- A step that doubled for good would fail every other time, and write half of its rows in vain.
                step := step + least(step, 4);
            END IF;
            first := last + 1;
        EXCEPTION WHEN OTHERS THEN
            IF SQLSTATE ^@ ANY (not_theirs) AND (wait_ms IS NULL OR SQLSTATE <> '55P03') THEN
                RAISE;
            ELSIF SQLSTATE = '23505' AND NOT careful THEN
                careful := true;
            ELSIF first = last THEN
                GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
                    constraint_name = CONSTRAINT_NAME, table_name = TABLE_NAME, column_name = COLUMN_NAME;
                what := 'REFUSED';
                place := first;
                RETURN NEXT;
                apart := apart || first;
                first := first + 1;
                failed := 0;
            ELSE
                IF first > failed THEN
                    -- A whole batch is no measure: from there it would take many halvings of many rows.
                    step := least(step, total, 64) / 2;
                END IF;
                failed := last;
            END IF;
        END;
    END LOOP;
    SELECT count(*), max(seqs[i]), array_agg(ids[i] ORDER BY i) INTO rows, high, issued
    FROM generate_series(1, first - 1) AS i LEFT JOIN UNNEST(apart) AS a (i) USING (i) WHERE a.i IS NULL;
    IF rows > 0 THEN
        PERFORM set_config('lock_timeout', patience, true);
        UPDATE coupons c SET issued_quantity = c.issued_quantity + rows, high_seq = greatest(c.high_seq, high),
            decision_no = c.decision_no + rows
        WHERE c.coupon_code = code AND c.epoch = in_epoch
        RETURNING c.decision_no INTO number;
        IF NOT FOUND THEN
            PERFORM coupon_guard_failed('epoch');
        END IF;
        INSERT INTO coupon_decision_batches (coupon_id, first_no, decision, epoch, request_ids, decided_at)
        VALUES (coupon, number - rows + 1, 'ISSUED', in_epoch, issued, now());
    END IF;
    what := 'TRIED';
    place := first - 1;
    next_part := CASE WHEN first = 1 THEN greatest(failed / 2, 1) ELSE greatest(step, 1) END;
    state := NULL; message := NULL; constraint_name := NULL; table_name := NULL; column_name := NULL;
    RETURN NEXT;
END
$$;
