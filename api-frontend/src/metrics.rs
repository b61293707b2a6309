//! What the frontend counts, for monitoring systems: `GET /metrics` on the port of everything else, so that nothing more is open, and
//! a certificate says who may read it. Counters begin with the process; what changes both ways is looked up when somebody asks.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use prost::Message;
use tonic::Code;

use crate::executor::LinkState;
use crate::jobs::Jobs;
use crate::policy::Policy;
use crate::tls::{self, TlsSetup};

/// Where they are read.
pub const PATH: &str = "/metrics";
/// What is sent: OpenMetrics 1.0, which Prometheus and its kin read.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A name and its value; families of several have them in one order.
type Label = (&'static str, String);

/// Where the figures come from.
#[derive(Debug)]
pub struct Sources {
    /// Live jobs, the executor, the disk, and what was counted of jobs.
    pub jobs: Jobs,
    /// Open connections, and those that were refused.
    pub connections: Arc<tls::Registry>,
    /// When the certificate and the revocation lists end.
    pub tls: Arc<ArcSwap<TlsSetup>>,
    /// The reserve of free disk.
    pub policy: Arc<ArcSwap<Policy>>,
}

/// All metrics. Their names and labels are an interface: dashboards and alerts are written for them.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    methods: BTreeSet<String>,
    calls: Family<[Label; 1], Counter>,
    failed: Family<[Label; 2], Counter>,
}

impl Metrics {
    /// Begins to count.
    pub fn new(sources: Sources) -> Self {
        let mut registry = Registry::with_prefix("airlock");
        let (calls, failed) = (Family::default(), Family::default());
        registry.register("build", "The version that runs", Info::new(vec![("version", crate::BUILD)]));
        sources.jobs.counts().register(&mut registry);
        sources.connections.refused().register(&mut registry);
        registry.register("calls", "Calls answered, by method", Family::clone(&calls));
        let help =
            "Calls answered with an error, by method and gRPC code; streams that failed later are not among them";
        registry.register("calls_failed", help, Family::clone(&failed));
        registry.register_collector(Box::new(sources));
        Self { registry, methods: methods(), calls, failed }
    }

    /// Counts a call of the method at `path`. Paths that are none share one name: whoever calls must not make names up.
    pub fn answered(&self, path: &str, code: Code) {
        let known = path.rsplit('/').next().and_then(|name| self.methods.get(name));
        let method = ("method", known.map_or("other", String::as_str).to_owned());
        self.calls.get_or_create(std::array::from_ref(&method)).inc();
        if code != Code::Ok {
            self.failed.get_or_create(&[method, ("code", format!("{code:?}"))]).inc();
        }
    }

    /// All of them as OpenMetrics text. Asks the file system for its free bytes.
    ///
    /// # Errors
    /// None that the formatter of a string can have.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut all = String::new();
        text::encode(&mut all, &self.registry)?;
        Ok(all)
    }
}

/// Names of the interface's methods, from its own description.
fn methods() -> BTreeSet<String> {
    let files = prost_types::FileDescriptorSet::decode(airlock_proto::FILE_DESCRIPTOR_SET).unwrap_or_default().file;
    let services = files.into_iter().flat_map(|file| file.service);
    services.flat_map(|service| service.method).filter_map(|method| method.name).collect()
}

impl Collector for Sources {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let [queued, running] = self.jobs.live_counts();
        let mut jobs = encoder.encode_descriptor("jobs", "Live jobs, by state.", None, ConstGauge::<u64>::TYPE)?;
        for (state, count) in [("queued", queued), ("running", running)] {
            ConstGauge::new(count).encode(jobs.encode_family(&[("state", state)])?)?;
        }
        let mut gauge = |name, help, unit: Option<&Unit>, value: Option<u64>| {
            let Some(value) = value else { return Ok(()) };
            ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, unit, ConstGauge::<u64>::TYPE)?)
        };
        let connected = matches!(self.jobs.executor(), LinkState::Live { .. });
        gauge(
            "executor_connected",
            "1 while there is an executor; without one nothing is started.",
            None,
            Some(connected.into()),
        )?;
        gauge("connections", "Open connections of clients.", None, Some(self.connections.len() as u64))?;
        gauge(
            "disk_free",
            "Free on the file system of records and output.",
            Some(&Unit::Bytes),
            self.jobs.free_bytes(),
        )?;
        let reserve = self.policy.load().output().reserve().bytes();
        gauge("disk_reserve", "Below so many free bytes nothing is started.", Some(&Unit::Bytes), Some(reserve))?;
        let ends = self.tls.load().ends;
        let help = "When the server's certificate ends, in seconds since 1970.";
        gauge("certificate_end_timestamp", help, Some(&Unit::Seconds), Some(ends.certificate))?;
        let help = "When the first of the revocation lists is due to be replaced, in seconds since 1970.";
        gauge("revocation_list_end_timestamp", help, Some(&Unit::Seconds), ends.revocation_list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_the_interface_has_its_own_name() {
        let methods = methods();
        assert!(methods.contains("StartJob") && methods.contains("GetServerInfo"), "{methods:?}");
    }
}
