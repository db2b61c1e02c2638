//! The body of a request, of which there is none to speak of: bounded in size and time, and empty.

use std::{future::poll_fn, pin::Pin, time::Duration};

use axum::body::{Body, HttpBody};
use tokio::time::timeout;

use super::{Code, Problem};

/// Accepts an empty body and `{}`.
pub(super) async fn check(body: Body, max_bytes: usize, within: Duration) -> Result<(), Problem> {
    // Nearly nobody sends one, and a deadline costs more than a look.
    if body.is_end_stream() {
        return Ok(());
    }
    match timeout(within, read(body, max_bytes)).await {
        Ok(bytes) => judge(&bytes?),
        Err(_) => {
            Err(Problem::new(Code::RequestTimeout, format!("the body did not come within {} ms", within.as_millis())))
        }
    }
}

async fn read(mut body: Body, max_bytes: usize) -> Result<Vec<u8>, Problem> {
    let too_large = || Problem::new(Code::PayloadTooLarge, format!("the body may have {max_bytes} bytes"));
    if body.size_hint().lower() > max_bytes as u64 {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|_| Problem::new(Code::InvalidBody, "the body broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > max_bytes {
            return Err(too_large());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// Unknown fields are refused: whoever sends one believes that it does something.
fn judge(bytes: &[u8]) -> Result<(), Problem> {
    if bytes.is_empty() {
        return Ok(());
    }
    match serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(bytes) {
        Ok(object) if object.is_empty() => Ok(()),
        Ok(_) => Err(Problem::new(Code::InvalidBody, "the body has an unknown field; it must be empty or {}")),
        Err(_) => Err(Problem::new(Code::InvalidBody, "the body must be empty or {}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn code(body: impl Into<Body>) -> Option<Problem> {
        check(body.into(), 64, Duration::from_secs(1)).await.err()
    }

    #[tokio::test]
    async fn only_an_empty_body_or_an_empty_object_is_accepted() {
        for good in ["", "{}", " {\n} "] {
            assert_eq!(code(good).await, None, "{good:?}");
        }
        for bad in ["[]", "null", "0", "{", "{}{}", r#"{"member_id":"11"}"#, "\u{feff}{}", "<a/>"] {
            let said = format!("{:?}", code(bad).await);
            assert!(said.contains("InvalidBody"), "{bad:?}: {said}");
        }
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_cut_off() {
        let said = format!("{:?}", code("x".repeat(65)).await);
        assert!(said.contains("PayloadTooLarge"), "{said}");
    }
}
