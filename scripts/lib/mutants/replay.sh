# shellcheck shell=bash disable=SC2016,SC2086 # the mistakes are code, and their dollar signs are not the shell's
# Mistakes in replaying and in alarms.

DLQ=crates/dlq-consumer/src

mutant 'progress of a replay counted against what has been begun too' $DLQ/cli/replay.rs "$E2E" the_progress_of_a_replay \
  '    (count(job.begun), count(job.chosen))' \
  '    (count(job.begun), count(job.eligible + (job.begun - job.succeeded - job.failed - job.under_way).max(0)))'
mutant 'a replay without a heartbeat' crates/coupon-operations/src/replay/work.rs "$E2E" a_replay_that_is_worked_on_beats \
  '            match self.database.replay_jobs().beat(hold.clone()).await {' \
  '            std::future::pending::<()>().await;
            match self.database.replay_jobs().beat(hold.clone()).await {'
mutant 'a replay that is done though some of it failed' $DLQ/cli/replay.rs "$E2E" p5_a_replay_of_which_most_fail \
  'job.status == JobStatus::Done && job.failed == 0 &&' 'job.status == JobStatus::Done &&'
mutant 'a replay that is done though a number was refused' $DLQ/cli/replay.rs "$E2E" a_replay_ends_with_0_only \
  '&& job.under_way == 0 && are_all_eligible' '&& job.under_way == 0 && (are_all_eligible || job.eligible > 0)'
mutant 'the reason of a replay missing in the audit of its rows' $CORE/repo/replays/settle.rs "$E2E" the_reason_of_a_replay \
  " || coalesce(': ' || nullif(j.reason, ''), '')" ''
mutant 'what a replay had begun asked for by its own job alone' crates/coupon-operations/src/replay/requests.rs "$E2E" what_a_cancelled_replay_has_begun \
  'let asked = self.ask_abandoned().await;' \
  'let asked: Result<(), OperationsError> = if MAX_ABANDONED_REPLAYS > 0 { Ok(()) } else { self.ask_abandoned().await };'
mutant 'an entry that was settled otherwise issued all the same' crates/coupon-operations/src/replay/requests.rs "$E2E" an_abandoned_replay_of_an_entry \
  'if !self.database.failed_coupon_issues().is_pending(link.failed_issue_id).await? {' \
  'if !self.database.failed_coupon_issues().is_pending(link.failed_issue_id).await? && link.after_close {'
mutant 'a step that waits for any row of its job' $CORE/repo/replays.rs "$E2E" a_step_of_a_replay_waits \
  "count(*) FILTER (WHERE outcome IS NULL OR outcome IN ('RESERVED', 'HOLDS_ONE')) AS open," \
  "greatest(count(*) FILTER (WHERE outcome IS NULL OR outcome IN ('RESERVED', 'HOLDS_ONE')) - (SELECT count(*) FROM replays
                        WHERE job_id = \$1 AND failed_issue_id <= \$2), 0) AS open,"
mutant 'a filter that chooses what was compensated by hand' $CORE/repo/replays/plan.rs "$E2E" a_filter_never_chooses \
  "const NOT_BY_HAND: &str = \"(\$1::bigint[] <> '{}' OR NOT f.decided_by_hand)\"" \
  "const NOT_BY_HAND: &str = \"(\$1::bigint[] <> '{}' OR true)\"" \
  "WHEN f.decided_by_hand AND \$1::bigint[] = '{}' THEN 'DECIDED_BY_HAND'" "WHEN false THEN 'DECIDED_BY_HAND'"
mutant 'replays settled one by one' $CORE/repo/replays/settle.rs "$E2E" many_replays_are_settled \
  '            let settle = sqlx::query_scalar(SETTLE).bind(BATCH).bind(actor.now);
            let settled: i64 = settle.bind(&actor.by.name).bind(actor.by.provenance()).fetch_one(&pool).await?;
            Ok(usize::try_from(settled).unwrap_or(0))' \
  '            let mut all = 0;
            loop {
                let one = sqlx::query_scalar(SETTLE).bind(BATCH.min(1)).bind(actor.now);
                let settled: i64 = one.bind(&actor.by.name).bind(actor.by.provenance()).fetch_one(&pool).await?;
                all += usize::try_from(settled).unwrap_or(0);
                if settled == 0 {
                    return Ok(all);
                }
            }'
mutant 'a dead letter recovered late said to be recovered at once' $DLQ/repair.rs "$E2E" r1_ \
  'self.record(work, status, &original_failure(&work.record), number)' 'self.record(work, status, &original_failure(&work.record), number.min(1))'
mutant 'a late dead letter of a newer version held for ever' $CORE/writing/mod.rs '-p dlq-consumer --test it' a_held_letter_whose_member \
  '        IssueOutcome::OldEpoch => Remedy::GiveBack,
' ''
mutant 'an alarm that does not name its installation' $DLQ/alarm/view.rs "$E2E" an_alarm_names_the_installation \
  'Self { installation: settings.installation.clone(), links, ..self }' 'Self { links, ..self }'
mutant 'a foreign record as bad as a revoked coupon' $DLQ/alarm/classify.rs "$E2E" an_alarm_names_the_installation \
  'has(DlqEventStatus::Parked) && !is_foreign {' 'has(DlqEventStatus::Parked) && (!is_foreign || by_status.len() < 2) {'
mutant 'a message for each cause of a burst' $DLQ/alarm/unsent.rs "$E2E" a_burst_of_first_alarms \
  'one.kind == other.kind && one.severity == other.severity' 'one.kind == other.kind && one.cause == other.cause'
mutant 'an all-clear while something waits' $CORE/repo/alarms/all_clear.rs "$E2E" an_all_clear_is_told_once \
  "AND d.status IN ('HELD', 'PARKED'))" "AND d.status = 'HELD')"
mutant 'an all-clear told for ever' $CORE/repo/alarms/all_clear.rs "$E2E" an_all_clear_is_told_once \
  'SET all_clear_due = false, claimed_until' 'SET claimed_until'
mutant 'a refused layout sent again unchanged' $DLQ/alarm/channels.rs "$E2E" an_alarm_whose_layout_slack_refuses \
  'if self.kind == Kind::Slack && refusal.is_of_the_layout =>' 'if self.kind != Kind::Slack && refusal.is_of_the_layout =>'
mutant 'an alarm about what an operator has just done' $CORE/repo/coupon_issues/compensate.rs "$E2E" what_an_operator_compensates \
  'let alarm = superseded_by.is_none() && compensation.by_hand().is_none();' 'let alarm = superseded_by.is_none();'
mutant 'no alarm about what a replay can only compensate' $CORE/repo/coupon_issues/compensate.rs "$E2E" what_a_replay_can_only \
  'let alarm = superseded_by.is_none() && compensation.by_hand().is_none();' \
  'let alarm = superseded_by.is_none() && compensation.by.is_none();'
mutant 'an entry that stays though its member was paid' $CORE/repo/coupon_issues/compensate.rs "$E2E" replay_settled:: \
  'if let Some(by) = by_hand {' 'if let Some(by) = by_hand.filter(|by| by.name.is_empty()) {'
mutant 'an entry settled while its replay is under way' $CORE/repo/work_list/settling.rs "$E2E" an_entry_whose_replay_is_under_way \
  'AND (r.outcome IS NULL OR r.outcome IN (' 'AND (r.outcome IS NULL AND r.outcome IN ('
mutant 'an all-clear while the campaign is rebuilt' $CORE/repo/alarms/all_clear.rs "$E2E" an_all_clear_of_a_suspect \
  "c.status IN ('SUSPECT', 'OPENING'))" "c.status = 'SUSPECT')" "r.step <> 'DONE'" "r.step = 'NEVER'"
mutant 'an all-clear while there is drift' $CORE/repo/alarms/all_clear.rs "$E2E" an_all_clear_of_drift \
  "OR r.drift <> '{}' OR" "OR r.drift IS NULL OR"
mutant 'a sound campaign left SUSPECT because its total changed' $CORE/repo/rebuilds.rs "$E2E" a_rebuild_that_cannot_go_on_opens \
  "AND status = 'SUSPECT' AND \$4" "AND status = 'SUSPECT' AND \$4 AND EXISTS
                     (SELECT FROM rebuilds r WHERE r.coupon_code = coupons.coupon_code AND r.started_at = coupons.updated_at)"
mutant 'a gate opened though redis sold too much' $CORE/repo/rebuilds.rs "$E2E" a_rebuild_that_cannot_go_on_stays_shut \
  'is_closed || is_sound && !is_found_unsound' 'is_closed || is_sound'
mutant 'a link that leads to no entry' $DLQ/alarm/view.rs "$E2E" an_alarm_names_the_installation \
  'format!("{url}{anchor}")' 'format!("{anchor}{url}")'
mutant 'a held dead letter that is warned of every minute' $DLQ/jobs/newer_versions.rs '-p dlq-consumer --test it' a_held_letter_that_cannot \
  'Err(failure) if warned.insert(letter_id) => {' 'Err(failure) if !warned.contains(&letter_id) => {'
mutant 'no all-clear of lost data' $DLQ/alarm/classify.rs "$E2E" an_all_clear_of_lost_data \
  '(Severity::Critical, "alarm-lost", true)' '(Severity::Critical, "alarm-lost", false)'
mutant 'an all-clear because a campaign is CLOSED' $CORE/repo/alarms/all_clear.rs "$E2E" an_all_clear_of_lost_data \
  'AND c.archived_at IS NULL AND NOT EXISTS (' 'AND c.archived_at IS NOT NULL AND NOT EXISTS ('
mutant 'an all-clear by a rebuild of before the loss' $CORE/repo/alarms/all_clear.rs "$E2E" an_all_clear_of_lost_data \
  'AND r.finished_at >= coalesce(' 'AND r.finished_at <> coalesce('
mutant 'no all-clear of lost data of what was archived' $CORE/repo/alarms/all_clear.rs "$E2E" an_all_clear_of_lost_data \
  ' AND c.archived_at IS NULL AND NOT EXISTS (' ' AND NOT EXISTS ('
mutant 'somebody woken for what is published again' $DLQ/alarm/classify.rs "$E2E" what_was_lost_with_a_topic \
  '(Severity::Warning, "alarm-requeued", false)' '(Severity::Critical, "alarm-requeued", false)'
mutant 'a line that is CRITICAL whatever the alarm is' $DLQ/alarm/log.rs "$E2E" an_alarm_names_the_installation \
  '"[{severity}] {}: look with' '"[CRITICAL] {}: look with'
