-- no-transaction
-- What this index found, coupon_issues_of_member finds (0016), for the builds before as well.
DROP INDEX CONCURRENTLY IF EXISTS coupon_issues_by_member;
