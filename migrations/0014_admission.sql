-- Admission: campaigns that a waiting room stands in front of.

ALTER TABLE coupons
    -- Whether a unit is reserved only with a token of the waiting room, in the header Coupon-Admission ([admission] of issuer-api).
    ADD COLUMN admission_required boolean NOT NULL DEFAULT false;
