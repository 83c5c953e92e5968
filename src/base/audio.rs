//! Sound as recordings hold it: AAC, one access unit after the other. Reads the little of its configuration that times need
//! (ISO/IEC 14496-3, 1.6.2.1); knows nothing of where it comes from.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Stamp;

/// Longer configurations exist on paper only; one byte of length has room for it.
const MAX_CONFIG: usize = 64;
/// By index; what follows is reserved.
const RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// What every access unit of a stream of sound is to be decoded with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioParams {
    /// `AudioSpecificConfig`.
    pub config: Vec<u8>,
    /// Samples a second of the coded core: access units are counted in it.
    pub rate: u32,
    /// As announced; zero when only the data says.
    pub channels: u16,
    /// Samples in an access unit.
    pub samples: u32,
}

impl AudioParams {
    /// Reads an `AudioSpecificConfig`; none when it is not that of AAC.
    pub fn parse(config: &[u8]) -> Option<Self> {
        if config.len() > MAX_CONFIG {
            return None;
        }
        let mut bits = Bits { bytes: config, at: 0 };
        let mut kind = bits.kind()?;
        let rate = bits.rate()?;
        let channels = bits.take(4)? as u16;
        // SBR and PS are announced around the core that they extend.
        if matches!(kind, 5 | 29) {
            bits.rate()?;
            kind = bits.kind()?;
        }
        // Main, LC, SSR, LTP.
        if !(1..=4).contains(&kind) {
            return None;
        }
        let samples = if bits.take(1)? == 1 { 960 } else { 1024 };
        Some(Self { config: config.to_vec(), rate, channels, samples })
    }

    /// How long `samples` take.
    pub fn lasts(&self, samples: u32) -> Duration {
        Duration::from_nanos(u64::from(samples) * 1_000_000_000 / u64::from(self.rate))
    }
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = *self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    fn kind(&mut self) -> Option<u32> {
        match self.take(5)? {
            31 => Some(32 + self.take(6)?),
            kind => Some(kind),
        }
    }

    fn rate(&mut self) -> Option<u32> {
        let rate = match self.take(4)? {
            15 => self.take(24)?,
            index => *RATES.get(index as usize)?,
        };
        (rate > 0).then_some(rate)
    }
}

/// One access unit of AAC.
#[derive(Clone, Debug)]
pub struct AudioUnit {
    /// On the clock of the pictures of the same connection.
    pub pts: Duration,
    pub arrived: Stamp,
    /// As in [`super::types::AccessUnit::connection`].
    pub connection: u64,
    pub params: Arc<AudioParams>,
    pub data: Bytes,
}

impl AudioUnit {
    /// When the next one is due.
    pub fn end(&self) -> Duration {
        self.pts + self.params.lasts(self.params.samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_of_the_core_counts_and_what_is_not_aac_is_refused() {
        let read = |config: &[u8]| AudioParams::parse(config).map(|p| (p.rate, p.channels, p.samples));
        assert_eq!(read(&[0x15, 0x88]), Some((8_000, 1, 1024)), "LC, 8 kHz, mono");
        assert_eq!(read(&[0x12, 0x10]), Some((44_100, 2, 1024)));
        assert_eq!(read(&[0x12, 0x14]), Some((44_100, 2, 960)));
        assert_eq!(read(&[0x2b, 0x92, 0x08, 0x00]), Some((22_050, 2, 1024)), "SBR over a core of half the rate");
        // LC at an odd rate: 00010 1111 0x001f41 0001 0.
        assert_eq!(read(&[0x17, 0x80, 0x0f, 0xa0, 0x88]), Some((8_001, 1, 1024)));
        assert_eq!(read(&[0xbd, 0x88]), None, "low delay");
        for bad in [&[][..], &[0x15], &[0x16, 0xff], &[0x10; 65]] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
        let params = AudioParams::parse(&[0x15, 0x88]).expect("AAC");
        assert_eq!(params.lasts(params.samples), Duration::from_millis(128));
    }
}
