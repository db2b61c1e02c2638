//! The scenario of scripts/clients, through the generated client for Rust.

use std::{
    env,
    time::{Duration, Instant},
};

use coupons::{
    apis::{
        Error,
        configuration::Configuration,
        issuing_api::{ask_for_coupon, show_issue},
    },
    models::Problem,
};

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

fn of(token: &str) -> Configuration {
    let bearer_access_token = Some(variable(token));
    Configuration { base_path: variable("URL"), bearer_access_token, ..Configuration::default() }
}

/// The problem of an ask that must be refused, as 409.
async fn refused(token: &str) -> Problem {
    match ask_for_coupon(&of(token), &variable("COUPON"), None, None, None).await {
        Err(Error::ResponseError(refusal)) if refusal.status.as_u16() == 409 => {
            serde_json::from_str(&refusal.content).expect("a problem")
        }
        other => panic!("not refused as 409: {other:?}"),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (code, holder) = (variable("COUPON"), of("HOLDER"));
    // The generated function does not tell 202 from 200; the same id does.
    let first = ask_for_coupon(&holder, &code, None, None, None).await.expect("accepted");
    let again = ask_for_coupon(&holder, &code, None, None, None).await.expect("the same again");
    assert_eq!(first.request_id, again.request_id);

    assert_eq!(refused("LATE").await.code, "SOLD_OUT");

    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let issue = show_issue(&holder, &code, &first.request_id.to_string()).await.expect("a status");
        if serde_json::json!(issue.state) == "issued" {
            assert!(issue.expires_at.is_some());
            break;
        }
        assert!(Instant::now() < deadline, "{issue:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    if !variable("ODD").is_empty() {
        let problem = refused("ODD").await;
        assert_eq!(problem.status, 409);
        assert!(!["SOLD_OUT", "NOT_OPEN", "CLOSED"].contains(&problem.code.as_str()), "{problem:?}");
    }
}
