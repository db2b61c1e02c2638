-- Members whose coupons can never be written, although the database answers: an error that nobody has classified
-- (P0001). The name is looked at without a function call, so that the trigger costs the others next to nothing.
CREATE SCHEMA bench_poison;

CREATE FUNCTION bench_poison.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'this coupon can never be written';
END
$$;

CREATE TRIGGER bench_poison BEFORE INSERT ON public.coupon_issues
    FOR EACH ROW WHEN (NEW.member_id LIKE '%-poison') EXECUTE FUNCTION bench_poison.refuse();
