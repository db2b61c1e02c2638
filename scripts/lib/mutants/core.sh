# shellcheck shell=bash disable=SC2016,SC2086 # the mistakes are code, and their dollar signs are not the shell's
# Mistakes in the core: decisions, offsets, epochs, sold out, retries.

mutant 'given up without asking what was decided' $CORE/repo/coupon_issues/compensate.rs "$IT" ledger:: \
  '    if decided.is_none() {
        return decision_before(&mut tx, coupon_id, event.request_id.as_uuid()).await;
    }' ''
mutant 'a unit given back before the decision' 'crates/dlq-consumer/src/repair.rs crates/dlq-consumer/src/run.rs' "$E2E" 'd8_ r5_ r6_' \
  'pub struct Repair {' 'pub struct Repair {
    /// A mistake.
    pub stock: coupon_core::stock::Stock,' \
  '    let repair = Repair {' '    let repair = Repair {
        stock: stock.clone(),' \
  '        match compensate(&self.database, compensation).await? {' \
  '        let _ = self.stock.give_back(&event.coupon_code, &event.member_id, event.request_id, None).await;
        match compensate(&self.database, compensation).await? {'
mutant 'what is malformed believed, and compensated' $CORE/event.rs "$LIB" event:: \
  '        event.check()?;' ''
mutant 'a give-back noted for other requests too' $CORE/repo/coupon_issues/give_backs.rs "$E2E" d8_ \
  'coupon_code = $1 AND request_id = $2
                       AND decision = '\''COMPENSATED'\'' AND given_back_at IS NULL
                     RETURNING' \
  'coupon_code = $1 AND $2::uuid IS NOT NULL
                       AND decision = '\''COMPENSATED'\'' AND given_back_at IS NULL
                     RETURNING'
mutant 'a give-back that does not compare the request id' crates/coupon-core/lua/give_back.lua "$IT" stock_model:: \
  "if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then" "if not redis.call('HGET', KEYS[1], ARGV[1]) then"
mutant 'an offset stored before the dead letter is acknowledged' crates/issue-consumer/src/write.rs "$E2E" 'd3_' \
  'let (partition, offset) = self.dead_letters.publish_record(&letter.of(&work.record)).await?;' \
  'let (partition, offset) = (0, 0);
        let (dead_letters, record) = (self.dead_letters.clone(), letter.of(&work.record));
        tokio::spawn(async move { dead_letters.publish_record(&record).await });'
mutant 'attempts charged while the database is away' $CORE/kafka/engine/failing.rs "$E2E" 'o2_ o7_' \
  '        if failure.class == Class::Unavailable {
            entry.strikes' \
  '        if failure.class == Class::Unavailable && entry.attempts > 99 {
            entry.strikes'
mutant 'a publication without an answer rolls back' crates/issuer-api/src/http/issue.rs "$E2E" a7_ \
  '    let status = if held.is_repeat' \
  '    if held.pending.is_some() {
        let _ = api.accept.stock.give_back(&code, &member, held.request_id, None).await;
    }
    let status = if held.is_repeat'
mutant 'an outbox entry deleted before the acknowledgement' crates/issuer-api/src/publish.rs "$E2E" 'a7_ a8_' \
  '        let queued = self.publisher.publish(event, trace, move' \
  '        let _ = self.acknowledged.send(Acknowledged {
            code: code.clone(),
            entry: entry.clone(),
            guard: InFlightGuard { request_id: event.request_id, in_flight: Arc::default(), _work: self.detached.begin() },
            deleted: oneshot::channel().0,
        });
        let queued = self.publisher.publish(event, trace, move'
mutant 'the highest offset taken for the watermark' $CORE/kafka/watermark.rs "$LIB" watermark:: \
  'self.outstanding.first().copied().or_else(|| self.highest_delivered.map(|highest| highest + 1))' \
  'self.highest_delivered.map(|highest| highest + 1)'
mutant 'a memory of sold out without the holders' crates/issuer-api/src/sold_out.rs "$E2E" sold_out:: \
  '(now < confirmed.until).then(|| confirmed.holders.contains(member.as_str()))' '(now < confirmed.until).then_some(false)'
mutant 'a memory of sold out that does not look at the sequence' crates/issuer-api/src/sold_out.rs "$E2E" sold_out:: \
  'if confirmed.sold_out == sold_out =>' 'if confirmed.sold_out.epoch == sold_out.epoch =>'
mutant 'a memory of sold out believed for ever' crates/issuer-api/src/sold_out.rs "$E2E" sold_out:: \
  'now < confirmed.until' 'true'
mutant 'a verified token remembered beyond its time' crates/coupon-core/src/tokens/token.rs '-p coupon-core --lib' tokens:: \
  '&& get_current_timestamp() <= until' '&& until > 0'
mutant 'who has hung up no longer counted' crates/issuer-api/src/http/guard.rs "$E2E" hang_up:: \
  ' + api.accept.abandoned()' ''
mutant 'a relay that does not look at the age' crates/coupon-core/lua/relay.lua "$E2E" a8_the_relay \
  'now - least_age,' 'now,'
mutant 'completions of ended assignments believed' $CORE/kafka/partition_tracker.rs "$LIB" partition_tracker:: \
  'let tracked = self.partitions.get_mut(&key.partition).filter(|tracked| tracked.generation == key.generation);
        let Some(tracked) = tracked else {' \
  'let tracked = self.partitions.get_mut(&key.partition);
        let Some(tracked) = tracked else {'
mutant 'the guard against poisoned connections removed' $CORE/repo/pool.rs "$LIB" pool:: \
  '.after_release(|connection, _| Box::pin(is_outside_a_transaction(connection)))' \
  '.after_release(|connection, _| Box::pin(async { is_outside_a_transaction(connection).await.map(|_| true) }))'
mutant 'no budget for giving up' $CORE/repo/coupon_issues/compensate.rs "$E2E" d8_ \
  'let Some(left) = budget.spend(bucket, compensation.now) else { return Ok(false) };' \
  'let Some(left) = budget.spend(bucket, compensation.now) else { return Ok(true) };'
mutant 'giving up without the lock on the coupon' $CORE/repo/coupon_issues/compensate.rs "$IT" ledger:: \
  'SELECT coupon_id FROM coupons WHERE coupon_code = $1 FOR NO KEY UPDATE' 'SELECT coupon_id FROM coupons WHERE coupon_code = $1'
mutant 'the counter raised outside the statement' $CORE/repo/coupon_issues/insert.rs "$IT" ledger:: \
  'SET issued_quantity = issued_quantity + counted_rows.rows, high_seq' 'SET issued_quantity = issued_quantity, high_seq' \
  '    // Without a row there is no such coupon, or not of this epoch.' \
  '    sqlx::query("UPDATE coupons SET issued_quantity = issued_quantity + $2 WHERE coupon_code = $1")
        .bind(batch.code().as_str())
        .bind(rows)
        .execute(&pool)
        .await?;'
mutant 'retries before their time' $CORE/kafka/engine/failing.rs "$E2E" w2_ \
  '            Some(wait) => {
                self.timers.insert(key, wait);' \
  '            Some(wait) => {
                self.timers.insert(key, wait / 2);'
mutant 'what an event only claims is compensated' crates/dlq-consumer/src/repair.rs "$E2E" d7_ \
  'Ok(event) if !is_undecidable(failure) => event,' 'Ok(event) if !is_undecidable(failure) || event.epoch > 0 => event,'
mutant 'missing keys read as a fresh coupon' crates/coupon-core/lua/reserve.lua "$E2E" a4_ \
  "    return {'MISSING'}" \
  "    status, opens_at, closes_at, total, epoch, seq = 'OPEN', 0, 0, 1000, 1, 0
    meta[5] = '1'"
mutant 'the epoch not checked' $CORE/repo/coupon_issues/insert.rs "$IT" ledger:: \
  'FROM coupons WHERE coupon_code = $1 AND epoch = $2
), inserted' 'FROM coupons WHERE coupon_code = $1 AND $2 > 0
), inserted' \
  'WHERE coupon_code = $1 AND epoch = $2 AND counted_rows.rows > 0' 'WHERE coupon_code = $1 AND $2 > 0 AND counted_rows.rows > 0'
mutant 'assigned partitions believed to be resumed' $CORE/kafka/partition_tracker.rs "$E2E" o3_ \
  'paused: true,' 'paused: false,'
mutant 'a full disk taken for the doing of a record' $CORE/repo/error.rs "$E2E" o7_ \
  'code == NO_ANSWER ||' 'code == NO_ANSWER || code.starts_with("53") ||'
mutant 'no bound on the wait for the database' $CORE/repo/pool.rs "$E2E" o1_a_ \
  'let until = pool.last_begun() + self.0.bound;' 'let until = pool.last_begun() + self.0.bound * 1000;'
mutant 'a dead letter that loses its headers' $CORE/kafka/dead_letter.rs "$E2E" d1_ \
  'let mut headers: Vec<Header> = record.headers.iter().filter(|header| stays(header)).cloned().collect();' \
  'let mut headers: Vec<Header> = record.headers.iter().filter(|header| stays(header) && header.name.is_empty()).cloned().collect();'
mutant 'a reservation of the future believed' $CORE/repo/coupon_issues/insert.rs "$IT" ledger:: \
  'least(r.reserved_at, now()),
           least(r.reserved_at, now()) + make_interval(days => coupon.valid_days)
    FROM coupon, UNNEST' \
  'r.reserved_at,
           r.reserved_at + make_interval(days => coupon.valid_days)
    FROM coupon, UNNEST'
mutant 'a code of the brokers charged to a record' $CORE/kafka/error.rs "$LIB" kafka::error:: \
  '| Code::ValueSerialization => Class::Permanent,' \
  '| Code::ValueSerialization | Code::NotLeaderForPartition => Class::Permanent,'
