-- A batch with records that the database refuses, once more: its parts find their size by themselves, and one statement
-- never leaves more subtransactions behind than PostgreSQL keeps at hand. The function of 0003 stays for the build before.

-- Issues what can be issued of one coupon and one epoch and raises the counter by it, last. The arrays hold one element for
-- each row, in the order in which rows are inserted. Up to `part` rows are tried at once. A part that is refused is halved
-- until the refused row stands alone, and the parts after it are half as large; after each part that went in they grow, by as
-- many rows as they had and at most by four. An SQLSTATE that begins like one of `not_theirs` tells of no row, but of the
-- database or of others in the way: it fails the call. With `wait_ms` a row that somebody holds for longer than that is a
-- refused one (55P03) instead.
--
-- Gives, by its `place` from 1, each row that is not issued now:
--   MISSED   there is one already, or no coupon of that epoch;
--   REFUSED  the database refuses it: with the SQLSTATE, the message, and what the error names.
-- The last row is TRIED. What comes after its `place` was not tried, because the call had done enough: the next one goes on
-- there with parts of `next_part`, which is smaller than `part` if `place` is 0.
CREATE FUNCTION coupon_issue_parts(
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
    SELECT count(*), max(seqs[i]) INTO rows, high
    FROM generate_series(1, first - 1) AS i LEFT JOIN UNNEST(apart) AS a (i) USING (i) WHERE a.i IS NULL;
    IF rows > 0 THEN
        PERFORM set_config('lock_timeout', patience, true);
        UPDATE coupons c SET issued_quantity = c.issued_quantity + rows, high_seq = greatest(c.high_seq, high)
        WHERE c.coupon_code = code AND c.epoch = in_epoch;
        IF NOT FOUND THEN
            PERFORM coupon_guard_failed('epoch');
        END IF;
    END IF;
    what := 'TRIED';
    place := first - 1;
    next_part := CASE WHEN first = 1 THEN greatest(failed / 2, 1) ELSE greatest(step, 1) END;
    state := NULL; message := NULL; constraint_name := NULL; table_name := NULL; column_name := NULL;
    RETURN NEXT;
END
$$;
