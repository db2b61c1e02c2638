//! The listener for members: routes, answers, errors.

mod admission;
mod code;
mod coupon;
mod guard;
mod issue;
mod observed;
mod openapi;
mod problem;
mod problem_page;
mod refusal;
mod request;
mod routes;
mod status;
mod unverified;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use coupon_core::ids::MemberId;

use crate::{
    admission::Admission,
    auth::{Refusals, TokenError, Verifier},
    backend::Backend,
    campaign_metrics::Campaigns,
    config::{HttpSettings, TelemetrySection},
    mock::{self, Mock},
    sold_out::SoldOutCache,
};

pub use code::Code;
pub use problem::Problem;
pub use routes::routes;

/// The state that the handlers share.
pub struct Api {
    accept: Backend,
    /// `None`: tokens are believed.
    verifier: Option<Arc<Verifier>>,
    /// `None`: no campaign can require admission.
    admission: Option<Arc<Admission>>,
    /// `None`: every token is verified.
    unverified: Option<unverified::Unverified>,
    refusals: Refusals,
    meters: guard::Meters,
    /// The campaigns that have metrics of their own.
    pub campaigns: Campaigns,
    access_log: f64,
    public_campaigns: bool,
    in_flight: AtomicUsize,
    max_in_flight: usize,
    is_open: AtomicBool,
    is_held: AtomicBool,
    max_body_bytes: usize,
    body_within: Duration,
    answer_within: Duration,
}

impl Api {
    /// An API that answers 503 `STARTING` until [`Api::open`]. Without a verifier, tokens are believed.
    pub fn new(
        accept: Backend,
        verifier: Option<Arc<Verifier>>,
        settings: &HttpSettings,
        telemetry: &TelemetrySection,
    ) -> Self {
        Self {
            meters: guard::Meters::from_zero(),
            campaigns: Campaigns::new(telemetry.campaigns, guard::outcomes().collect()),
            access_log: telemetry.access_log,
            public_campaigns: settings.public_campaigns,
            accept,
            verifier,
            admission: None,
            unverified: None,
            refusals: Refusals::from_zero(),
            in_flight: AtomicUsize::new(0),
            max_in_flight: settings.max_in_flight,
            is_open: AtomicBool::new(false),
            is_held: AtomicBool::new(false),
            max_body_bytes: settings.max_body_bytes,
            body_within: settings.header_timeout(),
            answer_within: Duration::from_millis(settings.answer_within_ms),
        }
    }

    /// Asks this before a unit is reserved.
    #[must_use]
    pub fn asking(mut self, admission: Arc<Admission>) -> Self {
        self.admission = Some(admission);
        self
    }

    /// Refuses by this cache also before the signature of a token is verified.
    #[must_use]
    pub fn refusing_unverified(mut self, sold_out: Arc<SoldOutCache>) -> Self {
        self.unverified = Some(unverified::Unverified::new(sold_out));
        self
    }

    /// The mock behind the handlers, if it is one.
    pub(crate) fn mock(&self) -> Option<&Mock> {
        match &self.accept {
            Backend::Servers(_) => None,
            Backend::Mock(mock) => Some(mock),
        }
    }

    /// The member that a token names.
    async fn identify(&self, token: &str) -> Result<MemberId, TokenError> {
        match &self.verifier {
            Some(verifier) => verifier.identify(token).await,
            None => mock::member_of(token),
        }
    }

    /// Number of requests being worked on.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Begins to answer requests: the checks of the start have passed.
    pub fn open(&self) {
        self.is_open.store(true, Ordering::Release);
    }

    /// Refuses every POST while a server would lose what is accepted; everything else is answered as before.
    pub fn hold(&self, held: bool) {
        self.is_held.store(held, Ordering::Release);
    }

    fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Acquire)
    }

    fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }
}
