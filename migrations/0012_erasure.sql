-- Erasure: a member's id is replaced by a pseudonym wherever it is stored.

ALTER TABLE coupons
    -- When the id of one of its members was first replaced by a pseudonym; null: never. Such a campaign is not opened again,
    -- because Redis no longer knows these members, and each could get a second coupon.
    ADD COLUMN members_erased_at timestamptz;

-- Erasures of members, begun and done. The id itself is in no column: who goes on with one has to be given the id again.
CREATE TABLE member_erasures (
    -- What stands in the place of the id: `erased-` and 32 hexadecimal digits, made from the id with the key of the erasure.
    pseudonym        text        PRIMARY KEY,
    -- Which key made it: 8 hexadecimal digits, no secret.
    key_id           text        NOT NULL,
    -- RUNNING (also when its process is gone: erase the member again), DONE.
    status           text        NOT NULL CHECK (status IN ('RUNNING', 'DONE')),
    -- Rows and holder entries changed so far, by table: {"coupon_issues": 3, …}.
    counts           jsonb       NOT NULL DEFAULT '{}',
    -- Why it was asked for, in the operator's words.
    reason           text        NOT NULL,
    -- Who asked for it first.
    started_by       text        NOT NULL,
    -- When it was first begun.
    created_at       timestamptz NOT NULL,
    -- When it last came on.
    updated_at       timestamptz NOT NULL,
    -- When it was done; null while it is RUNNING.
    finished_at      timestamptz
);
