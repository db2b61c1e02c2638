# shellcheck shell=bash disable=SC2016,SC2086 # the mistakes are code, and their dollar signs are not the shell's
# Mistakes in telling an outage: what is charged, which connections are left, what a probe does, who runs alone.

mutant 'a refusal believed without a probe' $CORE/repo/probe.rs "$IT" outages:: \
  'if commits { refusal } else' 'if commits || commits == bool::default() { refusal } else'
mutant 'no connection judged by its SQLSTATE' $CORE/repo/error.rs "$IT" outages:: \
  'Self::NoConnection { doing, source: not_connected.0 },' 'Self::Database { doing, source: not_connected.0 },'
mutant 'a probe that writes its own row only' $CORE/repo/probe.rs "$IT" outages:: \
  'if rehearsal != Rehearsal::None {' 'if rehearsal != Rehearsal::None && rehearsal == Rehearsal::None {'
mutant 'a probe after an outage on a connection of before' $CORE/repo/probe.rs "$E2E" outage_session::postgresql_ \
  '        self.renew();
' ''
mutant 'a connection to the wrong Redis kept' $CORE/stock/link.rs "$E2E" outage_session::redis_ \
  'if is_broken || is_wrong && !is_redirected {' 'if is_broken || is_wrong && !is_wrong && !is_redirected {'
mutant 'a ping taken for readiness of Redis' crates/coupon-core/lua/probe.lua "$E2E" outage_session::redis_ \
  "redis.call('HSET', KEYS[1], 'probe', '1')" 'if true then return 1 end'
mutant 'strikes that never decay' $CORE/kafka/engine/isolated.rs "$LIB" isolated:: \
  '            self.number = 0;
' ''
mutant 'nobody acquitted who waits to run alone' $CORE/kafka/engine/isolated.rs "$LIB" isolated:: \
  'self.well >= SUCCESSES_TO_ACQUIT' 'self.well > SUCCESSES_TO_ACQUIT * 1000'
mutant 'contention believed without a probe' $CORE/repo/error.rs "$IT" outages:: \
  'Class::Contended => !sqlstate::speaks_of_two_writers(&state),' \
  'Class::Contended => state.is_empty() && !sqlstate::speaks_of_two_writers(&state),'
mutant 'somebody in the way of one campaign taken for an outage' $CORE/repo/probe.rs "$IT" outages:: \
  'if commits { refusal } else' \
  'if commits && refusal.may_be_of_a_record() { refusal } else'
mutant 'a prepared statement of another session charged to a record' $CORE/repo/error/sqlstate.rs "$LIB" sqlstate:: \
  '("42P05", Class::Contended,' '("42P05", Class::Unknown,'
mutant 'a give-up that goes on after an outage without an attempt' $CORE/kafka/engine/failing.rs "$E2E" o7_a_give_up \
  '            entry.exhausted = None;
' ''
mutant 'a session that is the wrong one kept' $CORE/repo/pool.rs "$LIB" pool:: \
  'if error.says_that_the_session_is_wrong() {' 'if error.says_that_the_session_is_wrong() && doing.is_empty() {'
mutant 'one bound for all statements of a piece of work' $CORE/repo/pool.rs "$LIB" pool:: \
  'Err(_) if pool.last_begun() + self.0.bound > until => {}' 'Err(_) if doing.is_empty() => {}'
mutant 'one bound for all statements of a transaction' $CORE/repo/pool/connections.rs "$LIB" pool:: \
  '        self.of.note();
        &mut self.inner' '        &mut self.inner'
