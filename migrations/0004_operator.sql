-- What an operator's word may do.

ALTER TABLE failed_coupon_issues
    -- Whether an operator has decided it COMPENSATED by hand. Such a row is born RESOLVED with the operator's reason, and
    -- no replay by a filter takes it, also when it is reopened: only one that names its number.
    ADD COLUMN decided_by_hand boolean NOT NULL DEFAULT false;

ALTER TABLE coupons
    -- Counts the changes of opens_at and closes_at; Redis ignores a window with an older version than it has.
    ADD COLUMN window_version bigint NOT NULL DEFAULT 0;
