//! `coupon-bench pure`: one part of the pipeline that does no I/O, again and again, for a tool that counts instructions.

mod ask;

use std::{hint::black_box, sync::Arc};

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use coupon_core::{
    event::{CouponIssued, VERSION},
    ids::CouponCode,
    kafka::Watermark,
    repo::coupon_issues::Batch,
    signing::{self, SigningKey},
};
use jsonwebtoken::Algorithm;
use uuid::Uuid;

use self::ask::{Asking, HOLDER, REFUSED};

/// Events that are dealt with together, as a batch of issue-consumer is; by its defaults it has up to 1,000.
const BATCH_EVENTS: u32 = 500;
/// The campaign of all of them.
const CODE: &str = "SPRING-2026";

/// Arguments of `coupon-bench pure`: the part to run, and the number of events.
#[derive(Debug, Args)]
pub struct PureArgs {
    part: Part,
    /// Events, in whole batches of 500.
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    events: u32,
}

/// A part of the pipeline that does no I/O; in the order in which an event meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// A request that is accepted, from its head to its answer, its token new and of HS256; and its event, as it goes to Kafka.
    Accept,
    /// A request that is refused because nothing is left, its token new and of HS256.
    Refuse,
    /// The same with a token of ES256 that was verified before.
    RefuseKnown,
    /// The event of an accepted request, written as it goes to Kafka.
    Encode,
    /// The signature of that event.
    Sign,
    /// The same signature, verified.
    Verify,
    /// Decodes the payload of a record into an event.
    Decode,
    /// How far a partition is done: each offset delivered, then completed in the order of two batches.
    Watermark,
    /// A batch of events, put in order, as the columns of the statement that writes it.
    Ledger,
}

impl Part {
    /// Name of the part on the command line and in the file of limits.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// Does the part of the arguments for their events, and drops every result: callgrind counts the instructions.
pub fn run(arguments: &PureArgs) -> Result<()> {
    let batches = arguments.events.div_ceil(BATCH_EVENTS);
    let code = code();
    let events: Vec<Arc<CouponIssued>> = (0..BATCH_EVENTS).map(|number| Arc::new(event(&code, number))).collect();
    let values: Vec<Vec<u8>> = events.iter().map(|event| event.encode()).collect();
    let key = SigningKey::new(&[7; 32]);
    let signatures: Vec<String> = values.iter().map(|value| key.sign(value)).collect();
    let mut watermark = Watermark::default();
    let asking = match arguments.part {
        Part::Accept => Some(Asking::new(Algorithm::HS256, HOLDER, false)?),
        Part::Refuse => Some(Asking::new(Algorithm::HS256, REFUSED, false)?),
        Part::RefuseKnown => Some(Asking::new(Algorithm::ES256, REFUSED, true)?),
        _ => None,
    };
    for batch in 0..batches {
        for (number, event) in events.iter().enumerate() {
            let Some(asking) = &asking else { break };
            let status = asking.ask(number)?;
            if arguments.part == Part::Accept {
                ensure!(status.is_success(), "a member with a coupon was told {status}");
                black_box(black_box(event).encode());
            } else {
                ensure!(status.as_u16() == 409, "a member without a coupon was told {status}");
            }
        }
        match arguments.part {
            Part::Accept | Part::Refuse | Part::RefuseKnown => {}
            Part::Encode => {
                for event in &events {
                    black_box(black_box(event).encode());
                }
            }
            Part::Sign => {
                for value in &values {
                    drop(black_box(key.sign(black_box(value))));
                }
            }
            Part::Verify => {
                for (value, signature) in values.iter().zip(&signatures) {
                    let keys = std::slice::from_ref(&key);
                    assert!(signing::verify(keys, black_box(value), Some(black_box(signature.as_bytes()))).is_ok());
                }
            }
            Part::Decode => {
                for value in &values {
                    // Dropped with all its texts, as it is in the end.
                    drop(black_box(CouponIssued::decode(Some(black_box(value)), VERSION)));
                }
            }
            Part::Watermark => complete(&mut watermark, i64::from(batch) * i64::from(BATCH_EVENTS)),
            Part::Ledger => {
                let batch = Batch::of(black_box(&events));
                drop(black_box(batch.as_ref().map(Batch::columns)));
            }
        }
    }
    Ok(())
}

/// Records of two coupons came in turn, and the batch of the second coupon is written first.
fn complete(watermark: &mut Watermark, first: i64) {
    let offsets = first..first + i64::from(BATCH_EVENTS);
    for offset in offsets.clone() {
        black_box(watermark.deliver(offset));
    }
    for offset in offsets.clone().skip(1).step_by(2).chain(offsets.step_by(2)) {
        black_box(watermark.complete(offset));
    }
}

fn code() -> CouponCode {
    CODE.parse().unwrap_or_else(|_| unreachable!("the code is written as codes are"))
}

/// An event as issuer-api writes it, the same in every run.
fn event(code: &CouponCode, number: u32) -> CouponIssued {
    let (high, low) = (0x0199_f3a5_7b1a_7000, u64::MAX - u64::from(number));
    CouponIssued {
        version: VERSION,
        request_id: Uuid::from_u64_pair(high, low).into(),
        coupon_code: code.clone(),
        member_id: format!("member-{:07}", 1_000_000 + number)
            .parse()
            .unwrap_or_else(|_| unreachable!("the member is written as members are")),
        reserved_at: 1_760_000_000_000 + i64::from(number),
        epoch: 1,
        seq: 1 + i64::from(number),
        traceparent: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_events_are_ones_that_the_pipeline_reads() {
        let code = code();
        for number in [0, 1, BATCH_EVENTS - 1] {
            let event = event(&code, number);
            assert_eq!(CouponIssued::decode(Some(&event.encode()), VERSION).unwrap(), event);
        }
        assert_ne!(event(&code, 1).request_id, event(&code, 2).request_id);
    }

    #[test]
    fn the_watermark_is_done_after_each_batch() {
        let mut watermark = Watermark::default();
        for first in [0, 500] {
            complete(&mut watermark, first);
            assert_eq!((watermark.lag(), watermark.watermark()), (0, Some(first + 500)));
        }
    }
}
