# shellcheck shell=bash disable=SC2016,SC2086 # the mistakes are code, and their dollar signs are not the shell's
# Mistakes in the numbers of decisions and in their publication.

RELAY=crates/dlq-consumer/src/decision_relay.rs

mutant 'the mark moved before the acknowledgement' $RELAY "$E2E" e2_a_relay_may_end \
  '                self.publisher.publish_decisions(&records).await?;
' '' \
  '                mark = reached;
' '                mark = reached;
                self.publisher.publish_decisions(&records).await?;
'
mutant 'the number of a decision read before the lock' $CORE/repo/coupon_issues/insert.rs "$IT" decisions:: \
  "SELECT coupon_id, decision_no - rows + 1, 'ISSUED', \$2, request_ids, now() FROM raised, counted_rows" \
  "SELECT coupon_id, (SELECT c.decision_no FROM coupons c WHERE c.coupon_code = \$1) + 1, 'ISSUED', \$2, request_ids, now() FROM raised, counted_rows"
mutant 'the batch of a compensation in a second transaction' $CORE/repo/coupon_issues/compensate.rs "$IT" decisions:: \
  '    number_decisions(&mut tx, coupon_id, of, &ids, Some(compensation.now)).await?;' \
  '    let mut other = pool.acquire().await?;
    number_decisions(&mut other, coupon_id, of, &ids, Some(compensation.now)).await?;'
mutant 'what fits below the total not numbered' $CORE/repo/coupon_issues/insert.rs "$IT" decisions:: \
  '        number_decisions(&mut tx, coupon_id, (Decision::Issued, batch.epoch()), &ids, None).await?;
' '        let _ = coupon_id;
'
mutant 'a missing decision passed over by the relay' $CORE/repo/coupon_decision_batches.rs "$IT" decisions:: \
  'missing: (next <= to).then_some(next)' 'missing: (next < from).then_some(next)'
mutant 'decisions purged that nobody was told of' $CORE/repo/retention/rules.rs "$IT" decisions:: \
  'AND f.first_no + cardinality(f.request_ids) - 1 <= m.relayed_to' ''
mutant 'a missing number passed over that nobody accepted' $CORE/repo/coupon_decision_batches/accepted.rs "$IT" decisions_kept:: \
  'AND relayed_to = $3 - 1 AND accepted_numbers @> $3::bigint' 'AND relayed_to = $3 - 1'
mutant 'a mark that stays before what was purged unpublished' $CORE/repo/retention.rs "$IT" decisions_kept:: \
  'SET relayed_to = gone.last_no' 'SET relayed_to = m.relayed_to'
mutant 'numbers purged under a relay that publishes' $CORE/repo/retention/rules.rs "$IT" decisions_kept:: \
  "coalesce(greatest(m.owned_until, m.relayed_at) < clock_timestamp() - interval '1 day', true)" 'true'
mutant 'a mark that passes numbers which are kept' $CORE/repo/retention.rs "$IT" decisions_kept:: \
  'AND NOT EXISTS (SELECT FROM going WHERE going.key = b.id)' 'AND false'
mutant 'decisions that have lost their numbers left without' $CORE/repo/coupon_decision_batches/later.rs "$IT" decisions_kept:: \
  'CASE WHEN $3 THEN purged.before END' 'CASE WHEN $3 THEN complete_before END'
mutant 'a trace that is worth an attempt' $CORE/repo/coupon_issues/traces.rs "$IT" decision_traces:: \
  'Class::Unavailable | Class::Interrupted' 'Class::Unavailable | Class::Contended | Class::Interrupted'
mutant 'the end of a window told by a clock that is ahead' $CORE/repo/webhooks.rs "$IT" webhooks:: \
  'least($1, clock_timestamp())' '$1'
mutant 'the end of a window told at each look' migrations/0015_decisions_kept.sql "$IT" webhooks:: \
  ' AND end_told_of IS DISTINCT FROM closes_at' ''
mutant 'a lease taken from a relay that has it' $CORE/repo/coupon_decision_batches/marks.rs "$IT" decisions:: \
  'WHERE coalesce(m.owner = excluded.owner OR m.owned_until < clock_timestamp(), true)' 'WHERE true'
