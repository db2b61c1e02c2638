//! Requests, byte for byte, made before the clock starts: one distinct member with a token of its own for each.

use std::{ops::Range, panic::resume_unwind, thread};

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
    /// Requests of `count` members, the first of them with number `first`, to this `Host`. On every core: to sign with RSA takes
    /// most of a millisecond.
    pub fn make(signer: &Signer, host: &str, code: &str, first: usize, count: usize) -> Result<Self> {
        let (end, cores) = (first + count, thread::available_parallelism().map_or(1, usize::from));
        let share = count.div_ceil(cores).max(1);
        let parts: Vec<Result<Self>> = thread::scope(|scope| {
            let part = |from| scope.spawn(move || Self::part(signer, host, code, from..end.min(from + share)));
            let parts: Vec<_> = (first..end).step_by(share).map(part).collect();
            parts.into_iter().map(|part| part.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
        });
        let mut requests = Self::default();
        for part in parts {
            let (part, start) = (part?, requests.bytes.len());
            requests.members.extend(part.members);
            requests.bytes.extend(part.bytes);
            requests.ends.extend(part.ends.into_iter().map(|end| start + end));
        }
        Ok(requests)
    }

    fn part(signer: &Signer, host: &str, code: &str, numbers: Range<usize>) -> Result<Self> {
        let mut requests = Self::default();
        for member in numbers.map(member) {
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
