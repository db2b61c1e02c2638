-- A batch with records that the database refuses: the others are written all the same, by one statement and one commit.

-- Issues what can be issued of one coupon and one epoch, raises the counter by it, last, and gives what was not: with
-- the SQLSTATE and the message where the database refuses the row, without where there is one already, or no coupon of
-- that epoch. The arrays hold one element for each row, in the order in which rows are inserted; `part` rows are tried
-- at once, as if none had a row yet; with `some_there` all are, and `part` only after one was refused. Of rows that fail
-- together, those before the refused one are tried again without it. An SQLSTATE that begins like one of `not_theirs` tells
-- of no row, but of the database or of others in the way: it fails the call.
CREATE FUNCTION coupon_issue_each(
    code text, in_epoch bigint, ids uuid[], members text[], seqs bigint[], times timestamptz[],
    part integer, some_there boolean, not_theirs text[]
)
RETURNS TABLE (request_id uuid, member_id text, state text, message text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    coupon  record;
    total   integer := cardinality(ids);
    step    integer := CASE WHEN some_there THEN total ELSE part END;
    first   integer := 1;
    last    integer;
    -- Up to this row one is known to be refused, and probably it is the suspect.
    failed  integer := 0;
    suspect integer;
    -- Up to this row some are there already.
    there   integer := CASE WHEN some_there THEN total ELSE 0 END;
    before  bigint;
    made    record;
    rows    bigint;
    issued  bigint := 0;
    high    bigint;
BEGIN
    SELECT coupon_id, make_interval(days => valid_days) AS valid INTO coupon
    FROM coupons WHERE coupon_code = code AND epoch = in_epoch;
    IF NOT FOUND THEN
        RETURN QUERY SELECT r.id, r.member, NULL::text, NULL::text FROM UNNEST(ids, members) AS r (id, member);
        RETURN;
    END IF;
    WHILE first <= total LOOP
        last := CASE
            WHEN first > failed THEN least(first + step - 1, total)
            WHEN suspect BETWEEN first + 1 AND failed THEN suspect - 1
            WHEN suspect = first THEN first
            -- There is no suspect, or it was not the one: by halves, until the refused row stands alone.
            ELSE (first + failed) / 2
        END;
        before := pg_stat_get_xact_tuples_inserted('coupon_issues'::regclass);
        BEGIN
            IF first > there THEN
                INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, expires_at)
                SELECT coupon.coupon_id, r.id, r.member, 'ISSUED', in_epoch, r.seq, r.at, r.at + coupon.valid
                FROM UNNEST(ids[first:last], members[first:last], seqs[first:last], times[first:last])
                     AS r (id, member, seq, at);
                GET DIAGNOSTICS rows = ROW_COUNT;
                IF rows <= last - first THEN
                    -- A trigger passes rows over: which, is found out as with those that are there.
                    RAISE unique_violation;
                END IF;
                high := greatest(high, (SELECT max(seq) FROM UNNEST(seqs[first:last]) AS seq));
            ELSE
                WITH inserted AS (
                    INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, expires_at)
                    SELECT coupon.coupon_id, r.id, r.member, 'ISSUED', in_epoch, r.seq, r.at, r.at + coupon.valid
                    FROM UNNEST(ids[first:last], members[first:last], seqs[first:last], times[first:last])
                         AS r (id, member, seq, at)
                    ON CONFLICT DO NOTHING
                    RETURNING request_id, member_id, seq
                )
                SELECT count(*) AS rows, max(seq) AS seq, array_agg(request_id) AS ids, array_agg(member_id) AS members
                INTO made FROM inserted;
                rows := made.rows;
                high := greatest(high, made.seq);
                IF rows <= last - first THEN
                    RETURN QUERY
                    SELECT r.id, r.member, NULL::text, NULL::text
                    FROM UNNEST(ids[first:last], members[first:last]) AS r (id, member)
                    WHERE (r.id, r.member) NOT IN
                          (SELECT m.id, m.member FROM UNNEST(made.ids, made.members) AS m (id, member));
                END IF;
            END IF;
            issued := issued + rows;
            first := last + 1;
        EXCEPTION WHEN OTHERS THEN
            IF SQLSTATE ^@ ANY (not_theirs) THEN
                RAISE;
            ELSIF SQLSTATE = '23505' AND first > there THEN
                there := last;
            ELSIF first = last THEN
                RETURN QUERY SELECT ids[first], members[first], SQLSTATE, SQLERRM;
                step := least(step, part);
                IF suspect IS DISTINCT FROM first THEN
                    -- It had to be looked for. Where that is so for each, smaller steps write fewer rows in vain.
                    step := greatest(step / 2, 1);
                END IF;
                first := first + 1;
                failed := 0;
            ELSE
                -- What a failed statement had inserted is gone, but PostgreSQL has counted it. Only a hint: other rows may
                -- have been passed over, a row may be refused after it was inserted, and nothing is counted with
                -- `track_counts` off, or in this table once it is partitioned.
                -- Rows that fail without the suspect have shown it to be wrong.
                suspect := CASE WHEN first > failed
                    THEN first + pg_stat_get_xact_tuples_inserted('coupon_issues'::regclass) - before
                END;
                failed := last;
            END IF;
        END;
    END LOOP;
    IF issued > 0 THEN
        UPDATE coupons SET issued_quantity = issued_quantity + issued, high_seq = greatest(high_seq, high)
        WHERE coupon_code = code AND epoch = in_epoch;
        IF NOT FOUND THEN
            PERFORM coupon_guard_failed('epoch');
        END IF;
    END IF;
END
$$;
