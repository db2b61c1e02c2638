-- Makes the writing of chosen coupons fail, where it really happens: a trigger on the table of decisions.
-- Nothing in the services knows of it. Everything is in a schema of its own and goes with it.
CREATE SCHEMA forced_failures;

-- Whose coupons cannot be written, and for how long.
CREATE TABLE forced_failures.rules (
    -- Also part of the names of the rule's sequences.
    rule_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The campaign.
    coupon_code  text   NOT NULL,
    -- The member; null means every member.
    member_id    text,
    -- Fails until so many ms after the first execution; null means for ever.
    fails_for_ms bigint,
    -- Fails the first so many executions; null means any number of them.
    fails_times  bigint,
    -- SQLSTATE of the error; null means that the connection is taken down instead.
    error_code   text,
    -- Bytes of the error's words; null means a short sentence.
    error_bytes  integer
);

-- Raises for a row that a rule forbids. How often and when a rule has struck is kept in sequences, because they
-- are the only thing that a rolled back statement leaves changed.
CREATE FUNCTION forced_failures.strike() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    rule     forced_failures.rules;
    now_us   bigint := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
    first_us bigint;
    nth      bigint;
BEGIN
    SELECT r.* INTO rule
      FROM forced_failures.rules r
      JOIN public.coupons c USING (coupon_code)
     WHERE c.coupon_id = NEW.coupon_id AND (r.member_id IS NULL OR r.member_id = NEW.member_id)
     ORDER BY r.rule_id
     LIMIT 1;
    IF NOT FOUND THEN
        RETURN NEW;
    END IF;
    nth := nextval(format('forced_failures.executions_%s', rule.rule_id)::regclass);
    IF nth <= 12 THEN
        PERFORM setval(format('forced_failures.execution_%s_%s', rule.rule_id, nth)::regclass, now_us);
    END IF;
    IF rule.fails_for_ms IS NOT NULL THEN
        EXECUTE format('SELECT last_value FROM forced_failures.execution_%s_1', rule.rule_id) INTO first_us;
        IF now_us - first_us >= rule.fails_for_ms * 1000 THEN
            RETURN NEW;
        END IF;
    END IF;
    IF nth > rule.fails_times THEN
        RETURN NEW;
    END IF;
    IF rule.error_code IS NULL THEN
        PERFORM pg_terminate_backend(pg_backend_pid());
        -- The end comes at the next chance.
        PERFORM pg_sleep(5);
    END IF;
    RAISE EXCEPTION '%', rpad('forced failure: this coupon cannot be written', coalesce(rule.error_bytes, 45), '!')
        USING ERRCODE = rule.error_code;
END
$$;

CREATE TRIGGER forced_failures BEFORE INSERT ON public.coupon_issues
    FOR EACH ROW WHEN (NEW.decision = 'ISSUED') EXECUTE FUNCTION forced_failures.strike();

-- Adds a rule and the sequences in which its executions are remembered.
CREATE FUNCTION forced_failures.add(
    coupon_code text, member_id text, fails_for_ms bigint, fails_times bigint, error_code text, error_bytes integer
)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    added bigint;
BEGIN
    INSERT INTO forced_failures.rules (coupon_code, member_id, fails_for_ms, fails_times, error_code, error_bytes)
    VALUES (add.coupon_code, add.member_id, add.fails_for_ms, add.fails_times, add.error_code, add.error_bytes)
    RETURNING rule_id INTO added;
    EXECUTE format('CREATE SEQUENCE forced_failures.executions_%s', added);
    FOR nth IN 1..12 LOOP
        EXECUTE format('CREATE SEQUENCE forced_failures.execution_%s_%s', added, nth);
    END LOOP;
    RETURN added;
END
$$;

-- When a rule was executed, as far as it is remembered (the first twelve times).
CREATE FUNCTION forced_failures.executions(rule_id bigint)
RETURNS SETOF timestamptz LANGUAGE plpgsql AS $$
DECLARE
    at_us bigint;
BEGIN
    FOR nth IN 1..12 LOOP
        EXECUTE format('SELECT last_value FROM forced_failures.execution_%s_%s WHERE is_called', rule_id, nth) INTO at_us;
        EXIT WHEN at_us IS NULL;
        RETURN NEXT to_timestamp(at_us / 1000000.0);
    END LOOP;
END
$$;
