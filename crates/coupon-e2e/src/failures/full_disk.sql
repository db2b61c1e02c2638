-- Makes every write to the tables of the pipeline fail as on a full disk. Everything is in a schema of its own and
-- goes with it.
CREATE SCHEMA full_disk;

CREATE FUNCTION full_disk.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100';
END
$$;

DO $$
DECLARE
    tables text[] := ARRAY['coupons', 'coupon_issues', 'coupon_decision_batches', 'failed_coupon_issues', 'dlq_events', 'give_up_budgets', 'write_probe'];
    name   text;
BEGIN
    FOREACH name IN ARRAY tables LOOP
        EXECUTE format('CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON public.%I
                        FOR EACH ROW EXECUTE FUNCTION full_disk.refuse()', name);
    END LOOP;
END
$$;
