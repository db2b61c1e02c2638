# shellcheck shell=bash disable=SC2016,SC2086 # the mistakes are code, and their dollar signs are not the shell's
# Mistakes in the client of a shop, and in the mock that it tests against.

CLIENT=crates/coupon-client/src
OF_CLIENT='-p coupon-client --lib'
OF_API='-p issuer-api --lib'

mutant 'a refusal that is sent again' $CLIENT/error.rs "$OF_CLIENT" a_refusal_is_final \
  'matches!(problem.meaning(), Meaning::Passing | Meaning::Fault)' 'problem.status >= 400'
mutant 'a Retry-After that is undercut' $CLIENT/retry.rs "$OF_CLIENT" the_time_that_the_server \
  'failure.retry_after().unwrap_or_default().saturating_add(jitter)' 'failure.retry_after().unwrap_or(jitter).min(jitter)'
mutant 'a crowd that returns together' $CLIENT/retry.rs "$OF_CLIENT" the_time_that_the_server \
  'failure.retry_after().unwrap_or_default().saturating_add(jitter)' 'failure.retry_after().unwrap_or(jitter)'
mutant 'a wait beyond the deadline' $CLIENT/retry.rs "$OF_CLIENT" a_call_ends_by \
  '.filter(|at| *at <= self.end)' '.filter(|at| *at > now)'
mutant 'a 503 that counts as not carried out' $CLIENT/error.rs "$OF_CLIENT" what_passes_is_asked_again \
  'Self::Problem(problem) => problem.status >= 500,' 'Self::Problem(_) => false,'
mutant 'retries without a pace' $CLIENT/pace.rs "$OF_CLIENT" retries_are_a_share \
  'self.next = at + ' 'self.next = now.min(at) + 0 * '
mutant 'a burst taken for a rate' $CLIENT/pace.rs "$OF_CLIENT" first_tries_that_come_at_once \
  'const WINDOW: Duration = Duration::from_secs(10);' 'const WINDOW: Duration = Duration::from_secs(1);'
mutant 'a pace that is forgotten at once' $CLIENT/pace.rs "$OF_CLIENT" retries_are_a_share \
  'self.rate = kept.max(' 'self.rate = 0.0_f64.max(0.0 * kept).max('
mutant 'a name that forces for ever' crates/issuer-api/src/mock/mod.rs "$OF_API" a_name_that_forces_twice \
  'let is_forced = *forced < name.times;' 'let is_forced = name.times > 0;'
mutant 'a GET of the mock that is sold out' crates/issuer-api/src/mock/mod.rs "$OF_API" a_name_that_forces_twice \
  'if is_ask == is_of_asking(code) && ' 'if '
