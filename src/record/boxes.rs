//! ISO-BMFF boxes, as far as a fragmented MP4 needs them: cuts a byte stream into its init part and its fragments, and
//! reads a fragment's times. Pure; knows nothing of codecs.

use bytes::Bytes;

use crate::base::{Error, ErrorKind, Result};

/// No fragment of a second or so is larger.
const MAX_BOX: u64 = 256 << 20;
/// A sample that decoding cannot begin with (ISO/IEC 14496-12, 8.8.3.1).
const NON_SYNC: u32 = 0x0001_0000;

/// A piece of a fragmented MP4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Everything before the first fragment: `ftyp`, `moov`.
    Init(Bytes),
    /// One `moof` and its `mdat`.
    Fragment(Bytes),
}

/// Cuts a stream of bytes: push bytes in, get whole parts out.
#[derive(Debug, Default)]
pub struct Splitter {
    buffer: Vec<u8>,
    /// Whole boxes of the part that is being gathered.
    part: Vec<u8>,
    fragments_began: bool,
    in_fragment: bool,
}

impl Splitter {
    /// Takes `bytes` and returns the parts that they complete.
    ///
    /// # Errors
    /// `Invalid` when this is no fragmented MP4; it is of no use after that.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Part>> {
        self.buffer.extend_from_slice(bytes);
        let mut parts = Vec::new();
        let mut begin = 0;
        while let Some((kind, header, size)) = head(&self.buffer[begin..])? {
            if self.buffer.len() - begin < size {
                break;
            }
            debug_assert!(header <= size);
            let whole = begin..begin + size;
            begin += size;
            match &kind {
                b"moof" => {
                    if !std::mem::replace(&mut self.fragments_began, true) {
                        parts.push(Part::Init(std::mem::take(&mut self.part).into()));
                    }
                    self.part.clear();
                    self.part.extend_from_slice(&self.buffer[whole]);
                    self.in_fragment = true;
                }
                b"mdat" => {
                    if !std::mem::take(&mut self.in_fragment) {
                        return Err(invalid("media data without a fragment's head"));
                    }
                    self.part.extend_from_slice(&self.buffer[whole]);
                    parts.push(Part::Fragment(std::mem::take(&mut self.part).into()));
                }
                _ if self.in_fragment || !self.fragments_began => self.part.extend_from_slice(&self.buffer[whole]),
                // Between fragments: an index at the end, of no use to a file with a sidecar.
                _ => {}
            }
        }
        self.buffer.drain(..begin);
        Ok(parts)
    }
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("not a fragmented MP4: {what}"))
}

/// Kind, length of the header and length in all of the box that `bytes` begin with; `None` while too few are there.
fn head(bytes: &[u8]) -> Result<Option<([u8; 4], usize, usize)>> {
    let Some(&[a, b, c, d, k0, k1, k2, k3]) = bytes.first_chunk::<8>() else { return Ok(None) };
    let (header, size) = match u32::from_be_bytes([a, b, c, d]) {
        1 => match bytes.get(8..16).and_then(|s| s.first_chunk::<8>()) {
            Some(large) => (16, u64::from_be_bytes(*large)),
            None => return Ok(None),
        },
        size => (8, u64::from(size)),
    };
    if size < header as u64 || size > MAX_BOX {
        return Err(invalid("a box of an impossible size"));
    }
    Ok(Some(([k0, k1, k2, k3], header, size as usize)))
}

/// Contents of the boxes of this kind directly within `bytes`; what is cut off counts as not there.
pub(super) fn children<'a>(mut bytes: &'a [u8], wanted: &'a [u8; 4]) -> impl Iterator<Item = &'a [u8]> {
    std::iter::from_fn(move || {
        while let Ok(Some((kind, header, size))) = head(bytes) {
            let content = bytes.get(header..size)?;
            bytes = &bytes[size..];
            if kind == *wanted {
                return Some(content);
            }
        }
        None
    })
}

pub(super) fn path<'a>(bytes: &'a [u8], kinds: &'a [&'a [u8; 4]]) -> Option<&'a [u8]> {
    kinds.iter().try_fold(bytes, |inner, kind| children(inner, kind).next())
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Ticks a second of the first track of an init part.
pub fn timescale(init: &[u8]) -> Option<u32> {
    let mdhd = path(init, &[b"moov", b"trak", b"mdia", b"mdhd"])?;
    let at = if *mdhd.first()? == 1 { 20 } else { 12 };
    u32_at(mdhd, at).filter(|scale| *scale > 0)
}

/// What a fragment's head says, in ticks of [`timescale`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    pub start: u64,
    pub duration: u64,
    pub samples: u32,
    /// Decoding can begin with its first sample.
    pub keyframe: bool,
}

/// Reads the times of a fragment's first track.
pub fn times(fragment: &[u8]) -> Option<Times> {
    let traf = path(fragment, &[b"moof", b"traf"])?;
    let (duration, flags) = defaults(children(traf, b"tfhd").next()?)?;
    let tfdt = children(traf, b"tfdt").next()?;
    let start = if *tfdt.first()? == 1 { u64_at(tfdt, 4)? } else { u64::from(u32_at(tfdt, 4)?) };
    let mut times = Times { start, duration: 0, samples: 0, keyframe: false };
    for trun in children(traf, b"trun") {
        run(trun, duration, flags, &mut times)?;
    }
    Some(times)
}

/// Default duration and flags of a fragment's samples.
fn defaults(tfhd: &[u8]) -> Option<(u32, u32)> {
    let has = u32_at(tfhd, 0)? & 0x00ff_ffff;
    let (mut at, mut values) = (8, [0; 2]);
    for (bit, bytes, value) in [(0x1, 8, None), (0x2, 4, None), (0x8, 4, Some(0)), (0x10, 4, None), (0x20, 4, Some(1))]
    {
        if has & bit != 0 {
            if let Some(index) = value {
                values[index] = u32_at(tfhd, at)?;
            }
            at += bytes;
        }
    }
    Some((values[0], values[1]))
}

/// Adds one run of samples to `times`.
fn run(trun: &[u8], duration: u32, flags: u32, times: &mut Times) -> Option<()> {
    let has = u32_at(trun, 0)? & 0x00ff_ffff;
    let count = u32_at(trun, 4)?;
    let mut at = 8 + if has & 0x1 != 0 { 4 } else { 0 };
    let mut first_flags = None;
    if has & 0x4 != 0 {
        first_flags = Some(u32_at(trun, at)?);
        at += 4;
    }
    for sample in 0..count {
        let mut field = |bit: u32| -> Option<Option<u32>> {
            if has & bit == 0 {
                return Some(None);
            }
            at += 4;
            u32_at(trun, at - 4).map(Some)
        };
        let (own_duration, _size, own_flags, _offset) = (field(0x100)?, field(0x200)?, field(0x400)?, field(0x800)?);
        times.duration += u64::from(own_duration.unwrap_or(duration));
        if times.samples == 0 {
            let first = if sample == 0 { first_flags } else { None };
            times.keyframe = first.or(own_flags).unwrap_or(flags) & NON_SYNC == 0;
        }
        times.samples += 1;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn make(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let mut out = (8 + content.len() as u32).to_be_bytes().to_vec();
        out.extend_from_slice(kind);
        out.extend_from_slice(content);
        out
    }

    fn words(values: &[u32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_be_bytes()).collect()
    }

    #[test]
    fn a_fragment_says_when_it_begins_how_long_it_is_and_whether_decoding_can_begin_there() {
        let tfhd = make(b"tfhd", &words(&[0x28, 1, 100, NON_SYNC]));
        let tfdt = make(b"tfdt", &words(&[0x0100_0000, 1, 5]));
        // Own duration and size; the first sample's flags are its own.
        let trun = make(b"trun", &words(&[0x305, 2, 0, 0x40, 90, 7, 110, 8]));
        let moof = make(b"moof", &make(b"traf", &[tfhd.clone(), tfdt.clone(), trun].concat()));
        let expected = Times { start: (1 << 32) + 5, duration: 200, samples: 2, keyframe: true };
        assert_eq!(times(&moof), Some(expected));
        let plain = make(b"trun", &words(&[0, 3]));
        let moof = make(b"moof", &make(b"traf", &[tfhd, tfdt, plain].concat()));
        assert_eq!(times(&moof), Some(Times { duration: 300, samples: 3, keyframe: false, ..expected }));
        assert_eq!(times(&moof[..moof.len() - 1]), None, "cut off");
        let mdhd = make(b"mdhd", &words(&[0, 0, 0, 90_000, 0]));
        let moov = make(b"moov", &make(b"trak", &make(b"mdia", &mdhd)));
        assert_eq!(timescale(&moov), Some(90_000));
    }

    #[test]
    fn what_is_no_fragmented_mp4_is_refused_and_costs_no_memory() {
        for bad in [words(&[4, 0]), words(&[0xffff_ffff, 0]), words(&[1, 0, 0xffff_ffff, 0]), make(b"mdat", &[1])] {
            assert!(Splitter::default().push(&bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_parts(
            fragments in prop::collection::vec((0usize..40, 0usize..200, any::<bool>()), 1..8),
            cuts in prop::collection::vec(1usize..50, 1..40),
        ) {
            let init = [make(b"ftyp", b"iso5"), make(b"moov", &[7; 30]), make(b"uuid", &[9; 3])].concat();
            let (mut stream, mut expected) = (init.clone(), vec![Part::Init(init.into())]);
            for (head, body, index) in fragments {
                let fragment = [make(b"moof", &vec![1; head]), make(b"mdat", &vec![2; body])].concat();
                stream.extend_from_slice(&fragment);
                expected.push(Part::Fragment(fragment.into()));
                if index {
                    stream.extend(make(b"mfra", b"index"));
                }
            }
            let (mut splitter, mut parts, mut rest) = (Splitter::default(), Vec::new(), stream.as_slice());
            for cut in cuts.iter().cycle() {
                let (chunk, later) = rest.split_at((*cut).min(rest.len()));
                parts.extend(splitter.push(chunk).expect("well formed"));
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(parts, expected);
        }
    }
}
