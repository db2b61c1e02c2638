//! Requests, byte for byte, made before the clock starts: one distinct member with a token of its own for each.

use anyhow::{Context, Result};
use coupon_e2e::member::token::Signer;

/// Prepared requests of members for one coupon.
#[derive(Debug, Default)]
pub struct Requests {
    members: Vec<String>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Requests {
    /// Requests of `count` members, the first of them with number `first`, to this `Host`.
    pub fn make(signer: &Signer, host: &str, code: &str, first: usize, count: usize) -> Result<Self> {
        let mut requests = Self::default();
        for member in (first..first + count).map(member) {
            let token = signer.token(&member).sign().context("a token cannot be signed")?;
            let head = format!(
                "POST /api/v1/coupons/{code}/issues HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n\
                 content-length: 0\r\n\r\n"
            );
            requests.bytes.extend_from_slice(head.as_bytes());
            requests.ends.push(requests.bytes.len());
            requests.members.push(member);
        }
        Ok(requests)
    }

    /// Number of requests.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// The bytes of request `index`.
    pub fn bytes(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }

    /// Returns the member that sends request `index`.
    pub fn member(&self, index: usize) -> &str {
        &self.members[index]
    }
}

/// Returns the id of the member of this number.
pub fn member(number: usize) -> String {
    format!("bench-{number:09}")
}
