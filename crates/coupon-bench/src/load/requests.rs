//! Requests, byte for byte, made before the clock starts: one distinct member with a token of its own for each.

use std::{ops::Range, panic::resume_unwind, thread};

use anyhow::{Context, Result};
use coupon_e2e::member::token::Signer;

use crate::tokens;

/// Prepared requests of members for one coupon, or for several in turn.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    codes: Vec<String>,
    members: Vec<String>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    repeated: usize,
}

impl Requests {
    /// Requests of `count` members, the first of them with number `first`, to this `Host`. On every core: to sign with RSA takes
    /// most of a millisecond.
    pub fn make(signer: &Signer, host: &str, code: &str, first: usize, count: usize) -> Result<Self> {
        Self::spread(signer, host, &[code.to_owned()], first, count)
    }

    /// The same for these coupons in turn.
    pub fn spread(signer: &Signer, host: &str, codes: &[String], first: usize, count: usize) -> Result<Self> {
        let (end, cores) = (first + count, thread::available_parallelism().map_or(1, usize::from));
        let share = count.div_ceil(cores).max(1);
        let parts: Vec<Result<Self>> = thread::scope(|scope| {
            let part = |from: usize| {
                let codes = codes.iter().cycle().skip((from - first) % codes.len());
                scope.spawn(move || Self::part(signer, host, codes, from..end.min(from + share)))
            };
            let parts: Vec<_> = (first..end).step_by(share).map(part).collect();
            parts.into_iter().map(|part| part.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
        });
        let mut requests = Self { codes: codes.to_vec(), ..Self::default() };
        for part in parts {
            let (part, start) = (part?, requests.bytes.len());
            requests.members.extend(part.members);
            requests.bytes.extend(part.bytes);
            requests.ends.extend(part.ends.into_iter().map(|end| start + end));
        }
        Ok(requests)
    }

    fn part<'a>(
        signer: &Signer,
        host: &str,
        codes: impl Iterator<Item = &'a String>,
        numbers: Range<usize>,
    ) -> Result<Self> {
        let mut requests = Self::default();
        for (member, code) in numbers.map(member).zip(codes) {
            let token = tokens::sign(signer, &member).context("a token cannot be signed")?;
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

    /// The same requests again and again, until they are so many: for a server to which members are all alike.
    pub fn repeated(self, count: usize) -> Self {
        Self { repeated: count, ..self }
    }

    /// Number of requests.
    pub fn len(&self) -> usize {
        self.members.len().max(self.repeated)
    }

    /// The bytes of request `index`.
    pub fn bytes(&self, index: usize) -> &[u8] {
        let index = index % self.ends.len();
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }

    /// Returns the code of the coupon that request `index` asks for.
    pub fn code(&self, index: usize) -> &str {
        &self.codes[index % self.codes.len()]
    }

    /// Returns the member that sends request `index`.
    pub fn member(&self, index: usize) -> &str {
        &self.members[index % self.members.len()]
    }
}

/// Returns the id of the member of this number.
pub fn member(number: usize) -> String {
    format!("bench-{number:09}")
}
