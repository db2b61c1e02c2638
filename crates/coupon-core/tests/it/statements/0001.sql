-- Every statement of the last build whose newest migration was 0001, in the order of its repository modules. Where
-- the driver named the type of a parameter, a cast does.

-- alarms.rs
SELECT id, status, coupon_code, cause, failed_issue_id, original_event_id, error_message
FROM dlq_events letter
WHERE NOT alarm_sent AND (status = 'COMPENSATED' OR NOT EXISTS (
    SELECT FROM alarm_causes
    WHERE alarm_key = concat_ws(' ', letter.status, coalesce(letter.coupon_code, '-'), letter.cause)
      AND announced_at > $2))
ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED;
UPDATE dlq_events SET alarm_sent = true, updated_at = $2 WHERE id = ANY($1);
INSERT INTO alarm_causes AS alarm (alarm_key, announced_at, announced_count) VALUES ($1, $2, $3)
ON CONFLICT (alarm_key) DO UPDATE
SET announced_at = excluded.announced_at, announced_count = alarm.announced_count + excluded.announced_count
WHERE alarm.announced_at <= $4
RETURNING true;

-- coupons.rs
SELECT * FROM coupons WHERE coupon_code = $1;
SELECT * FROM coupons ORDER BY coupon_id DESC;
INSERT INTO coupons (coupon_code, total_quantity, opens_at, closes_at, valid_days, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $6)
ON CONFLICT (coupon_code) DO NOTHING;
UPDATE coupons SET status = 'OPENING', epoch = epoch + 1, updated_at = $2
WHERE coupon_code = $1 AND status = 'DRAFT'
RETURNING *;
SELECT status FROM coupons WHERE coupon_code = $1 AND epoch = $2 AND status = ANY($3) FOR UPDATE;
UPDATE coupons SET status = $2, updated_at = $3 WHERE coupon_code = $1 RETURNING *;
UPDATE coupons
SET total_quantity = greatest(total_quantity, $2), total_version = total_version + 1, updated_at = $3
WHERE coupon_code = $1
RETURNING *;
UPDATE coupons SET total_quantity = $2
WHERE coupon_code = $1 AND total_version = $3 AND (NOT $4 OR status = 'DRAFT');
SELECT coupon_code, epoch, high_seq FROM coupons WHERE status = 'OPEN';
SELECT coupon_code, epoch FROM coupons WHERE status = 'SUSPECT';
INSERT INTO operator_audit (at, actor, verb, subject, change, reason) VALUES ($1, $2, $3, $4, $5, $6);

-- dead_letters.rs
SELECT * FROM dlq_events
WHERE ($1::text IS NULL OR status = $1) AND ($2::bigint IS NULL OR id < $2)
ORDER BY id DESC LIMIT $3;
SELECT * FROM dlq_events WHERE id = $1;
SELECT * FROM dlq_events
WHERE status = 'HELD' AND error_code = 'NEWER_VERSION' AND event_version <= $1 AND id > $2
ORDER BY id LIMIT $3;
UPDATE dlq_events SET status = $3, updated_at = $4 WHERE id = $1 AND status = $2;
INSERT INTO dlq_events
    (dlq_topic, dlq_partition, dlq_offset, dlq_timestamp_ms, origin_topic, origin_partition, origin_offset,
     original_event_type, original_event_id, coupon_code, member_id, event_version, record_key, payload, headers,
     error_class, error_code, cause, error_message, stack_trace, attempts,
     status, failed_issue_id, alarm_sent, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
        $25, $25)
ON CONFLICT (dlq_topic, dlq_partition, dlq_offset, dlq_timestamp_ms) DO UPDATE
SET status = excluded.status, failed_issue_id = excluded.failed_issue_id, attempts = excluded.attempts,
    error_class = excluded.error_class, error_code = excluded.error_code, cause = excluded.cause,
    error_message = excluded.error_message, stack_trace = excluded.stack_trace,
    alarm_sent = dlq_events.alarm_sent AND excluded.status IN ('HELD', 'PARKED') OR excluded.alarm_sent,
    updated_at = excluded.updated_at
-- Consumed again before its offset was committed: what was undecided may be decided by now.
WHERE dlq_events.status IN ('HELD', 'PARKED') AND dlq_events.status <> excluded.status;

-- failed_issues.rs
SELECT f.*, i.given_back_at
FROM failed_coupon_issues f
LEFT JOIN coupons c ON c.coupon_code = f.coupon_code
LEFT JOIN coupon_issues i ON i.coupon_id = c.coupon_id AND i.request_id = f.request_id;
UPDATE failed_coupon_issues SET status = $2, resolved_at = $3, resolved_by = $4, resolution = $5
WHERE id = $1 AND status = 'PENDING';
SELECT status FROM failed_coupon_issues WHERE id = $1;

-- give_backs.rs
SELECT c.coupon_code, i.member_id, i.request_id, i.superseded_by
FROM coupon_issues i JOIN coupons c USING (coupon_id)
WHERE i.decision = 'COMPENSATED' AND i.given_back_at IS NULL AND c.coupon_code <> ALL($2)
ORDER BY i.decided_at LIMIT $1;
UPDATE coupon_issues SET given_back_at = $3
FROM coupons
WHERE coupon_issues.coupon_id = coupons.coupon_id AND coupon_code = $1 AND request_id = $2
  AND decision = 'COMPENSATED' AND given_back_at IS NULL;
UPDATE coupon_issues SET given_back_at = NULL
FROM coupons
WHERE coupon_issues.coupon_id = coupons.coupon_id AND coupon_code = $1 AND request_id = $2
  AND decision = 'COMPENSATED';

-- give_ups.rs
INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, decided_at, superseded_by)
SELECT coupon_id, $2, $3, 'COMPENSATED', $4, $5, $6, $7, $8 FROM coupons WHERE coupon_code = $1
ON CONFLICT (coupon_id, request_id) DO NOTHING
RETURNING coupon_id;
INSERT INTO give_up_budgets (coupon_id, cause, tokens, refilled_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (coupon_id, cause) DO UPDATE SET tokens = excluded.tokens, refilled_at = excluded.refilled_at;
SELECT coupon_id FROM coupons WHERE coupon_code = $1 FOR NO KEY UPDATE;
UPDATE coupons SET status = 'SUSPECT', updated_at = $3
WHERE coupon_code = $1 AND epoch = $2 AND status <> 'SUSPECT';
SELECT decision FROM coupon_issues WHERE coupon_id = $1 AND request_id = $2;
SELECT tokens, refilled_at FROM give_up_budgets WHERE coupon_id = $1 AND cause = $2;
INSERT INTO failed_coupon_issues
    (coupon_code, member_id, request_id, status, error_class, error_code, reason, failed_at, resolved_at, resolved_by, resolution)
VALUES ($1, $2, $3, CASE WHEN $8::text IS NULL THEN 'PENDING' ELSE 'RESOLVED' END, $4, $5, $6, $7::timestamptz,
        CASE WHEN $8 IS NULL THEN NULL ELSE $7::timestamptz END, CASE WHEN $8 IS NULL THEN NULL ELSE 'dlq-consumer' END, $8)
RETURNING id;

-- issues.rs
SELECT coupon_id FROM coupons WHERE coupon_code = $1 FOR NO KEY UPDATE SKIP LOCKED;
SELECT decision, expires_at FROM coupon_issues JOIN coupons USING (coupon_id)
WHERE coupon_code = $1 AND request_id = $2 AND member_id = $3;
SELECT member_id, request_id FROM coupon_issues JOIN coupons USING (coupon_id)
WHERE coupon_code = $1 AND decision = 'ISSUED' AND ($2::uuid IS NULL OR request_id > $2)
ORDER BY request_id LIMIT $3;

-- issues/insert.rs
WITH coupon AS (
    SELECT coupon_id, valid_days FROM coupons WHERE coupon_code = $1 AND epoch = $2
), inserted AS (
    INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, expires_at)
    SELECT coupon.coupon_id, r.request_id, r.member_id, 'ISSUED', $2, r.seq, r.reserved_at,
           r.reserved_at + make_interval(days => coupon.valid_days)
    FROM coupon, UNNEST($3::uuid[], $4::text[], $5::bigint[], $6::timestamptz[]) AS r (request_id, member_id, seq, reserved_at)
    ORDER BY r.member_id, r.request_id
    ON CONFLICT DO NOTHING
    RETURNING request_id, member_id, seq
), tally AS (
    SELECT count(*) AS rows, max(seq) AS seq FROM inserted
), counted AS (
    UPDATE coupons SET issued_quantity = issued_quantity + tally.rows, high_seq = greatest(high_seq, tally.seq)
    FROM tally
    WHERE coupon_code = $1 AND epoch = $2 AND tally.rows > 0
    RETURNING coupon_id
)
-- A rebuild may have moved the epoch while this statement waited for the counter: then nothing may stay.
SELECT request_id, member_id, CASE WHEN NOT EXISTS (SELECT FROM counted) THEN coupon_guard_failed('epoch') END AS guard
FROM inserted;
INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, expires_at)
SELECT c.coupon_id, r.request_id, r.member_id, 'ISSUED', $2, r.seq, r.reserved_at, r.reserved_at + make_interval(days => c.valid_days)
FROM coupons c, UNNEST($3::uuid[], $4::text[], $5::bigint[], $6::timestamptz[]) AS r (request_id, member_id, seq, reserved_at)
WHERE c.coupon_code = $1
  AND NOT EXISTS (SELECT FROM coupon_issues own WHERE own.coupon_id = c.coupon_id AND own.request_id = r.request_id)
  AND NOT EXISTS (SELECT FROM coupon_issues held
                  WHERE held.coupon_id = c.coupon_id AND held.member_id = r.member_id AND held.decision = 'ISSUED')
ORDER BY r.member_id, r.request_id
LIMIT $7
ON CONFLICT DO NOTHING
RETURNING seq;
SELECT total_quantity - issued_quantity FROM coupons WHERE coupon_code = $1 AND epoch = $2 FOR NO KEY UPDATE;
UPDATE coupons SET issued_quantity = issued_quantity + $2, high_seq = greatest(high_seq, $3) WHERE coupon_code = $1;

-- issues/look_up.rs
SELECT r.request_id, r.member_id, c.epoch, own.decision, own.member_id AS decided_for, holder.request_id AS held_by
FROM UNNEST($2::uuid[], $3::text[]) AS r (request_id, member_id)
LEFT JOIN coupons c ON c.coupon_code = $1
LEFT JOIN coupon_issues own ON own.coupon_id = c.coupon_id AND own.request_id = r.request_id
LEFT JOIN coupon_issues holder
       ON holder.coupon_id = c.coupon_id AND holder.member_id = r.member_id AND holder.decision = 'ISSUED';

-- pool.rs
INSERT INTO write_probe (probed_at) VALUES (now())
ON CONFLICT (only_row) DO UPDATE SET probed_at = excluded.probed_at;
SELECT transaction_timestamp() = statement_timestamp();

-- schema.rs
SELECT to_regclass('_sqlx_migrations') IS NOT NULL;
SELECT max(version) FROM _sqlx_migrations WHERE success;
SELECT oldest_binary FROM schema_compatibility;
