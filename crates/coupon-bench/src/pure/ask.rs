//! A member's request through the routes and handlers of `issuer-api`. Its mock stands where Redis and Kafka are, and answers
//! at once.

use std::sync::Arc;

use anyhow::{Context, Result};
use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header::AUTHORIZATION},
};
use coupon_core::runtime::{SettingsArgs, load};
use coupon_e2e::member::token::Signer;
use futures_util::FutureExt;
use issuer_api::{backend::Backend, config::ApiSettings, http::Api, mock::Mock};
use jsonwebtoken::Algorithm;
use tower::ServiceExt;

use super::{BATCH_EVENTS, CODE};

/// The member whom the mock gives a coupon, and always the same one, so that its memory does not grow.
pub const HOLDER: &str = "bench-000000001";
/// The member whom the mock refuses because of its name.
pub const REFUSED: &str = "sold-out.bench-000000001";

/// The API without servers, and tokens of one member.
pub struct Asking {
    router: Router,
    bearers: Vec<String>,
}

impl Asking {
    /// An API that believes tokens of this algorithm. As many tokens as a batch has events, each of which is verified; or one
    /// token that was verified before, which is remembered unless it is signed by a shared secret.
    pub fn new(algorithm: Algorithm, member: &str, is_known: bool) -> Result<Self> {
        let signer = Signer::new_of_world().signing_with(algorithm)?;
        let folder = tempfile::tempdir()?;
        let key = folder.path().join("key");
        std::fs::write(&key, signer.verifies_by())?;
        let set = [
            ("auth.issuer", signer.issuer().to_owned()),
            ("auth.audience", signer.audience().to_owned()),
            ("auth.algorithms", format!("{algorithm:?}")),
            (signer.setting(), key.display().to_string()),
        ];
        let set = set.map(|(key, value)| (key.to_owned(), value)).into();
        let settings: ApiSettings = load(&SettingsArgs { config: None, set }, [])?;
        let verifier = Arc::new(settings.auth.verifier()?);
        let backend = Backend::Mock(Mock::default());
        let api = Arc::new(Api::new(backend, Some(verifier), &settings.http, &settings.telemetry));
        api.open();
        let tokens = if is_known { 1 } else { BATCH_EVENTS };
        // Of one length, as only their ids differ.
        let bearer = |number| Ok(format!("Bearer {}", signer.token(member).claim("jti", 1_000_000 + number).sign()?));
        let asking =
            Self { router: issuer_api::http::routes(api), bearers: (0..tokens).map(bearer).collect::<Result<_>>()? };
        if is_known {
            asking.ask(0)?;
        }
        Ok(asking)
    }

    /// Asks with the token of this event, from the head of the request to its answer, and returns the status.
    pub fn ask(&self, event: usize) -> Result<StatusCode> {
        let bearer = self.bearers[event % self.bearers.len()].as_str();
        let path = format!("/api/v1/coupons/{CODE}/issues");
        let request = Request::post(path).header(AUTHORIZATION, bearer).body(Body::empty())?;
        let answer = self.router.clone().oneshot(request).now_or_never().context("an answer without I/O waits")?;
        Ok(answer.unwrap_or_else(|never| match never {}).status())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_told_so_and_the_refused_is_refused_whatever_signs_the_token() {
        for algorithm in [Algorithm::HS256, Algorithm::ES256] {
            let holder = Asking::new(algorithm, HOLDER, false).unwrap();
            assert_eq!([0, 1].map(|event| holder.ask(event).unwrap().as_u16()), [202, 200], "{algorithm:?}");
            let refused = Asking::new(algorithm, REFUSED, true).unwrap();
            assert_eq!([0, 1].map(|event| refused.ask(event).unwrap().as_u16()), [409, 409], "{algorithm:?}");
        }
    }
}
