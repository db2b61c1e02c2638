-- no-transaction
-- The requests of one member, found by a hash instead of in the order of the member's id: an entry has 16 bytes and not 56, so that
-- an insert touches fewer pages and logs fewer of them. Who lists a member's requests sorts them; a member has few.
-- When it breaks off, an index that is INVALID is left: DROP INDEX coupon_issues_of_member, and migrate again.
CREATE INDEX CONCURRENTLY coupon_issues_of_member ON coupon_issues USING hash (member_id);
