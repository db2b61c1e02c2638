//! What is measured when `/metrics` is asked for, and costs nothing in between: the process, the build, the conditions of
//! `/readyz`, and what others register; and metrics whose series end with what they are of.

use std::{
    sync::{LazyLock, Mutex, PoisonError},
    time::Duration,
};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use metrics_util::MetricKindMask;
use procfs::process::{LimitValue, Process};

use super::Report;

/// How long a fleeting series stays that is not recorded any more: three times the period in which they are recorded.
const FLEETING_FOR: Duration = Duration::from_secs(15);

/// The commit that was built, by the variable `COUPON_REVISION` of the build.
const REVISION: &str = match option_env!("COUPON_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

type Measure = Box<dyn Fn() + Send + Sync>;
static MEASURES: Mutex<Vec<Measure>> = Mutex::new(Vec::new());

/// Calls `measure` whenever `/metrics` is asked for, until the process ends. It must not wait.
pub fn on_scrape(measure: impl Fn() + Send + Sync + 'static) {
    MEASURES.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(measure));
}

/// Records metrics whose series go a quarter of a minute after they were last recorded, because what they are of has ended.
pub fn fleeting<T>(record: impl FnOnce() -> T) -> T {
    metrics::with_local_recorder(&FLEETING.0, record)
}

static FLEETING: LazyLock<(PrometheusRecorder, PrometheusHandle)> = LazyLock::new(|| {
    let builder = PrometheusBuilder::new().idle_timeout(MetricKindMask::ALL, Some(FLEETING_FOR));
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    (recorder, handle)
});

/// Tells which build this is, once.
pub(super) fn build_info(service: &'static str) {
    let version = env!("CARGO_PKG_VERSION");
    metrics::gauge!("coupon_build_info", "service" => service, "version" => version, "revision" => REVISION).set(1);
}

/// Measures everything, and gives the fleeting series as Prometheus text.
pub(super) fn measure(report: &Report) -> String {
    for condition in &report.conditions {
        let required = if condition.required { "true" } else { "false" };
        metrics::gauge!("coupon_condition_ready", "condition" => condition.name, "required" => required)
            .set(u8::from(condition.ready));
    }
    if let Err(error) = process() {
        tracing::debug!(%error, "the process cannot be measured");
    }
    for measure in &*MEASURES.lock().unwrap_or_else(PoisonError::into_inner) {
        measure();
    }
    FLEETING.1.render()
}

/// The metrics that every client library of Prometheus has, under their names.
#[expect(clippy::cast_precision_loss, reason = "bytes and counts are far below 2^53")]
fn process() -> procfs::ProcResult<()> {
    let process = Process::myself()?;
    let stat = process.stat()?;
    let (ticks, page) = (procfs::ticks_per_second(), procfs::page_size());
    // Counters are whole numbers here; a rate over a minute is right to a hundredth of a core or two.
    metrics::counter!("process_cpu_seconds_total").absolute((stat.utime + stat.stime) / ticks);
    metrics::gauge!("process_resident_memory_bytes").set((stat.rss * page) as f64);
    metrics::gauge!("process_virtual_memory_bytes").set(stat.vsize as f64);
    metrics::gauge!("process_threads").set(stat.num_threads as f64);
    metrics::gauge!("process_open_fds").set(process.fd_count()? as f64);
    if let LimitValue::Value(most) = process.limits()?.max_open_files.soft_limit {
        metrics::gauge!("process_max_fds").set(most as f64);
    }
    let started = procfs::boot_time_secs()? as f64 + stat.starttime as f64 / ticks as f64;
    metrics::gauge!("process_start_time_seconds").set(started);
    Ok(())
}

#[cfg(test)]
mod tests {
    use metrics::with_local_recorder;

    use super::*;

    #[test]
    fn the_process_is_measured_as_the_kernel_counts_it() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let report = Report { ready: false, conditions: vec![] };
        with_local_recorder(&recorder, || measure(&report));
        let page = recorder.handle().render();
        let of = |name: &str| {
            let line = page.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).unwrap_or_default();
            line.parse::<f64>().unwrap_or(-1.0)
        };
        assert!((1e6..1e10).contains(&of("process_resident_memory_bytes")), "{page}");
        assert!(of("process_open_fds") > 2.0 && of("process_max_fds") >= of("process_open_fds"), "{page}");
        assert!(of("process_threads") >= 1.0 && of("process_cpu_seconds_total") >= 0.0, "{page}");
        assert!(of("process_start_time_seconds") > 1.7e9, "{page}");
    }

    #[test]
    fn what_is_fleeting_is_on_the_page_while_it_is_recorded() {
        fleeting(|| metrics::gauge!("runtime_test_fleeting", "coupon" => "X").set(7));
        assert!(
            measure(&Report { ready: false, conditions: vec![] }).contains("runtime_test_fleeting{coupon=\"X\"} 7")
        );
    }
}
