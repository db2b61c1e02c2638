# shellcheck shell=bash disable=SC2016,SC2086 # the mistakes are code, and their dollar signs are not the shell's
# Mistakes about who has written an event.

mutant 'any signature of a known key believed' $CORE/signing/mod.rs "$LIB" signing:: \
  'hmac::verify(&key.key, value, &mac).map_err(|_| SignatureError::Forged(id.to_owned()))' \
  'hmac::verify(&key.key, value, &mac).or(Ok::<(), SignatureError>(()))'
mutant 'unsigned events accepted though there are keys' $CORE/signing/reader.rs "$LIB" signing:: \
  'Err(SignatureError::Unsigned) if self.accepts_unsigned => {}' 'Err(SignatureError::Unsigned) => {}'
mutant 'a parked forgery issued where there are no keys' $CORE/signing/reader.rs "$E2E" signed:: \
  'Some(refused) if !self.has_keys() =>' 'Some(refused) if !self.has_keys() && code.is_empty() =>'
mutant 'a dead letter replayed unverified' crates/coupon-operations/src/operations.rs "$E2E" signed:: \
  'read_dead_letter(&self.events, dead_letter, VERSION)' \
  'Ok(CouponIssued::decode(dead_letter.record.payload.as_deref(), VERSION)?)'
mutant 'a forged event held for a newer build and decided by it' crates/dlq-consumer/src/jobs/newer_versions.rs '-p dlq-consumer --test it' a_held_letter_is_decided_only \
  'read_dead_letter(&self.events, &dead_letter, self.supported)' \
  'CouponIssued::decode(dead_letter.record.payload.as_deref(), self.supported)'
