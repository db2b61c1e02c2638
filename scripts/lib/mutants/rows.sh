# shellcheck shell=bash disable=SC2016,SC2086 # the mistakes are code, and their dollar signs are not the shell's
# Mistakes in the rows of a batch: parts, refusals, locks; and in what a build takes for its own schema.

PARTS=migrations/0010_decisions.sql

mutant 'ON CONFLICT DO NOTHING read as success' $PARTS "$IT" batches:: \
  'apart := apart || missed;' 'missed := NULL;'
mutant 'a row that is refused passed over' $PARTS "$IT" batches:: \
  '                place := first;
                RETURN NEXT;' '                place := first;'
mutant 'somebody in the way taken for a refusal' $PARTS "$IT" batches:: \
  '                RAISE;' '                NULL;'
mutant 'the counter not raised with the rows of a batch in parts' $PARTS "$IT" batches:: \
  'c.issued_quantity + rows,' 'c.issued_quantity + rows - (begun > 1)::integer,'
mutant 'the same event twice in a batch issued twice' $PARTS "$IT" batches:: \
  'OR i > first AND ids[i] = ids[i - 1] AND members[i] = members[i - 1]' ''
mutant 'a part that never grows again' $PARTS "$IT" batches:: \
  'step := step + least(step, 4);' 'step := step;'
mutant 'a part that is as large after a refusal' $PARTS "$IT" batches:: \
  'step := least(step, total, 64) / 2;' 'step := least(step, total);'
mutant 'a statement with any number of subtransactions' $PARTS "$IT" batches:: \
  'CONSTANT integer := 64;' 'CONSTANT integer := 64000;'
mutant 'a statement that looks at no clock' $PARTS "$IT" batches:: \
  ' AND clock_timestamp() < until' ''
mutant 'what was not tried told as issued' $CORE/repo/coupon_issues.rs "$IT" batches:: \
  '            if untried.contains(&place) {' '            if place > 100_000 && untried.contains(&place) {'
mutant 'what was refused once put among the others' $CORE/writing/batches.rs "$IT" batches:: \
  'quarantined: first.quarantined' 'quarantined: false'
mutant 'a held decision waited for at each halving' $CORE/writing/batches.rs "$IT" batches:: \
  'pending.push((batch, Some(SHORT_LOCK_TIMEOUT)));' 'pending.push((batch, Some(Duration::from_secs(1))));'
mutant 'a batch that is not halved when the commit refuses' $CORE/writing/batches.rs "$IT" batches:: \
  'if batch.len() == 1 {' 'if batch.len() > 0 {'
mutant 'a refusal that does not say by what' $CORE/repo/coupon_issues/insert.rs "$IT" batches:: \
  'message, constraint, table, column }' 'message, constraint: constraint.filter(|name| name.is_empty()), table, column }'
mutant 'a constraint told apart by English words alone' $CORE/repo/error.rs "$LIB" repo::error:: \
  '(Some(name), ..) if !says("constraint", name) =>' '(Some(name), ..) if !says("constraint", name) && name.is_empty() =>'
mutant 'a constraint named twice' $CORE/repo/error.rs "$LIB" repo::error:: \
  '(Some(name), ..) if !says("constraint", name) =>' '(Some(name), ..) =>'
mutant 'a panic charged to a record that shared its attempt' $CORE/kafka/handler.rs "$LIB" engine:: \
  'thread::panicking() && !self.is_shared' 'thread::panicking()'
mutant 'suspicion forgotten after another failure' $CORE/kafka/engine/failing.rs "$LIB" engine:: \
  'entry.isolation = entry.isolation.max(Isolation::after(&failure));' 'entry.isolation = Isolation::after(&failure);'
mutant 'only the newest migration looked at' $CORE/repo/schema.rs "$IT" schema:: \
  'MIGRATOR.iter().find(is_edited)' 'MIGRATOR.iter().filter(|migration| migration.version == needed).find(is_edited)'
mutant 'a gap in the migrations overlooked' $CORE/repo/schema.rs "$IT" schema:: \
  'lacking.clone().next()' 'lacking.clone().find(|lacking| Some(*lacking) > version)'
mutant 'a list of migrations that may change' scripts/migrations-check "$IT" schema:: \
  "{ git log --format= -p -- \"\$LIST\"; git diff HEAD -- \"\$LIST\"; }" 'git diff HEAD -- "$LIST"'
