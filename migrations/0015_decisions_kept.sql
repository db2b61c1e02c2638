-- Decisions that nobody is told of are kept for a time only, a campaign whose rows were changed by hand can go on, events carry the
-- trace of their request, and the end of a window is told.

-- Since this migration coupon_decision_marks.relayed_to has also passed what was purged without having been published: where
-- decisions are not published, their batches are purged when they are old.
ALTER TABLE coupon_decision_marks
    -- decision_no less the number of decisions, as an operator has accepted it; 0 unless somebody changed rows by hand.
    ADD COLUMN accepted_difference bigint         NOT NULL DEFAULT 0,
    -- Numbers without a decision that the relay passes over, as an operator has accepted it.
    ADD COLUMN accepted_numbers    int8multirange NOT NULL DEFAULT '{}';

-- The traces of the requests that came in one that is sampled. A row is best effort, and comes before the decision.
CREATE TABLE coupon_decision_traces (
    -- The request (coupon_issues.request_id).
    request_id       uuid        PRIMARY KEY,
    -- The header traceparent of its event.
    traceparent      text        NOT NULL CHECK (length(traceparent) <= 64),
    -- When it was kept, by the clock of this server.
    kept_at          timestamptz NOT NULL DEFAULT now()
);
-- What retention looks for.
CREATE INDEX coupon_decision_traces_by_time ON coupon_decision_traces (kept_at, request_id);

ALTER TABLE coupons
    -- The closes_at whose passing campaign_events tells of; null: of none. Another end of the window is told again.
    ADD COLUMN end_told_of timestamptz;
-- What was over before is no news.
UPDATE coupons SET end_told_of = closes_at WHERE closes_at <= now();

-- Tells of the windows that have ended by a time while their campaigns were OPEN, once for each end. Their status stays OPEN.
CREATE FUNCTION tell_ended_windows(ended_by timestamptz) RETURNS bigint LANGUAGE sql
SET timezone = 'UTC'
AS $$
    WITH ended AS (
        UPDATE coupons SET end_told_of = closes_at
        WHERE status = 'OPEN' AND archived_at IS NULL AND closes_at <= ended_by AND end_told_of IS DISTINCT FROM closes_at
        RETURNING coupon_code, total_quantity, issued_quantity, epoch, opens_at, closes_at
    ), told AS (
        INSERT INTO campaign_events (kind, coupon_code, data, occurred_at)
        SELECT 'closed', coupon_code, jsonb_build_object(
            'total', total_quantity, 'issued', issued_quantity, 'epoch', epoch, 'opens_at', opens_at, 'closes_at', closes_at,
            'from', 'OPEN', 'to', 'OVER'), closes_at
        FROM ended
    )
    SELECT count(*) FROM ended
$$;

-- What retention looks for: deliveries that are over, also those that failed.
CREATE INDEX webhook_deliveries_over ON webhook_deliveries (next_at, id) WHERE status <> 'PENDING';
