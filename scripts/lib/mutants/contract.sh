# shellcheck shell=bash disable=SC2016,SC2086 # the mistakes are code, and their dollar signs are not the shell's
# Mistakes about the servers: settings, lost keys, logs made anew, lag.

mutant 'records of a log made anew taken for repeats' $CORE/kafka/partition_tracker.rs "$LIB" partition_tracker:: \
  '            rewound_from = tracked.watermark.highest_delivered();' \
  '            if tracked.watermark.highest_delivered().is_some() {
                return None;
            }'
mutant 'records left over from a log made anew forgotten' $CORE/kafka/partition_tracker.rs "$LIB" partition_tracker:: \
  'self.left_over.extend(tracked.entries.drain().map(|(offset, entry)| (key(offset), entry)));' \
  'tracked.entries.drain().map(|(offset, entry)| (key(offset), entry)).for_each(drop);'
mutant 'the committed offset of a log made anew not set back' $CORE/kafka/engine/taking.rs "$E2E" b7_ \
  '            .and_then(|()| self.consumer.store_offsets(&list))
            .and_then(|()| self.consumer.commit(&list, CommitMode::Async));' ';
        let _ = CommitMode::Async;'
mutant 'a marker of a transaction taken for a record' $CORE/kafka/progress.rs "$E2E" k4_ \
  'let unread = self.unread(self.gaps(ends).await?).await?;' 'let unread = self.gaps(ends).await?;'
mutant 'a lost map taken for free stock' crates/coupon-core/lua/reserve.lua "$IT" stock_gate:: \
  'elseif holders > 0 and issued == 0 then' 'elseif false then'
mutant 'a lost map filled on' crates/coupon-core/lua/copy.lua "$IT" stock_gate:: \
  'if holders and holders > 0 and' 'if false and'
mutant 'holders not counted by a give-back' crates/coupon-core/lua/give_back.lua "$IT" stock_model:: \
  "    if redis.call('EXISTS', KEYS[2]) == 1 then" '    if false then'
mutant 'a compacted topic taken for a good one' $CORE/kafka/topics.rs "$E2E" contract:: \
  '|policy| policy == "delete"' '|policy| !policy.is_empty()'
mutant 'a cluster taken for a server' $CORE/stock/server.rs "$E2E" contract:: \
  '|enabled| enabled == "0"' '|enabled| !enabled.is_empty()'
mutant 'requests accepted onto a topic that loses them' crates/issuer-api/src/http/issue.rs "$E2E" contract:: \
  'if api.is_held() {' 'if api.is_held() && api.max_body_bytes == 0 {'
mutant 'new partitions looked for every five minutes' $CORE/kafka/clients.rs "$E2E" contract:: \
  'config.set("topic.metadata.refresh.interval.ms", "10000");' 'config.set("topic.metadata.refresh.interval.ms", "300000");'
mutant 'a consumer ready that gets nothing' $CORE/kafka/lag.rs "$E2E" a_consumer_that_may_not_read \
  'standing.since.elapsed() >= self.stalled_after &&' 'standing.since.elapsed() >= self.stalled_after * 1000 &&'
mutant 'offsets that are no records never looked at' $CORE/kafka/lag.rs "$E2E" k4_ \
  'seen.have_read(unread, &records);' 'drop((unread, records));'
mutant 'offsets that are no records counted as lag' $CORE/kafka/lag.rs "$LIB" lag:: \
  'if !records.contains_key(&partition) {' 'if records.contains_key(&partition) {'
mutant 'what was read and holds no record read again' $CORE/kafka/lag.rs "$LIB" lag:: \
  'self.empty.insert(partition, gap);' 'let _ = gap;'
mutant 'timeouts dropped by a pooler taken for bounds' $CORE/repo/server.rs "$LIB" repo::server:: \
  'setting: "lock_timeout",
        holds: |ms| ms != "0",' 'setting: "lock_timeout",
        holds: |ms| !ms.is_empty(),'
mutant 'a lost list of campaigns left lost' crates/issuer-api/src/start.rs "$E2E" lost_keys:: \
  '                register_again(&stock, sequences.iter().map(|(code, ..)| code)).await;' ''
