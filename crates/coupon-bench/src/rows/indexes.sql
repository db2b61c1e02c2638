-- Made after the rows, which is faster.

-- One coupon each.
CREATE UNIQUE INDEX units_one_each ON units (campaign_id, member_id) WHERE member_id IS NOT NULL;

-- What is looked for.
CREATE INDEX units_free ON units (campaign_id, unit_no) WHERE member_id IS NULL;
