-- Webhooks: what happens to campaigns, and its deliveries to the endpoints of the settings.

-- What other systems are told about campaigns. A row is written in the transaction of the change that it tells of.
CREATE TABLE campaign_events (
    -- Order of the events; one with a lower number may be committed later.
    id               bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The header webhook-id of each delivery of this event, however often it is sent.
    webhook_id       uuid        NOT NULL DEFAULT gen_random_uuid() UNIQUE,
    -- What has happened.
    kind             text        NOT NULL
                                 CHECK (kind IN ('opened', 'sold_out', 'closed', 'suspect', 'unit_returned', 'drift_found')),
    -- The campaign's public name.
    coupon_code      text        NOT NULL,
    -- What is told with it, by kind; never a member.
    data             jsonb       NOT NULL DEFAULT '{}',
    -- What may be told once: unit_returned/REQUEST_ID; null for what may happen again.
    once             text        UNIQUE,
    -- When it happened.
    occurred_at      timestamptz NOT NULL,
    -- Whether its deliveries are made.
    handed_out       boolean     NOT NULL DEFAULT false
);
-- What deliveries are still to be made of; empty nearly always.
CREATE INDEX campaign_events_new ON campaign_events (id) WHERE NOT handed_out;
-- What retention looks for.
CREATE INDEX campaign_events_by_time ON campaign_events (occurred_at, id);

-- The endpoints as the settings name them, and how they fare.
CREATE TABLE webhook_endpoints (
    -- Name in the settings.
    endpoint         text        PRIMARY KEY,
    -- SHA-256 of its address: another address is another receiver.
    address_hash     bytea       NOT NULL,
    -- Since when it is known; events that were handed out before are not delivered to it.
    created_at       timestamptz NOT NULL,
    -- When it was switched off because it answered 410; null while it is on.
    off_at           timestamptz,
    -- Until when nothing is sent to it, after a failure or by its Retry-After.
    not_before       timestamptz,
    -- The first failure since the last delivery that it took; null while it works.
    failing_since    timestamptz,
    -- The last failure; null while it works.
    last_error       text
);

-- What is sent to which endpoint.
CREATE TABLE webhook_deliveries (
    -- Number by which operators name it.
    id               bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Where to (webhook_endpoints.endpoint).
    endpoint         text        NOT NULL,
    -- What (campaign_events.id).
    event_id         bigint      NOT NULL,
    -- PENDING: is sent at next_at. DELIVERED: answered with 2xx. FAILED: is not tried again by itself.
    status           text        NOT NULL DEFAULT 'PENDING' CHECK (status IN ('PENDING', 'DELIVERED', 'FAILED')),
    -- Attempts whose outcome is known, since it was made or sent again by hand.
    attempts         integer     NOT NULL DEFAULT 0,
    -- When it is tried next; while it is being sent, when others take it over.
    next_at          timestamptz NOT NULL,
    -- The last answer's status; null without an answer.
    last_status      integer,
    -- Why the last attempt failed; null after a success.
    last_error       text,
    -- When it was made.
    created_at       timestamptz NOT NULL,
    -- When the endpoint took it; null before.
    delivered_at     timestamptz,
    UNIQUE (event_id, endpoint)
);
-- What is due.
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint, next_at, id) WHERE status = 'PENDING';
-- What retention looks for.
CREATE INDEX webhook_deliveries_done ON webhook_deliveries (delivered_at, id) WHERE status = 'DELIVERED';

-- Tells of a change of a campaign's status, and of its last unit, in the transaction of the change. A trigger, because many
-- statements of several builds change them, and none may forget it. It runs with the rights of the schema's owner: who issues
-- coupons needs no right on events.
CREATE FUNCTION campaign_changed() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER
SET search_path FROM CURRENT
SET timezone = 'UTC'
AS $$
DECLARE
    told jsonb := jsonb_build_object(
        'total', NEW.total_quantity, 'issued', NEW.issued_quantity, 'epoch', NEW.epoch,
        'opens_at', NEW.opens_at, 'closes_at', NEW.closes_at);
BEGIN
    IF NEW.status IS DISTINCT FROM OLD.status AND NEW.status IN ('OPEN', 'CLOSED', 'SUSPECT') THEN
        INSERT INTO campaign_events (kind, coupon_code, data, occurred_at)
        VALUES (CASE NEW.status WHEN 'OPEN' THEN 'opened' ELSE lower(NEW.status) END, NEW.coupon_code,
                told || jsonb_build_object('from', OLD.status, 'to', NEW.status), now());
    END IF;
    IF NEW.epoch > 0 AND NEW.issued_quantity >= NEW.total_quantity AND OLD.issued_quantity < OLD.total_quantity THEN
        INSERT INTO campaign_events (kind, coupon_code, data, occurred_at)
        VALUES ('sold_out', NEW.coupon_code, told, now());
    END IF;
    RETURN NULL;
END
$$;
-- The condition is what a batch pays for; it is true a few times in the life of a campaign.
CREATE TRIGGER campaign_changed AFTER UPDATE ON coupons FOR EACH ROW
WHEN (OLD.status IS DISTINCT FROM NEW.status
      OR NEW.epoch > 0 AND NEW.issued_quantity >= NEW.total_quantity AND OLD.issued_quantity < OLD.total_quantity)
EXECUTE FUNCTION campaign_changed();
