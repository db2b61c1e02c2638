//! A record written by hand, byte for byte, for what no client library would write: header names that are no text.
//!
//! One Produce request, version 7, with one record batch of format 2 (Kafka protocol guide, "Produce API" and
//! "Record batch").

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::Topic;

/// Name and value of a header.
pub type RawHeader<'a> = (&'a [u8], &'a [u8]);

const PRODUCE: i16 = 0;
const VERSION: i16 = 7;
const ALL_REPLICAS: i16 = -1;
const TIMEOUT_MS: i32 = 10_000;

impl Topic {
    /// Writes a record to partition 0 and waits for the broker, which must lead it.
    pub async fn write_raw(&self, key: &[u8], value: &[u8], headers: &[RawHeader<'_>]) -> Result<()> {
        let request = request(self.name(), &batch(key, value, headers)?)?;
        let mut broker = TcpStream::connect(&self.brokers).await?;
        broker.write_i32(i32::try_from(request.len())?).await?;
        broker.write_all(&request).await?;
        let mut response = vec![0; usize::try_from(broker.read_i32().await?)?];
        broker.read_exact(&mut response).await?;
        // Correlation id, number of topics, name, number of partitions, partition; then the error code.
        let at = 4 + 4 + 2 + self.name().len() + 4 + 4;
        let code = response.get(at..at + 2).context("a response to a Produce request")?;
        ensure!(code == [0, 0], "the broker refuses the record: error code {code:?}");
        Ok(())
    }
}

fn request(topic: &str, batch: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.extend(PRODUCE.to_be_bytes());
    bytes.extend(VERSION.to_be_bytes());
    bytes.extend(1_i32.to_be_bytes());
    // No client id, no transaction.
    bytes.extend((-1_i16).to_be_bytes());
    bytes.extend((-1_i16).to_be_bytes());
    bytes.extend(ALL_REPLICAS.to_be_bytes());
    bytes.extend(TIMEOUT_MS.to_be_bytes());
    bytes.extend(1_i32.to_be_bytes());
    bytes.extend(i16::try_from(topic.len())?.to_be_bytes());
    bytes.extend(topic.as_bytes());
    bytes.extend(1_i32.to_be_bytes());
    bytes.extend(0_i32.to_be_bytes());
    bytes.extend(i32::try_from(batch.len())?.to_be_bytes());
    bytes.extend(batch);
    Ok(bytes)
}

fn batch(key: &[u8], value: &[u8], headers: &[RawHeader<'_>]) -> Result<Vec<u8>> {
    let mut record = vec![0];
    // Differences of timestamp and offset.
    varint(&mut record, 0);
    varint(&mut record, 0);
    sized(&mut record, key)?;
    sized(&mut record, value)?;
    varint(&mut record, i64::try_from(headers.len())?);
    for (name, value) in headers {
        sized(&mut record, name)?;
        sized(&mut record, value)?;
    }
    let now = chrono::Utc::now().timestamp_millis();
    let mut checked = Vec::new();
    // Attributes, last offset difference, first and last timestamp, no producer, one record.
    checked.extend(0_i16.to_be_bytes());
    checked.extend(0_i32.to_be_bytes());
    checked.extend(now.to_be_bytes());
    checked.extend(now.to_be_bytes());
    checked.extend((-1_i64).to_be_bytes());
    checked.extend((-1_i16).to_be_bytes());
    checked.extend((-1_i32).to_be_bytes());
    checked.extend(1_i32.to_be_bytes());
    sized(&mut checked, &record)?;
    let mut batch = Vec::new();
    batch.extend(0_i64.to_be_bytes());
    // Leader epoch, format and checksum count too.
    batch.extend(i32::try_from(checked.len() + 9)?.to_be_bytes());
    batch.extend((-1_i32).to_be_bytes());
    batch.push(2);
    batch.extend(crc32c(&checked).to_be_bytes());
    batch.extend(checked);
    Ok(batch)
}

/// Appends the length of the bytes, and the bytes.
fn sized(to: &mut Vec<u8>, bytes: &[u8]) -> Result<()> {
    varint(to, i64::try_from(bytes.len())?);
    to.extend(bytes);
    Ok(())
}

/// A number in zig-zag encoding, seven bits a byte.
fn varint(to: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while rest >= 0x80 {
        to.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    to.push(rest.to_le_bytes()[0]);
}

/// The checksum of Castagnoli, bit by bit: a test writes few records.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)));
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_and_the_numbers_are_those_of_their_definitions() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283, "the check value of CRC-32C");
        let encoded = |number| {
            let mut bytes = Vec::new();
            varint(&mut bytes, number);
            bytes
        };
        assert_eq!(encoded(0), [0]);
        assert_eq!(encoded(-1), [1]);
        assert_eq!(encoded(64), [0x80, 0x01]);
    }
}
