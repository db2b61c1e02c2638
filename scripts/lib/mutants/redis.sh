# shellcheck shell=bash disable=SC2016,SC2086 # the mistakes are code, and their dollar signs are not the shell's
# Mistakes about the way to Redis: logins, Sentinels, clusters, servers that tell nothing.

mutant 'a password file that is not read' $CORE/stock/dial.rs "$E2E" redis_login::redis_over_tls \
  'login.set_password(password)' 'login.set_password(String::new())'
mutant 'a master that hangs kept beside Sentinels' $CORE/stock/dial.rs "$E2E" redis_sentinel::a_replica_that_is_behind \
  'self.settings.cluster || self.settings.sentinel.is_used()' 'self.settings.cluster && self.settings.sentinel.is_used()'
mutant 'a redirection that does not ask' $CORE/stock/cluster.rs "$E2E" redis_cluster::campaigns_ \
  'redirected = Some((self.link_to(address, &link), true));' 'redirected = Some((self.link_to(address, &link), false));'
mutant 'a slot on its way taken for a refusal' $CORE/stock/cluster.rs "$E2E" redis_cluster::campaigns_ \
  'tokio::time::sleep(TRY_AGAIN_PAUSE).await;' 'return Err(error);'
mutant 'a slot without a master overlooked' $CORE/stock/cluster.rs "$E2E" redis_cluster::a_cluster_with \
  'slots.iter().position(Option::is_none)' 'slots.iter().position(Option::is_none).filter(|_| slots.is_empty())'
mutant 'a server that forbids INFO believed' $CORE/stock/server.rs "$E2E" redis_login::a_server_that_forbids \
  'if self.is_noeviction_asserted {' 'if self.is_noeviction_asserted || !self.is_cluster() {'
