-- no-transaction
-- The requests of one member, newest first (GET /api/v1/issues/mine); request ids begin with their time.
-- When it breaks off, an index that is INVALID is left: DROP INDEX coupon_issues_by_member, and migrate again.
CREATE INDEX CONCURRENTLY coupon_issues_by_member ON coupon_issues (member_id, request_id);
