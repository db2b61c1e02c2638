# shellcheck shell=bash disable=SC2016 # the mistakes are code, and their dollar signs are not the shell's
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
mutant 'a connection to the wrong Redis kept' $CORE/stock/connection.rs "$E2E" outage_session::redis_ \
  'if is_wrong {' 'if is_wrong && !is_wrong {'
mutant 'a ping taken for readiness of Redis' crates/coupon-core/lua/probe.lua "$E2E" outage_session::redis_ \
  "redis.call('HSET', KEYS[1], 'probe', '1')" 'if true then return 1 end'
mutant 'strikes that never decay' $CORE/kafka/engine/alone.rs "$LIB" alone:: \
  '            self.number = 0;
' ''
mutant 'nobody acquitted who waits to run alone' $CORE/kafka/engine/alone.rs "$LIB" alone:: \
  'self.well >= ACQUITTED_BY' 'self.well > ACQUITTED_BY * 1000'
