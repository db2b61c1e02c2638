//! Admission: a campaign may require a second token, of a waiting room, before a unit is reserved. The waiting room stands
//! anywhere in front; all that is known of it here is by which keys it signs.
//!
//! Which campaigns require it is read from PostgreSQL every [`LEARN_INTERVAL`]; what was read last counts while PostgreSQL is
//! away. A process with keys of a waiting room asks for a campaign that it has not read of yet before the first reservation,
//! so that none is made without a token because the process or the campaign is new. A process without keys refuses what
//! requires admission, as it was read last, and first before members may ask. Where nothing does, a POST costs the load of a
//! flag, and its header is not read.
//!
//! A member who is not admitted and holds a coupon is told so (promise I11): the holder entry is read, which reserves nothing,
//! by `MAX_CONCURRENT_LOOKUPS` requests at a time at most.

mod claims;
mod settings;

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::http::HeaderMap;
use coupon_core::{
    ids::{CouponCode, MemberId},
    repo::Database,
    runtime::{Throttle, chain},
    stock::Holder,
    tokens::TokenError,
};
use tokio::{sync::Semaphore, time::sleep};

pub use claims::{AdmissionClaims, AdmissionVerifier, Admitted};
pub use settings::AdmissionSettings;

use crate::{
    accept::{Accept, NotHeld},
    standing::Standing,
};

/// Interval between two readings of which campaigns require admission.
pub const LEARN_INTERVAL: Duration = Duration::from_secs(2);
/// Members who are not admitted and of whom it is looked up at a time what they hold: a crowd that goes past the waiting room
/// must not become a crowd at Redis.
const MAX_CONCURRENT_LOOKUPS: usize = 256;

/// Who may reserve.
pub struct Admission {
    /// `None`: there is no waiting room whose tokens could be verified.
    verifier: Option<Arc<AdmissionVerifier>>,
    accept: Arc<Accept>,
    database: Database,
    /// Whether a POST has to be looked at.
    is_on: AtomicBool,
    /// Which campaigns require admission, of those that were read.
    known: RwLock<HashMap<CouponCode, bool>>,
    lookups: Semaphore,
}

/// Why a member may not reserve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAdmitted {
    /// The campaign requires a token, and there is none.
    Missing,
    /// The token has expired.
    Expired,
    /// The token counts for nothing here, or for somebody or something else.
    Invalid(String),
    /// The campaign requires a token, and this process has no key to verify one.
    NoKey,
    /// PostgreSQL knows whether the campaign requires a token, and gives no answer.
    DatabaseAway,
}

/// Why it is not known what a member holds who is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotLookedUp {
    /// It is looked up of too many others.
    Busy,
    /// A server gives no answer.
    Away(NotHeld),
}

impl Admission {
    /// Nothing is known of any campaign until [`Admission::read`] has read it.
    pub fn new(verifier: Option<Arc<AdmissionVerifier>>, accept: Arc<Accept>, database: Database) -> Self {
        let is_on = AtomicBool::new(verifier.is_some());
        let lookups = Semaphore::new(MAX_CONCURRENT_LOOKUPS);
        Self { verifier, accept, database, is_on, known: RwLock::default(), lookups }
    }

    /// Whether the member may reserve a unit of the campaign with what the request carries.
    pub async fn admits(&self, code: &CouponCode, member: &MemberId, headers: &HeaderMap) -> Result<(), NotAdmitted> {
        if !self.is_on.load(Ordering::Relaxed) {
            return Ok(());
        }
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).get(code).copied();
        match known {
            Some(false) => Ok(()),
            // In a box, so that all other requests do not carry it.
            Some(true) => Box::pin(self.verify(code, member, headers)).await,
            None if self.verifier.is_none() => Ok(()),
            None => Box::pin(self.ask_and_verify(code, member, headers)).await,
        }
    }

    /// Whether the campaign may require admission; `false` only where it surely does not, or where [`Admission::admits`] would
    /// not look.
    pub fn may_be_required(&self, code: &CouponCode) -> bool {
        let known = || self.known.read().unwrap_or_else(PoisonError::into_inner).get(code).copied();
        self.is_on.load(Ordering::Relaxed) && known().unwrap_or(self.verifier.is_some())
    }

    /// What a member who is not admitted holds already; `None`: nothing.
    pub async fn held(&self, code: &CouponCode, member: &MemberId) -> Result<Option<Standing>, NotLookedUp> {
        let _turn = self.lookups.try_acquire().map_err(|_| NotLookedUp::Busy)?;
        match self.accept.stock.holder(code, member).await {
            Ok(Holder::Holds { request_id, pending }) => {
                Ok(Some(Standing::undecided(code.clone(), request_id, pending)))
            }
            Ok(Holder::Nothing) => Ok(None),
            // Where the holder entries cannot be trusted, PostgreSQL is asked, as after a refusal of Redis.
            Ok(Holder::Missing | Holder::Filling | Holder::Suspect) | Err(_) => {
                let issued = self.accept.lookup.issued(code, member).await;
                let issued = issued.map_err(|away| NotLookedUp::Away(away.into()))?;
                Ok(issued.map(|issued| Standing::undecided(code.clone(), issued.request_id, false)))
            }
        }
    }

    /// Reads, for ever, which campaigns require admission.
    pub async fn learn(self: Arc<Self>) {
        loop {
            self.read().await;
            sleep(LEARN_INTERVAL).await;
        }
    }

    /// Reads once which campaigns require admission; what was read last stays when PostgreSQL gives no answer.
    pub async fn read(&self) {
        static WITHOUT_KEY: Throttle = Throttle::new();
        match self.database.coupons().admissions(self.verifier.is_some()).await {
            Ok(campaigns) => {
                let required = campaigns.iter().filter(|(_, is_required)| *is_required).count();
                if required > 0
                    && self.verifier.is_none()
                    && let Some(count) = WITHOUT_KEY.admit("")
                {
                    tracing::error!(
                        required,
                        count,
                        "{required} campaigns require admission and accept nothing here: set admission.issuer and its keys \
                         ({count} since this was last said)"
                    );
                }
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = campaigns.into_iter().collect();
                self.is_on.store(required > 0 || self.verifier.is_some(), Ordering::Relaxed);
            }
            Err(error) => tracing::debug!(error = %chain(&error), "admissions cannot be read now"),
        }
    }

    async fn ask_and_verify(
        &self,
        code: &CouponCode,
        member: &MemberId,
        headers: &HeaderMap,
    ) -> Result<(), NotAdmitted> {
        match self.accept.lookup.coupon(code).await {
            Ok(Some(coupon)) if coupon.admission_required => self.verify(code, member, headers).await,
            // A code that nobody has created is not kept: anybody can invent them.
            Ok(None) => Ok(()),
            Ok(Some(_)) => {
                let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
                known.entry(code.clone()).or_insert(false);
                Ok(())
            }
            // Whoever is admitted does not depend on PostgreSQL.
            Err(_) => self.verify(code, member, headers).await.map_err(|_| NotAdmitted::DatabaseAway),
        }
    }

    async fn verify(&self, code: &CouponCode, member: &MemberId, headers: &HeaderMap) -> Result<(), NotAdmitted> {
        let Some(verifier) = &self.verifier else { return Err(NotAdmitted::NoKey) };
        let identified = match claims::token(headers) {
            Ok(token) => verifier.identify(token).await,
            Err(error) => Err(error),
        };
        match identified {
            Ok(Admitted { campaign, .. }) if campaign != *code => {
                Err(NotAdmitted::Invalid("the token admits to another campaign".to_owned()))
            }
            Ok(admitted) if admitted.member != *member => {
                Err(NotAdmitted::Invalid("the token admits another member".to_owned()))
            }
            Ok(_) => Ok(()),
            Err(TokenError::Missing) => Err(NotAdmitted::Missing),
            Err(TokenError::Expired) => Err(NotAdmitted::Expired),
            Err(TokenError::Key) if verifier.keys().is_empty() => Err(NotAdmitted::NoKey),
            Err(error) => Err(NotAdmitted::Invalid(claims::wrong(error))),
        }
    }
}
