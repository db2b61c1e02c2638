# shellcheck shell=bash disable=SC2016,SC2086 # the mistakes are code, and their dollar signs are not the shell's
# Mistakes in what a member is told of their requests, and in who is let in.

mutant 'a request that is decided while the list is made left out' crates/issuer-api/src/standing.rs "-p issuer-api --lib" standing:: \
  'Self::by(&self.code, self.request_id, decisions).unwrap_or(self)' 'self'
mutant 'what a rebuild has left in a dead letter not found' crates/issuer-api/src/standing.rs "$E2E" a_request_that_a_rebuild \
  'letters.iter().any(|letter| letter.request_id == id)' 'letters.iter().any(|_| false)'
mutant 'a decided request whose dead letter is held taken for an undecided one' $CORE/repo/dlq_events/rows.rs "$E2E" a_request_that_a_rebuild \
  'AND request_id = original_event_id)' 'AND request_id = original_event_id AND false)'
mutant 'idle connections that keep the last slots' $CORE/runtime/http.rs "$LIB" while_few_slots \
  'if is_crowded { idle_timeout.min(header_timeout) } else { idle_timeout }' \
  'let _ = (is_crowded, header_timeout);
            idle_timeout'
mutant 'one line a minute for all faults of a code' crates/issuer-api/src/http/observed.rs "$E2E" a_fault_carries \
  'Throttle::of(FAULTS_A_MINUTE)' 'Throttle::of(FAULTS_A_MINUTE / 100)'
mutant 'a wrong route that does not give the name of its request back' crates/issuer-api/src/http/guard.rs "$E2E" a_fault_carries \
  'observed.finish(problem.into_response())' 'problem.into_response()'
