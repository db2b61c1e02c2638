-- Plans over very many rows.

ALTER TABLE plans
    -- Whether eligible and refused are a part only: the count was ended, so that nobody waits for it. up_to_id bounds the rows
    -- all the same.
    ADD COLUMN at_least         boolean     NOT NULL DEFAULT false;

-- The newest of what waits of one campaign: without it, a campaign of which nothing waits is looked for in the whole list.
CREATE INDEX failed_coupon_issues_pending_of_coupon ON failed_coupon_issues (coupon_code, id) WHERE status = 'PENDING';
