-- A batch with records that the database refuses: the others are written all the same, by one statement and one commit.

-- Issues what can be issued of one coupon and one epoch, raises the counter by it, last, and gives what was not: with
-- the SQLSTATE and the message where the database refuses the row, without where there is one already, or no coupon of
-- that epoch. The arrays hold one element for each row, in the order in which rows are inserted; `part` rows are tried
-- at once, and those of a part that fails are tried by quarters of it, until the refused row stands alone. An SQLSTATE
-- that begins like one of `not_theirs` tells of no row, but of the database or of others in the way: it fails the call.
CREATE FUNCTION coupon_issue_each(
    code text, in_epoch bigint, ids uuid[], members text[], seqs bigint[], times timestamptz[],
    part integer, not_theirs text[]
)
RETURNS TABLE (request_id uuid, member_id text, state text, message text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    coupon record;
    -- Where the parts begin that are still to be tried, and how many rows each has; the next one stands last.
    begins integer[];
    sizes  integer[];
    first  integer;
    last   integer;
    step   integer;
    made   record;
    issued bigint := 0;
    high   bigint;
BEGIN
    SELECT coupon_id, valid_days INTO coupon FROM coupons WHERE coupon_code = code AND epoch = in_epoch;
    IF NOT FOUND THEN
        RETURN QUERY SELECT r.id, r.member, NULL::text, NULL::text FROM UNNEST(ids, members) AS r (id, member);
        RETURN;
    END IF;
    SELECT array_agg(begin ORDER BY begin DESC), array_agg(part) INTO begins, sizes
    FROM generate_series(1, cardinality(ids), part) AS begin;
    WHILE cardinality(begins) > 0 LOOP
        first := begins[cardinality(begins)];
        step := sizes[cardinality(sizes)];
        last := first + step - 1;
        begins := trim_array(begins, 1);
        sizes := trim_array(sizes, 1);
        BEGIN
            WITH inserted AS (
                INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, expires_at)
                SELECT coupon.coupon_id, r.id, r.member, 'ISSUED', in_epoch, r.seq, r.at,
                       r.at + make_interval(days => coupon.valid_days)
                FROM UNNEST(ids[first:last], members[first:last], seqs[first:last], times[first:last])
                     AS r (id, member, seq, at)
                ON CONFLICT DO NOTHING
                RETURNING request_id, member_id, seq
            )
            SELECT count(*) AS rows, max(seq) AS seq, array_agg(request_id) AS ids, array_agg(member_id) AS members
            INTO made FROM inserted;
            issued := issued + made.rows;
            high := greatest(high, made.seq);
            IF made.rows < cardinality(ids[first:last]) THEN
                RETURN QUERY
                SELECT r.id, r.member, NULL::text, NULL::text
                FROM UNNEST(ids[first:last], members[first:last]) AS r (id, member)
                WHERE (r.id, r.member) NOT IN (SELECT m.id, m.member FROM UNNEST(made.ids, made.members) AS m (id, member));
            END IF;
        EXCEPTION WHEN OTHERS THEN
            IF EXISTS (SELECT FROM UNNEST(not_theirs) AS prefix WHERE starts_with(SQLSTATE, prefix)) THEN
                RAISE;
            ELSIF step = 1 OR first = cardinality(ids) THEN
                RETURN QUERY SELECT ids[first], members[first], SQLSTATE, SQLERRM;
            ELSE
                -- What a slice holds beyond the end of the arrays is nothing.
                step := (step + 3) / 4;
                FOR number IN REVERSE 3..0 LOOP
                    IF first + number * step <= least(last, cardinality(ids)) THEN
                        begins := begins || first + number * step;
                        sizes := sizes || least(step, last - first - number * step + 1);
                    END IF;
                END LOOP;
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
