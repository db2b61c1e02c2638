# shellcheck shell=bash
# The three binaries, and the environment that they and every other client of the stack get.

# print_env: shell assignments, each value quoted so that `eval` gives back exactly that value.
print_env() {
  local quote="'\\''"
  assign() { printf "export %s='%s'\n" "$1" "${2//\'/$quote}"; }
  secret hmac.secret 32 >/dev/null
  secret events.key 32 >/dev/null
  assign DATABASE_URL "$(url_of postgres)"
  assign REDIS_URL "$(url_of redis)"
  assign KAFKA_BROKERS "$(url_of kafka)"
  assign ISSUER_API_URL "http://127.0.0.1:$(port_of issuer-api-http)"
  assign ISSUER_API_ADMIN_URL "http://127.0.0.1:$(port_of issuer-api)"
  assign ISSUE_CONSUMER_ADMIN_URL "http://127.0.0.1:$(port_of issue-consumer)"
  assign DLQ_CONSUMER_ADMIN_URL "http://127.0.0.1:$(port_of dlq-consumer)"
  assign CONSOLE_URL "http://127.0.0.1:$(port_of console)"
  # Settings of the binaries. They refuse a key they do not know: add none that they do not read.
  assign ISSUER_API__HTTP__LISTEN "127.0.0.1:$(port_of issuer-api-http)"
  assign ISSUER_API__ADMIN__LISTEN "127.0.0.1:$(port_of issuer-api)"
  assign ISSUER_API__AUTH__ISSUER coupon-demo
  assign ISSUER_API__AUTH__AUDIENCE coupon-api
  assign ISSUER_API__AUTH__ALGORITHMS HS256
  assign ISSUER_API__AUTH__HMAC_SECRET_FILE "$AUTH/hmac.secret"
  assign ISSUER_API__KAFKA__TOPIC "$TOPIC"
  assign ISSUER_API__EVENTS__SIGNING_KEY_FILES "$AUTH/events.key"
  assign ISSUE_CONSUMER__EVENTS__SIGNING_KEY_FILES "$AUTH/events.key"
  assign DLQ_CONSUMER__EVENTS__SIGNING_KEY_FILES "$AUTH/events.key"
  assign ISSUE_CONSUMER__ADMIN__LISTEN "127.0.0.1:$(port_of issue-consumer)"
  assign ISSUE_CONSUMER__KAFKA__TOPIC "$TOPIC"
  assign ISSUE_CONSUMER__KAFKA__DLQ_TOPIC "$DLQ_TOPIC"
  assign DLQ_CONSUMER__ADMIN__LISTEN "127.0.0.1:$(port_of dlq-consumer)"
  assign DLQ_CONSUMER__KAFKA__DLQ_TOPIC "$DLQ_TOPIC"
  [[ -z $DECISION_TOPIC ]] || assign DLQ_CONSUMER__DECISIONS__ENABLED true
  [[ -z $DECISION_TOPIC ]] || assign DLQ_CONSUMER__DECISIONS__TOPIC "$DECISION_TOPIC"
  assign DLQ_CONSUMER__CONSOLE__LISTEN "127.0.0.1:$(port_of console)"
  assign STACK_LOG_DIR "$LOG"
  [[ $PATH == "$BIN_DIR":* ]] || assign PATH "$BIN_DIR:$PATH"
}

need_binaries() {
  local name
  for name in "${SERVICES[@]}"; do
    [[ -x $BIN_DIR/$name ]] ||
      die "$(shown "$BIN_DIR/$name") is not there; 'make up' builds it, or say where it is with STACK_BIN_DIR"
  done
}

# Once, before the first service starts: the services check the schema and would refuse an old one.
migrate() {
  local log
  log=$(log_of migrate)
  (load_env && exec "$BIN_DIR/issue-consumer" migrate) </dev/null >"$log" 2>&1 9>&- || {
    warn "stack: 'issue-consumer migrate' failed. The end of its log:"
    tail -n 15 "$log" | sed 's/^/  | /' >&2
    die "the services are not started; the whole log: $(shown "$log")"
  }
}

load_env() { eval "$(print_env)"; }

start_service() {
  local name=$1 verb=run
  [[ $name != issuer-api ]] || verb=serve
  mkdir -p "$(dir_of "$name")"
  need_port "$name" "$(port_of "$name")"
  [[ $name != issuer-api ]] || need_port "$name" "$(port_of issuer-api-http)"
  [[ $name != dlq-consumer ]] || need_port "$name" "$(port_of console)"
  # A service's environment ends with the stack's settings; whatever else the caller set still holds.
  load_env
  start_process "$name" "$BIN_DIR/$name" "$verb"
  # The next command without STACK_BIN_DIR means the same binaries.
  printf '%s\n' "$BIN_DIR" >"$RUN/bin-dir"
}
