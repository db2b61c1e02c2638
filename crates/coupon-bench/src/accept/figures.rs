//! The figures of `coupon-bench accept`, in the order in which they are shown.

use crate::{
    figures::{
        Goal::{AtLeast, AtMost},
        Unit::{MiB, Ms, PerSecond, Ratio, Times, Us},
    },
    limits::table::{Row, goal, row},
};

const ALONE: &str = "issuer-api alone, no consumer";
const ALONG: &str = "while an issue-consumer writes along";
const COMMANDS: &str = "Redis' own commandstats: the script and the deletion from the outbox";
const WHOLE: &str = "from the start until the last row, for each row";
const PLANNED: &str = "from the planned moment of sending; the timer of the client is up to 1 ms late";

pub const ROWS: &[Row] = &[
    row("accept.per_second", "accepted", PerSecond, ALONE),
    row("accept.limit_per_second", "limit of accepting", PerSecond, "1 / (1/bare + 1/script + 1/produce)"),
    goal("accept.ratio", "accepted of the limit", Ratio, AtLeast(0.80), ""),
    row("accept.api_cpu_us", "CPU of issuer-api per accepted", Us, ALONE),
    row("accept.redis_cpu_us", "CPU of Redis per accepted", Us, ALONE),
    goal("accept.redis_time_us", "time of Redis per accepted", Us, AtMost(10.0), COMMANDS),
    row("accept.kafka_cpu_us", "CPU of Kafka per accepted", Us, ALONE),
    row("accept.load_cpu_us", "CPU of the load per accepted", Us, "the client, no part of the pipeline"),
    row("accept.http_cpu_ratio", "CPU of issuer-api against HTTP alone", Times, "limit: no token check, same round"),
    row("chain.per_second", "rows written under full load", PerSecond, ALONG),
    row("chain.api_cpu_us", "CPU of issuer-api per row", Us, WHOLE),
    row("chain.consumer_cpu_us", "CPU of issue-consumer per row", Us, WHOLE),
    row("chain.redis_cpu_us", "CPU of Redis per row", Us, WHOLE),
    row("chain.kafka_cpu_us", "CPU of Kafka per row", Us, WHOLE),
    row("chain.postgres_cpu_us", "CPU of PostgreSQL per row", Us, WHOLE),
    row("chain.load_cpu_us", "CPU of the load per row", Us, "the client, no part of the pipeline"),
    row("half.rate", "half load", PerSecond, "half of chain.per_second of the same round"),
    row("half.api_cpu_us", "CPU of issuer-api per row at half load", Us, WHOLE),
    row("half.consumer_cpu_us", "CPU of issue-consumer per row at half load", Us, WHOLE),
    row("half.redis_cpu_us", "CPU of Redis per row at half load", Us, WHOLE),
    row("half.kafka_cpu_us", "CPU of Kafka per row at half load", Us, WHOLE),
    row("half.postgres_cpu_us", "CPU of PostgreSQL per row at half load", Us, WHOLE),
    row("half.load_cpu_us", "CPU of the load per row at half load", Us, "the client, no part of the pipeline"),
    goal("half.answer_p50_ms", "answer at half load, p50", Ms, AtMost(5.0), PLANNED),
    goal("half.answer_p99_ms", "answer at half load, p99", Ms, AtMost(30.0), PLANNED),
    row("half.answer_p999_ms", "answer at half load, p99.9", Ms, PLANNED),
    row("half.row_p50_ms", "row visible at half load, p50", Ms, "looked for every 5 ms, 1 request in 20"),
    goal("half.row_p99_ms", "row visible at half load, p99", Ms, AtMost(100.0), PLANNED),
    row("light.rate", "5 % load", PerSecond, "5 % of chain.per_second of the same round"),
    row("light.api_cpu_us", "CPU of issuer-api per row at 5 % load", Us, WHOLE),
    goal("light.answer_p50_ms", "answer at 5 % load, p50", Ms, AtMost(2.0), PLANNED),
    goal("light.answer_p99_ms", "answer at 5 % load, p99", Ms, AtMost(10.0), PLANNED),
    row("light.row_p99_ms", "row visible at 5 % load, p99", Ms, "looked for every 5 ms, 1 request in 20"),
    goal("memory.issuer_api_idle_mib", "issuer-api idle", MiB, AtMost(30.0), "VmRSS once ready"),
    goal("memory.issuer_api_loaded_mib", "issuer-api loaded", MiB, AtMost(100.0), "VmHWM after all loads"),
    goal("memory.issue_consumer_idle_mib", "issue-consumer idle", MiB, AtMost(30.0), "VmRSS once ready"),
    goal("memory.issue_consumer_loaded_mib", "issue-consumer loaded", MiB, AtMost(100.0), "VmHWM after all loads"),
    goal("memory.dlq_consumer_idle_mib", "dlq-consumer idle", MiB, AtMost(30.0), "VmRSS once ready; not loaded here"),
];
