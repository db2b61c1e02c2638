# shellcheck shell=bash disable=SC2016,SC2086 # the mistakes are code, and their dollar signs are not the shell's
# Mistakes in getting a campaign right again: suspicion, sequences, rebuild, reconcile.

OPERATIONS=crates/coupon-operations/src
mutant 'a closed campaign made SUSPECT' $CORE/repo/coupon_issues/compensate.rs "$E2E" a_campaign_that_was_closed_before \
  "CASE WHEN c.status = 'OPEN' THEN 'SUSPECT'" "CASE WHEN c.status <> 'DRAFT' THEN 'SUSPECT'"
mutant 'an epoch that begins with what events claimed' $CORE/repo/rebuilds.rs "$E2E" a_sequence_that_redis_never_gave \
  ', high_seq = 0, updated_at' ', updated_at'
mutant 'any claimed sequence believed' crates/issuer-api/src/start.rs "$E2E" a_sequence_that_redis_never_gave \
  'database.reconciliations().vouched_seq(code, view.seq).await.ok()' 'Some(claimed)'
mutant 'no claimed sequence believed' $CORE/repo/reconciliations.rs "$E2E" redis_that_went_back_in_time_is_noticed_also \
  'AND i.seq <= bound.seq), 0) END FROM bound' 'AND i.seq < 1), 0) END FROM bound'
mutant 'the gate of another epoch left open' crates/dlq-consumer/src/give_back_worker.rs "$E2E" the_open_gate_of_an_older_epoch \
  'self.stock.suspect(&code, view.epoch)' 'self.stock.suspect(&code, epoch)'
mutant 'a rebuild that does not count' $OPERATIONS/rebuild/drain.rs "$E2E" a_rebuild_counts_the_rows \
  '        self.count_rows().await?;
        let mut rounds' '        let mut rounds'
mutant 'a gate left shut' $CORE/repo/rebuilds.rs "$E2E" a_rebuild_that_cannot_go_on \
  '.bind(is_closed || is_sound && !is_found_unsound)' '.bind(is_closed)'
mutant 'a suspect gate opened by a rebuild that cannot go on' $OPERATIONS/rebuild/gate.rs "$E2E" a_rebuild_that_cannot_go_on \
  '&& is_ahead(self.database, coupon, view).await?;' '&& view.seq >= 0;'
mutant 'the gate closed before anything is looked at' $OPERATIONS/rebuild.rs "$E2E" a_rebuild_looks_at_topics \
  '        self.operations.can_see_consumers().await?;
        let code' '        let code'
mutant 'holders of broken data forgotten' $OPERATIONS/rebuild.rs "$E2E" a_rebuild_settles_holders \
  'self.stock.adopt(code, &beginning_of(&coupon, true)).await?;' 'beginning_of(&coupon, true).total < 0;'
mutant 'agreement claimed without having judged' $OPERATIONS/reconcile/report.rs "$E2E" a_reconciliation_that_could_not_judge \
  '(0, Some(_)) => Verdict::Unjudged,' '(0, Some(_)) => Verdict::Agree,'
mutant 'lost requests left to an operator' $OPERATIONS/reconcile/verify.rs "$E2E" what_was_lost_with_a_topic \
  '(options.apply || options.requeue)' 'options.apply'
mutant 'what an operator had settled published again' $OPERATIONS/reconcile/verify.rs "$E2E" what_an_operator_had_settled \
  '            None if facts.dead_letters.contains_key(&id) => self.report.note(Drift::SettledHolder, id, false),
' ''
mutant 'published again against a wrong counter' $OPERATIONS/reconcile.rs "$E2E" nothing_is_published_again_by_itself \
  'let is_counted = self.report.left() == window || self.options.apply;' 'let is_counted = window >= 0;'
mutant 'lost requests held up by a window' $OPERATIONS/reconcile.rs "$E2E" what_was_lost_with_a_topic \
  'let is_counted = self.report.left() == window || self.options.apply;' 'let is_counted = self.report.left() == window * 0 || self.options.apply;'
mutant 'an archive held up by a cancelled job' $CORE/repo/rebuilds/unfinished.rs "$E2E" an_unanswered_replay_of_a_cancelled_job \
  "NOT IN ('CANCELLED', 'STOPPED', 'DONE')" "NOT IN ('DONE')"
mutant 'a window that broke off left to the members' $OPERATIONS/reconcile/campaign.rs "$E2E" c7_planted \
  '                self.compare_window(&view).await?;
' ''
mutant 'a window that is found and left' $OPERATIONS/reconcile/campaign.rs "$E2E" c7_planted \
  'closes_at_ms, coupon.window_version).await?' 'closes_at_ms, coupon.window_version - 2).await?'
mutant 'broken data said at each look' crates/dlq-consumer/src/give_back_worker.rs "$E2E" a_campaign_whose_units_cannot \
  'static BROKEN: Throttle = Throttle::new();' 'static BROKEN: Throttle = Throttle::of(u32::MAX);'
mutant 'a watch of Redis past the supervisor' crates/dlq-consumer/src/run.rs "$E2E" a_loop_that_panics_ends \
  'service.tasks.spawn("redis watch", require_redis(stock, redis, service.shutdown.clone(), refused));' \
  'tokio::spawn(require_redis(stock, redis, service.shutdown.clone(), refused));'
mutant 'a watch of the signals past the supervisor' $CORE/runtime/boot.rs "$E2E" a_loop_that_panics_ends \
  'until_exit.spawn_until_stop("signal watch", signals);' 'drop(tokio::spawn(signals));'
