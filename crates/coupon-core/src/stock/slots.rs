//! The slots of a Redis Cluster: which one a key lies in, and what the cluster says of them.

use redis::Value;

use super::{StockError, dial::Address};

/// Number of slots of every cluster.
pub(super) const SLOTS: usize = 16_384;

/// Slots in a row that one node has.
pub(super) struct SlotRange {
    pub(super) first: usize,
    pub(super) last: usize,
    pub(super) node: Address,
}

/// The slot of the keys with this hash tag: CRC-16/XMODEM modulo 16384, as the specification of Redis Cluster has it.
pub(super) fn slot_of(tag: &str) -> usize {
    let crc = tag.bytes().fold(0_u16, |crc, byte| {
        (0..8)
            .fold(crc ^ (u16::from(byte) << 8), |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 })
    });
    usize::from(crc) % SLOTS
}

/// A hash tag that lies in this slot and that no campaign can have.
pub(super) fn tag_in(slot: usize) -> String {
    let mut tags = (0_u32..).map(|number| format!("!{number}"));
    tags.find(|tag| slot_of(tag) == slot).unwrap_or_default()
}

/// Reads the reply of `CLUSTER SLOTS`: ranges, each with its first and last slot, its master, and replicas. A host is empty
/// where the node that was asked does not know it.
pub(super) fn read(reply: &Value) -> Result<Vec<SlotRange>, StockError> {
    let unexpected = |value: &Value| StockError::Reply(format!("CLUSTER SLOTS {value:?}"));
    let Value::Array(ranges) = reply else { return Err(unexpected(reply)) };
    ranges.iter().map(|range| read_range(range).ok_or_else(|| unexpected(range))).collect()
}

fn read_range(range: &Value) -> Option<SlotRange> {
    let Value::Array(fields) = range else { return None };
    let [first, last, Value::Array(master), ..] = fields.as_slice() else { return None };
    let slot = |value: &Value| match value {
        Value::Int(slot) => usize::try_from(*slot).ok().filter(|slot| *slot < SLOTS),
        _ => None,
    };
    let [host, Value::Int(port), ..] = master.as_slice() else { return None };
    let host = match host {
        Value::BulkString(host) => String::from_utf8(host.clone()).ok()?,
        Value::SimpleString(host) => host.clone(),
        Value::Nil => String::new(),
        _ => return None,
    };
    let (first, last) = (slot(first)?, slot(last)?);
    (first <= last).then_some(SlotRange { first, last, node: Address { host, port: u16::try_from(*port).ok()? } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_lies_in_the_slot_that_redis_names() {
        // By CLUSTER KEYSLOT.
        assert_eq!((slot_of("123456789"), slot_of("coupons"), slot_of("foo")), (0x31c3, 7340, 12_182));
    }

    #[test]
    fn every_slot_has_a_hash_tag_for_the_probe() {
        for slot in [0, 1, 7340, SLOTS - 1] {
            assert_eq!(slot_of(&tag_in(slot)), slot);
        }
    }
}
