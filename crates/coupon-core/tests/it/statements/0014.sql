-- Every statement of the build whose newest migration was 0014 (commit 6c80ce0), by repository module: those of 0009.sql, brought up
-- to date from the source. Without SET, and without those of `migrate` itself. Where the driver named the type of a parameter, a
-- cast does, and the key of `replays`, a uuid written as text, is one here. A parameter that a statement does not use is left out.

-- alarms.rs
WITH RECURSIVE unsent (cause) AS (
    (SELECT cause FROM dlq_events WHERE NOT alarm_sent ORDER BY cause LIMIT 1)
    UNION ALL
    SELECT (SELECT d.cause FROM dlq_events d WHERE NOT d.alarm_sent AND d.cause > unsent.cause ORDER BY d.cause LIMIT 1)
    FROM unsent WHERE unsent.cause IS NOT NULL
), causes AS (
    SELECT cause FROM unsent WHERE cause IS NOT NULL
    UNION ALL
    SELECT cause FROM alarm_notices WHERE NOT alarm_sent
)
SELECT causes.cause FROM causes LEFT JOIN alarm_causes alarm ON alarm.alarm_key = causes.cause
WHERE alarm.alarm_key IS NULL
   OR alarm.announced_at <= $1 AND (alarm.claimed_until IS NULL OR alarm.claimed_until <= $2)
LIMIT $3;
UPDATE alarm_causes SET claimed_until = $4, claimed_by = $5
WHERE alarm_key = (
    SELECT alarm_key FROM alarm_causes
    WHERE alarm_key = ANY($1) AND announced_at <= $2 AND (claimed_until IS NULL OR claimed_until <= $3)
    ORDER BY alarm_key LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING alarm_key, shown, announced_at, announced_count;
UPDATE dlq_events SET alarm_sent = true WHERE id = ANY($1) AND NOT alarm_sent;
UPDATE alarm_notices SET alarm_sent = true WHERE id = $1 AND NOT alarm_sent;
UPDATE alarm_causes SET announced_at = greatest(announced_at, $2), announced_count = announced_count + $3,
    all_clear_due = all_clear_due OR $6, shown = $7,
    claimed_until = CASE WHEN $4 AND claimed_by = $5 THEN NULL ELSE claimed_until END,
    claimed_by = CASE WHEN $4 AND claimed_by = $5 THEN NULL ELSE claimed_by END
WHERE alarm_key = $1;
UPDATE alarm_causes SET claimed_until = $3, claimed_by = NULL WHERE alarm_key = $1 AND claimed_by = $2;
SELECT (SELECT count(*) FROM dlq_events WHERE NOT alarm_sent)
+ (SELECT count(*) FROM alarm_notices WHERE NOT alarm_sent);
SELECT count(*) FROM dlq_events d JOIN alarm_causes alarm ON alarm.alarm_key = d.cause
WHERE NOT d.alarm_sent AND alarm.announced_at > $1;
INSERT INTO alarm_causes (alarm_key, announced_at, announced_count)
SELECT cause, to_timestamp(0), 0 FROM unnest($1::text[]) AS causes (cause) ORDER BY cause
ON CONFLICT (alarm_key) DO NOTHING;

-- alarms/all_clear.rs
UPDATE alarm_causes SET all_clear_due = false, claimed_until = NULL, claimed_by = NULL
WHERE alarm_key = $1 AND claimed_by = $2;
SELECT EXISTS (SELECT FROM alarm_causes a WHERE
a.all_clear_due AND a.announced_at <= $1 AND (a.claimed_until IS NULL OR a.claimed_until <= $2)
AND NOT EXISTS (SELECT FROM dlq_events d WHERE d.cause = a.alarm_key AND d.status IN ('HELD', 'PARKED'))
AND NOT EXISTS (SELECT FROM failed_coupon_issues f WHERE f.cause = a.alarm_key AND f.status = 'PENDING')
AND NOT EXISTS (SELECT FROM dlq_events d WHERE d.cause = a.alarm_key AND NOT d.alarm_sent)
AND NOT EXISTS (SELECT FROM alarm_notices n WHERE n.cause = a.alarm_key AND NOT n.alarm_sent)
AND NOT ((a.alarm_key LIKE 'SUSPECT %' OR a.alarm_key LIKE 'LOST %') AND (EXISTS
         (SELECT FROM coupons c WHERE c.coupon_code = split_part(a.alarm_key, ' ', 2) AND c.status IN ('SUSPECT', 'OPENING'))
         OR EXISTS (SELECT FROM rebuilds r WHERE r.coupon_code = split_part(a.alarm_key, ' ', 2) AND r.step <> 'DONE')))
AND NOT (a.alarm_key LIKE 'LOST %' AND EXISTS (
         SELECT FROM coupons c WHERE c.coupon_code = substr(a.alarm_key, 6) AND c.archived_at IS NULL AND NOT EXISTS (
             SELECT FROM rebuilds r JOIN operator_audit o ON o.subject = 'coupons/' || r.coupon_code
             WHERE r.coupon_code = c.coupon_code AND o.verb = 'rebuild.epoch' AND o.at BETWEEN r.started_at AND r.finished_at
             AND r.finished_at >= coalesce((SELECT max(n.created_at) FROM alarm_notices n WHERE n.cause = a.alarm_key),
                                           a.announced_at))))
AND NOT (a.alarm_key LIKE 'DRIFT %' AND NOT EXISTS
         (SELECT FROM coupons c WHERE c.coupon_code = substr(a.alarm_key, 7) AND c.archived_at IS NOT NULL) AND coalesce(
         (SELECT r.finished_at < a.announced_at OR r.drift <> '{}' OR r.in_flight > 0 FROM reconciliations r
          WHERE r.coupon_code = substr(a.alarm_key, 7) ORDER BY r.id DESC LIMIT 1), true)));
UPDATE alarm_causes SET claimed_until = $3, claimed_by = $4
WHERE alarm_key = (SELECT a.alarm_key FROM alarm_causes a WHERE
    a.all_clear_due AND a.announced_at <= $1 AND (a.claimed_until IS NULL OR a.claimed_until <= $2)
    AND NOT EXISTS (SELECT FROM dlq_events d WHERE d.cause = a.alarm_key AND d.status IN ('HELD', 'PARKED'))
    AND NOT EXISTS (SELECT FROM failed_coupon_issues f WHERE f.cause = a.alarm_key AND f.status = 'PENDING')
    AND NOT EXISTS (SELECT FROM dlq_events d WHERE d.cause = a.alarm_key AND NOT d.alarm_sent)
    AND NOT EXISTS (SELECT FROM alarm_notices n WHERE n.cause = a.alarm_key AND NOT n.alarm_sent)
    AND NOT ((a.alarm_key LIKE 'SUSPECT %' OR a.alarm_key LIKE 'LOST %') AND (EXISTS
             (SELECT FROM coupons c WHERE c.coupon_code = split_part(a.alarm_key, ' ', 2) AND c.status IN ('SUSPECT', 'OPENING'))
             OR EXISTS (SELECT FROM rebuilds r WHERE r.coupon_code = split_part(a.alarm_key, ' ', 2) AND r.step <> 'DONE')))
    AND NOT (a.alarm_key LIKE 'LOST %' AND EXISTS (
             SELECT FROM coupons c WHERE c.coupon_code = substr(a.alarm_key, 6) AND c.archived_at IS NULL AND NOT EXISTS (
                 SELECT FROM rebuilds r JOIN operator_audit o ON o.subject = 'coupons/' || r.coupon_code
                 WHERE r.coupon_code = c.coupon_code AND o.verb = 'rebuild.epoch' AND o.at BETWEEN r.started_at AND r.finished_at
                 AND r.finished_at >= coalesce((SELECT max(n.created_at) FROM alarm_notices n WHERE n.cause = a.alarm_key),
                                               a.announced_at))))
    AND NOT (a.alarm_key LIKE 'DRIFT %' AND NOT EXISTS
             (SELECT FROM coupons c WHERE c.coupon_code = substr(a.alarm_key, 7) AND c.archived_at IS NOT NULL) AND coalesce(
             (SELECT r.finished_at < a.announced_at OR r.drift <> '{}' OR r.in_flight > 0 FROM reconciliations r
              WHERE r.coupon_code = substr(a.alarm_key, 7) ORDER BY r.id DESC LIMIT 1), true)) ORDER BY a.alarm_key LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING alarm_key, shown, announced_at, announced_count;

-- alarms/channels.rs
SELECT channel, down_since, not_before, last_error FROM alarm_channels;
INSERT INTO alarm_channels AS known (channel, down_since, not_before, last_error) VALUES ($1, $2, $3, $4)
ON CONFLICT (channel) DO UPDATE
SET down_since = coalesce(known.down_since, excluded.down_since), last_error = excluded.last_error,
    not_before = greatest(known.not_before, excluded.not_before)
RETURNING channel, down_since, not_before, last_error;
UPDATE alarm_channels SET down_since = NULL, not_before = NULL, last_error = NULL
WHERE channel = $1 AND down_since IS NOT NULL;

-- alarms/group.rs
SELECT status, coupon_code, array_agg(id ORDER BY id) AS ids, min(created_at) AS first_at,
       max(created_at) AS last_at
FROM (SELECT id, status, coupon_code, created_at FROM dlq_events
      WHERE cause = $1 AND NOT alarm_sent ORDER BY id LIMIT $2) unsent
GROUP BY status, coupon_code;
SELECT * FROM alarm_notices WHERE cause = $1 AND NOT alarm_sent;

-- alarms/notices.rs
INSERT INTO alarm_notices (cause, coupon_code, message, command, created_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (cause) WHERE NOT alarm_sent
DO UPDATE SET created_at = greatest(alarm_notices.created_at, excluded.created_at);

-- alarms/shown.rs
WITH RECURSIVE unsent (cause) AS (
    (SELECT cause FROM dlq_events WHERE NOT alarm_sent ORDER BY cause LIMIT 1)
    UNION ALL
    SELECT (SELECT d.cause FROM dlq_events d WHERE NOT d.alarm_sent AND d.cause > unsent.cause ORDER BY d.cause LIMIT 1)
    FROM unsent WHERE unsent.cause IS NOT NULL
)
SELECT cause,
       (SELECT count(*) FROM (SELECT FROM dlq_events d WHERE d.cause = causes.cause AND NOT d.alarm_sent LIMIT 1001) capped)
           AS count, first.created_at AS first_at
FROM (SELECT cause FROM unsent WHERE cause IS NOT NULL LIMIT $1) causes
CROSS JOIN LATERAL (SELECT d.created_at FROM dlq_events d WHERE d.cause = causes.cause AND NOT d.alarm_sent
    ORDER BY d.id LIMIT 1) first;
SELECT coalesce(shown, alarm_key) AS cause, announced_at, announced_count FROM alarm_causes
WHERE all_clear_due ORDER BY announced_at DESC, alarm_key LIMIT $1;
SELECT id, cause, coupon_code, message, command, created_at, alarm_sent FROM alarm_notices
ORDER BY id DESC LIMIT $1;

-- audit.rs
SELECT id, at, actor, verb, subject, change, reason, provenance FROM operator_audit
WHERE ($1::text IS NULL OR subject = $1 OR starts_with(subject, $1 || '/'))
  AND ($2::text IS NULL OR actor = $2) AND ($3::text IS NULL OR verb = $3)
  AND ($4::bigint IS NULL OR id < $4)
  AND ($6::timestamptz IS NULL OR at >= $6) AND ($7::timestamptz IS NULL OR at < $7)
ORDER BY id DESC LIMIT $5;
SELECT * FROM operator_audit WHERE subject = $1 ORDER BY id DESC LIMIT 100;
INSERT INTO operator_audit (at, actor, verb, subject, change, reason, provenance) VALUES ($1, $2, $3, $4, $5, $6, $7);

-- coupon_decision_batches.rs
WITH page AS MATERIALIZED (
    SELECT first_no, request_ids FROM coupon_decision_batches
    WHERE coupon_id = $1 AND first_no <= $3 AND first_no >= coalesce(
        (SELECT max(first_no) FROM coupon_decision_batches WHERE coupon_id = $1 AND first_no <= $2), 0)
), numbered AS MATERIALIZED (
    SELECT page.first_no + r.place - 1 AS number, r.request_id
    FROM page CROSS JOIN LATERAL UNNEST(page.request_ids) WITH ORDINALITY AS r (request_id, place)
)
SELECT n.number, i.request_id, i.member_id, i.decision, i.epoch, i.reserved_at, i.decided_at, i.expires_at,
       i.superseded_by
FROM numbered n JOIN coupon_issues i ON i.coupon_id = $1 AND i.request_id = n.request_id
WHERE n.number BETWEEN $2 AND $3
ORDER BY n.number;
SELECT coupon_id, decision_no AS last,
       (SELECT min(first_no) FROM coupon_decision_batches b WHERE b.coupon_id = c.coupon_id) AS first_kept
FROM coupons c WHERE coupon_code = $1;

-- coupon_decision_batches/later.rs
SELECT decision_no AS last,
       (SELECT count(*) FROM coupon_issues i WHERE i.coupon_id = c.coupon_id) AS decisions
FROM coupons c WHERE coupon_code = $1;
INSERT INTO coupon_decision_marks AS m (coupon_id, complete_before)
SELECT coupon_id, $2 FROM coupons WHERE coupon_code = $1
ON CONFLICT (coupon_id) DO UPDATE SET complete_before = greatest(m.complete_before, excluded.complete_before);
WITH campaign AS (
    SELECT coupon_id, decision_no, coalesce(complete_before, '-infinity') AS complete_before
    FROM coupons LEFT JOIN coupon_decision_marks USING (coupon_id) WHERE coupon_code = $1
), numbered AS (
    SELECT UNNEST(request_ids) AS request_id FROM coupon_decision_batches JOIN campaign USING (coupon_id)
)
SELECT campaign.decision_no, i.request_id, i.decision, i.epoch
FROM campaign JOIN coupon_issues i USING (coupon_id)
WHERE i.decided_at >= complete_before
  AND NOT EXISTS (SELECT FROM numbered WHERE numbered.request_id = i.request_id)
ORDER BY i.decided_at, i.decision, i.epoch, i.request_id LIMIT $2;
SELECT coupon_id, decision_no FROM coupons WHERE coupon_code = $1 FOR NO KEY UPDATE;
SELECT EXISTS (SELECT FROM coupon_decision_batches WHERE coupon_id = $1 AND first_no > $2 AND request_ids && $3);
WITH raised AS (
    UPDATE coupons SET decision_no = decision_no + cardinality($4::uuid[]) WHERE coupon_id = $1 RETURNING decision_no
), numbered AS (
    INSERT INTO coupon_decision_batches (coupon_id, first_no, decision, epoch, request_ids, decided_at)
    SELECT $1, decision_no - cardinality($4) + 1, $2, $3, $4, now() FROM raised
)
SELECT decision_no FROM raised;

-- coupon_decision_batches/marks.rs
SELECT c.coupon_id, c.coupon_code, c.decision_no, coalesce(m.relayed_to, 0) AS relayed_to,
       greatest(coalesce(extract(epoch FROM clock_timestamp() - first.decided_at)::float8, 0), 0) AS oldest_seconds,
       coalesce(m.owner = $1 OR m.owned_until < clock_timestamp(), true) AS is_free
FROM coupons c LEFT JOIN coupon_decision_marks m USING (coupon_id)
LEFT JOIN LATERAL (
    SELECT decided_at FROM coupon_decision_batches b
    WHERE b.coupon_id = c.coupon_id AND b.first_no <= coalesce(m.relayed_to, 0) + 1
    ORDER BY b.first_no DESC LIMIT 1) first ON true
WHERE c.decision_no > coalesce(m.relayed_to, 0)
ORDER BY c.coupon_id;
INSERT INTO coupon_decision_marks AS m (coupon_id, owner, owned_until)
VALUES ($1, $2, clock_timestamp() + $3 * interval '1 second')
ON CONFLICT (coupon_id) DO UPDATE SET owner = excluded.owner, owned_until = excluded.owned_until
WHERE coalesce(m.owner = excluded.owner OR m.owned_until < clock_timestamp(), true)
RETURNING relayed_to;
UPDATE coupon_decision_marks
SET relayed_to = $4, relayed_at = clock_timestamp(), owned_until = clock_timestamp() + $5 * interval '1 second'
WHERE coupon_id = $1 AND owner = $2 AND relayed_to = $3 AND $4 > $3;
UPDATE coupon_decision_marks SET owner = NULL, owned_until = NULL WHERE owner = $1;

-- coupon_issues.rs
SELECT member_id, request_id FROM coupon_issues
WHERE coupon_id = (SELECT coupon_id FROM coupons WHERE coupon_code = $1)
  AND request_id > $2 AND decision = 'ISSUED'
ORDER BY request_id LIMIT $3;

-- coupon_issues/compensate.rs
INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, decided_at, superseded_by)
SELECT coupon_id, $2, $3, 'COMPENSATED', $4, $5, $6, $7, $8 FROM coupons WHERE coupon_code = $1
ON CONFLICT (coupon_id, request_id) DO NOTHING
RETURNING coupon_id;
WITH raised AS (
    UPDATE coupons SET decision_no = decision_no + 1 WHERE coupon_id = $1 RETURNING coupon_id, decision_no
)
INSERT INTO coupon_decision_batches (coupon_id, first_no, decision, epoch, request_ids, decided_at)
SELECT coupon_id, decision_no, 'COMPENSATED', $2, ARRAY[$3::uuid], $4 FROM raised;
INSERT INTO give_up_budgets (coupon_id, cause, tokens, refilled_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (coupon_id, cause) DO UPDATE SET tokens = excluded.tokens, refilled_at = excluded.refilled_at;
SELECT coupon_id FROM coupons WHERE coupon_code = $1 FOR NO KEY UPDATE;
UPDATE coupons c SET status = CASE WHEN c.status = 'OPEN' THEN 'SUSPECT' ELSE c.status END, updated_at = $3
FROM coupons before
WHERE c.coupon_code = $1 AND c.epoch = $2 AND before.coupon_id = c.coupon_id RETURNING before.status, c.status;
SELECT decision FROM coupon_issues WHERE coupon_id = $1 AND request_id = $2;
SELECT tokens, refilled_at FROM give_up_budgets WHERE coupon_id = $1 AND cause = $2;
INSERT INTO failed_coupon_issues
    (coupon_code, member_id, request_id, status, error_class, error_code, reason, failed_at, resolved_at, resolved_by, resolution,
     cause, replay_of, decided_by_hand)
VALUES ($1, $2, $3, CASE WHEN $8::text IS NULL THEN 'PENDING' ELSE 'RESOLVED' END, $4, $5, $6, $7::timestamptz,
        CASE WHEN $8 IS NULL THEN NULL ELSE $7 END, CASE WHEN $8 IS NULL THEN NULL ELSE coalesce($11, 'dlq-consumer') END, $8, $9, $10,
        $11 IS NOT NULL)
RETURNING id;

-- coupon_issues/details.rs
SELECT member_id, request_id, reserved_at, decided_at, expires_at FROM coupon_issues
WHERE coupon_id = (SELECT coupon_id FROM coupons WHERE coupon_code = $1) AND decision = 'ISSUED'
  AND ($2::text IS NULL OR member_id > $2)
ORDER BY member_id LIMIT $3;
SELECT c.coupon_code, i.member_id, i.request_id, i.decision, i.reserved_at, i.decided_at, i.expires_at, i.superseded_by,
       i.given_back_at
FROM coupons c JOIN coupon_issues i ON i.coupon_id = c.coupon_id WHERE i.request_id = $1 ORDER BY c.coupon_id;
SELECT c.coupon_code, i.member_id, i.request_id, i.decision, i.reserved_at, i.decided_at, i.expires_at, i.superseded_by,
       i.given_back_at
FROM coupons c JOIN coupon_issues i ON i.coupon_id = c.coupon_id WHERE i.member_id = $1 ORDER BY i.reserved_at DESC LIMIT $2;

-- coupon_issues/give_backs.rs
SELECT c.coupon_code, i.member_id, i.request_id, i.superseded_by
FROM coupon_issues i JOIN coupons c USING (coupon_id)
WHERE i.decision = 'COMPENSATED' AND i.given_back_at IS NULL AND c.coupon_code <> ALL($2)
ORDER BY i.decided_at LIMIT $1;
WITH noted AS (
    UPDATE coupon_issues SET given_back_at = $3
    FROM coupons
    WHERE coupon_issues.coupon_id = coupons.coupon_id AND coupon_code = $1 AND request_id = $2
      AND decision = 'COMPENSATED' AND given_back_at IS NULL
    RETURNING superseded_by
), told AS (
    INSERT INTO campaign_events (kind, coupon_code, data, once, occurred_at)
    SELECT 'unit_returned', $1, jsonb_build_object('request_id', $2::text), 'unit_returned/' || $2::text, $3
    FROM noted WHERE superseded_by IS NULL
    ON CONFLICT (once) DO NOTHING
)
SELECT count(*) = 1 FROM noted;
UPDATE coupon_issues SET given_back_at = NULL
FROM coupons
WHERE coupon_issues.coupon_id = coupons.coupon_id AND coupon_code = $1 AND request_id = $2
  AND decision = 'COMPENSATED';

-- coupon_issues/insert.rs
WITH coupon AS (
    SELECT coupon_id, valid_days FROM coupons WHERE coupon_code = $1 AND epoch = $2
), inserted AS (
    INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, expires_at)
    SELECT coupon.coupon_id, r.request_id, r.member_id, 'ISSUED', $2, r.seq, least(r.reserved_at, now()),
           least(r.reserved_at, now()) + make_interval(days => coupon.valid_days)
    FROM coupon, UNNEST($3::uuid[], $4::text[], $5::bigint[], $6::timestamptz[]) AS r (request_id, member_id, seq, reserved_at)
    RETURNING request_id, seq
), counted_rows AS (
    SELECT count(*) AS rows, max(seq) AS seq, array_agg(request_id) AS request_ids FROM inserted
), raised AS (
    UPDATE coupons SET issued_quantity = issued_quantity + counted_rows.rows, high_seq = greatest(high_seq, counted_rows.seq),
        decision_no = decision_no + counted_rows.rows
    FROM counted_rows
    WHERE coupon_code = $1 AND epoch = $2 AND counted_rows.rows > 0
    RETURNING coupon_id, decision_no
), numbered AS (
    INSERT INTO coupon_decision_batches (coupon_id, first_no, decision, epoch, request_ids, decided_at)
    SELECT coupon_id, decision_no - rows + 1, 'ISSUED', $2, request_ids, now() FROM raised, counted_rows
)
SELECT rows, CASE WHEN rows > 0 AND NOT EXISTS (SELECT FROM raised) THEN coupon_guard_failed('epoch') END FROM counted_rows;
SELECT what, place, next_part, state, message, constraint_name, table_name, column_name
FROM coupon_issue_parts($1, $2, $3, $4, $5,
    ARRAY(SELECT least(time, now()) FROM UNNEST($6::timestamptz[]) WITH ORDINALITY AS t (time, place) ORDER BY place), $7, $8, $9);
INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, expires_at)
SELECT c.coupon_id, r.request_id, r.member_id, 'ISSUED', $2, r.seq, least(r.reserved_at, now()),
       least(r.reserved_at, now()) + make_interval(days => c.valid_days)
FROM coupons c, UNNEST($3::uuid[], $4::text[], $5::bigint[], $6::timestamptz[]) AS r (request_id, member_id, seq, reserved_at)
WHERE c.coupon_code = $1
  AND NOT EXISTS (SELECT FROM coupon_issues own WHERE own.coupon_id = c.coupon_id AND own.request_id = r.request_id)
  AND NOT EXISTS (SELECT FROM coupon_issues held
                  WHERE held.coupon_id = c.coupon_id AND held.member_id = r.member_id AND held.decision = 'ISSUED')
ORDER BY r.member_id COLLATE "C", r.request_id
LIMIT $7
ON CONFLICT DO NOTHING
RETURNING request_id, seq;
WITH raised AS (
    UPDATE coupons SET issued_quantity = issued_quantity + cardinality($3::uuid[]), high_seq = greatest(high_seq, $4),
        decision_no = decision_no + cardinality($3)
    WHERE coupon_code = $1 RETURNING coupon_id, decision_no
)
INSERT INTO coupon_decision_batches (coupon_id, first_no, decision, epoch, request_ids, decided_at)
SELECT coupon_id, decision_no - cardinality($3) + 1, 'ISSUED', $2, $3, now() FROM raised;
SELECT total_quantity - issued_quantity FROM coupons WHERE coupon_code = $1 AND epoch = $2 FOR NO KEY UPDATE;

-- coupon_issues/look_up.rs
SELECT r.request_id, r.member_id, c.epoch, own.decision, own.member_id AS decided_for, holder.request_id AS held_by
FROM UNNEST($2::uuid[], $3::text[]) AS r (request_id, member_id)
LEFT JOIN coupons c ON c.coupon_code = $1
LEFT JOIN coupon_issues own ON own.coupon_id = c.coupon_id AND own.request_id = r.request_id
LEFT JOIN coupon_issues holder
       ON holder.coupon_id = c.coupon_id AND holder.member_id = r.member_id AND holder.decision = 'ISSUED';

-- coupon_issues/of_coupon.rs
SELECT seq, member_id, request_id, decision, reserved_at, decided_at, expires_at FROM coupon_issues
WHERE coupon_id = (SELECT coupon_id FROM coupons WHERE coupon_code = $1) AND request_id > $2
  AND decided_at < coalesce($3::timestamptz, 'infinity') AND ($4::text IS NULL OR decision = $4)
ORDER BY request_id LIMIT $5;
SELECT (SELECT count(*) FROM (SELECT FROM failed_coupon_issues WHERE coupon_code = $1 LIMIT $2) f) AS compensated,
       (SELECT count(*) FROM (SELECT FROM failed_coupon_issues
        WHERE coupon_code = $1 AND status = 'PENDING' LIMIT $2) f) AS pending,
       (SELECT count(*) FROM (SELECT FROM coupon_issues i WHERE i.coupon_id = c.coupon_id
        AND i.decision = 'COMPENSATED' AND i.given_back_at IS NULL LIMIT $2) i) AS give_backs_due,
       (SELECT count(*) FROM (SELECT FROM dlq_events
        WHERE status IN ('HELD', 'PARKED') AND coupon_code = $1 LIMIT $2) d) AS held,
       last.reserved_at AS last_reserved_at, last.seq AS last_seq
FROM coupons c LEFT JOIN LATERAL (
    SELECT reserved_at, seq FROM (
        SELECT reserved_at, seq FROM coupon_issues i
        WHERE i.coupon_id = c.coupon_id AND i.decision = 'ISSUED' ORDER BY request_id DESC LIMIT 100) newest
    ORDER BY reserved_at DESC LIMIT 1) last ON true
WHERE c.coupon_code = $1;

-- coupon_issues/of_member.rs
SELECT request_id, decision, expires_at FROM coupon_issues
WHERE coupon_id = (SELECT coupon_id FROM coupons WHERE coupon_code = $1)
  AND member_id = $2 AND decision = 'ISSUED'
UNION ALL
SELECT request_id, decision, expires_at FROM coupon_issues
WHERE coupon_id = (SELECT coupon_id FROM coupons WHERE coupon_code = $1)
  AND request_id = $3 AND member_id = $2 AND decision = 'COMPENSATED';
WITH page AS MATERIALIZED (
    SELECT coupon_id, request_id, member_id, decision, expires_at FROM coupon_issues
    WHERE member_id = $1 AND request_id < $2 ORDER BY request_id DESC LIMIT $3)
SELECT coupon_code, page.request_id, page.decision, page.expires_at,
       issued.request_id AS issued_by, issued.expires_at AS issued_until
FROM page JOIN coupons USING (coupon_id)
LEFT JOIN coupon_issues issued
       ON page.decision = 'COMPENSATED' AND issued.coupon_id = page.coupon_id
          AND issued.member_id = page.member_id AND issued.decision = 'ISSUED'
ORDER BY page.request_id DESC;

-- coupons.rs
SELECT * FROM coupons WHERE coupon_code = $1;
SELECT * FROM coupons ORDER BY coupon_id DESC;
INSERT INTO coupons
    (coupon_code, total_quantity, opens_at, closes_at, valid_days, created_at, updated_at, admission_required)
VALUES ($1, $2, $3, $4, $5, $6, $6, $7)
ON CONFLICT (coupon_code) DO NOTHING;
SELECT coupon_id FROM coupons WHERE coupon_code = $1 FOR UPDATE;
DELETE FROM coupons c
WHERE coupon_code = $1 AND status = 'DRAFT' AND epoch = 0
  AND NOT EXISTS (SELECT FROM coupon_issues i WHERE i.coupon_id = c.coupon_id)
RETURNING total_quantity;
SELECT coupon_code, epoch, high_seq FROM coupons
WHERE status IN ('OPEN', 'SUSPECT', 'CLOSED') AND archived_at IS NULL;
SELECT coupon_code, epoch FROM coupons WHERE status = 'SUSPECT';
SELECT coupon_id FROM coupons WHERE coupon_code = $1 FOR NO KEY UPDATE SKIP LOCKED;
SELECT coupon_code FROM coupons WHERE epoch > 0 AND archived_at IS NULL ORDER BY coupon_id DESC LIMIT $1;
SELECT * FROM coupons WHERE coupon_code = $1 FOR NO KEY UPDATE;

-- coupons/admission.rs
SELECT coupon_code, admission_required FROM coupons
WHERE archived_at IS NULL AND (admission_required OR $1);
UPDATE coupons SET admission_required = $2, updated_at = $3 WHERE coupon_code = $1 RETURNING *;

-- coupons/archive.rs
UPDATE coupons SET archived_at = $3, epoch = epoch + 1, updated_at = $3
WHERE coupon_code = $1 AND epoch = $2 AND status = 'CLOSED' AND archived_at IS NULL;

-- coupons/pages.rs
SELECT * FROM coupons
WHERE coupon_id < coalesce((SELECT coupon_id FROM coupons WHERE coupon_code = $1), 9223372036854775807)
ORDER BY coupon_id DESC LIMIT $2;
SELECT c.*, last.reserved_at AS sold_out_at, last.seq AS last_seq, closed.at AS closed_at
FROM (SELECT * FROM coupons c
      WHERE NOT EXISTS (SELECT FROM coupon_issues i WHERE i.member_id = $1 AND i.coupon_id = c.coupon_id)
      ORDER BY coupon_id DESC LIMIT $2) c
LEFT JOIN LATERAL (
    SELECT reserved_at, seq FROM (
        SELECT reserved_at, seq FROM coupon_issues i
        WHERE i.coupon_id = c.coupon_id AND i.decision = 'ISSUED' ORDER BY request_id DESC LIMIT 100) newest
    ORDER BY reserved_at DESC LIMIT 1) last ON c.issued_quantity >= c.total_quantity
LEFT JOIN LATERAL (
    SELECT at FROM operator_audit
    WHERE subject = 'coupons/' || c.coupon_code AND verb = 'coupon.status' AND change ->> 'to' = 'CLOSED'
    ORDER BY id DESC LIMIT 1) closed ON c.status = 'CLOSED'
ORDER BY c.coupon_id DESC;

-- coupons/status.rs
UPDATE coupons SET status = 'OPENING', epoch = epoch + 1, updated_at = $2
WHERE coupon_code = $1 AND status = 'DRAFT'
RETURNING *;
UPDATE coupons SET status = $2, updated_at = $3 WHERE coupon_code = $1 RETURNING *;

-- coupons/totals.rs
WITH before AS (
    SELECT coupon_id, total_quantity FROM coupons WHERE coupon_code = $1 FOR NO KEY UPDATE
), settled AS (
    UPDATE coupons c SET total_quantity = $2 FROM before b
    WHERE c.coupon_id = b.coupon_id AND c.total_version = $3 AND (NOT $4 OR c.status = 'DRAFT') AND $5::text IS NULL
    RETURNING b.total_quantity AS was
), audited AS (
    INSERT INTO operator_audit (at, actor, verb, subject, change, reason, provenance)
    SELECT $6, $7, 'coupon.set-total', 'coupons/' || $1,
           CASE WHEN EXISTS (SELECT FROM settled)
                THEN jsonb_build_object('from', jsonb_build_object('total', b.total_quantity),
                                        'to', jsonb_build_object('total', $2, 'version', $3))
                ELSE jsonb_build_object('asked', jsonb_build_object('total', $2, 'version', $3),
                                        'refused', coalesce($5, 'SUPERSEDED')) END, $8, $9
    FROM before b WHERE NOT EXISTS (SELECT FROM settled WHERE was = $2)
)
SELECT EXISTS (SELECT FROM settled);
UPDATE coupons
SET total_quantity = greatest(total_quantity, $2), total_version = total_version + 1, updated_at = $3
WHERE coupon_code = $1
RETURNING *;

-- coupons/windows.rs
UPDATE coupons
SET opens_at = $2, closes_at = $3, valid_days = $4, window_version = window_version + 1, updated_at = $5
WHERE coupon_code = $1 RETURNING *;

-- dlq_events.rs
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
WHERE dlq_events.status IN ('HELD', 'PARKED') AND dlq_events.status <> excluded.status;

-- dlq_events/held.rs
SELECT * FROM dlq_events
WHERE status = 'HELD' AND error_code = 'NEWER_VERSION' AND event_version <= $1 AND id > $2
ORDER BY id LIMIT $3;
UPDATE dlq_events SET status = $2, updated_at = $3 WHERE id = $1 AND status IN ('HELD', 'PARKED');
SELECT f.* FROM dlq_events f
         WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.original_event_id = ($6 ->> 'request_id')::uuid)
AND $6 ->> 'claimed_by' IS NULL AND $6 ->> 'replayed' IS NULL
AND ($7::timestamptz IS NULL OR f.created_at >= $7) AND ($8::timestamptz IS NULL OR f.created_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(f.cause), lower($5)) > 0 OR strpos(lower(f.error_message), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.error_message), lower($6 ->> 'reason')) > 0) AND f.status IN ('HELD', 'PARKED') AND f.id > $10 ORDER BY f.id LIMIT $11;

-- dlq_events/rows.rs
SELECT * FROM dlq_events WHERE id = $1;
SELECT * FROM dlq_events WHERE original_event_id = $1 ORDER BY id LIMIT 100;
SELECT original_event_id, bool_or(status IN ('HELD', 'PARKED')) FROM dlq_events
WHERE original_event_id = ANY($1) AND status IN ('HELD', 'PARKED', 'RESOLVED', 'IGNORED')
GROUP BY original_event_id;
SELECT DISTINCT coupon_code, original_event_id FROM dlq_events
WHERE member_id = $1 AND status IN ('HELD', 'PARKED') AND error_code <> 'OTHER_MEMBER'
  AND coupon_code IS NOT NULL AND ($2::text IS NULL OR coupon_code = $2) AND original_event_id < $3
  AND NOT EXISTS (SELECT FROM coupon_issues JOIN coupons USING (coupon_id)
                  WHERE coupons.coupon_code = dlq_events.coupon_code AND request_id = original_event_id)
ORDER BY original_event_id DESC LIMIT $4;
SELECT f.* FROM dlq_events f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.original_event_id = ($6 ->> 'request_id')::uuid)
AND $6 ->> 'claimed_by' IS NULL AND $6 ->> 'replayed' IS NULL
AND ($7::timestamptz IS NULL OR f.created_at >= $7) AND ($8::timestamptz IS NULL OR f.created_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(f.cause), lower($5)) > 0 OR strpos(lower(f.error_message), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.error_message), lower($6 ->> 'reason')) > 0) AND ($10::bigint IS NULL OR f.id < $10)
         ORDER BY f.id DESC LIMIT $11;

-- failed_coupon_issues.rs
SELECT r.*, f.id AS failed_issue_id
FROM replays r
LEFT JOIN failed_coupon_issues f ON f.coupon_code = r.coupon_code AND f.request_id = r.request_id
WHERE r.failed_issue_id = $1 ORDER BY r.created_at LIMIT 100;
SELECT EXISTS (SELECT FROM failed_coupon_issues WHERE id = $1 AND status = 'PENDING');
SELECT f.id FROM coupons c JOIN failed_coupon_issues f USING (coupon_code) WHERE f.request_id = $1
UNION SELECT failed_issue_id FROM replays WHERE request_id = $1;
SELECT f.*, i.given_back_at
FROM failed_coupon_issues f
LEFT JOIN coupons c ON c.coupon_code = f.coupon_code
LEFT JOIN coupon_issues i ON i.coupon_id = c.coupon_id AND i.request_id = f.request_id WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.request_id = ($6 ->> 'request_id')::uuid)
AND ($6 ->> 'claimed_by' IS NULL OR f.claimed_by = $6 ->> 'claimed_by')
AND ($7::timestamptz IS NULL OR f.failed_at >= $7) AND ($8::timestamptz IS NULL OR f.failed_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(coalesce(f.cause, concat_ws(' ', f.error_class, f.error_code))), lower($5)) > 0
 OR strpos(lower(f.reason), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.reason), lower($6 ->> 'reason')) > 0)
AND ($6 ->> 'replayed' IS NULL OR (f.replay_count > 0) = ($6 ->> 'replayed')::boolean) AND ($10::bigint IS NULL OR f.id < $10)
             ORDER BY f.id DESC LIMIT $11;
SELECT f.*, i.given_back_at
FROM failed_coupon_issues f
LEFT JOIN coupons c ON c.coupon_code = f.coupon_code
LEFT JOIN coupon_issues i ON i.coupon_id = c.coupon_id AND i.request_id = f.request_id WHERE f.id = $1;
SELECT f.*, i.given_back_at
FROM failed_coupon_issues f
LEFT JOIN coupons c ON c.coupon_code = f.coupon_code
LEFT JOIN coupon_issues i ON i.coupon_id = c.coupon_id AND i.request_id = f.request_id WHERE f.request_id = ANY($1) ORDER BY f.id DESC LIMIT $2;
SELECT f.*, i.given_back_at
FROM failed_coupon_issues f
LEFT JOIN coupons c ON c.coupon_code = f.coupon_code
LEFT JOIN coupon_issues i ON i.coupon_id = c.coupon_id AND i.request_id = f.request_id WHERE f.request_id = $1 AND f.coupon_code = $2;

-- jobs.rs
INSERT INTO jobs (kind, status, parameters, progress, reason, asked_by, created_at, updated_at)
VALUES ($1, 'RUNNING', $2, $3, $4, $5, $6, $6) RETURNING job_id;
SELECT job_id, kind, status, parameters, progress, note, reason, asked_by, worker, created_at, updated_at,
       CASE WHEN status = 'RUNNING' THEN
           greatest(extract(epoch FROM now() - coalesce(heartbeat_at, created_at)), 0)::bigint END AS idle_seconds
FROM jobs WHERE job_id = $1;
SELECT job_id, kind, status, parameters, progress, note, reason, asked_by, worker, created_at, updated_at,
       CASE WHEN status = 'RUNNING' THEN
           greatest(extract(epoch FROM now() - coalesce(heartbeat_at, created_at)), 0)::bigint END AS idle_seconds
FROM jobs WHERE ($1::bigint IS NULL OR job_id < $1) ORDER BY job_id DESC LIMIT $2;
UPDATE jobs SET status = $3, note = $4, updated_at = $5
WHERE job_id = $1 AND status = 'RUNNING' AND ($2::text IS NULL OR worker = $2);

-- jobs/hold.rs
UPDATE jobs SET worker = $1, heartbeat_at = now() WHERE job_id = (
    SELECT job_id FROM jobs
    WHERE status = 'RUNNING' AND (worker IS NULL OR heartbeat_at < now() - $2 * interval '1 second')
    ORDER BY job_id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING job_id;
UPDATE jobs SET heartbeat_at = now(), progress = coalesce($3, progress),
                updated_at = CASE WHEN $3::jsonb IS NULL THEN updated_at ELSE now() END
WHERE job_id = $1 AND worker = $2 RETURNING status;
UPDATE jobs SET note = $3 WHERE job_id = $1 AND worker = $2 AND status = 'RUNNING';
UPDATE jobs SET worker = NULL WHERE worker = $1 AND status = 'RUNNING';

-- jobs/settle.rs
UPDATE jobs SET updated_at = $5, progress = progress || jsonb_build_object(
    'done', coalesce((progress ->> 'done')::bigint, 0) + $4, 'cursor', $3::bigint,
    'rate', round((coalesce((progress ->> 'done')::bigint, 0) + $4)
                  / greatest(extract(epoch FROM $5 - created_at), 0.001)::numeric, 1))
WHERE job_id = $1 AND status = 'RUNNING' AND worker = $2;

-- jobs/workers.rs
WITH gone AS (DELETE FROM job_workers WHERE seen_at < now() - interval '1 hour' AND worker <> $1)
INSERT INTO job_workers (worker, seen_at) VALUES ($1, now())
ON CONFLICT (worker) DO UPDATE SET seen_at = excluded.seen_at;
DELETE FROM job_workers WHERE worker = $1;
SELECT EXISTS (SELECT FROM job_workers WHERE seen_at > now() - $1 * interval '1 second');
SELECT EXISTS (SELECT FROM replay_jobs WHERE in_service AND status = 'RUNNING'
        AND (worker IS NULL OR heartbeat_at < now() - $1 * interval '1 second')) AS replays,
EXISTS (SELECT FROM jobs WHERE status = 'RUNNING'
        AND (worker IS NULL OR heartbeat_at < now() - $1 * interval '1 second')) AS jobs;

-- locks.rs
SELECT set_config(name, '0', true) FROM pg_settings
WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout');
SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0));

-- operators.rs
INSERT INTO operators (name, role, token_hash, created_by, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (name) DO NOTHING;
UPDATE operators SET revoked_at = $2 WHERE name = $1 AND revoked_at IS NULL;
UPDATE operator_sessions SET ended_at = $2 WHERE operator_name = $1 AND ended_at IS NULL;
UPDATE operators SET login_code_hash = $2, login_code_expires_at = $3
WHERE name = $1 AND revoked_at IS NULL AND expires_at > $4;
UPDATE operators o SET login_code_hash = NULL, login_code_expires_at = NULL
WHERE o.login_code_hash = $1 AND o.login_code_expires_at > $2 AND o.revoked_at IS NULL AND o.expires_at > $2
RETURNING o.name, o.role, o.created_by, o.created_at, o.expires_at, o.revoked_at;
SELECT o.name, o.role, o.created_by, o.created_at, o.expires_at, o.revoked_at FROM operators o ORDER BY o.name LIMIT 1000;
SELECT o.name, o.role, o.created_by, o.created_at, o.expires_at, o.revoked_at
FROM operators o WHERE o.token_hash = $1 AND o.revoked_at IS NULL AND o.expires_at > $2;
SELECT o.name, o.role, o.created_by, o.created_at, o.expires_at, o.revoked_at
FROM operator_sessions s JOIN operators o ON o.name = s.operator_name
WHERE s.session_hash = $1 AND s.ended_at IS NULL AND s.expires_at > $2
  AND o.revoked_at IS NULL AND o.expires_at > $2;
DELETE FROM operator_sessions WHERE expires_at < $1::timestamptz - interval '1 day';
INSERT INTO operator_sessions (session_hash, operator_name, source, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5);
UPDATE operators SET login_code_hash = NULL, login_code_expires_at = NULL WHERE login_code_expires_at <= $1;
UPDATE operator_sessions SET ended_at = $2 WHERE session_hash = $1 AND ended_at IS NULL;

-- overview.rs
SELECT (SELECT count(*) FROM (SELECT FROM failed_coupon_issues WHERE status = 'PENDING' LIMIT $1) capped) AS pending,
       (SELECT min(failed_at) FROM failed_coupon_issues WHERE status = 'PENDING') AS oldest_pending_at,
       (SELECT count(*) FROM (SELECT FROM dlq_events WHERE status = 'HELD' LIMIT $1) capped) AS held,
       (SELECT created_at FROM dlq_events WHERE status = 'HELD' ORDER BY id LIMIT 1) AS oldest_held_at,
       (SELECT count(*) FROM (SELECT FROM dlq_events WHERE status = 'PARKED' LIMIT $1) capped) AS parked,
       (SELECT created_at FROM dlq_events WHERE status = 'PARKED' ORDER BY id LIMIT 1) AS oldest_parked_at,
       (SELECT count(*) FROM (SELECT FROM coupon_issues
            WHERE decision = 'COMPENSATED' AND given_back_at IS NULL LIMIT $1) capped) AS not_given_back,
       (SELECT min(decided_at) FROM coupon_issues
            WHERE decision = 'COMPENSATED' AND given_back_at IS NULL) AS oldest_give_back_at;
SELECT cause, floor(extract(epoch FROM created_at - $1) / 60)::bigint AS minute, count(*) AS count,
       count(*) FILTER (WHERE status IN ('HELD', 'PARKED')) AS undecided
FROM (SELECT cause, status, created_at FROM dlq_events ORDER BY id DESC LIMIT $2) newest
WHERE created_at >= $1 GROUP BY 1, 2 ORDER BY 2, 1 LIMIT 6000;
SELECT true AS is_replay, job_id AS id, kind, status, created_by AS asked_by, created_at, begun,
       greatest(coalesce(chosen, eligible), begun) AS chosen,
       greatest(extract(epoch FROM now() - coalesce(heartbeat_at, updated_at)), 0)::bigint AS idle_seconds
FROM replay_jobs WHERE status = 'RUNNING' OR status IN ('PAUSED', 'STOPPED') AND updated_at > $1
UNION ALL
SELECT false, job_id, kind, status, coalesce(asked_by ->> 'name', ''), created_at, NULL, NULL,
       greatest(extract(epoch FROM now() - coalesce(heartbeat_at, created_at)), 0)::bigint
FROM jobs WHERE status = 'RUNNING'
ORDER BY created_at DESC LIMIT $2;
SELECT count(*) AS decided, count(*) FILTER (WHERE decision = 'COMPENSATED') AS compensated,
       count(*) FILTER (WHERE decision = 'ISSUED' AND decided_at > reserved_at + interval '10 s') AS late
FROM (SELECT i.* FROM (SELECT coupon_id FROM coupons WHERE archived_at IS NULL ORDER BY coupon_id DESC LIMIT 200) c
      CROSS JOIN LATERAL (SELECT decision, decided_at, reserved_at FROM coupon_issues
          WHERE coupon_id = c.coupon_id AND request_id >= $1 ORDER BY request_id DESC LIMIT $2) i
      LIMIT $2) recent;
SELECT * FROM coupons
WHERE archived_at IS NULL AND (status IN ('SUSPECT', 'OPENING')
    OR status = 'OPEN' AND (closes_at IS NULL OR closes_at > $1))
ORDER BY status = 'SUSPECT' DESC, coupon_id DESC LIMIT $2;

-- personal_data.rs
SELECT (id)::text AS key, to_jsonb(f) AS row FROM failed_coupon_issues f
WHERE id > $1::text::bigint ORDER BY id LIMIT $2;
UPDATE failed_coupon_issues f SET member_id = n.member_id, reason = n.reason, cause = n.cause, error_code = n.error_code, resolution = n.resolution
FROM jsonb_populate_record(NULL::failed_coupon_issues, $2) n, jsonb_populate_record(NULL::failed_coupon_issues, $3) o
WHERE f.id = $1::text::bigint AND ROW(f.member_id, f.reason, f.cause, f.error_code, f.resolution) IS NOT DISTINCT FROM ROW(o.member_id, o.reason, o.cause, o.error_code, o.resolution);
SELECT (id)::text AS key, to_jsonb(f) AS row FROM dlq_events f
WHERE id > $1::text::bigint ORDER BY id LIMIT $2;
UPDATE dlq_events f SET member_id = n.member_id, record_key = n.record_key, payload = n.payload, headers = n.headers, origin_topic = n.origin_topic, error_code = n.error_code, cause = n.cause, error_message = n.error_message, stack_trace = n.stack_trace
FROM jsonb_populate_record(NULL::dlq_events, $2) n, jsonb_populate_record(NULL::dlq_events, $3) o
WHERE f.id = $1::text::bigint AND ROW(f.member_id, f.record_key, f.payload, f.headers, f.origin_topic, f.error_code, f.cause, f.error_message, f.stack_trace) IS NOT DISTINCT FROM ROW(o.member_id, o.record_key, o.payload, o.headers, o.origin_topic, o.error_code, o.cause, o.error_message, o.stack_trace);
SELECT (request_id)::text AS key, to_jsonb(f) AS row FROM replays f
WHERE request_id > $1::uuid ORDER BY request_id LIMIT $2;
UPDATE replays f SET member_id = n.member_id
FROM jsonb_populate_record(NULL::replays, $2) n, jsonb_populate_record(NULL::replays, $3) o
WHERE f.request_id = $1::uuid AND ROW(f.member_id) IS NOT DISTINCT FROM ROW(o.member_id);
SELECT (job_id)::text AS key, to_jsonb(f) AS row FROM replay_jobs f
WHERE job_id > $1::text::bigint ORDER BY job_id LIMIT $2;
UPDATE replay_jobs f SET filter = n.filter, refused = n.refused, note = n.note, reason = n.reason, asked_by = n.asked_by
FROM jsonb_populate_record(NULL::replay_jobs, $2) n, jsonb_populate_record(NULL::replay_jobs, $3) o
WHERE f.job_id = $1::text::bigint AND ROW(f.filter, f.refused, f.note, f.reason, f.asked_by) IS NOT DISTINCT FROM ROW(o.filter, o.refused, o.note, o.reason, o.asked_by);
SELECT (job_id)::text AS key, to_jsonb(f) AS row FROM jobs f
WHERE job_id > $1::text::bigint ORDER BY job_id LIMIT $2;
UPDATE jobs f SET parameters = n.parameters, progress = n.progress, note = n.note, reason = n.reason, asked_by = n.asked_by
FROM jsonb_populate_record(NULL::jobs, $2) n, jsonb_populate_record(NULL::jobs, $3) o
WHERE f.job_id = $1::text::bigint AND ROW(f.parameters, f.progress, f.note, f.reason, f.asked_by) IS NOT DISTINCT FROM ROW(o.parameters, o.progress, o.note, o.reason, o.asked_by);
SELECT (plan_id)::text AS key, to_jsonb(f) AS row FROM plans f
WHERE plan_id > $1::text::bigint ORDER BY plan_id LIMIT $2;
UPDATE plans f SET parameters = n.parameters, predicate = n.predicate, refused = n.refused, sample = n.sample, typed = n.typed, reason = n.reason
FROM jsonb_populate_record(NULL::plans, $2) n, jsonb_populate_record(NULL::plans, $3) o
WHERE f.plan_id = $1::text::bigint AND ROW(f.parameters, f.predicate, f.refused, f.sample, f.typed, f.reason) IS NOT DISTINCT FROM ROW(o.parameters, o.predicate, o.refused, o.sample, o.typed, o.reason);
SELECT (id)::text AS key, to_jsonb(f) AS row FROM row_notes f
WHERE id > $1::text::bigint ORDER BY id LIMIT $2;
UPDATE row_notes f SET note = n.note
FROM jsonb_populate_record(NULL::row_notes, $2) n, jsonb_populate_record(NULL::row_notes, $3) o
WHERE f.id = $1::text::bigint AND ROW(f.note) IS NOT DISTINCT FROM ROW(o.note);
SELECT (id)::text AS key, to_jsonb(f) AS row FROM operator_audit f
WHERE id > $1::text::bigint ORDER BY id LIMIT $2;
UPDATE operator_audit f SET subject = n.subject, change = n.change, reason = n.reason
FROM jsonb_populate_record(NULL::operator_audit, $2) n, jsonb_populate_record(NULL::operator_audit, $3) o
WHERE f.id = $1::text::bigint AND ROW(f.subject, f.change, f.reason) IS NOT DISTINCT FROM ROW(o.subject, o.change, o.reason);
SELECT (id)::text AS key, to_jsonb(f) AS row FROM alarm_notices f
WHERE id > $1::text::bigint ORDER BY id LIMIT $2;
UPDATE alarm_notices f SET cause = n.cause, message = n.message, command = n.command
FROM jsonb_populate_record(NULL::alarm_notices, $2) n, jsonb_populate_record(NULL::alarm_notices, $3) o
WHERE f.id = $1::text::bigint AND ROW(f.cause, f.message, f.command) IS NOT DISTINCT FROM ROW(o.cause, o.message, o.command);
SELECT (id)::text AS key, to_jsonb(f) AS row FROM reconciliations f
WHERE id > $1::text::bigint ORDER BY id LIMIT $2;
UPDATE reconciliations f SET drift = n.drift
FROM jsonb_populate_record(NULL::reconciliations, $2) n, jsonb_populate_record(NULL::reconciliations, $3) o
WHERE f.id = $1::text::bigint AND ROW(f.drift) IS NOT DISTINCT FROM ROW(o.drift);
SELECT (alarm_key)::text AS key, to_jsonb(f) AS row FROM alarm_causes f
WHERE alarm_key > $1::text::text ORDER BY alarm_key LIMIT $2;
DELETE FROM alarm_causes f WHERE (alarm_key)::text <> $1
AND alarm_key = (SELECT alarm_key FROM jsonb_populate_record(NULL::alarm_causes, $2) n);
UPDATE alarm_causes f SET alarm_key = n.alarm_key, shown = n.shown
FROM jsonb_populate_record(NULL::alarm_causes, $2) n, jsonb_populate_record(NULL::alarm_causes, $3) o
WHERE f.alarm_key = $1::text::text AND ROW(f.alarm_key, f.shown) IS NOT DISTINCT FROM ROW(o.alarm_key, o.shown);
SELECT (channel)::text AS key, to_jsonb(f) AS row FROM alarm_channels f
WHERE channel > $1::text::text ORDER BY channel LIMIT $2;
DELETE FROM alarm_channels f WHERE (channel)::text <> $1
AND channel = (SELECT channel FROM jsonb_populate_record(NULL::alarm_channels, $2) n);
UPDATE alarm_channels f SET last_error = n.last_error
FROM jsonb_populate_record(NULL::alarm_channels, $2) n, jsonb_populate_record(NULL::alarm_channels, $3) o
WHERE f.channel = $1::text::text AND ROW(f.last_error) IS NOT DISTINCT FROM ROW(o.last_error);
SELECT (coupon_id || ' ' || cause)::text AS key, to_jsonb(f) AS row FROM give_up_budgets f
WHERE coupon_id || ' ' || cause > $1::text::text ORDER BY coupon_id || ' ' || cause LIMIT $2;
DELETE FROM give_up_budgets f WHERE (coupon_id || ' ' || cause)::text <> $1
AND coupon_id || ' ' || cause = (SELECT coupon_id || ' ' || cause FROM jsonb_populate_record(NULL::give_up_budgets, $2) n);
UPDATE give_up_budgets f SET cause = n.cause
FROM jsonb_populate_record(NULL::give_up_budgets, $2) n, jsonb_populate_record(NULL::give_up_budgets, $3) o
WHERE f.coupon_id || ' ' || f.cause = $1::text::text AND ROW(f.cause) IS NOT DISTINCT FROM ROW(o.cause);
SELECT (operator_name || '/' || name)::text AS key, to_jsonb(f) AS row FROM saved_filters f
WHERE operator_name || '/' || name > $1::text::text ORDER BY operator_name || '/' || name LIMIT $2;
DELETE FROM saved_filters f WHERE (operator_name || '/' || name)::text <> $1
AND operator_name || '/' || name = (SELECT operator_name || '/' || name FROM jsonb_populate_record(NULL::saved_filters, $2) n);
UPDATE saved_filters f SET name = n.name, view = n.view
FROM jsonb_populate_record(NULL::saved_filters, $2) n, jsonb_populate_record(NULL::saved_filters, $3) o
WHERE f.operator_name || '/' || f.name = $1::text::text AND ROW(f.name, f.view) IS NOT DISTINCT FROM ROW(o.name, o.view);
SELECT (endpoint)::text AS key, to_jsonb(f) AS row FROM webhook_endpoints f
WHERE endpoint > $1::text::text ORDER BY endpoint LIMIT $2;
DELETE FROM webhook_endpoints f WHERE (endpoint)::text <> $1
AND endpoint = (SELECT endpoint FROM jsonb_populate_record(NULL::webhook_endpoints, $2) n);
UPDATE webhook_endpoints f SET last_error = n.last_error
FROM jsonb_populate_record(NULL::webhook_endpoints, $2) n, jsonb_populate_record(NULL::webhook_endpoints, $3) o
WHERE f.endpoint = $1::text::text AND ROW(f.last_error) IS NOT DISTINCT FROM ROW(o.last_error);
SELECT (id)::text AS key, to_jsonb(f) AS row FROM webhook_deliveries f
WHERE id > $1::text::bigint ORDER BY id LIMIT $2;
UPDATE webhook_deliveries f SET last_error = n.last_error
FROM jsonb_populate_record(NULL::webhook_deliveries, $2) n, jsonb_populate_record(NULL::webhook_deliveries, $3) o
WHERE f.id = $1::text::bigint AND ROW(f.last_error) IS NOT DISTINCT FROM ROW(o.last_error);
SELECT (pseudonym)::text AS key, to_jsonb(f) AS row FROM member_erasures f
WHERE pseudonym > $1::text::text ORDER BY pseudonym LIMIT $2;
DELETE FROM member_erasures f WHERE (pseudonym)::text <> $1
AND pseudonym = (SELECT pseudonym FROM jsonb_populate_record(NULL::member_erasures, $2) n);
UPDATE member_erasures f SET reason = n.reason
FROM jsonb_populate_record(NULL::member_erasures, $2) n, jsonb_populate_record(NULL::member_erasures, $3) o
WHERE f.pseudonym = $1::text::text AND ROW(f.reason) IS NOT DISTINCT FROM ROW(o.reason);
SELECT c.coupon_code, count(*) AS decisions,
       count(*) FILTER (WHERE i.decision = 'COMPENSATED' AND i.given_back_at IS NULL) AS give_backs
FROM coupon_issues i JOIN coupons c USING (coupon_id) WHERE i.member_id = $1 GROUP BY 1 ORDER BY 1;
SELECT to_jsonb(i) || jsonb_build_object('coupon_code', c.coupon_code)
FROM coupon_issues i LEFT JOIN coupons c USING (coupon_id) WHERE i.member_id = $1 ORDER BY i.request_id;
UPDATE coupon_issues SET member_id = $3
WHERE coupon_id = (SELECT coupon_id FROM coupons WHERE coupon_code = $1) AND member_id = $2;
UPDATE coupons SET members_erased_at = $2 WHERE coupon_code = $1 AND members_erased_at IS NULL;

-- personal_data/erasures.rs
SELECT * FROM member_erasures WHERE pseudonym = $1;
SELECT * FROM member_erasures WHERE status = 'RUNNING' ORDER BY created_at LIMIT 100;
INSERT INTO member_erasures AS e (pseudonym, key_id, status, reason, started_by, created_at, updated_at)
VALUES ($1, $2, 'RUNNING', $3, $4, $5, $5)
ON CONFLICT (pseudonym) DO UPDATE SET status = 'RUNNING', updated_at = $5, finished_at = NULL
WHERE e.status = 'DONE';
UPDATE member_erasures SET status = 'DONE', updated_at = $2, finished_at = $2
WHERE pseudonym = $1 AND status = 'RUNNING' RETURNING counts;
UPDATE member_erasures
SET counts = counts || jsonb_build_object($2::text, coalesce((counts ->> $2)::bigint, 0) + $3), updated_at = $4
WHERE pseudonym = $1;

-- plans.rs
INSERT INTO plans (verb, parameters, predicate, up_to_id, eligible, refused, sample, typed,
                   needs_second, created_by, created_at, expires_at, at_least)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING plan_id;
SELECT * FROM plans WHERE plan_id = $1;
SELECT * FROM plans WHERE plan_id = $1 FOR UPDATE;
UPDATE plans SET first_by = $2, reason = $3, expires_at = $4 WHERE plan_id = $1;
UPDATE plans SET confirmed_by = $2, confirmed_at = $3, reason = $4, job_id = $5 WHERE plan_id = $1;

-- probe.rs
WITH numbered AS (
    INSERT INTO coupon_decision_batches (coupon_id, first_no, decision, epoch, request_ids, decided_at)
    VALUES (0, -1 - floor(random() * 9e15)::bigint, 'ISSUED', 0, ARRAY[gen_random_uuid()], now())
)
INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, expires_at)
SELECT 0, probe.id, 'probe-' || probe.id, 'ISSUED', 0, 0, now(), now() FROM gen_random_uuid() AS probe (id);
INSERT INTO failed_coupon_issues (id, coupon_code, member_id, request_id, status, error_class, error_code, reason)
OVERRIDING SYSTEM VALUE
VALUES (-1 - floor(random() * 9e15)::bigint, 'probe', 'probe', gen_random_uuid(), 'PENDING', 'UNKNOWN', 'PROBE',
        'a probe, taken back at once');
INSERT INTO dlq_events (id, dlq_topic, dlq_partition, dlq_offset, dlq_timestamp_ms, original_event_type, headers, error_class,
                        error_code, cause, error_message, stack_trace, attempts, status, alarm_sent)
OVERRIDING SYSTEM VALUE
SELECT -1 - floor(random() * 9e15)::bigint, 'probe-' || gen_random_uuid(), 0, 0, 0, 'UNKNOWN', '[]', 'UNKNOWN', 'PROBE', 'PROBE', 'a probe, taken back at once', '',
       0, 'RECOVERED', true;
INSERT INTO write_probe (probed_at) VALUES (now())
ON CONFLICT (only_row) DO UPDATE SET probed_at = excluded.probed_at;

-- rebuilds.rs
UPDATE coupons SET epoch = $2, updated_at = $3 WHERE coupon_code = $1;
UPDATE rebuilds SET step = 'DONE' WHERE coupon_code = $1 AND step <> 'DONE';
INSERT INTO rebuilds (coupon_code, step, reopen_as, started_by, started_at)
VALUES ($1, 'DRAINING', $2, $3, $4) RETURNING id, step, reopen_as, started_by, started_at;
UPDATE coupons SET status = 'SUSPECT', updated_at = $2 WHERE coupon_code = $1;
UPDATE rebuilds SET step = 'FILLING' WHERE id = $1 AND step = 'DRAINING';
UPDATE coupons SET status = 'OPENING', epoch = greatest(epoch, $2) + 1, high_seq = 0, updated_at = $3
WHERE coupon_code = $1 RETURNING *;
UPDATE rebuilds SET reopen_as = 'CLOSED' WHERE id = $1;
UPDATE rebuilds r SET step = 'DONE', finished_at = $2 FROM rebuilds before
WHERE r.id = $1 AND r.step = 'DRAINING' AND before.id = r.id
RETURNING r.reopen_as, before.finished_at IS NOT NULL;
UPDATE coupons SET status = $2, updated_at = $3
WHERE coupon_code = $1 AND status = 'SUSPECT' AND $4;
UPDATE rebuilds SET step = 'DONE', finished_at = $2 WHERE id = $1 AND step <> 'DONE';
UPDATE rebuilds SET finished_at = $2 WHERE coupon_code = $1 AND step = 'DRAINING';
SELECT id, step, reopen_as, started_by, started_at FROM rebuilds WHERE coupon_code = $1 AND step <> 'DONE';

-- rebuilds/unfinished.rs
SELECT
(SELECT count(*) FROM dlq_events WHERE coupon_code = $1 AND status = 'HELD') AS held,
(SELECT count(*) FROM dlq_events WHERE coupon_code = $1 AND status = 'PARKED'
    AND original_event_id IS NOT NULL AND error_code <> 'OTHER_MEMBER') AS parked,
(SELECT count(*) FROM failed_coupon_issues WHERE coupon_code = $1 AND status = 'PENDING') AS pending,
(SELECT count(*) FROM coupon_issues JOIN coupons USING (coupon_id)
    WHERE coupon_code = $1 AND decision = 'COMPENSATED' AND given_back_at IS NULL) AS give_backs,
(SELECT count(*) FROM replays r LEFT JOIN replay_jobs j ON j.job_id = r.job_id WHERE r.coupon_code = $1
    AND (r.outcome IN ('RESERVED', 'HOLDS_ONE')
         OR r.outcome IS NULL AND coalesce(j.status, '') NOT IN ('CANCELLED', 'STOPPED', 'DONE'))
) AS replays;

-- reconciliations.rs
SELECT request_id, member_id, decision, given_back_at
FROM coupon_issues
WHERE coupon_id = (SELECT coupon_id FROM coupons WHERE coupon_code = $1) AND request_id = ANY($2);
SELECT member_id, request_id FROM coupon_issues
WHERE coupon_id = (SELECT coupon_id FROM coupons WHERE coupon_code = $1) AND member_id = ANY($2)
  AND decision = 'ISSUED';
SELECT issued_quantity AS counter, total_quantity AS total,
       (SELECT count(*) FROM coupon_issues i
        WHERE i.coupon_id = c.coupon_id AND i.decision = 'ISSUED') AS rows
FROM coupons c WHERE coupon_code = $1;
WITH bound AS (
    SELECT c.coupon_id, c.epoch, c.high_seq, $2 + 2 * (c.total_quantity + (SELECT count(*) FROM coupon_issues i
        WHERE i.coupon_id = c.coupon_id AND i.epoch = c.epoch)) AS seq
    FROM coupons c WHERE coupon_code = $1)
SELECT CASE WHEN high_seq <= seq THEN high_seq ELSE coalesce((SELECT max(i.seq) FROM coupon_issues i
    WHERE i.coupon_id = bound.coupon_id AND i.epoch = bound.epoch AND i.decision = 'ISSUED'
      AND i.seq <= bound.seq), 0) END FROM bound;
UPDATE coupons SET high_seq = $3 WHERE coupon_code = $1 AND high_seq = $2;
UPDATE coupons SET issued_quantity = issued_quantity + $2
WHERE coupon_code = $1 AND issued_quantity + $2 BETWEEN 0 AND total_quantity;
WITH recorded AS (
    INSERT INTO reconciliations
        (coupon_code, started_by, started_at, finished_at, applied, marks, issued_rows, in_flight, drift)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::jsonb) RETURNING id
), kinds AS (
    SELECT jsonb_object_agg(kind, count - 'examples') AS drift,
           bool_or((count->>'found')::bigint > (count->>'repaired')::bigint) AS is_left
    FROM jsonb_each($9) AS kinds (kind, count)
), told AS (
    INSERT INTO campaign_events (kind, coupon_code, data, occurred_at)
    SELECT 'drift_found', $1, jsonb_build_object('reconciliation', id, 'drift', drift), $4
    FROM recorded, kinds WHERE is_left
)
SELECT id FROM recorded;
SELECT * FROM reconciliations
WHERE ($1::text IS NULL OR coupon_code = $1) AND ($2::bigint IS NULL OR id < $2)
ORDER BY id DESC LIMIT $3;
SELECT * FROM reconciliations WHERE id = $1;
SELECT r.* FROM (SELECT coupon_code FROM coupons WHERE archived_at IS NULL ORDER BY coupon_id DESC LIMIT 200) c
CROSS JOIN LATERAL (SELECT * FROM reconciliations WHERE coupon_code = c.coupon_code ORDER BY id DESC LIMIT 1) r
ORDER BY r.drift <> '{}' DESC, r.id DESC;

-- replay_jobs.rs
INSERT INTO replay_jobs (kind, status, filter, up_to_id, per_second, after_close, eligible, created_by,
                         created_at, updated_at, chosen, reason, heartbeat_at, in_service, asked_by)
VALUES ($1, 'RUNNING', $2, $3, $4, $5, $6, $7, $8, $8, $9, $10, now(), $11, $12) RETURNING job_id;
SELECT status FROM replay_jobs
WHERE job_id = $1 AND status = ANY($2) AND ($3 OR worker IS NOT DISTINCT FROM $4) FOR NO KEY UPDATE;
UPDATE replay_jobs SET status = $2, note = $3, updated_at = $4 WHERE job_id = $1;
UPDATE replay_jobs SET succeeded = succeeded + 1 WHERE job_id = $1;
SELECT j.job_id, j.kind, j.status, j.filter, j.up_to_id, j.cursor_id, j.per_second, j.after_close, j.eligible,
       greatest(coalesce(j.chosen, j.eligible), j.begun) AS chosen, j.begun,
       j.succeeded + coalesce(r.issued, 0) AS succeeded,
       coalesce(before.refused, 0)::bigint + coalesce(r.failed, 0) AS failed, coalesce(r.open, 0) AS under_way,
       j.refused || coalesce(r.outcomes, '{}') AS refused, j.reason, j.note,
       CASE WHEN j.status = 'RUNNING' THEN
           greatest(extract(epoch FROM now() - coalesce(j.heartbeat_at, j.updated_at)), 0)::bigint END AS idle_seconds,
       j.in_service, j.worker, j.asked_by, j.created_by, j.created_at, j.updated_at
FROM replay_jobs j
LEFT JOIN LATERAL (SELECT sum(value::bigint) AS refused FROM jsonb_each_text(j.refused)) before ON true
LEFT JOIN LATERAL (
    SELECT sum(n) FILTER (WHERE outcome = 'ISSUED')::bigint AS issued,
           sum(n) FILTER (WHERE outcome IS NULL OR outcome IN ('RESERVED', 'HOLDS_ONE'))::bigint AS open,
           sum(n) FILTER (WHERE outcome IN ('SOLD_OUT', 'CLOSED', 'NOT_READY', 'COMPENSATED'))::bigint AS failed,
           jsonb_object_agg(outcome, n) FILTER (WHERE outcome IN ('SOLD_OUT', 'CLOSED', 'NOT_READY', 'COMPENSATED')) AS outcomes
    FROM (SELECT outcome, count(*) AS n FROM replays WHERE replays.job_id = j.job_id GROUP BY outcome) by_outcome
) r ON true WHERE j.job_id = $1;
SELECT j.job_id, j.kind, j.status, j.filter, j.up_to_id, j.cursor_id, j.per_second, j.after_close, j.eligible,
       greatest(coalesce(j.chosen, j.eligible), j.begun) AS chosen, j.begun,
       j.succeeded + coalesce(r.issued, 0) AS succeeded,
       coalesce(before.refused, 0)::bigint + coalesce(r.failed, 0) AS failed, coalesce(r.open, 0) AS under_way,
       j.refused || coalesce(r.outcomes, '{}') AS refused, j.reason, j.note,
       CASE WHEN j.status = 'RUNNING' THEN
           greatest(extract(epoch FROM now() - coalesce(j.heartbeat_at, j.updated_at)), 0)::bigint END AS idle_seconds,
       j.in_service, j.worker, j.asked_by, j.created_by, j.created_at, j.updated_at
FROM replay_jobs j
LEFT JOIN LATERAL (SELECT sum(value::bigint) AS refused FROM jsonb_each_text(j.refused)) before ON true
LEFT JOIN LATERAL (
    SELECT sum(n) FILTER (WHERE outcome = 'ISSUED')::bigint AS issued,
           sum(n) FILTER (WHERE outcome IS NULL OR outcome IN ('RESERVED', 'HOLDS_ONE'))::bigint AS open,
           sum(n) FILTER (WHERE outcome IN ('SOLD_OUT', 'CLOSED', 'NOT_READY', 'COMPENSATED'))::bigint AS failed,
           jsonb_object_agg(outcome, n) FILTER (WHERE outcome IN ('SOLD_OUT', 'CLOSED', 'NOT_READY', 'COMPENSATED')) AS outcomes
    FROM (SELECT outcome, count(*) AS n FROM replays WHERE replays.job_id = j.job_id GROUP BY outcome) by_outcome
) r ON true WHERE ($1::bigint IS NULL OR j.job_id < $1) ORDER BY j.job_id DESC LIMIT $2;

-- replay_jobs/hold.rs
UPDATE replay_jobs
SET cursor_id = greatest(cursor_id, $2), updated_at = $4, begun = begun + 1,
    refused = CASE WHEN $3::text IS NULL THEN refused
                   ELSE jsonb_set(refused, ARRAY[$3], to_jsonb(coalesce((refused ->> $3)::bigint, 0) + 1)) END
WHERE job_id = $1 AND status = 'RUNNING' AND worker IS NOT DISTINCT FROM $5;
UPDATE replay_jobs SET worker = $1, heartbeat_at = now() WHERE job_id = (
    SELECT job_id FROM replay_jobs
    WHERE in_service AND status = 'RUNNING'
      AND (worker IS NULL OR heartbeat_at < now() - $2 * interval '1 second')
    ORDER BY job_id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING job_id;
UPDATE replay_jobs SET heartbeat_at = now()
WHERE job_id = $1 AND worker IS NOT DISTINCT FROM $2 RETURNING status;
UPDATE replay_jobs SET in_service = $2, worker = CASE WHEN in_service AND $2 THEN worker END,
                       heartbeat_at = now(), asked_by = $3
WHERE job_id = $1 AND status = 'RUNNING';
UPDATE replay_jobs SET worker = NULL WHERE in_service AND worker = $2 AND ($1::bigint IS NULL OR job_id = $1);
UPDATE replay_jobs SET note = $3 WHERE job_id = $1 AND worker = $2 AND status = 'RUNNING';
SELECT per_second FROM replay_jobs
WHERE job_id = $1 AND status IN ('RUNNING', 'PAUSED', 'STOPPED') FOR NO KEY UPDATE;
UPDATE replay_jobs SET per_second = $2, updated_at = $3 WHERE job_id = $1;

-- replays.rs
SELECT count(*) FILTER (WHERE outcome IS NULL OR outcome IN ('RESERVED', 'HOLDS_ONE')) AS open,
       count(*) FILTER (WHERE outcome = 'COMPENSATED') AS compensated
FROM replays WHERE job_id = $1 AND failed_issue_id > $2;
SELECT r.request_id, r.failed_issue_id, r.coupon_code, r.member_id, r.after_close
FROM replays r
WHERE r.job_id = $1 AND r.outcome IS NULL ORDER BY r.failed_issue_id;
SELECT r.request_id, r.failed_issue_id, r.coupon_code, r.member_id, r.after_close,
       coalesce(j.status IN ('RUNNING', 'PAUSED', 'STOPPED'), false) AS is_resumable
FROM replays r
LEFT JOIN replay_jobs j ON j.job_id = r.job_id
WHERE r.outcome IS NULL
  AND (j.job_id IS NULL OR coalesce(j.heartbeat_at, j.updated_at) < now() - $2 * interval '1 second')
ORDER BY r.failed_issue_id LIMIT $1;

-- replays/link.rs
UPDATE replays SET job_id = $2, after_close = $3, updated_at = $4
WHERE failed_issue_id = $1 AND outcome IS NULL
RETURNING request_id, failed_issue_id, coupon_code, member_id, after_close;
INSERT INTO replays (request_id, failed_issue_id, coupon_code, member_id, job_id, after_close, created_at, updated_at)
SELECT $1, id, coupon_code, member_id, $3, $4, $5, $5 FROM failed_coupon_issues WHERE id = $2
RETURNING request_id, failed_issue_id, coupon_code, member_id, after_close;
UPDATE failed_coupon_issues SET replay_count = replay_count + 1 WHERE id = $1;

-- replays/plan.rs
SELECT id FROM failed_coupon_issues WHERE id = $1 FOR UPDATE;
SELECT refusal, count(*), max(id) FROM (SELECT f.id,
CASE WHEN f.status NOT IN ('HELD', 'PARKED') THEN 'DECIDED'
     WHEN f.error_code = ANY($11) THEN f.error_code
     WHEN f.original_event_id IS NULL AND f.event_version IS NULL THEN 'UNREADABLE'
     WHEN f.event_version > $10 THEN 'NEWER_VERSION'
     WHEN f.error_code = 'OTHER_MEMBER' THEN 'OTHER_MEMBER'
     WHEN f.coupon_code IS NOT NULL AND c.coupon_id IS NULL THEN 'COUPON_UNKNOWN'
     WHEN c.archived_at IS NOT NULL THEN 'ARCHIVED'
END AS refusal
FROM dlq_events f LEFT JOIN coupons c ON c.coupon_code = f.coupon_code WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.original_event_id = ($6 ->> 'request_id')::uuid)
AND $6 ->> 'claimed_by' IS NULL AND $6 ->> 'replayed' IS NULL
AND ($7::timestamptz IS NULL OR f.created_at >= $7) AND ($8::timestamptz IS NULL OR f.created_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(f.cause), lower($5)) > 0 OR strpos(lower(f.error_message), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.error_message), lower($6 ->> 'reason')) > 0)) AS classified GROUP BY refusal;
SELECT refusal, count(*), max(id) FROM (SELECT f.id,
CASE WHEN f.status <> 'PENDING' THEN 'NOT_PENDING'
     WHEN f.decided_by_hand AND $1::bigint[] = '{}' THEN 'DECIDED_BY_HAND'
     WHEN c.coupon_id IS NULL THEN 'COUPON_UNKNOWN'
     WHEN c.archived_at IS NOT NULL THEN 'ARCHIVED'
     WHEN EXISTS (SELECT FROM coupon_issues h WHERE h.coupon_id = c.coupon_id AND h.member_id = f.member_id
                  AND h.decision = 'ISSUED') THEN 'MEMBER_HOLDS_ONE'
     WHEN EXISTS (SELECT FROM replays r WHERE r.failed_issue_id = f.id AND r.outcome IN ('RESERVED', 'HOLDS_ONE'))
         THEN 'UNDER_WAY'
     WHEN f.replay_count >= 3 AND NOT EXISTS
         (SELECT FROM replays r WHERE r.failed_issue_id = f.id AND r.outcome IS NULL) THEN 'TOO_OFTEN'
     WHEN c.status NOT IN ('OPEN', 'CLOSED') THEN 'NOT_READY'
     WHEN NOT $10 AND (c.status = 'CLOSED' OR c.closes_at <= $11) THEN 'CAMPAIGN_OVER'
     WHEN i.given_back_at IS NULL THEN 'NOT_GIVEN_BACK'
END AS refusal
FROM failed_coupon_issues f
LEFT JOIN coupons c ON c.coupon_code = f.coupon_code
LEFT JOIN coupon_issues i ON i.coupon_id = c.coupon_id AND i.request_id = f.request_id WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.request_id = ($6 ->> 'request_id')::uuid)
AND ($6 ->> 'claimed_by' IS NULL OR f.claimed_by = $6 ->> 'claimed_by')
AND ($7::timestamptz IS NULL OR f.failed_at >= $7) AND ($8::timestamptz IS NULL OR f.failed_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(coalesce(f.cause, concat_ws(' ', f.error_class, f.error_code))), lower($5)) > 0
 OR strpos(lower(f.reason), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.reason), lower($6 ->> 'reason')) > 0)
AND ($6 ->> 'replayed' IS NULL OR (f.replay_count > 0) = ($6 ->> 'replayed')::boolean)) AS classified GROUP BY refusal;
SELECT f.id FROM failed_coupon_issues f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.request_id = ($6 ->> 'request_id')::uuid)
AND ($6 ->> 'claimed_by' IS NULL OR f.claimed_by = $6 ->> 'claimed_by')
AND ($7::timestamptz IS NULL OR f.failed_at >= $7) AND ($8::timestamptz IS NULL OR f.failed_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(coalesce(f.cause, concat_ws(' ', f.error_class, f.error_code))), lower($5)) > 0
 OR strpos(lower(f.reason), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.reason), lower($6 ->> 'reason')) > 0)
AND ($6 ->> 'replayed' IS NULL OR (f.replay_count > 0) = ($6 ->> 'replayed')::boolean) AND ($1::bigint[] <> '{}' OR NOT f.decided_by_hand) AND f.id > $10
         ORDER BY f.id LIMIT $11;
SELECT
CASE WHEN f.status <> 'PENDING' THEN 'NOT_PENDING'
     WHEN f.decided_by_hand AND $1::bigint[] = '{}' THEN 'DECIDED_BY_HAND'
     WHEN c.coupon_id IS NULL THEN 'COUPON_UNKNOWN'
     WHEN c.archived_at IS NOT NULL THEN 'ARCHIVED'
     WHEN EXISTS (SELECT FROM coupon_issues h WHERE h.coupon_id = c.coupon_id AND h.member_id = f.member_id
                  AND h.decision = 'ISSUED') THEN 'MEMBER_HOLDS_ONE'
     WHEN EXISTS (SELECT FROM replays r WHERE r.failed_issue_id = f.id AND r.outcome IN ('RESERVED', 'HOLDS_ONE'))
         THEN 'UNDER_WAY'
     WHEN f.replay_count >= 3 AND NOT EXISTS
         (SELECT FROM replays r WHERE r.failed_issue_id = f.id AND r.outcome IS NULL) THEN 'TOO_OFTEN'
     WHEN c.status NOT IN ('OPEN', 'CLOSED') THEN 'NOT_READY'
     WHEN NOT $10 AND (c.status = 'CLOSED' OR c.closes_at <= $11) THEN 'CAMPAIGN_OVER'
     WHEN i.given_back_at IS NULL THEN 'NOT_GIVEN_BACK'
END AS refusal
FROM failed_coupon_issues f
LEFT JOIN coupons c ON c.coupon_code = f.coupon_code
LEFT JOIN coupon_issues i ON i.coupon_id = c.coupon_id AND i.request_id = f.request_id WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.request_id = ($6 ->> 'request_id')::uuid)
AND ($6 ->> 'claimed_by' IS NULL OR f.claimed_by = $6 ->> 'claimed_by')
AND ($7::timestamptz IS NULL OR f.failed_at >= $7) AND ($8::timestamptz IS NULL OR f.failed_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(coalesce(f.cause, concat_ws(' ', f.error_class, f.error_code))), lower($5)) > 0
 OR strpos(lower(f.reason), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.reason), lower($6 ->> 'reason')) > 0)
AND ($6 ->> 'replayed' IS NULL OR (f.replay_count > 0) = ($6 ->> 'replayed')::boolean);
SELECT id, coupon_code, member_id, coalesce(cause, '') AS cause
FROM (SELECT f.id, f.coupon_code, f.member_id, f.cause,
CASE WHEN f.status NOT IN ('HELD', 'PARKED') THEN 'DECIDED'
     WHEN f.error_code = ANY($11) THEN f.error_code
     WHEN f.original_event_id IS NULL AND f.event_version IS NULL THEN 'UNREADABLE'
     WHEN f.event_version > $10 THEN 'NEWER_VERSION'
     WHEN f.error_code = 'OTHER_MEMBER' THEN 'OTHER_MEMBER'
     WHEN f.coupon_code IS NOT NULL AND c.coupon_id IS NULL THEN 'COUPON_UNKNOWN'
     WHEN c.archived_at IS NOT NULL THEN 'ARCHIVED'
END AS refusal
FROM dlq_events f LEFT JOIN coupons c ON c.coupon_code = f.coupon_code WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.original_event_id = ($6 ->> 'request_id')::uuid)
AND $6 ->> 'claimed_by' IS NULL AND $6 ->> 'replayed' IS NULL
AND ($7::timestamptz IS NULL OR f.created_at >= $7) AND ($8::timestamptz IS NULL OR f.created_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(f.cause), lower($5)) > 0 OR strpos(lower(f.error_message), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.error_message), lower($6 ->> 'reason')) > 0)) AS classified
WHERE refusal IS NULL ORDER BY id LIMIT 10;
SELECT id, coupon_code, member_id, coalesce(cause, '') AS cause
FROM (SELECT f.id, f.coupon_code, f.member_id, f.cause,
CASE WHEN f.status <> 'PENDING' THEN 'NOT_PENDING'
     WHEN f.decided_by_hand AND $1::bigint[] = '{}' THEN 'DECIDED_BY_HAND'
     WHEN c.coupon_id IS NULL THEN 'COUPON_UNKNOWN'
     WHEN c.archived_at IS NOT NULL THEN 'ARCHIVED'
     WHEN EXISTS (SELECT FROM coupon_issues h WHERE h.coupon_id = c.coupon_id AND h.member_id = f.member_id
                  AND h.decision = 'ISSUED') THEN 'MEMBER_HOLDS_ONE'
     WHEN EXISTS (SELECT FROM replays r WHERE r.failed_issue_id = f.id AND r.outcome IN ('RESERVED', 'HOLDS_ONE'))
         THEN 'UNDER_WAY'
     WHEN f.replay_count >= 3 AND NOT EXISTS
         (SELECT FROM replays r WHERE r.failed_issue_id = f.id AND r.outcome IS NULL) THEN 'TOO_OFTEN'
     WHEN c.status NOT IN ('OPEN', 'CLOSED') THEN 'NOT_READY'
     WHEN NOT $10 AND (c.status = 'CLOSED' OR c.closes_at <= $11) THEN 'CAMPAIGN_OVER'
     WHEN i.given_back_at IS NULL THEN 'NOT_GIVEN_BACK'
END AS refusal
FROM failed_coupon_issues f
LEFT JOIN coupons c ON c.coupon_code = f.coupon_code
LEFT JOIN coupon_issues i ON i.coupon_id = c.coupon_id AND i.request_id = f.request_id WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.request_id = ($6 ->> 'request_id')::uuid)
AND ($6 ->> 'claimed_by' IS NULL OR f.claimed_by = $6 ->> 'claimed_by')
AND ($7::timestamptz IS NULL OR f.failed_at >= $7) AND ($8::timestamptz IS NULL OR f.failed_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(coalesce(f.cause, concat_ws(' ', f.error_class, f.error_code))), lower($5)) > 0
 OR strpos(lower(f.reason), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.reason), lower($6 ->> 'reason')) > 0)
AND ($6 ->> 'replayed' IS NULL OR (f.replay_count > 0) = ($6 ->> 'replayed')::boolean)) AS classified
WHERE refusal IS NULL ORDER BY id LIMIT 10;

-- replays/settle.rs
WITH decided AS (
    SELECT r.request_id, r.failed_issue_id, r.job_id, i.decision, i.request_id AS issued_by
    FROM replays r
    JOIN failed_coupon_issues f ON f.id = r.failed_issue_id
    JOIN coupons c ON c.coupon_code = r.coupon_code
    JOIN coupon_issues i ON i.coupon_id = c.coupon_id
         AND i.request_id = CASE WHEN r.outcome = 'HOLDS_ONE' THEN r.held_by ELSE r.request_id END
    WHERE r.outcome IS NULL OR r.outcome IN ('RESERVED', 'HOLDS_ONE')
    ORDER BY r.failed_issue_id LIMIT $1 FOR UPDATE OF r, f SKIP LOCKED
), settled AS (
    UPDATE replays r SET outcome = decided.decision, updated_at = $2
    FROM decided WHERE r.request_id = decided.request_id
    RETURNING r.request_id
), resolved AS (
    UPDATE failed_coupon_issues f
    SET status = 'RESOLVED', resolved_at = $2, resolved_by = $3, resolution = 'issued by request ' || decided.issued_by
    FROM (SELECT DISTINCT ON (failed_issue_id) * FROM decided WHERE decision = 'ISSUED'
          ORDER BY failed_issue_id, request_id) decided
    WHERE f.id = decided.failed_issue_id AND f.status = 'PENDING'
    RETURNING f.id, f.resolution, decided.job_id
), audited AS (
    INSERT INTO operator_audit (at, actor, verb, subject, change, reason, provenance)
    SELECT $2, $3, 'replay', 'failed_coupon_issues/' || resolved.id, jsonb_build_object('from', 'PENDING', 'to', 'RESOLVED'),
           resolved.resolution || '; replay ' || resolved.job_id || coalesce(': ' || nullif(j.reason, ''), ''), $4
    FROM resolved LEFT JOIN replay_jobs j ON j.job_id = resolved.job_id
)
SELECT count(*) FROM settled;
UPDATE replays SET outcome = $2, held_by = $3, updated_at = $4
WHERE request_id = $1 AND outcome IS NULL RETURNING failed_issue_id;
UPDATE failed_coupon_issues SET replay_count = greatest(replay_count - 1, 0) WHERE id = $1;
WITH before AS (
    SELECT id, status FROM failed_coupon_issues
    WHERE coupon_code = $1 AND member_id = $2 AND status <> 'RESOLVED' ORDER BY id FOR UPDATE
), settled AS (
    UPDATE failed_coupon_issues f
    SET status = 'RESOLVED', resolved_at = $4, resolved_by = $5, decided_by_hand = true,
        resolution = $6 || '; request ' || $3 || ' of the member was compensated by hand'
    FROM before WHERE f.id = before.id
    RETURNING f.id, before.status
)
INSERT INTO operator_audit (at, actor, verb, subject, change, reason, provenance)
SELECT $4, $5, 'compensate', 'failed_coupon_issues/' || id,
       jsonb_build_object('from', status, 'to', 'RESOLVED', 'request_id', $3), $6, $7
FROM settled ORDER BY id;
UPDATE replays SET outcome = 'COMPENSATED', updated_at = $2 WHERE request_id = $1 RETURNING failed_issue_id;
WITH lost AS (
    UPDATE replays r SET outcome = 'NOT_READY', updated_at = $2
    FROM replays before
    WHERE before.request_id = r.request_id AND r.coupon_code = $1 AND r.outcome IN ('RESERVED', 'HOLDS_ONE')
      AND NOT EXISTS (SELECT FROM coupon_issues i JOIN coupons c USING (coupon_id)
                      WHERE c.coupon_code = $1 AND i.request_id = coalesce(r.held_by, r.request_id))
      AND NOT EXISTS (SELECT FROM dlq_events d WHERE d.original_event_id = coalesce(r.held_by, r.request_id)
                      AND d.status IN ('HELD', 'PARKED'))
    RETURNING r.failed_issue_id, before.outcome
)
UPDATE failed_coupon_issues f SET replay_count = greatest(f.replay_count - 1, 0)
FROM lost WHERE f.id = lost.failed_issue_id AND lost.outcome = 'RESERVED';
UPDATE replays SET outcome = 'NOT_READY', updated_at = $2 WHERE coupon_code = $1 AND outcome IS NULL;

-- retention.rs
WITH seen AS MATERIALIZED (
        SELECT f.id AS key, f.resolved_at AS at FROM failed_coupon_issues f
        WHERE f.status <> 'PENDING' AND f.resolved_at < $1 AND (f.resolved_at, f.id) > ($2, $3::text::bigint)
        ORDER BY f.resolved_at, f.id LIMIT $4
    ), chosen AS MATERIALIZED (
        SELECT f.id AS key FROM failed_coupon_issues f JOIN seen ON f.id = seen.key
        WHERE f.status <> 'PENDING' AND f.resolved_at < $1 AND f.status IN ('RESOLVED', 'IGNORED') AND f.resolved_at < $1
AND NOT EXISTS (
    SELECT FROM coupons c JOIN coupon_issues i USING (coupon_id)
    WHERE c.coupon_code = f.coupon_code AND i.request_id = f.request_id
      AND i.decision = 'COMPENSATED' AND i.given_back_at IS NULL)
AND NOT EXISTS (
    SELECT FROM replays p
    WHERE p.failed_issue_id = f.id AND (p.outcome IS NULL OR p.outcome IN ('RESERVED', 'HOLDS_ONE')))
AND NOT EXISTS (SELECT FROM dlq_events d WHERE d.original_event_id = f.request_id AND NOT d.alarm_sent) FOR UPDATE OF f SKIP LOCKED
    ), reached AS (
        SELECT at, key::text AS key FROM seen ORDER BY at DESC, seen.key DESC LIMIT 1
    ), purged AS (
        DELETE FROM failed_coupon_issues f USING chosen WHERE f.id = chosen.key RETURNING 'failed_coupon_issues/' || f.id::text AS subject
    ), unnoted AS (
        DELETE FROM row_notes USING purged WHERE row_notes.subject = purged.subject
    ), counted AS (
        SELECT count(*) AS deleted FROM purged
    ), audited AS (
        INSERT INTO operator_audit (at, actor, verb, subject, change, reason, provenance)
        SELECT $5, $6, 'purge', 'failed_coupon_issues', jsonb_build_object('deleted', deleted, 'older_than', $1::timestamptz), '', $7
        FROM counted WHERE deleted > 0
    )
    SELECT deleted, (SELECT count(*) FROM seen), (SELECT at FROM reached), (SELECT key FROM reached) FROM counted;
WITH seen AS MATERIALIZED (
        SELECT f.id AS key, f.updated_at AS at FROM dlq_events f
        WHERE f.status NOT IN ('HELD', 'PARKED') AND f.alarm_sent AND f.updated_at < $1 AND (f.updated_at, f.id) > ($2, $3::text::bigint)
        ORDER BY f.updated_at, f.id LIMIT $4
    ), chosen AS MATERIALIZED (
        SELECT f.id AS key FROM dlq_events f JOIN seen ON f.id = seen.key
        WHERE f.status NOT IN ('HELD', 'PARKED') AND f.alarm_sent AND f.updated_at < $1 AND NOT EXISTS (
                SELECT FROM failed_coupon_issues e
                WHERE e.coupon_code = f.coupon_code AND e.request_id = f.original_event_id AND NOT (e.status IN ('RESOLVED', 'IGNORED') AND e.resolved_at < $1
AND NOT EXISTS (
    SELECT FROM coupons c JOIN coupon_issues i USING (coupon_id)
    WHERE c.coupon_code = e.coupon_code AND i.request_id = e.request_id
      AND i.decision = 'COMPENSATED' AND i.given_back_at IS NULL)
AND NOT EXISTS (
    SELECT FROM replays p
    WHERE p.failed_issue_id = e.id AND (p.outcome IS NULL OR p.outcome IN ('RESERVED', 'HOLDS_ONE')))
AND NOT EXISTS (SELECT FROM dlq_events d WHERE d.original_event_id = e.request_id AND NOT d.alarm_sent)))
            AND NOT EXISTS (
                SELECT FROM coupons c JOIN coupon_issues i USING (coupon_id)
                WHERE c.coupon_code = f.coupon_code AND i.request_id = f.original_event_id
                  AND i.decision = 'COMPENSATED' AND i.given_back_at IS NULL) FOR UPDATE OF f SKIP LOCKED
    ), reached AS (
        SELECT at, key::text AS key FROM seen ORDER BY at DESC, seen.key DESC LIMIT 1
    ), purged AS (
        DELETE FROM dlq_events f USING chosen WHERE f.id = chosen.key RETURNING 'dlq_events/' || f.id::text AS subject
    ), unnoted AS (
        DELETE FROM row_notes USING purged WHERE row_notes.subject = purged.subject
    ), counted AS (
        SELECT count(*) AS deleted FROM purged
    ), audited AS (
        INSERT INTO operator_audit (at, actor, verb, subject, change, reason, provenance)
        SELECT $5, $6, 'purge', 'dlq_events', jsonb_build_object('deleted', deleted, 'older_than', $1::timestamptz), '', $7
        FROM counted WHERE deleted > 0
    )
    SELECT deleted, (SELECT count(*) FROM seen), (SELECT at FROM reached), (SELECT key FROM reached) FROM counted;
WITH seen AS MATERIALIZED (
        SELECT f.request_id AS key, f.updated_at AS at FROM replays f
        WHERE f.outcome NOT IN ('RESERVED', 'HOLDS_ONE') AND f.updated_at < $1 AND (f.updated_at, f.request_id) > ($2, $3::uuid)
        ORDER BY f.updated_at, f.request_id LIMIT $4
    ), chosen AS MATERIALIZED (
        SELECT f.request_id AS key FROM replays f JOIN seen ON f.request_id = seen.key
        WHERE f.outcome NOT IN ('RESERVED', 'HOLDS_ONE') AND f.updated_at < $1 AND NOT EXISTS (SELECT FROM failed_coupon_issues e WHERE e.id = f.failed_issue_id AND NOT (e.status IN ('RESOLVED', 'IGNORED') AND e.resolved_at < $1
AND NOT EXISTS (
    SELECT FROM coupons c JOIN coupon_issues i USING (coupon_id)
    WHERE c.coupon_code = e.coupon_code AND i.request_id = e.request_id
      AND i.decision = 'COMPENSATED' AND i.given_back_at IS NULL)
AND NOT EXISTS (
    SELECT FROM replays p
    WHERE p.failed_issue_id = e.id AND (p.outcome IS NULL OR p.outcome IN ('RESERVED', 'HOLDS_ONE')))
AND NOT EXISTS (SELECT FROM dlq_events d WHERE d.original_event_id = e.request_id AND NOT d.alarm_sent))) FOR UPDATE OF f SKIP LOCKED
    ), reached AS (
        SELECT at, key::text AS key FROM seen ORDER BY at DESC, seen.key DESC LIMIT 1
    ), purged AS (
        DELETE FROM replays f USING chosen WHERE f.request_id = chosen.key RETURNING 'replays/' || f.request_id::text AS subject
    ), unnoted AS (
        DELETE FROM row_notes USING purged WHERE row_notes.subject = purged.subject
    ), counted AS (
        SELECT count(*) AS deleted FROM purged
    ), audited AS (
        INSERT INTO operator_audit (at, actor, verb, subject, change, reason, provenance)
        SELECT $5, $6, 'purge', 'replays', jsonb_build_object('deleted', deleted, 'older_than', $1::timestamptz), '', $7
        FROM counted WHERE deleted > 0
    )
    SELECT deleted, (SELECT count(*) FROM seen), (SELECT at FROM reached), (SELECT key FROM reached) FROM counted;
WITH seen AS MATERIALIZED (
    SELECT f.id AS key, f.created_at AS at FROM alarm_notices f
    WHERE f.alarm_sent AND f.created_at < $1 AND (f.created_at, f.id) > ($2, $3::text::bigint)
    ORDER BY f.created_at, f.id LIMIT $4
), chosen AS MATERIALIZED (
    SELECT f.id AS key FROM alarm_notices f JOIN seen ON f.id = seen.key
    WHERE f.alarm_sent AND f.created_at < $1 AND true FOR UPDATE OF f SKIP LOCKED
), reached AS (
    SELECT at, key::text AS key FROM seen ORDER BY at DESC, seen.key DESC LIMIT 1
), purged AS (
    DELETE FROM alarm_notices f USING chosen WHERE f.id = chosen.key RETURNING 'alarm_notices/' || f.id::text AS subject
), unnoted AS (
    DELETE FROM row_notes USING purged WHERE row_notes.subject = purged.subject
), counted AS (
    SELECT count(*) AS deleted FROM purged
), audited AS (
    INSERT INTO operator_audit (at, actor, verb, subject, change, reason, provenance)
    SELECT $5, $6, 'purge', 'alarm_notices', jsonb_build_object('deleted', deleted, 'older_than', $1::timestamptz), '', $7
    FROM counted WHERE deleted > 0
)
SELECT deleted, (SELECT count(*) FROM seen), (SELECT at FROM reached), (SELECT key FROM reached) FROM counted;
WITH seen AS MATERIALIZED (
    SELECT f.id AS key, f.finished_at AS at FROM reconciliations f
    WHERE true AND f.finished_at < $1 AND (f.finished_at, f.id) > ($2, $3::text::bigint)
    ORDER BY f.finished_at, f.id LIMIT $4
), chosen AS MATERIALIZED (
    SELECT f.id AS key FROM reconciliations f JOIN seen ON f.id = seen.key
    WHERE true AND f.finished_at < $1 AND true FOR UPDATE OF f SKIP LOCKED
), reached AS (
    SELECT at, key::text AS key FROM seen ORDER BY at DESC, seen.key DESC LIMIT 1
), purged AS (
    DELETE FROM reconciliations f USING chosen WHERE f.id = chosen.key RETURNING 'reconciliations/' || f.id::text AS subject
), unnoted AS (
    DELETE FROM row_notes USING purged WHERE row_notes.subject = purged.subject
), counted AS (
    SELECT count(*) AS deleted FROM purged
), audited AS (
    INSERT INTO operator_audit (at, actor, verb, subject, change, reason, provenance)
    SELECT $5, $6, 'purge', 'reconciliations', jsonb_build_object('deleted', deleted, 'older_than', $1::timestamptz), '', $7
    FROM counted WHERE deleted > 0
)
SELECT deleted, (SELECT count(*) FROM seen), (SELECT at FROM reached), (SELECT key FROM reached) FROM counted;
WITH seen AS MATERIALIZED (
        SELECT f.id AS key, f.resolved_at AS at FROM failed_coupon_issues f
        WHERE f.status <> 'PENDING' AND f.resolved_at < $1 AND (f.resolved_at, f.id) > ($2, $3::text::bigint)
        ORDER BY f.resolved_at, f.id LIMIT $4
    ), chosen AS MATERIALIZED (
        SELECT f.id AS key FROM failed_coupon_issues f JOIN seen ON f.id = seen.key
        WHERE f.status <> 'PENDING' AND f.resolved_at < $1 AND f.status IN ('RESOLVED', 'IGNORED') AND f.resolved_at < $1
AND NOT EXISTS (
    SELECT FROM coupons c JOIN coupon_issues i USING (coupon_id)
    WHERE c.coupon_code = f.coupon_code AND i.request_id = f.request_id
      AND i.decision = 'COMPENSATED' AND i.given_back_at IS NULL)
AND NOT EXISTS (
    SELECT FROM replays p
    WHERE p.failed_issue_id = f.id AND (p.outcome IS NULL OR p.outcome IN ('RESERVED', 'HOLDS_ONE')))
AND NOT EXISTS (SELECT FROM dlq_events d WHERE d.original_event_id = f.request_id AND NOT d.alarm_sent)
    ), reached AS (
        SELECT at, key::text AS key FROM seen ORDER BY at DESC, seen.key DESC LIMIT 1
    )
    SELECT (SELECT count(*) FROM chosen), (SELECT count(*) FROM seen),
           (SELECT at FROM reached), (SELECT key FROM reached);
WITH seen AS MATERIALIZED (
        SELECT f.id AS key, f.updated_at AS at FROM dlq_events f
        WHERE f.status NOT IN ('HELD', 'PARKED') AND f.alarm_sent AND f.updated_at < $1 AND (f.updated_at, f.id) > ($2, $3::text::bigint)
        ORDER BY f.updated_at, f.id LIMIT $4
    ), chosen AS MATERIALIZED (
        SELECT f.id AS key FROM dlq_events f JOIN seen ON f.id = seen.key
        WHERE f.status NOT IN ('HELD', 'PARKED') AND f.alarm_sent AND f.updated_at < $1 AND NOT EXISTS (
                SELECT FROM failed_coupon_issues e
                WHERE e.coupon_code = f.coupon_code AND e.request_id = f.original_event_id AND NOT (e.status IN ('RESOLVED', 'IGNORED') AND e.resolved_at < $1
AND NOT EXISTS (
    SELECT FROM coupons c JOIN coupon_issues i USING (coupon_id)
    WHERE c.coupon_code = e.coupon_code AND i.request_id = e.request_id
      AND i.decision = 'COMPENSATED' AND i.given_back_at IS NULL)
AND NOT EXISTS (
    SELECT FROM replays p
    WHERE p.failed_issue_id = e.id AND (p.outcome IS NULL OR p.outcome IN ('RESERVED', 'HOLDS_ONE')))
AND NOT EXISTS (SELECT FROM dlq_events d WHERE d.original_event_id = e.request_id AND NOT d.alarm_sent)))
            AND NOT EXISTS (
                SELECT FROM coupons c JOIN coupon_issues i USING (coupon_id)
                WHERE c.coupon_code = f.coupon_code AND i.request_id = f.original_event_id
                  AND i.decision = 'COMPENSATED' AND i.given_back_at IS NULL)
    ), reached AS (
        SELECT at, key::text AS key FROM seen ORDER BY at DESC, seen.key DESC LIMIT 1
    )
    SELECT (SELECT count(*) FROM chosen), (SELECT count(*) FROM seen),
           (SELECT at FROM reached), (SELECT key FROM reached);
WITH seen AS MATERIALIZED (
        SELECT f.request_id AS key, f.updated_at AS at FROM replays f
        WHERE f.outcome NOT IN ('RESERVED', 'HOLDS_ONE') AND f.updated_at < $1 AND (f.updated_at, f.request_id) > ($2, $3::uuid)
        ORDER BY f.updated_at, f.request_id LIMIT $4
    ), chosen AS MATERIALIZED (
        SELECT f.request_id AS key FROM replays f JOIN seen ON f.request_id = seen.key
        WHERE f.outcome NOT IN ('RESERVED', 'HOLDS_ONE') AND f.updated_at < $1 AND NOT EXISTS (SELECT FROM failed_coupon_issues e WHERE e.id = f.failed_issue_id AND NOT (e.status IN ('RESOLVED', 'IGNORED') AND e.resolved_at < $1
AND NOT EXISTS (
    SELECT FROM coupons c JOIN coupon_issues i USING (coupon_id)
    WHERE c.coupon_code = e.coupon_code AND i.request_id = e.request_id
      AND i.decision = 'COMPENSATED' AND i.given_back_at IS NULL)
AND NOT EXISTS (
    SELECT FROM replays p
    WHERE p.failed_issue_id = e.id AND (p.outcome IS NULL OR p.outcome IN ('RESERVED', 'HOLDS_ONE')))
AND NOT EXISTS (SELECT FROM dlq_events d WHERE d.original_event_id = e.request_id AND NOT d.alarm_sent)))
    ), reached AS (
        SELECT at, key::text AS key FROM seen ORDER BY at DESC, seen.key DESC LIMIT 1
    )
    SELECT (SELECT count(*) FROM chosen), (SELECT count(*) FROM seen),
           (SELECT at FROM reached), (SELECT key FROM reached);
WITH seen AS MATERIALIZED (
    SELECT f.id AS key, f.created_at AS at FROM alarm_notices f
    WHERE f.alarm_sent AND f.created_at < $1 AND (f.created_at, f.id) > ($2, $3::text::bigint)
    ORDER BY f.created_at, f.id LIMIT $4
), chosen AS MATERIALIZED (
    SELECT f.id AS key FROM alarm_notices f JOIN seen ON f.id = seen.key
    WHERE f.alarm_sent AND f.created_at < $1 AND true
), reached AS (
    SELECT at, key::text AS key FROM seen ORDER BY at DESC, seen.key DESC LIMIT 1
)
SELECT (SELECT count(*) FROM chosen), (SELECT count(*) FROM seen),
       (SELECT at FROM reached), (SELECT key FROM reached);
WITH seen AS MATERIALIZED (
    SELECT f.id AS key, f.finished_at AS at FROM reconciliations f
    WHERE true AND f.finished_at < $1 AND (f.finished_at, f.id) > ($2, $3::text::bigint)
    ORDER BY f.finished_at, f.id LIMIT $4
), chosen AS MATERIALIZED (
    SELECT f.id AS key FROM reconciliations f JOIN seen ON f.id = seen.key
    WHERE true AND f.finished_at < $1 AND true
), reached AS (
    SELECT at, key::text AS key FROM seen ORDER BY at DESC, seen.key DESC LIMIT 1
)
SELECT (SELECT count(*) FROM chosen), (SELECT count(*) FROM seen),
       (SELECT at FROM reached), (SELECT key FROM reached);
WITH seen AS MATERIALIZED (
    SELECT f.job_id AS key, f.updated_at AS at FROM replay_jobs f
    WHERE f.status IN ('CANCELLED', 'DONE') AND f.updated_at < $1 AND (f.updated_at, f.job_id) > ($2, $3::text::bigint)
    ORDER BY f.updated_at, f.job_id LIMIT $4
), chosen AS MATERIALIZED (
    SELECT f.job_id AS key FROM replay_jobs f JOIN seen ON f.job_id = seen.key
    WHERE f.status IN ('CANCELLED', 'DONE') AND f.updated_at < $1 AND NOT EXISTS (SELECT FROM replays p WHERE p.job_id = f.job_id AND p.outcome IS NULL)
), reached AS (
    SELECT at, key::text AS key FROM seen ORDER BY at DESC, seen.key DESC LIMIT 1
)
SELECT (SELECT count(*) FROM chosen), (SELECT count(*) FROM seen),
       (SELECT at FROM reached), (SELECT key FROM reached);
WITH seen AS MATERIALIZED (
    SELECT f.job_id AS key, f.updated_at AS at FROM replay_jobs f
    WHERE f.status IN ('CANCELLED', 'DONE') AND f.updated_at < $1 AND (f.updated_at, f.job_id) > ($2, $3::text::bigint)
    ORDER BY f.updated_at, f.job_id LIMIT $4
), chosen AS MATERIALIZED (
    SELECT f.job_id AS key FROM replay_jobs f JOIN seen ON f.job_id = seen.key
    WHERE f.status IN ('CANCELLED', 'DONE') AND f.updated_at < $1 AND NOT EXISTS (SELECT FROM replays p WHERE p.job_id = f.job_id AND p.outcome IS NULL) FOR UPDATE OF f SKIP LOCKED
), reached AS (
    SELECT at, key::text AS key FROM seen ORDER BY at DESC, seen.key DESC LIMIT 1
), purged AS (
    DELETE FROM replay_jobs f USING chosen WHERE f.job_id = chosen.key RETURNING 'replay_jobs/' || f.job_id::text AS subject
), unnoted AS (
    DELETE FROM row_notes USING purged WHERE row_notes.subject = purged.subject
), counted AS (
    SELECT count(*) AS deleted FROM purged
), audited AS (
    INSERT INTO operator_audit (at, actor, verb, subject, change, reason, provenance)
    SELECT $5, $6, 'purge', 'replay_jobs', jsonb_build_object('deleted', deleted, 'older_than', $1::timestamptz), '', $7
    FROM counted WHERE deleted > 0
)
SELECT deleted, (SELECT count(*) FROM seen), (SELECT at FROM reached), (SELECT key FROM reached) FROM counted;
WITH seen AS MATERIALIZED (
    SELECT f.job_id AS key, f.updated_at AS at FROM jobs f
    WHERE f.status <> 'RUNNING' AND f.updated_at < $1 AND (f.updated_at, f.job_id) > ($2, $3::text::bigint)
    ORDER BY f.updated_at, f.job_id LIMIT $4
), chosen AS MATERIALIZED (
    SELECT f.job_id AS key FROM jobs f JOIN seen ON f.job_id = seen.key
    WHERE f.status <> 'RUNNING' AND f.updated_at < $1 AND true
), reached AS (
    SELECT at, key::text AS key FROM seen ORDER BY at DESC, seen.key DESC LIMIT 1
)
SELECT (SELECT count(*) FROM chosen), (SELECT count(*) FROM seen),
       (SELECT at FROM reached), (SELECT key FROM reached);
WITH seen AS MATERIALIZED (
    SELECT f.job_id AS key, f.updated_at AS at FROM jobs f
    WHERE f.status <> 'RUNNING' AND f.updated_at < $1 AND (f.updated_at, f.job_id) > ($2, $3::text::bigint)
    ORDER BY f.updated_at, f.job_id LIMIT $4
), chosen AS MATERIALIZED (
    SELECT f.job_id AS key FROM jobs f JOIN seen ON f.job_id = seen.key
    WHERE f.status <> 'RUNNING' AND f.updated_at < $1 AND true FOR UPDATE OF f SKIP LOCKED
), reached AS (
    SELECT at, key::text AS key FROM seen ORDER BY at DESC, seen.key DESC LIMIT 1
), purged AS (
    DELETE FROM jobs f USING chosen WHERE f.job_id = chosen.key RETURNING 'jobs/' || f.job_id::text AS subject
), unnoted AS (
    DELETE FROM row_notes USING purged WHERE row_notes.subject = purged.subject
), counted AS (
    SELECT count(*) AS deleted FROM purged
), audited AS (
    INSERT INTO operator_audit (at, actor, verb, subject, change, reason, provenance)
    SELECT $5, $6, 'purge', 'jobs', jsonb_build_object('deleted', deleted, 'older_than', $1::timestamptz), '', $7
    FROM counted WHERE deleted > 0
)
SELECT deleted, (SELECT count(*) FROM seen), (SELECT at FROM reached), (SELECT key FROM reached) FROM counted;
WITH seen AS MATERIALIZED (
    SELECT f.plan_id AS key, f.expires_at AS at FROM plans f
    WHERE true AND f.expires_at < $1 AND (f.expires_at, f.plan_id) > ($2, $3::text::bigint)
    ORDER BY f.expires_at, f.plan_id LIMIT $4
), chosen AS MATERIALIZED (
    SELECT f.plan_id AS key FROM plans f JOIN seen ON f.plan_id = seen.key
    WHERE true AND f.expires_at < $1 AND NOT EXISTS (
        SELECT FROM replay_jobs j WHERE f.verb = 'replay' AND j.job_id = f.job_id
          AND NOT (j.status IN ('CANCELLED', 'DONE') AND j.updated_at < $1
                   AND NOT EXISTS (SELECT FROM replays p WHERE p.job_id = j.job_id AND p.outcome IS NULL)))
    AND NOT EXISTS (
        SELECT FROM jobs j WHERE f.verb <> 'replay' AND j.job_id = f.job_id
          AND NOT (j.status <> 'RUNNING' AND j.updated_at < $1))
), reached AS (
    SELECT at, key::text AS key FROM seen ORDER BY at DESC, seen.key DESC LIMIT 1
)
SELECT (SELECT count(*) FROM chosen), (SELECT count(*) FROM seen),
       (SELECT at FROM reached), (SELECT key FROM reached);
WITH seen AS MATERIALIZED (
    SELECT f.plan_id AS key, f.expires_at AS at FROM plans f
    WHERE true AND f.expires_at < $1 AND (f.expires_at, f.plan_id) > ($2, $3::text::bigint)
    ORDER BY f.expires_at, f.plan_id LIMIT $4
), chosen AS MATERIALIZED (
    SELECT f.plan_id AS key FROM plans f JOIN seen ON f.plan_id = seen.key
    WHERE true AND f.expires_at < $1 AND NOT EXISTS (
        SELECT FROM replay_jobs j WHERE f.verb = 'replay' AND j.job_id = f.job_id
          AND NOT (j.status IN ('CANCELLED', 'DONE') AND j.updated_at < $1
                   AND NOT EXISTS (SELECT FROM replays p WHERE p.job_id = j.job_id AND p.outcome IS NULL)))
    AND NOT EXISTS (
        SELECT FROM jobs j WHERE f.verb <> 'replay' AND j.job_id = f.job_id
          AND NOT (j.status <> 'RUNNING' AND j.updated_at < $1)) FOR UPDATE OF f SKIP LOCKED
), reached AS (
    SELECT at, key::text AS key FROM seen ORDER BY at DESC, seen.key DESC LIMIT 1
), purged AS (
    DELETE FROM plans f USING chosen WHERE f.plan_id = chosen.key RETURNING 'plans/' || f.plan_id::text AS subject
), unnoted AS (
    DELETE FROM row_notes USING purged WHERE row_notes.subject = purged.subject
), counted AS (
    SELECT count(*) AS deleted FROM purged
), audited AS (
    INSERT INTO operator_audit (at, actor, verb, subject, change, reason, provenance)
    SELECT $5, $6, 'purge', 'plans', jsonb_build_object('deleted', deleted, 'older_than', $1::timestamptz), '', $7
    FROM counted WHERE deleted > 0
)
SELECT deleted, (SELECT count(*) FROM seen), (SELECT at FROM reached), (SELECT key FROM reached) FROM counted;
WITH seen AS MATERIALIZED (
    SELECT f.session_hash AS key, f.expires_at AS at FROM operator_sessions f
    WHERE true AND f.expires_at < $1 AND (f.expires_at, f.session_hash) > ($2, $3::text::bytea)
    ORDER BY f.expires_at, f.session_hash LIMIT $4
), chosen AS MATERIALIZED (
    SELECT f.session_hash AS key FROM operator_sessions f JOIN seen ON f.session_hash = seen.key
    WHERE true AND f.expires_at < $1 AND true
), reached AS (
    SELECT at, key::text AS key FROM seen ORDER BY at DESC, seen.key DESC LIMIT 1
)
SELECT (SELECT count(*) FROM chosen), (SELECT count(*) FROM seen),
       (SELECT at FROM reached), (SELECT key FROM reached);
WITH seen AS MATERIALIZED (
    SELECT f.session_hash AS key, f.expires_at AS at FROM operator_sessions f
    WHERE true AND f.expires_at < $1 AND (f.expires_at, f.session_hash) > ($2, $3::text::bytea)
    ORDER BY f.expires_at, f.session_hash LIMIT $4
), chosen AS MATERIALIZED (
    SELECT f.session_hash AS key FROM operator_sessions f JOIN seen ON f.session_hash = seen.key
    WHERE true AND f.expires_at < $1 AND true FOR UPDATE OF f SKIP LOCKED
), reached AS (
    SELECT at, key::text AS key FROM seen ORDER BY at DESC, seen.key DESC LIMIT 1
), purged AS (
    DELETE FROM operator_sessions f USING chosen WHERE f.session_hash = chosen.key RETURNING 'operator_sessions/' || f.session_hash::text AS subject
), unnoted AS (
    DELETE FROM row_notes USING purged WHERE row_notes.subject = purged.subject
), counted AS (
    SELECT count(*) AS deleted FROM purged
), audited AS (
    INSERT INTO operator_audit (at, actor, verb, subject, change, reason, provenance)
    SELECT $5, $6, 'purge', 'operator_sessions', jsonb_build_object('deleted', deleted, 'older_than', $1::timestamptz), '', $7
    FROM counted WHERE deleted > 0
)
SELECT deleted, (SELECT count(*) FROM seen), (SELECT at FROM reached), (SELECT key FROM reached) FROM counted;
WITH seen AS MATERIALIZED (
    SELECT f.id AS key, f.decided_at AS at FROM coupon_decision_batches f
    WHERE true AND f.decided_at < $1 AND (f.decided_at, f.id) > ($2, $3::text::bigint)
    ORDER BY f.decided_at, f.id LIMIT $4
), chosen AS MATERIALIZED (
    SELECT f.id AS key FROM coupon_decision_batches f JOIN seen ON f.id = seen.key
    WHERE true AND f.decided_at < $1 AND EXISTS (SELECT FROM coupon_decision_marks m WHERE m.coupon_id = f.coupon_id AND f.decided_at < m.complete_before
            AND f.first_no + cardinality(f.request_ids) - 1 <= m.relayed_to)
), reached AS (
    SELECT at, key::text AS key FROM seen ORDER BY at DESC, seen.key DESC LIMIT 1
)
SELECT (SELECT count(*) FROM chosen), (SELECT count(*) FROM seen),
       (SELECT at FROM reached), (SELECT key FROM reached);
WITH seen AS MATERIALIZED (
    SELECT f.id AS key, f.decided_at AS at FROM coupon_decision_batches f
    WHERE true AND f.decided_at < $1 AND (f.decided_at, f.id) > ($2, $3::text::bigint)
    ORDER BY f.decided_at, f.id LIMIT $4
), chosen AS MATERIALIZED (
    SELECT f.id AS key FROM coupon_decision_batches f JOIN seen ON f.id = seen.key
    WHERE true AND f.decided_at < $1 AND EXISTS (SELECT FROM coupon_decision_marks m WHERE m.coupon_id = f.coupon_id AND f.decided_at < m.complete_before
            AND f.first_no + cardinality(f.request_ids) - 1 <= m.relayed_to) FOR UPDATE OF f SKIP LOCKED
), reached AS (
    SELECT at, key::text AS key FROM seen ORDER BY at DESC, seen.key DESC LIMIT 1
), purged AS (
    DELETE FROM coupon_decision_batches f USING chosen WHERE f.id = chosen.key RETURNING 'coupon_decision_batches/' || f.id::text AS subject
), unnoted AS (
    DELETE FROM row_notes USING purged WHERE row_notes.subject = purged.subject
), counted AS (
    SELECT count(*) AS deleted FROM purged
), audited AS (
    INSERT INTO operator_audit (at, actor, verb, subject, change, reason, provenance)
    SELECT $5, $6, 'purge', 'coupon_decision_batches', jsonb_build_object('deleted', deleted, 'older_than', $1::timestamptz), '', $7
    FROM counted WHERE deleted > 0
)
SELECT deleted, (SELECT count(*) FROM seen), (SELECT at FROM reached), (SELECT key FROM reached) FROM counted;
WITH seen AS MATERIALIZED (
    SELECT f.id AS key, f.delivered_at AS at FROM webhook_deliveries f
    WHERE f.status = 'DELIVERED' AND f.delivered_at < $1 AND (f.delivered_at, f.id) > ($2, $3::text::bigint)
    ORDER BY f.delivered_at, f.id LIMIT $4
), chosen AS MATERIALIZED (
    SELECT f.id AS key FROM webhook_deliveries f JOIN seen ON f.id = seen.key
    WHERE f.status = 'DELIVERED' AND f.delivered_at < $1 AND true
), reached AS (
    SELECT at, key::text AS key FROM seen ORDER BY at DESC, seen.key DESC LIMIT 1
)
SELECT (SELECT count(*) FROM chosen), (SELECT count(*) FROM seen),
       (SELECT at FROM reached), (SELECT key FROM reached);
WITH seen AS MATERIALIZED (
    SELECT f.id AS key, f.delivered_at AS at FROM webhook_deliveries f
    WHERE f.status = 'DELIVERED' AND f.delivered_at < $1 AND (f.delivered_at, f.id) > ($2, $3::text::bigint)
    ORDER BY f.delivered_at, f.id LIMIT $4
), chosen AS MATERIALIZED (
    SELECT f.id AS key FROM webhook_deliveries f JOIN seen ON f.id = seen.key
    WHERE f.status = 'DELIVERED' AND f.delivered_at < $1 AND true FOR UPDATE OF f SKIP LOCKED
), reached AS (
    SELECT at, key::text AS key FROM seen ORDER BY at DESC, seen.key DESC LIMIT 1
), purged AS (
    DELETE FROM webhook_deliveries f USING chosen WHERE f.id = chosen.key RETURNING 'webhook_deliveries/' || f.id::text AS subject
), unnoted AS (
    DELETE FROM row_notes USING purged WHERE row_notes.subject = purged.subject
), counted AS (
    SELECT count(*) AS deleted FROM purged
), audited AS (
    INSERT INTO operator_audit (at, actor, verb, subject, change, reason, provenance)
    SELECT $5, $6, 'purge', 'webhook_deliveries', jsonb_build_object('deleted', deleted, 'older_than', $1::timestamptz), '', $7
    FROM counted WHERE deleted > 0
)
SELECT deleted, (SELECT count(*) FROM seen), (SELECT at FROM reached), (SELECT key FROM reached) FROM counted;
WITH seen AS MATERIALIZED (
    SELECT f.id AS key, f.occurred_at AS at FROM campaign_events f
    WHERE f.handed_out AND f.occurred_at < $1 AND (f.occurred_at, f.id) > ($2, $3::text::bigint)
    ORDER BY f.occurred_at, f.id LIMIT $4
), chosen AS MATERIALIZED (
    SELECT f.id AS key FROM campaign_events f JOIN seen ON f.id = seen.key
    WHERE f.handed_out AND f.occurred_at < $1 AND NOT EXISTS (
        SELECT FROM webhook_deliveries d
        WHERE d.event_id = f.id AND NOT (d.status = 'DELIVERED' AND d.delivered_at < $1))
), reached AS (
    SELECT at, key::text AS key FROM seen ORDER BY at DESC, seen.key DESC LIMIT 1
)
SELECT (SELECT count(*) FROM chosen), (SELECT count(*) FROM seen),
       (SELECT at FROM reached), (SELECT key FROM reached);
WITH seen AS MATERIALIZED (
    SELECT f.id AS key, f.occurred_at AS at FROM campaign_events f
    WHERE f.handed_out AND f.occurred_at < $1 AND (f.occurred_at, f.id) > ($2, $3::text::bigint)
    ORDER BY f.occurred_at, f.id LIMIT $4
), chosen AS MATERIALIZED (
    SELECT f.id AS key FROM campaign_events f JOIN seen ON f.id = seen.key
    WHERE f.handed_out AND f.occurred_at < $1 AND NOT EXISTS (
        SELECT FROM webhook_deliveries d
        WHERE d.event_id = f.id AND NOT (d.status = 'DELIVERED' AND d.delivered_at < $1)) FOR UPDATE OF f SKIP LOCKED
), reached AS (
    SELECT at, key::text AS key FROM seen ORDER BY at DESC, seen.key DESC LIMIT 1
), purged AS (
    DELETE FROM campaign_events f USING chosen WHERE f.id = chosen.key RETURNING 'campaign_events/' || f.id::text AS subject
), unnoted AS (
    DELETE FROM row_notes USING purged WHERE row_notes.subject = purged.subject
), counted AS (
    SELECT count(*) AS deleted FROM purged
), audited AS (
    INSERT INTO operator_audit (at, actor, verb, subject, change, reason, provenance)
    SELECT $5, $6, 'purge', 'campaign_events', jsonb_build_object('deleted', deleted, 'older_than', $1::timestamptz), '', $7
    FROM counted WHERE deleted > 0
)
SELECT deleted, (SELECT count(*) FROM seen), (SELECT at FROM reached), (SELECT key FROM reached) FROM counted;

-- schema.rs
SELECT to_regclass('_sqlx_migrations') IS NOT NULL;
SELECT version, checksum FROM _sqlx_migrations WHERE success;
SELECT oldest_binary FROM schema_compatibility;
SELECT pg_try_advisory_lock($1);
SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE NOT indisvalid AND relnamespace = current_schema()::regnamespace;

-- server.rs
SELECT name, setting FROM pg_settings WHERE name = ANY ($1)
UNION ALL
SELECT 'in_recovery', pg_is_in_recovery()::text;
SELECT current_setting('server_version');

-- webhooks.rs
WITH new AS (
    SELECT id FROM campaign_events WHERE NOT handed_out ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED
), handed_out AS (
    UPDATE campaign_events e SET handed_out = true FROM new WHERE e.id = new.id RETURNING e.id, e.kind
), made AS (
    INSERT INTO webhook_deliveries (endpoint, event_id, next_at, created_at)
    SELECT wanted.endpoint, handed_out.id, now(), now()
    FROM handed_out JOIN unnest($1::text[], $2::text[]) AS wanted (endpoint, kind) USING (kind)
    WHERE NOT EXISTS (
        SELECT FROM webhook_endpoints e WHERE e.endpoint = wanted.endpoint AND e.off_at IS NOT NULL)
    ORDER BY handed_out.id
    ON CONFLICT (event_id, endpoint) DO NOTHING
)
SELECT count(*) FROM handed_out;

-- webhooks/deliveries.rs
WITH due AS (
    SELECT d.id FROM webhook_deliveries d
    WHERE d.endpoint = $1 AND d.status = 'PENDING' AND d.next_at <= $2
      AND NOT EXISTS (
          SELECT FROM webhook_endpoints e
          WHERE e.endpoint = $1 AND (e.off_at IS NOT NULL OR e.not_before > $2))
    ORDER BY d.next_at, d.id LIMIT 1 FOR UPDATE OF d SKIP LOCKED
), claimed AS (
    UPDATE webhook_deliveries d SET next_at = $3 FROM due WHERE d.id = due.id
    RETURNING d.id, d.event_id, d.attempts
)
SELECT claimed.id, e.webhook_id, e.kind, e.coupon_code, e.data, e.occurred_at, claimed.attempts
FROM claimed JOIN campaign_events e ON e.id = claimed.event_id;
UPDATE webhook_deliveries
SET status = $2, attempts = attempts + 1, next_at = $3, last_status = $4, last_error = $5,
    delivered_at = CASE WHEN $2 = 'DELIVERED' THEN $6::timestamptz END
WHERE id = $1 AND status <> 'DELIVERED';
UPDATE webhook_endpoints
SET failing_since = CASE WHEN $2::text IS NOT NULL THEN coalesce(failing_since, $3) END, last_error = $2,
    not_before = $4, off_at = CASE WHEN $5 THEN $3 ELSE off_at END
WHERE endpoint = $1 AND ($2::text IS NOT NULL OR last_error IS NOT NULL);
UPDATE webhook_deliveries SET status = 'FAILED', last_error = 'the endpoint is switched off'
WHERE endpoint = $1 AND status = 'PENDING';
UPDATE webhook_deliveries d SET status = 'PENDING', attempts = 0, next_at = $2, delivered_at = NULL
FROM webhook_deliveries before WHERE d.id = $1 AND before.id = d.id RETURNING d.endpoint, before.status;
UPDATE webhook_endpoints SET off_at = NULL, not_before = NULL WHERE endpoint = $1;
SELECT d.id, d.endpoint, e.kind AS event, e.coupon_code, e.webhook_id, d.status, d.attempts, d.next_at,
       d.last_status, d.last_error, d.created_at, d.delivered_at
FROM webhook_deliveries d JOIN campaign_events e ON e.id = d.event_id
WHERE ($1::text IS NULL OR d.endpoint = $1) AND ($2::text IS NULL OR d.status = $2)
  AND ($3::bigint IS NULL OR d.id < $3)
ORDER BY d.id DESC LIMIT $4;

-- webhooks/endpoints.rs
INSERT INTO webhook_endpoints AS known (endpoint, address_hash, created_at)
VALUES ($1, sha256(convert_to($2, 'UTF8')), now())
ON CONFLICT (endpoint) DO UPDATE
SET address_hash = excluded.address_hash, off_at = NULL, not_before = NULL, failing_since = NULL, last_error = NULL
WHERE known.address_hash <> excluded.address_hash;
SELECT e.endpoint, e.created_at, e.off_at, e.not_before, e.failing_since, e.last_error,
       count(d.id) FILTER (WHERE d.status = 'PENDING') AS pending,
       count(d.id) FILTER (WHERE d.status = 'FAILED') AS failed
FROM webhook_endpoints e LEFT JOIN webhook_deliveries d
  ON d.endpoint = e.endpoint AND d.status IN ('PENDING', 'FAILED')
GROUP BY e.endpoint ORDER BY e.endpoint;

-- work_list/causes.rs
WITH RECURSIVE causes AS (
    (SELECT f.cause FROM failed_coupon_issues f WHERE f.status = 'PENDING' AND f.cause IS NOT NULL ORDER BY f.cause LIMIT 1)
    UNION ALL
    SELECT (SELECT f.cause FROM failed_coupon_issues f WHERE f.status = 'PENDING' AND f.cause > causes.cause
            ORDER BY f.cause LIMIT 1)
    FROM causes WHERE causes.cause IS NOT NULL
)
SELECT c.cause, counted.count, oldest.failed_at AS first_seen, newest.failed_at AS last_seen, newest.id AS sample_id,
       coalesce(named.campaigns, '{}') AS campaigns
FROM (SELECT cause FROM causes WHERE cause IS NOT NULL LIMIT 200) c
CROSS JOIN LATERAL (SELECT count(*) FROM (SELECT f.id FROM failed_coupon_issues f
    WHERE f.status = 'PENDING' AND f.cause = c.cause LIMIT 5000) f) counted
CROSS JOIN LATERAL (SELECT f.failed_at FROM failed_coupon_issues f
    WHERE f.status = 'PENDING' AND f.cause = c.cause ORDER BY f.id LIMIT 1) oldest
CROSS JOIN LATERAL (SELECT f.failed_at, f.id FROM failed_coupon_issues f
    WHERE f.status = 'PENDING' AND f.cause = c.cause ORDER BY f.id DESC LIMIT 1) newest
CROSS JOIN LATERAL (SELECT array_agg(DISTINCT f.coupon_code) FILTER (WHERE f.coupon_code IS NOT NULL) AS campaigns
    FROM (SELECT f.coupon_code FROM failed_coupon_issues f WHERE f.status = 'PENDING' AND f.cause = c.cause
          ORDER BY f.id DESC LIMIT 200) f) named
ORDER BY c.cause;
WITH RECURSIVE causes AS (
    (SELECT f.cause FROM dlq_events f WHERE f.status = 'HELD' AND f.cause IS NOT NULL ORDER BY f.cause LIMIT 1)
    UNION ALL
    SELECT (SELECT f.cause FROM dlq_events f WHERE f.status = 'HELD' AND f.cause > causes.cause
            ORDER BY f.cause LIMIT 1)
    FROM causes WHERE causes.cause IS NOT NULL
)
SELECT c.cause, counted.count, oldest.created_at AS first_seen, newest.created_at AS last_seen, newest.id AS sample_id,
       coalesce(named.campaigns, '{}') AS campaigns
FROM (SELECT cause FROM causes WHERE cause IS NOT NULL LIMIT 200) c
CROSS JOIN LATERAL (SELECT count(*) FROM (SELECT f.id FROM dlq_events f
    WHERE f.status = 'HELD' AND f.cause = c.cause LIMIT 5000) f) counted
CROSS JOIN LATERAL (SELECT f.created_at FROM dlq_events f
    WHERE f.status = 'HELD' AND f.cause = c.cause ORDER BY f.id LIMIT 1) oldest
CROSS JOIN LATERAL (SELECT f.created_at, f.id FROM dlq_events f
    WHERE f.status = 'HELD' AND f.cause = c.cause ORDER BY f.id DESC LIMIT 1) newest
CROSS JOIN LATERAL (SELECT array_agg(DISTINCT f.coupon_code) FILTER (WHERE f.coupon_code IS NOT NULL) AS campaigns
    FROM (SELECT f.coupon_code FROM dlq_events f WHERE f.status = 'HELD' AND f.cause = c.cause
          ORDER BY f.id DESC LIMIT 200) f) named
ORDER BY c.cause;
WITH RECURSIVE causes AS (
    (SELECT f.cause FROM dlq_events f WHERE f.status = 'PARKED' AND f.cause IS NOT NULL ORDER BY f.cause LIMIT 1)
    UNION ALL
    SELECT (SELECT f.cause FROM dlq_events f WHERE f.status = 'PARKED' AND f.cause > causes.cause
            ORDER BY f.cause LIMIT 1)
    FROM causes WHERE causes.cause IS NOT NULL
)
SELECT c.cause, counted.count, oldest.created_at AS first_seen, newest.created_at AS last_seen, newest.id AS sample_id,
       coalesce(named.campaigns, '{}') AS campaigns
FROM (SELECT cause FROM causes WHERE cause IS NOT NULL LIMIT 200) c
CROSS JOIN LATERAL (SELECT count(*) FROM (SELECT f.id FROM dlq_events f
    WHERE f.status = 'PARKED' AND f.cause = c.cause LIMIT 5000) f) counted
CROSS JOIN LATERAL (SELECT f.created_at FROM dlq_events f
    WHERE f.status = 'PARKED' AND f.cause = c.cause ORDER BY f.id LIMIT 1) oldest
CROSS JOIN LATERAL (SELECT f.created_at, f.id FROM dlq_events f
    WHERE f.status = 'PARKED' AND f.cause = c.cause ORDER BY f.id DESC LIMIT 1) newest
CROSS JOIN LATERAL (SELECT array_agg(DISTINCT f.coupon_code) FILTER (WHERE f.coupon_code IS NOT NULL) AS campaigns
    FROM (SELECT f.coupon_code FROM dlq_events f WHERE f.status = 'PARKED' AND f.cause = c.cause
          ORDER BY f.id DESC LIMIT 200) f) named
ORDER BY c.cause;
SELECT cause, floor(extract(epoch FROM at - $1) / 60)::int AS minute, count(*) AS count
FROM ((SELECT f.cause, f.failed_at AS at FROM failed_coupon_issues f WHERE f.failed_at >= $1 AND f.failed_at < $2 AND f.cause IS NOT NULL
      ORDER BY f.failed_at DESC LIMIT 20000) UNION ALL
     (SELECT f.cause, f.created_at AS at FROM dlq_events f WHERE f.created_at >= $1 AND f.created_at < $2 AND f.cause IS NOT NULL
      ORDER BY f.created_at DESC LIMIT 20000)) f GROUP BY 1, 2 ORDER BY 1, 2;

-- work_list/claims.rs
SELECT claimed_by, claimed_at FROM failed_coupon_issues WHERE id = $1 FOR NO KEY UPDATE;
UPDATE failed_coupon_issues SET claimed_by = $2, claimed_at = $3 WHERE id = $1;

-- work_list/figures.rs
SELECT (SELECT count(*) FROM failed_coupon_issues WHERE status = 'PENDING') AS pending,
(SELECT min(failed_at) FROM failed_coupon_issues WHERE status = 'PENDING') AS oldest_pending_at,
(SELECT count(*) FROM dlq_events WHERE status = 'HELD') AS held,
(SELECT count(*) FROM dlq_events WHERE status = 'PARKED') AS parked,
(SELECT count(*) FROM dlq_events WHERE NOT alarm_sent) + (SELECT count(*) FROM alarm_notices WHERE NOT alarm_sent)
    AS alarms_unsent,
(SELECT count(*) FROM coupon_issues WHERE decision = 'COMPENSATED' AND given_back_at IS NULL) AS not_given_back;
SELECT CASE WHEN status = 'OPEN' AND closes_at <= $1 THEN 'OVER'
            WHEN status = 'OPEN' AND opens_at > $1 THEN 'SCHEDULED'
            ELSE status END AS status, count(*) AS campaigns, sum(total_quantity)::bigint AS coupons, sum(issued_quantity)::bigint AS issued
FROM coupons WHERE archived_at IS NULL GROUP BY 1;
SELECT coalesce(cause, error_class || ' ' || error_code) AS name, sum(count)::bigint AS count
FROM (SELECT coupon_code, cause, error_class, error_code, count(*) FROM failed_coupon_issues WHERE status = 'PENDING'
      GROUP BY coupon_code, cause, error_class, error_code) grouped
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT $1;
SELECT coupon_code AS name, count(*) AS count FROM failed_coupon_issues WHERE status = 'PENDING'
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT $1;
SELECT cause AS name, count(*) AS count FROM dlq_events WHERE status = $2
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT $1;
SELECT coalesce(f.cause, f.error_class || ' ' || f.error_code) AS cause, count(*) AS count,
                min(f.failed_at) AS first_seen, max(f.failed_at) AS last_seen, max(f.id) AS sample_id
         FROM failed_coupon_issues f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.request_id = ($6 ->> 'request_id')::uuid)
AND ($6 ->> 'claimed_by' IS NULL OR f.claimed_by = $6 ->> 'claimed_by')
AND ($7::timestamptz IS NULL OR f.failed_at >= $7) AND ($8::timestamptz IS NULL OR f.failed_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(coalesce(f.cause, concat_ws(' ', f.error_class, f.error_code))), lower($5)) > 0
 OR strpos(lower(f.reason), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.reason), lower($6 ->> 'reason')) > 0)
AND ($6 ->> 'replayed' IS NULL OR (f.replay_count > 0) = ($6 ->> 'replayed')::boolean)
         GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT $10;
SELECT coalesce(f.cause, f.error_class || ' ' || f.error_code) AS cause, count(*) AS count,
                min(f.created_at) AS first_seen, max(f.created_at) AS last_seen, max(f.id) AS sample_id
         FROM dlq_events f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.original_event_id = ($6 ->> 'request_id')::uuid)
AND $6 ->> 'claimed_by' IS NULL AND $6 ->> 'replayed' IS NULL
AND ($7::timestamptz IS NULL OR f.created_at >= $7) AND ($8::timestamptz IS NULL OR f.created_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(f.cause), lower($5)) > 0 OR strpos(lower(f.error_message), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.error_message), lower($6 ->> 'reason')) > 0)
         GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT $10;

-- work_list/notes.rs
INSERT INTO row_notes (subject, written_by, written_at, note)
SELECT $1, $2, $3, $4 FROM failed_coupon_issues WHERE id = $5 RETURNING id;
INSERT INTO row_notes (subject, written_by, written_at, note)
SELECT $1, $2, $3, $4 FROM dlq_events WHERE id = $5 RETURNING id;
SELECT id, written_by, written_at, note FROM row_notes WHERE subject = $1 ORDER BY id LIMIT 200;

-- work_list/pages.rs
SELECT f.id FROM (SELECT f.* FROM failed_coupon_issues f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.request_id = ($6 ->> 'request_id')::uuid)
AND ($6 ->> 'claimed_by' IS NULL OR f.claimed_by = $6 ->> 'claimed_by')
AND ($7::timestamptz IS NULL OR f.failed_at >= $7) AND ($8::timestamptz IS NULL OR f.failed_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint)
AND ($10::bigint IS NULL OR f.id < $10) AND ($11::bigint IS NULL OR f.id > $11)
ORDER BY f.id DESC LIMIT 20000) f WHERE
($5::text IS NULL OR strpos(lower(coalesce(f.cause, concat_ws(' ', f.error_class, f.error_code))), lower($5)) > 0
 OR strpos(lower(f.reason), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.reason), lower($6 ->> 'reason')) > 0)
AND ($6 ->> 'replayed' IS NULL OR (f.replay_count > 0) = ($6 ->> 'replayed')::boolean)
ORDER BY f.id DESC LIMIT $12;
SELECT f.id FROM failed_coupon_issues f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($5::jsonb ->> 'request_id' IS NULL OR f.request_id = ($5 ->> 'request_id')::uuid)
AND ($5 ->> 'claimed_by' IS NULL OR f.claimed_by = $5 ->> 'claimed_by')
AND ($6::timestamptz IS NULL OR f.failed_at >= $6) AND ($7::timestamptz IS NULL OR f.failed_at < $7)
AND ($8::bigint IS NULL OR f.id <= $8) AND ($5 ->> 'above' IS NULL OR f.id > ($5 ->> 'above')::bigint)
AND ($9::bigint IS NULL OR f.id < $9) AND ($10::bigint IS NULL OR f.id > $10)
ORDER BY f.id DESC OFFSET 19999 LIMIT 1;
SELECT f.id FROM (SELECT f.* FROM failed_coupon_issues f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.request_id = ($6 ->> 'request_id')::uuid)
AND ($6 ->> 'claimed_by' IS NULL OR f.claimed_by = $6 ->> 'claimed_by')
AND ($7::timestamptz IS NULL OR f.failed_at >= $7) AND ($8::timestamptz IS NULL OR f.failed_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint)
AND ($10::bigint IS NULL OR f.id < $10) AND ($11::bigint IS NULL OR f.id > $11)
ORDER BY f.id ASC LIMIT 20000) f WHERE
($5::text IS NULL OR strpos(lower(coalesce(f.cause, concat_ws(' ', f.error_class, f.error_code))), lower($5)) > 0
 OR strpos(lower(f.reason), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.reason), lower($6 ->> 'reason')) > 0)
AND ($6 ->> 'replayed' IS NULL OR (f.replay_count > 0) = ($6 ->> 'replayed')::boolean)
ORDER BY f.id ASC LIMIT $12;
SELECT f.id FROM failed_coupon_issues f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($5::jsonb ->> 'request_id' IS NULL OR f.request_id = ($5 ->> 'request_id')::uuid)
AND ($5 ->> 'claimed_by' IS NULL OR f.claimed_by = $5 ->> 'claimed_by')
AND ($6::timestamptz IS NULL OR f.failed_at >= $6) AND ($7::timestamptz IS NULL OR f.failed_at < $7)
AND ($8::bigint IS NULL OR f.id <= $8) AND ($5 ->> 'above' IS NULL OR f.id > ($5 ->> 'above')::bigint)
AND ($9::bigint IS NULL OR f.id < $9) AND ($10::bigint IS NULL OR f.id > $10)
ORDER BY f.id ASC OFFSET 19999 LIMIT 1;
SELECT count(*) FILTER (WHERE ($5::text IS NULL OR strpos(lower(coalesce(f.cause, concat_ws(' ', f.error_class, f.error_code))), lower($5)) > 0
 OR strpos(lower(f.reason), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.reason), lower($6 ->> 'reason')) > 0)
AND ($6 ->> 'replayed' IS NULL OR (f.replay_count > 0) = ($6 ->> 'replayed')::boolean)), count(*) > $12
FROM (SELECT f.* FROM failed_coupon_issues f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.request_id = ($6 ->> 'request_id')::uuid)
AND ($6 ->> 'claimed_by' IS NULL OR f.claimed_by = $6 ->> 'claimed_by')
AND ($7::timestamptz IS NULL OR f.failed_at >= $7) AND ($8::timestamptz IS NULL OR f.failed_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint)
AND ($10::bigint IS NULL OR f.id < $10) AND ($11::bigint IS NULL OR f.id > $11)
ORDER BY f.id DESC LIMIT $12 + 1) f;
SELECT least(count(*), $11), count(*) > $11 FROM (SELECT f.id FROM failed_coupon_issues f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($5::jsonb ->> 'request_id' IS NULL OR f.request_id = ($5 ->> 'request_id')::uuid)
AND ($5 ->> 'claimed_by' IS NULL OR f.claimed_by = $5 ->> 'claimed_by')
AND ($6::timestamptz IS NULL OR f.failed_at >= $6) AND ($7::timestamptz IS NULL OR f.failed_at < $7)
AND ($8::bigint IS NULL OR f.id <= $8) AND ($5 ->> 'above' IS NULL OR f.id > ($5 ->> 'above')::bigint)
AND ($9::bigint IS NULL OR f.id < $9) AND ($10::bigint IS NULL OR f.id > $10) LIMIT $11 + 1) f;
SELECT max(id) FROM failed_coupon_issues;
SELECT f.id FROM (SELECT f.* FROM dlq_events f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.original_event_id = ($6 ->> 'request_id')::uuid)
AND $6 ->> 'claimed_by' IS NULL AND $6 ->> 'replayed' IS NULL
AND ($7::timestamptz IS NULL OR f.created_at >= $7) AND ($8::timestamptz IS NULL OR f.created_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint)
AND ($10::bigint IS NULL OR f.id < $10) AND ($11::bigint IS NULL OR f.id > $11)
ORDER BY f.id DESC LIMIT 20000) f WHERE
($5::text IS NULL OR strpos(lower(f.cause), lower($5)) > 0 OR strpos(lower(f.error_message), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.error_message), lower($6 ->> 'reason')) > 0)
ORDER BY f.id DESC LIMIT $12;
SELECT f.id FROM dlq_events f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($5::jsonb ->> 'request_id' IS NULL OR f.original_event_id = ($5 ->> 'request_id')::uuid)
AND $5 ->> 'claimed_by' IS NULL AND $5 ->> 'replayed' IS NULL
AND ($6::timestamptz IS NULL OR f.created_at >= $6) AND ($7::timestamptz IS NULL OR f.created_at < $7)
AND ($8::bigint IS NULL OR f.id <= $8) AND ($5 ->> 'above' IS NULL OR f.id > ($5 ->> 'above')::bigint)
AND ($9::bigint IS NULL OR f.id < $9) AND ($10::bigint IS NULL OR f.id > $10)
ORDER BY f.id DESC OFFSET 19999 LIMIT 1;
SELECT f.id FROM (SELECT f.* FROM dlq_events f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.original_event_id = ($6 ->> 'request_id')::uuid)
AND $6 ->> 'claimed_by' IS NULL AND $6 ->> 'replayed' IS NULL
AND ($7::timestamptz IS NULL OR f.created_at >= $7) AND ($8::timestamptz IS NULL OR f.created_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint)
AND ($10::bigint IS NULL OR f.id < $10) AND ($11::bigint IS NULL OR f.id > $11)
ORDER BY f.id ASC LIMIT 20000) f WHERE
($5::text IS NULL OR strpos(lower(f.cause), lower($5)) > 0 OR strpos(lower(f.error_message), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.error_message), lower($6 ->> 'reason')) > 0)
ORDER BY f.id ASC LIMIT $12;
SELECT f.id FROM dlq_events f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($5::jsonb ->> 'request_id' IS NULL OR f.original_event_id = ($5 ->> 'request_id')::uuid)
AND $5 ->> 'claimed_by' IS NULL AND $5 ->> 'replayed' IS NULL
AND ($6::timestamptz IS NULL OR f.created_at >= $6) AND ($7::timestamptz IS NULL OR f.created_at < $7)
AND ($8::bigint IS NULL OR f.id <= $8) AND ($5 ->> 'above' IS NULL OR f.id > ($5 ->> 'above')::bigint)
AND ($9::bigint IS NULL OR f.id < $9) AND ($10::bigint IS NULL OR f.id > $10)
ORDER BY f.id ASC OFFSET 19999 LIMIT 1;
SELECT count(*) FILTER (WHERE ($5::text IS NULL OR strpos(lower(f.cause), lower($5)) > 0 OR strpos(lower(f.error_message), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.error_message), lower($6 ->> 'reason')) > 0)), count(*) > $12
FROM (SELECT f.* FROM dlq_events f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.original_event_id = ($6 ->> 'request_id')::uuid)
AND $6 ->> 'claimed_by' IS NULL AND $6 ->> 'replayed' IS NULL
AND ($7::timestamptz IS NULL OR f.created_at >= $7) AND ($8::timestamptz IS NULL OR f.created_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint)
AND ($10::bigint IS NULL OR f.id < $10) AND ($11::bigint IS NULL OR f.id > $11)
ORDER BY f.id DESC LIMIT $12 + 1) f;
SELECT least(count(*), $11), count(*) > $11 FROM (SELECT f.id FROM dlq_events f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($5::jsonb ->> 'request_id' IS NULL OR f.original_event_id = ($5 ->> 'request_id')::uuid)
AND $5 ->> 'claimed_by' IS NULL AND $5 ->> 'replayed' IS NULL
AND ($6::timestamptz IS NULL OR f.created_at >= $6) AND ($7::timestamptz IS NULL OR f.created_at < $7)
AND ($8::bigint IS NULL OR f.id <= $8) AND ($5 ->> 'above' IS NULL OR f.id > ($5 ->> 'above')::bigint)
AND ($9::bigint IS NULL OR f.id < $9) AND ($10::bigint IS NULL OR f.id > $10) LIMIT $11 + 1) f;
SELECT max(id) FROM dlq_events;

SELECT max(id) FROM (SELECT f.id FROM failed_coupon_issues f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($5::jsonb ->> 'request_id' IS NULL OR f.request_id = ($5 ->> 'request_id')::uuid)
AND ($5 ->> 'claimed_by' IS NULL OR f.claimed_by = $5 ->> 'claimed_by')
AND ($6::timestamptz IS NULL OR f.failed_at >= $6) AND ($7::timestamptz IS NULL OR f.failed_at < $7)
AND ($8::bigint IS NULL OR f.id <= $8) AND ($5 ->> 'above' IS NULL OR f.id > ($5 ->> 'above')::bigint)
AND ($9::bigint IS NULL OR f.id < $9) AND ($10::bigint IS NULL OR f.id > $10)
ORDER BY f.id LIMIT $11) f;
SELECT max(id) FROM (SELECT f.id FROM dlq_events f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($5::jsonb ->> 'request_id' IS NULL OR f.original_event_id = ($5 ->> 'request_id')::uuid)
AND $5 ->> 'claimed_by' IS NULL AND $5 ->> 'replayed' IS NULL
AND ($6::timestamptz IS NULL OR f.created_at >= $6) AND ($7::timestamptz IS NULL OR f.created_at < $7)
AND ($8::bigint IS NULL OR f.id <= $8) AND ($5 ->> 'above' IS NULL OR f.id > ($5 ->> 'above')::bigint)
AND ($9::bigint IS NULL OR f.id < $9) AND ($10::bigint IS NULL OR f.id > $10)
ORDER BY f.id LIMIT $11) f;
-- work_list/saved.rs
SELECT name, view, created_at FROM saved_filters
WHERE operator_name = $1 AND (view = $2 OR starts_with(view, $2 || '?')) ORDER BY name LIMIT $3;
INSERT INTO saved_filters (operator_name, name, view, created_at)
SELECT $1, $2, $3, $4 WHERE (SELECT count(*) FROM saved_filters WHERE operator_name = $1 AND name <> $2) < $5
ON CONFLICT (operator_name, name) DO UPDATE SET view = excluded.view, created_at = excluded.created_at;
DELETE FROM saved_filters WHERE operator_name = $1 AND name = $2;

-- work_list/settling.rs
SELECT f.id FROM dlq_events f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.original_event_id = ($6 ->> 'request_id')::uuid)
AND $6 ->> 'claimed_by' IS NULL AND $6 ->> 'replayed' IS NULL
AND ($7::timestamptz IS NULL OR f.created_at >= $7) AND ($8::timestamptz IS NULL OR f.created_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(f.cause), lower($5)) > 0 OR strpos(lower(f.error_message), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.error_message), lower($6 ->> 'reason')) > 0) AND (f.original_event_id IS NULL OR f.error_code = 'OTHER_MEMBER' OR EXISTS (
                 SELECT FROM coupon_issues i JOIN coupons c USING (coupon_id)
                 WHERE c.coupon_code = f.coupon_code AND i.request_id = f.original_event_id)) AND f.status = ANY($10) AND f.id > $11 ORDER BY f.id LIMIT $12 FOR UPDATE;
WITH chosen AS (
         SELECT f.id, f.status FROM dlq_events f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.original_event_id = ($6 ->> 'request_id')::uuid)
AND $6 ->> 'claimed_by' IS NULL AND $6 ->> 'replayed' IS NULL
AND ($7::timestamptz IS NULL OR f.created_at >= $7) AND ($8::timestamptz IS NULL OR f.created_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(f.cause), lower($5)) > 0 OR strpos(lower(f.error_message), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.error_message), lower($6 ->> 'reason')) > 0) AND (f.original_event_id IS NULL OR f.error_code = 'OTHER_MEMBER' OR EXISTS (
                 SELECT FROM coupon_issues i JOIN coupons c USING (coupon_id)
                 WHERE c.coupon_code = f.coupon_code AND i.request_id = f.original_event_id)) AND f.status = ANY($10) AND f.id = ANY($11)
     ), moved AS (
         UPDATE dlq_events f SET status = $12, updated_at = $13 FROM chosen WHERE f.id = chosen.id RETURNING f.id, chosen.status AS before
     ), audited AS (
         INSERT INTO operator_audit (at, actor, verb, subject, change, reason, provenance)
         SELECT $13, $14, $15, 'dlq_events/' || id, jsonb_build_object('from', before, 'to', $12), $16, $17 FROM moved ORDER BY id
     )
     SELECT id FROM moved ORDER BY id;
SELECT id, status FROM dlq_events WHERE id = ANY($1);
SELECT id, status FROM failed_coupon_issues WHERE id = ANY($1);
SELECT count(*) FROM dlq_events f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.original_event_id = ($6 ->> 'request_id')::uuid)
AND $6 ->> 'claimed_by' IS NULL AND $6 ->> 'replayed' IS NULL
AND ($7::timestamptz IS NULL OR f.created_at >= $7) AND ($8::timestamptz IS NULL OR f.created_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(f.cause), lower($5)) > 0 OR strpos(lower(f.error_message), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.error_message), lower($6 ->> 'reason')) > 0) AND (f.original_event_id IS NULL OR f.error_code = 'OTHER_MEMBER' OR EXISTS (
                 SELECT FROM coupon_issues i JOIN coupons c USING (coupon_id)
                 WHERE c.coupon_code = f.coupon_code AND i.request_id = f.original_event_id)) AND f.status = ANY($10);
SELECT EXISTS (SELECT FROM failed_coupon_issues f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.request_id = ($6 ->> 'request_id')::uuid)
AND ($6 ->> 'claimed_by' IS NULL OR f.claimed_by = $6 ->> 'claimed_by')
AND ($7::timestamptz IS NULL OR f.failed_at >= $7) AND ($8::timestamptz IS NULL OR f.failed_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(coalesce(f.cause, concat_ws(' ', f.error_class, f.error_code))), lower($5)) > 0
 OR strpos(lower(f.reason), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.reason), lower($6 ->> 'reason')) > 0)
AND ($6 ->> 'replayed' IS NULL OR (f.replay_count > 0) = ($6 ->> 'replayed')::boolean)) OR EXISTS (SELECT FROM coupons WHERE coupon_code = $3);
SELECT f.id FROM failed_coupon_issues f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.request_id = ($6 ->> 'request_id')::uuid)
AND ($6 ->> 'claimed_by' IS NULL OR f.claimed_by = $6 ->> 'claimed_by')
AND ($7::timestamptz IS NULL OR f.failed_at >= $7) AND ($8::timestamptz IS NULL OR f.failed_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(coalesce(f.cause, concat_ws(' ', f.error_class, f.error_code))), lower($5)) > 0
 OR strpos(lower(f.reason), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.reason), lower($6 ->> 'reason')) > 0)
AND ($6 ->> 'replayed' IS NULL OR (f.replay_count > 0) = ($6 ->> 'replayed')::boolean) AND (f.status = 'IGNORED' OR f.id = ANY($1)) AND (f.status = 'IGNORED' OR f.replay_of IS NULL) AND f.status = ANY($10) AND f.id > $11 ORDER BY f.id LIMIT $12 FOR UPDATE;
WITH chosen AS (
         SELECT f.id, f.status FROM failed_coupon_issues f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.request_id = ($6 ->> 'request_id')::uuid)
AND ($6 ->> 'claimed_by' IS NULL OR f.claimed_by = $6 ->> 'claimed_by')
AND ($7::timestamptz IS NULL OR f.failed_at >= $7) AND ($8::timestamptz IS NULL OR f.failed_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(coalesce(f.cause, concat_ws(' ', f.error_class, f.error_code))), lower($5)) > 0
 OR strpos(lower(f.reason), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.reason), lower($6 ->> 'reason')) > 0)
AND ($6 ->> 'replayed' IS NULL OR (f.replay_count > 0) = ($6 ->> 'replayed')::boolean) AND (f.status = 'IGNORED' OR f.id = ANY($1)) AND (f.status = 'IGNORED' OR f.replay_of IS NULL) AND f.status = ANY($10) AND f.id = ANY($11)
     ), moved AS (
         UPDATE failed_coupon_issues f SET status = $12, resolved_at = CASE WHEN $12 = 'PENDING' THEN NULL ELSE $13::timestamptz END,
         resolved_by = CASE WHEN $12 = 'PENDING' THEN NULL ELSE $14 END,
         resolution = CASE WHEN $12 = 'PENDING' THEN NULL ELSE $16 END FROM chosen WHERE f.id = chosen.id RETURNING f.id, chosen.status AS before
     ), audited AS (
         INSERT INTO operator_audit (at, actor, verb, subject, change, reason, provenance)
         SELECT $13, $14, $15, 'failed_coupon_issues/' || id, jsonb_build_object('from', before, 'to', $12), $16, $17 FROM moved ORDER BY id
     )
     SELECT id FROM moved ORDER BY id;
SELECT f.id FROM failed_coupon_issues f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.request_id = ($6 ->> 'request_id')::uuid)
AND ($6 ->> 'claimed_by' IS NULL OR f.claimed_by = $6 ->> 'claimed_by')
AND ($7::timestamptz IS NULL OR f.failed_at >= $7) AND ($8::timestamptz IS NULL OR f.failed_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(coalesce(f.cause, concat_ws(' ', f.error_class, f.error_code))), lower($5)) > 0
 OR strpos(lower(f.reason), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.reason), lower($6 ->> 'reason')) > 0)
AND ($6 ->> 'replayed' IS NULL OR (f.replay_count > 0) = ($6 ->> 'replayed')::boolean) AND NOT EXISTS (SELECT FROM replays r WHERE r.failed_issue_id = f.id
                         AND (r.outcome IS NULL OR r.outcome IN ('RESERVED', 'HOLDS_ONE'))) AND f.status = ANY($10) AND f.id > $11 ORDER BY f.id LIMIT $12 FOR UPDATE;
WITH chosen AS (
         SELECT f.id, f.status FROM failed_coupon_issues f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.request_id = ($6 ->> 'request_id')::uuid)
AND ($6 ->> 'claimed_by' IS NULL OR f.claimed_by = $6 ->> 'claimed_by')
AND ($7::timestamptz IS NULL OR f.failed_at >= $7) AND ($8::timestamptz IS NULL OR f.failed_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(coalesce(f.cause, concat_ws(' ', f.error_class, f.error_code))), lower($5)) > 0
 OR strpos(lower(f.reason), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.reason), lower($6 ->> 'reason')) > 0)
AND ($6 ->> 'replayed' IS NULL OR (f.replay_count > 0) = ($6 ->> 'replayed')::boolean) AND NOT EXISTS (SELECT FROM replays r WHERE r.failed_issue_id = f.id
                         AND (r.outcome IS NULL OR r.outcome IN ('RESERVED', 'HOLDS_ONE'))) AND f.status = ANY($10) AND f.id = ANY($11)
     ), moved AS (
         UPDATE failed_coupon_issues f SET status = $12, resolved_at = CASE WHEN $12 = 'PENDING' THEN NULL ELSE $13::timestamptz END,
         resolved_by = CASE WHEN $12 = 'PENDING' THEN NULL ELSE $14 END,
         resolution = CASE WHEN $12 = 'PENDING' THEN NULL ELSE $16 END FROM chosen WHERE f.id = chosen.id RETURNING f.id, chosen.status AS before
     ), audited AS (
         INSERT INTO operator_audit (at, actor, verb, subject, change, reason, provenance)
         SELECT $13, $14, $15, 'failed_coupon_issues/' || id, jsonb_build_object('from', before, 'to', $12), $16, $17 FROM moved ORDER BY id
     )
     SELECT id FROM moved ORDER BY id;
SELECT f.id FROM dlq_events f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.original_event_id = ($6 ->> 'request_id')::uuid)
AND $6 ->> 'claimed_by' IS NULL AND $6 ->> 'replayed' IS NULL
AND ($7::timestamptz IS NULL OR f.created_at >= $7) AND ($8::timestamptz IS NULL OR f.created_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(f.cause), lower($5)) > 0 OR strpos(lower(f.error_message), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.error_message), lower($6 ->> 'reason')) > 0) AND (f.status = 'IGNORED' OR f.id = ANY($1)) AND f.status = ANY($10) AND f.id > $11 ORDER BY f.id LIMIT $12 FOR UPDATE;
WITH chosen AS (
         SELECT f.id, f.status FROM dlq_events f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.original_event_id = ($6 ->> 'request_id')::uuid)
AND $6 ->> 'claimed_by' IS NULL AND $6 ->> 'replayed' IS NULL
AND ($7::timestamptz IS NULL OR f.created_at >= $7) AND ($8::timestamptz IS NULL OR f.created_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(f.cause), lower($5)) > 0 OR strpos(lower(f.error_message), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.error_message), lower($6 ->> 'reason')) > 0) AND (f.status = 'IGNORED' OR f.id = ANY($1)) AND f.status = ANY($10) AND f.id = ANY($11)
     ), moved AS (
         UPDATE dlq_events f SET status = $12, updated_at = $13 FROM chosen WHERE f.id = chosen.id RETURNING f.id, chosen.status AS before
     ), audited AS (
         INSERT INTO operator_audit (at, actor, verb, subject, change, reason, provenance)
         SELECT $13, $14, $15, 'dlq_events/' || id, jsonb_build_object('from', before, 'to', $12), $16, $17 FROM moved ORDER BY id
     )
     SELECT id FROM moved ORDER BY id;
SELECT EXISTS (SELECT FROM dlq_events f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.original_event_id = ($6 ->> 'request_id')::uuid)
AND $6 ->> 'claimed_by' IS NULL AND $6 ->> 'replayed' IS NULL
AND ($7::timestamptz IS NULL OR f.created_at >= $7) AND ($8::timestamptz IS NULL OR f.created_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(f.cause), lower($5)) > 0 OR strpos(lower(f.error_message), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.error_message), lower($6 ->> 'reason')) > 0)) OR EXISTS (SELECT FROM coupons WHERE coupon_code = $3);
SELECT count(*) FROM failed_coupon_issues f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.request_id = ($6 ->> 'request_id')::uuid)
AND ($6 ->> 'claimed_by' IS NULL OR f.claimed_by = $6 ->> 'claimed_by')
AND ($7::timestamptz IS NULL OR f.failed_at >= $7) AND ($8::timestamptz IS NULL OR f.failed_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(coalesce(f.cause, concat_ws(' ', f.error_class, f.error_code))), lower($5)) > 0
 OR strpos(lower(f.reason), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.reason), lower($6 ->> 'reason')) > 0)
AND ($6 ->> 'replayed' IS NULL OR (f.replay_count > 0) = ($6 ->> 'replayed')::boolean) AND NOT EXISTS (SELECT FROM replays r WHERE r.failed_issue_id = f.id
                         AND (r.outcome IS NULL OR r.outcome IN ('RESERVED', 'HOLDS_ONE'))) AND f.status = ANY($10);
SELECT count(*) FROM failed_coupon_issues f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.request_id = ($6 ->> 'request_id')::uuid)
AND ($6 ->> 'claimed_by' IS NULL OR f.claimed_by = $6 ->> 'claimed_by')
AND ($7::timestamptz IS NULL OR f.failed_at >= $7) AND ($8::timestamptz IS NULL OR f.failed_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(coalesce(f.cause, concat_ws(' ', f.error_class, f.error_code))), lower($5)) > 0
 OR strpos(lower(f.reason), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.reason), lower($6 ->> 'reason')) > 0)
AND ($6 ->> 'replayed' IS NULL OR (f.replay_count > 0) = ($6 ->> 'replayed')::boolean) AND (f.status = 'IGNORED' OR f.id = ANY($1)) AND (f.status = 'IGNORED' OR f.replay_of IS NULL) AND f.status = ANY($10);
SELECT count(*) FROM dlq_events f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.original_event_id = ($6 ->> 'request_id')::uuid)
AND $6 ->> 'claimed_by' IS NULL AND $6 ->> 'replayed' IS NULL
AND ($7::timestamptz IS NULL OR f.created_at >= $7) AND ($8::timestamptz IS NULL OR f.created_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(f.cause), lower($5)) > 0 OR strpos(lower(f.error_message), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.error_message), lower($6 ->> 'reason')) > 0) AND (f.status = 'IGNORED' OR f.id = ANY($1)) AND f.status = ANY($10);
SELECT refusal, count(*), max(id) FROM (SELECT f.id, CASE WHEN f.status <> ALL($10) THEN f.status WHEN NOT ((f.status = 'IGNORED' OR f.id = ANY($1)) AND (f.status = 'IGNORED' OR f.replay_of IS NULL)) THEN f.status END AS refusal FROM failed_coupon_issues f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.request_id = ($6 ->> 'request_id')::uuid)
AND ($6 ->> 'claimed_by' IS NULL OR f.claimed_by = $6 ->> 'claimed_by')
AND ($7::timestamptz IS NULL OR f.failed_at >= $7) AND ($8::timestamptz IS NULL OR f.failed_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(coalesce(f.cause, concat_ws(' ', f.error_class, f.error_code))), lower($5)) > 0
 OR strpos(lower(f.reason), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.reason), lower($6 ->> 'reason')) > 0)
AND ($6 ->> 'replayed' IS NULL OR (f.replay_count > 0) = ($6 ->> 'replayed')::boolean)) AS classified GROUP BY refusal;
SELECT id, coupon_code, member_id, coalesce(cause, '') AS cause
FROM (SELECT f.id, f.coupon_code, f.member_id, f.cause, CASE WHEN f.status <> ALL($10) THEN f.status WHEN NOT ((f.status = 'IGNORED' OR f.id = ANY($1)) AND (f.status = 'IGNORED' OR f.replay_of IS NULL)) THEN f.status END AS refusal FROM failed_coupon_issues f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.request_id = ($6 ->> 'request_id')::uuid)
AND ($6 ->> 'claimed_by' IS NULL OR f.claimed_by = $6 ->> 'claimed_by')
AND ($7::timestamptz IS NULL OR f.failed_at >= $7) AND ($8::timestamptz IS NULL OR f.failed_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(coalesce(f.cause, concat_ws(' ', f.error_class, f.error_code))), lower($5)) > 0
 OR strpos(lower(f.reason), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.reason), lower($6 ->> 'reason')) > 0)
AND ($6 ->> 'replayed' IS NULL OR (f.replay_count > 0) = ($6 ->> 'replayed')::boolean)) AS classified
WHERE refusal IS NULL ORDER BY id LIMIT 10;
SELECT refusal, count(*), max(id) FROM (SELECT f.id, CASE WHEN f.status <> ALL($10) THEN f.status WHEN NOT ((f.status = 'IGNORED' OR f.id = ANY($1))) THEN f.status END AS refusal FROM dlq_events f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.original_event_id = ($6 ->> 'request_id')::uuid)
AND $6 ->> 'claimed_by' IS NULL AND $6 ->> 'replayed' IS NULL
AND ($7::timestamptz IS NULL OR f.created_at >= $7) AND ($8::timestamptz IS NULL OR f.created_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(f.cause), lower($5)) > 0 OR strpos(lower(f.error_message), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.error_message), lower($6 ->> 'reason')) > 0)) AS classified GROUP BY refusal;
SELECT id, coupon_code, member_id, coalesce(cause, '') AS cause
FROM (SELECT f.id, f.coupon_code, f.member_id, f.cause, CASE WHEN f.status <> ALL($10) THEN f.status WHEN NOT ((f.status = 'IGNORED' OR f.id = ANY($1))) THEN f.status END AS refusal FROM dlq_events f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.original_event_id = ($6 ->> 'request_id')::uuid)
AND $6 ->> 'claimed_by' IS NULL AND $6 ->> 'replayed' IS NULL
AND ($7::timestamptz IS NULL OR f.created_at >= $7) AND ($8::timestamptz IS NULL OR f.created_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(f.cause), lower($5)) > 0 OR strpos(lower(f.error_message), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.error_message), lower($6 ->> 'reason')) > 0)) AS classified
WHERE refusal IS NULL ORDER BY id LIMIT 10;
SELECT refusal, count(*), max(id) FROM (SELECT f.id, CASE WHEN f.status <> ALL($10) THEN f.status WHEN NOT ((f.original_event_id IS NULL OR f.error_code = 'OTHER_MEMBER' OR EXISTS (
    SELECT FROM coupon_issues i JOIN coupons c USING (coupon_id)
    WHERE c.coupon_code = f.coupon_code AND i.request_id = f.original_event_id))) THEN 'UNDECIDED' END AS refusal FROM dlq_events f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.original_event_id = ($6 ->> 'request_id')::uuid)
AND $6 ->> 'claimed_by' IS NULL AND $6 ->> 'replayed' IS NULL
AND ($7::timestamptz IS NULL OR f.created_at >= $7) AND ($8::timestamptz IS NULL OR f.created_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(f.cause), lower($5)) > 0 OR strpos(lower(f.error_message), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.error_message), lower($6 ->> 'reason')) > 0)) AS classified GROUP BY refusal;
SELECT id, coupon_code, member_id, coalesce(cause, '') AS cause
FROM (SELECT f.id, f.coupon_code, f.member_id, f.cause, CASE WHEN f.status <> ALL($10) THEN f.status WHEN NOT ((f.original_event_id IS NULL OR f.error_code = 'OTHER_MEMBER' OR EXISTS (
    SELECT FROM coupon_issues i JOIN coupons c USING (coupon_id)
    WHERE c.coupon_code = f.coupon_code AND i.request_id = f.original_event_id))) THEN 'UNDECIDED' END AS refusal FROM dlq_events f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.original_event_id = ($6 ->> 'request_id')::uuid)
AND $6 ->> 'claimed_by' IS NULL AND $6 ->> 'replayed' IS NULL
AND ($7::timestamptz IS NULL OR f.created_at >= $7) AND ($8::timestamptz IS NULL OR f.created_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(f.cause), lower($5)) > 0 OR strpos(lower(f.error_message), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.error_message), lower($6 ->> 'reason')) > 0)) AS classified
WHERE refusal IS NULL ORDER BY id LIMIT 10;
SELECT refusal, count(*), max(id) FROM (SELECT f.id, CASE WHEN f.status <> ALL($10) THEN f.status WHEN NOT (NOT EXISTS (SELECT FROM replays r WHERE r.failed_issue_id = f.id
            AND (r.outcome IS NULL OR r.outcome IN ('RESERVED', 'HOLDS_ONE')))) THEN 'UNDER_WAY' END AS refusal FROM failed_coupon_issues f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.request_id = ($6 ->> 'request_id')::uuid)
AND ($6 ->> 'claimed_by' IS NULL OR f.claimed_by = $6 ->> 'claimed_by')
AND ($7::timestamptz IS NULL OR f.failed_at >= $7) AND ($8::timestamptz IS NULL OR f.failed_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(coalesce(f.cause, concat_ws(' ', f.error_class, f.error_code))), lower($5)) > 0
 OR strpos(lower(f.reason), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.reason), lower($6 ->> 'reason')) > 0)
AND ($6 ->> 'replayed' IS NULL OR (f.replay_count > 0) = ($6 ->> 'replayed')::boolean)) AS classified GROUP BY refusal;
SELECT id, coupon_code, member_id, coalesce(cause, '') AS cause
FROM (SELECT f.id, f.coupon_code, f.member_id, f.cause, CASE WHEN f.status <> ALL($10) THEN f.status WHEN NOT (NOT EXISTS (SELECT FROM replays r WHERE r.failed_issue_id = f.id
            AND (r.outcome IS NULL OR r.outcome IN ('RESERVED', 'HOLDS_ONE')))) THEN 'UNDER_WAY' END AS refusal FROM failed_coupon_issues f WHERE
($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
AND ($6::jsonb ->> 'request_id' IS NULL OR f.request_id = ($6 ->> 'request_id')::uuid)
AND ($6 ->> 'claimed_by' IS NULL OR f.claimed_by = $6 ->> 'claimed_by')
AND ($7::timestamptz IS NULL OR f.failed_at >= $7) AND ($8::timestamptz IS NULL OR f.failed_at < $8)
AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint) AND
($5::text IS NULL OR strpos(lower(coalesce(f.cause, concat_ws(' ', f.error_class, f.error_code))), lower($5)) > 0
 OR strpos(lower(f.reason), lower($5)) > 0)
AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.reason), lower($6 ->> 'reason')) > 0)
AND ($6 ->> 'replayed' IS NULL OR (f.replay_count > 0) = ($6 ->> 'replayed')::boolean)) AS classified
WHERE refusal IS NULL ORDER BY id LIMIT 10;
