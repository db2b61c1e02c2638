-- no-transaction
-- The undecided dead letters of one member (GET …/issues/mine).
CREATE INDEX CONCURRENTLY dlq_events_undecided_member ON dlq_events (member_id, coupon_code)
    WHERE status IN ('HELD', 'PARKED');
