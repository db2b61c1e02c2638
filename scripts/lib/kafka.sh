# shellcheck shell=bash
# The local Kafka: KRaft, one process that is broker and controller, jars from Maven Central.

KAFKA_DIR=$LOCAL/kafka
KAFKA_JARS=$ROOT/.local/kafka/jars   # also those of a stack in another folder
KAFKA_DATA=$KAFKA_DIR/data
KAFKA_SOURCE=$ROOT/scripts/kafka
DLQ_MAX_BYTES=2097152     # a record of 1 MiB still fits with the headers of the dead letter around it

# Copies the jars once; the stamp is the checksum of the pom.xml they were copied for.
fetch_jars() {
  local sum began=$SECONDS
  sum=$(sha256sum <"$KAFKA_SOURCE/pom.xml")
  [[ ! -f $KAFKA_JARS/.stamp || $(<"$KAFKA_JARS/.stamp") != "$sum" ]] || return 0
  say "fetching Kafka's jars from Maven Central (once, 55 MB)"
  rm -rf "$KAFKA_JARS" "$KAFKA_JARS.new"
  mkdir -p "${KAFKA_JARS%/*}"
  mvn -q -B -f "$KAFKA_SOURCE/pom.xml" dependency:copy-dependencies -DoutputDirectory="$KAFKA_JARS.new" \
    </dev/null >"$LOG/maven.log" 2>&1 9>&- || {
    tail -n 15 "$LOG/maven.log" >&2
    die "Maven could not fetch Kafka's jars; is Maven Central reachable? Its log: $(shown "$LOG/maven.log")"
  }
  printf '%s\n' "$sum" >"$KAFKA_JARS.new/.stamp"
  mv "$KAFKA_JARS.new" "$KAFKA_JARS"
  say "Kafka's jars are there, after $((SECONDS - began)) s"
}

# A short-lived command of Kafka; the flags make the JVM start faster, at the price of peak speed.
kafka_tool() {
  java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto -Dstack.log.level=error \
    -Dlog4j2.configurationFile="$KAFKA_SOURCE/log4j2.properties" -cp "$KAFKA_JARS/*" "$@" </dev/null 9>&-
}

write_kafka_config() {
  local broker controller way='' way_advertised=''
  broker=127.0.0.1:$(port_of kafka)
  controller=127.0.0.1:$(port_of kafka-controller)
  # Kafka tells its clients where to go on, so a proxy before it needs a listener that names the proxy.
  local way_protocol=PLAINTEXT rights=''
  # Rights for the clients of that listener, which then says who they are; everybody else may do everything.
  if [[ -n ${STACK_KAFKA_RIGHTS:-} ]]; then
    way_protocol=SASL_PLAINTEXT
    rights="authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
allow.everyone.if.no.acl.found=true
sasl.enabled.mechanisms=PLAIN
listener.name.way.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_services=\"$STACK_KAFKA_RIGHTS\";"
  fi
  if [[ -n ${STACK_KAFKA_WAY:-} ]]; then
    way=,WAY://127.0.0.1:$(port_of kafka-way)
    way_advertised=,WAY://127.0.0.1:$STACK_KAFKA_WAY
  fi
  mkdir -p "$KAFKA_DIR"
  cat >"$KAFKA_DIR/server.properties" <<CONF
# Written by scripts/stack at each start.
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=$controller
listeners=PLAINTEXT://$broker,CONTROLLER://$controller$way
advertised.listeners=PLAINTEXT://$broker,CONTROLLER://$controller$way_advertised
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,WAY:$way_protocol
inter.broker.listener.name=PLAINTEXT
log.dirs=$KAFKA_DATA
auto.create.topics.enable=false
delete.topic.enable=true
unclean.leader.election.enable=false
log.retention.hours=168
replica.fetch.max.bytes=$DLQ_MAX_BYTES
# There is one broker, so nothing can have a second replica; few partitions start quickly.
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
# After a kill -9 the new process must wait until the registration of the dead one has expired.
broker.session.timeout.ms=5000
broker.heartbeat.interval.ms=1000
# A consumer group of a test gets its partitions at once instead of after three seconds.
group.initial.rebalance.delay.ms=0
$rights
CONF
}

format_kafka() {
  local id
  [[ ! -e $KAFKA_DATA/formatted ]] || return 0
  rm -rf "$KAFKA_DATA"
  # A cluster id is 16 bytes in base64url. A leading '-' would be taken for an option.
  id=$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=')
  kafka_tool kafka.tools.StorageTool format --standalone -t "${id/#-/A}" -c "$KAFKA_DIR/server.properties" \
    >"$LOG/kafka-format.log" 2>&1 || {
    tail -n 15 "$LOG/kafka-format.log" >&2
    die "Kafka's storage could not be formatted; its log: $(shown "$LOG/kafka-format.log")"
  }
  # Last of all: without it, a format that was interrupted is done again from the start.
  touch "$KAFKA_DATA/formatted"
}

start_kafka() {
  fetch_jars
  need_port kafka "$(port_of kafka)"
  need_port "kafka's controller" "$(port_of kafka-controller)"
  write_kafka_config
  format_kafka
  start_process kafka java -Xms128m -Xmx512m -XX:+ExitOnOutOfMemoryError -Djava.awt.headless=true \
    -Dlog4j2.configurationFile="$KAFKA_SOURCE/log4j2.properties" -cp "$KAFKA_JARS/*" kafka.Kafka "$KAFKA_DIR/server.properties"
}

# How many partitions a topic of our own broker has: each is a folder, and looking takes no JVM.
# A deleted topic's folders end in -delete and are not counted.
partitions_on_disk() {
  local escaped=${1//./\\.}
  find "$KAFKA_DATA" -mindepth 1 -maxdepth 1 -regextype posix-extended -regex ".*/$escaped-[0-9]+" -printf . 2>/dev/null | wc -c
}

topic_command() {
  kafka_tool org.apache.kafka.tools.TopicCommand --bootstrap-server "$(url_of kafka)" \
    --command-config "$KAFKA_SOURCE/admin.properties" "$@" 2>&1
}

create_topic() {
  local output
  output=$(topic_command --create --if-not-exists --topic "$@") || {
    warn "$output"
    die "topic $1 could not be created on $(url_of kafka)"
  }
}

# Creates the topics that are missing, on our broker or on the caller's, both at the same time.
prepare_kafka() {
  local have='' found name partitions jobs=() job failed=0
  fetch_jars
  if is_yours kafka; then
    have=$(topic_command --list) ||
      die "the brokers of KAFKA_BROKERS ($(url_of kafka)) do not answer; ${have%%$'\n'*}"
  fi
  for name in "$TOPIC" "$DLQ_TOPIC" "$DECISION_TOPIC"; do
    [[ -n $name ]] || continue
    partitions=$TOPIC_PARTITIONS
    [[ $name != "$DLQ_TOPIC" ]] || partitions=$DLQ_PARTITIONS
    if is_yours kafka; then
      ! grep -qxF -e "$name" <<<"$have" || continue
    else
      found=$(partitions_on_disk "$name")
      if ((found > 0)); then
        ((found == partitions)) || warn "stack: topic $name has $found partitions, not $partitions; scripts/stack reset makes it anew"
        continue
      fi
    fi
    if [[ $name != "$DLQ_TOPIC" ]]; then
      create_topic "$name" --partitions "$partitions" --config max.message.bytes=1048588 &
    else
      # A dead letter has the time of its event; retention by time would delete what is handed over late.
      create_topic "$name" --partitions "$partitions" --config max.message.bytes=$DLQ_MAX_BYTES --config retention.ms=-1 &
    fi
    jobs+=($!)
  done
  for job in "${jobs[@]}"; do wait "$job" || failed=1; done
  return "$failed"
}
