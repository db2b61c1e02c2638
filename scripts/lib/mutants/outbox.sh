# shellcheck shell=bash disable=SC2016,SC2086 # the mistakes are code, and their dollar signs are not the shell's
# Mistakes around the outbox while a replica, Redis or a broker is sick, and in the supervision of loops.

mutant 'a relay that keeps its lease although nothing is acknowledged' crates/issuer-api/src/relay.rs "$E2E" what_a_replica_without_kafka \
  'let mut may_publish = !self.is_stalled() && ' 'let mut may_publish = true || ' \
  '            self.release_all().await;
            self.sits_out_until' '            self.sits_out_until'
mutant 'a replica that is cut off and goes on promising' crates/issuer-api/src/reservations.rs "$E2E" what_a_replica_without_kafka \
  'if self.publishing.in_flight.is_cut_off() { 0 } else { self.outbox_cap }' 'self.outbox_cap'
mutant 'a Kafka that is away for all taken for a cut-off replica' crates/issuer-api/src/publish.rs "$E2E" a7_ \
  'Ok(_) => self.in_flight.nobody_publishes(),' 'Ok(_) => self.in_flight.others_publish(entry.request_id, Instant::now(), grace),'
mutant 'a replica cut off by what others published before' "crates/issuer-api/src/in_flight.rs crates/issuer-api/src/publish.rs" "$E2E" replicas_that_lose_kafka \
  'old.max_by_key(' 'old.min_by_key(' 'Ok(true) if oldest < patience =>' 'Ok(true) =>'
mutant 'the last to get Kafka back taken for a cut-off replica' crates/issuer-api/src/in_flight.rs '-p issuer-api --lib' in_flight:: \
  '>= grace;' '>= Duration::ZERO;'
mutant 'what Redis has lost taken for what others publish' crates/issuer-api/src/publish.rs "$E2E" what_redis_has_lost_is_no \
  'Ok(holders == [Some(entry.request_id.to_string())])' 'Ok(!holders.is_empty())'
mutant 'leases kept by a stop' crates/issuer-api/src/relay.rs "$E2E" a_relay_that_is_told_to_stop \
  'if timeout(RELEASE_TIMEOUT, self.release_all()).await.is_err() {' 'if shutdown.is_stopping() {'
mutant 'a lease of another given up' crates/coupon-core/lua/relay.lua "$IT" outbox:: \
  'if lease == 0 and owner == ARGV[1] then' 'if lease == 0 then'
mutant 'a relay that a full Redis refuses' crates/coupon-core/lua/relay.lua "$E2E" a_full_redis \
  '#!lua flags=allow-oom' '#!lua'
for script in set_total set_window gate requeue give_back delete_coupon; do
  mutant "a $script.lua that a full Redis refuses" crates/coupon-core/lua/$script.lua "$E2E" what_repairs_or_ends \
    '#!lua flags=allow-oom' '#!lua'
done
mutant 'an outbox that cannot be listed taken for an empty one' crates/issuer-api/src/relay.rs "$E2E" an_outbox_that_cannot_be_listed \
  'Err(error) => report_unlisted(code.as_str(), &error),' 'Err(error) => {
                    report_unlisted(code.as_str(), &error);
                    self.outboxes.note(code, Outbox::default());
                }'
mutant 'a question to Redis for each campaign at rest' crates/coupon-core/src/stock/waiting.rs "$E2E" an_api_at_rest_asks_redis \
  'MAX_OUTBOXES_PER_QUESTION: usize = 1_000' 'MAX_OUTBOXES_PER_QUESTION: usize = 1'
mutant 'a question to a cluster for each campaign in each pass' crates/issuer-api/src/outboxes.rs "$E2E" an_api_at_rest_asks_a_cluster \
  'MAX_QUESTIONS: usize = 100' 'MAX_QUESTIONS: usize = 10_000'
mutant 'campaigns that Redis is never asked about' crates/issuer-api/src/outboxes.rs "$E2E" an_api_at_rest_asks_a_cluster \
  'questions.sort_by_cached_key(|codes| codes.iter().map(asked).min());' 'questions.sort_by_cached_key(|codes| codes.iter().map(asked).min().filter(|_| false));'
mutant 'half of the outboxes looked at' crates/coupon-core/lua/waiting.lua "$IT" outbox:: \
  'find(middle + 1, last)' ''
mutant 'an entry from the future left until its time' crates/coupon-core/lua/relay.lua "$IT" outbox:: \
  'if room > 0 and tonumber(last[2]) > now then' 'if false then'
mutant 'the clock of another machine as the time of an outbox entry' crates/coupon-core/lua/requeue.lua "$IT" outbox:: \
  'local reserved_at = math.min(tonumber(ARGV[4]), time[1] * 1000 + math.floor(time[2] / 1000))' 'local reserved_at = ARGV[4]'
mutant 'an idempotent producer' $CORE/kafka/clients.rs "$E2E" a_broker_that_comes_back_without \
  '.set("enable.idempotence", "false")' '.set("enable.idempotence", "true")'
mutant 'a loop that may end unnoticed' $CORE/runtime/tasks.rs "$LIB" tasks:: \
  'if !this.stop.is_stopping() {' 'if this.stop.is_stopping() {'
mutant 'a loop beside the supervisor' crates/issuer-api/src/serve.rs "$E2E" a_loop_that_panics_at_its_work \
  'tasks.spawn("relay", relay.run(shutdown.clone()));' 'tokio::spawn(relay.run(shutdown.clone()));'
mutant 'a watch of the topic beside the supervisor' crates/issuer-api/src/serve.rs "$E2E" a_loop_that_panics_ends \
  'service.tasks.spawn("topic watch", watched);' 'tokio::spawn(watched);'
mutant 'a look at the contract beside the supervisor' $CORE/contract/watch.rs "$E2E" a_loop_that_panics_ends \
  'tasks.every("contract", every' 'Tasks::new(crate::runtime::Shutdown::new()).every("contract", every'
mutant 'a look at the lag beside the supervisor' $CORE/kafka/engine.rs "$E2E" a_loop_that_panics_ends \
  'tasks.every("consumer lag", lag' 'Tasks::new(Shutdown::new()).every("consumer lag", lag'
mutant 'a probe that panics and was the last one' $CORE/kafka/engine/failing.rs "$LIB" a_probe_that_panics \
  'matches!(tokio::spawn(async move { handler.probe().await }).await, Ok(Ok(())))' 'handler.probe().await.is_ok()'
mutant 'a poll interval that keeps a consumer from starting' $CORE/kafka/clients.rs "$E2E" o2_ \
  '.set("max.poll.interval.ms", "300000").remove(' '.remove('
mutant 'an alarm that ends all alarms when it cannot be composed' crates/dlq-consumer/src/alarm/sender.rs "$E2E" an_alarm_that_cannot_be_put \
  'match panics::caught(composed).await {' 'match Some(composed.await) {'
mutant 'a line for each request that fails' crates/issuer-api/src/reservations.rs "$E2E" an_error_of_every_request \
  'if let Some(requests) = FAILED.admit(&error.code()) {' 'if let requests = FAILED.admit(&error.code()).unwrap_or(1) {'
mutant 'a replica of Redis whose answer is believed' $CORE/stock/error.rs "$LIB" stock::error:: \
  '        ErrorKind::Extension => error.code() == Some("WRONGTYPE"),
        _ => false,' '        _ => true,'
mutant 'the age of an outbox by the clock of another machine' crates/coupon-core/lua/relay.lua "$IT" outbox:: \
  'math.max(now - tonumber(first[2]), tonumber(last[2]) - now)' 'now - tonumber(first[2])'
mutant 'a member of a batch who is not seen by the next one' crates/coupon-core/lua/reserve.lua "$IT" stock_model:: \
  'held[at] or new[member]' 'held[at]'
mutant 'a batch that ends above the total' crates/coupon-core/lua/reserve.lua "$IT" stock_model:: \
  'seq, issued, waiting = seq + 1, issued + 1, waiting + 1' 'seq, waiting = seq + 1, waiting + 1'
mutant 'a batch whose requests share a sequence' crates/coupon-core/lua/reserve.lua "$IT" stock_model:: \
  'answer = seq' 'answer = tonumber(meta[6]) + 1'
mutant 'a campaign that is busy for ever after a panic' crates/issuer-api/src/batches.rs '-p issuer-api --lib' batches:: \
  'let _ = panics::caught(work(batch)).await;' 'work(batch).await;'
