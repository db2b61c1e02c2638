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
  '    number.bind(compensation.now).execute(&mut *tx).await?;' '    number.bind(compensation.now).execute(pool).await?;'
mutant 'what fits below the total not numbered' $CORE/repo/coupon_issues/insert.rs "$IT" decisions:: \
  '        decision_no = decision_no + cardinality($3)
    WHERE coupon_code = $1 RETURNING' '        decision_no = decision_no
    WHERE coupon_code = $1 RETURNING'
mutant 'a missing decision passed over by the relay' $CORE/repo/coupon_decision_batches.rs "$IT" decisions:: \
  'missing: (next <= to).then_some(next)' 'missing: (next < from).then_some(next)'
mutant 'decisions purged that nobody was told of' $CORE/repo/retention.rs "$IT" decisions:: \
  'AND f.first_no + cardinality(f.request_ids) - 1 <= m.relayed_to' ''
mutant 'a lease taken from a relay that has it' $CORE/repo/coupon_decision_batches/marks.rs "$IT" decisions:: \
  'WHERE coalesce(m.owner = excluded.owner OR m.owned_until < clock_timestamp(), true)' 'WHERE true'
