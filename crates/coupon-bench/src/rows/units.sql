-- The design without Redis and Kafka: a campaign is as many rows as it has coupons, and a coupon is issued by giving its row to
-- a member.

CREATE TABLE unit_campaigns (
    -- Internal key.
    campaign_id   integer     PRIMARY KEY,
    -- Public name of the campaign.
    coupon_code   text        NOT NULL UNIQUE
);

CREATE TABLE units (
    -- The campaign (unit_campaigns.campaign_id).
    campaign_id   integer     NOT NULL,
    -- Number of the coupon within its campaign, from 1.
    unit_no       bigint      NOT NULL,
    -- Who has it; null: nobody yet.
    member_id     text,
    -- The request by which it was issued; null: not yet.
    request_id    uuid,
    -- When it was issued; null: not yet.
    issued_at     timestamptz,
    -- Until when it is valid; null: not issued yet.
    expires_at    timestamptz,
    PRIMARY KEY (campaign_id, unit_no)
);
