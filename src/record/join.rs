//! The little of ISO-BMFF that joining fragments needs: read a segment's initialisation part, read the samples of a
//! `moof`, write both anew. Pure bytes: no files, no clock. One video track, as the recorder writes it.

use crate::base::{Error, ErrorKind, Result};

/// Most references one `sidx` can hold.
const MAX_REFERENCES: usize = u16::MAX as usize;

/// A box of the file: its type, where its content begins and where it ends.
#[derive(Clone, Copy, Debug)]
struct Found {
    kind: [u8; 4],
    start: usize,
    content: usize,
    end: usize,
}

/// What every fragment of one segment is to be read with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Init {
    /// The whole `moov`.
    moov: Vec<u8>,
    /// Ticks a second of the track.
    pub timescale: u32,
    track: u32,
    defaults: Sample,
    /// The decoder's configuration (`avcC`, `hvcC`): segments join only where it is the same.
    pub parameters: Vec<u8>,
}

/// One picture of a fragment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    pub duration: u32,
    pub size: u32,
    pub flags: u32,
    /// Presentation minus decoding time.
    pub offset: i32,
}

/// The samples of one `moof` and where their bytes lie in moof + mdat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Samples {
    pub samples: Vec<Sample>,
    pub data: std::ops::Range<usize>,
}

impl Samples {
    /// In ticks.
    pub fn duration(&self) -> u64 {
        self.samples.iter().map(|s| u64::from(s.duration)).sum()
    }
}

/// One entry of the index that is written behind the initialisation part.
#[derive(Clone, Copy, Debug)]
pub struct Reference {
    pub bytes: u64,
    /// In ticks.
    pub duration: u64,
    pub keyframe: bool,
}

impl Init {
    /// Reads `ftyp` + `moov`.
    ///
    /// # Errors
    /// `Corrupt` when it is no initialisation part with one track.
    pub fn parse(bytes: &[u8]) -> Result<Init> {
        let moov = child(bytes, 0..bytes.len(), b"moov").ok_or_else(|| broken("there is no moov"))?;
        let trak = path(bytes, moov, &[b"trak"])?;
        let mdhd = path(bytes, trak, &[b"mdia", b"mdhd"])?;
        let tkhd = path(bytes, trak, &[b"tkhd"])?;
        let stsd = path(bytes, trak, &[b"mdia", b"minf", b"stbl", b"stsd"])?;
        let trex = path(bytes, moov, &[b"mvex", b"trex"])?;
        // Version 1 has two 64-bit times before the field, version 0 two of 32 bits.
        let after_times = |b: Found| Ok::<_, Error>(b.content + if byte(bytes, b.content)? == 1 { 20 } else { 12 });
        let timescale = be32(bytes, after_times(mdhd)?)?;
        if timescale == 0 {
            return Err(broken("the track has no timescale"));
        }
        // version, flags, entry count; then the entry: its header and 78 bytes of a visual sample entry.
        let entry = stsd.content + 8;
        let boxes = entry + 8 + 78..stsd.end;
        let parameters = [b"avcC", b"hvcC"].iter().find_map(|kind| child(bytes, boxes.clone(), kind));
        let parameters = parameters.map_or(boxes, |b| b.content..b.end);
        Ok(Init {
            moov: bytes.get(moov.start..moov.end).ok_or_else(cut)?.to_vec(),
            timescale,
            track: be32(bytes, after_times(tkhd)?)?,
            defaults: Sample {
                duration: be32(bytes, trex.content + 12)?,
                size: be32(bytes, trex.content + 16)?,
                flags: be32(bytes, trex.content + 20)?,
                offset: 0,
            },
            parameters: bytes.get(parameters).ok_or_else(cut)?.to_vec(),
        })
    }

    /// `ftyp` + `moov` (with the whole `duration` in it, so that a player knows it before it has read the file) + `sidx`.
    pub fn write(&self, duration: u64, first_offset: i32, references: &[Reference]) -> Result<Vec<u8>> {
        let mut out = boxed(b"ftyp", b"iso6\0\0\0\0iso6iso5mp41");
        out.extend(self.moov_with(duration)?);
        out.extend(self.sidx(first_offset, references));
        Ok(out)
    }

    fn moov_with(&self, duration: u64) -> Result<Vec<u8>> {
        let all = &self.moov;
        let moov = child(all, 0..all.len(), b"moov").ok_or_else(cut)?;
        let mvhd = path(all, moov, &[b"mvhd"])?;
        let timescale = be32(all, mvhd.content + if byte(all, mvhd.content)? == 1 { 20 } else { 12 })?;
        let movie = u128::from(duration) * u128::from(timescale) / u128::from(self.timescale);
        let mehd = boxed(b"mehd", &[&[1, 0, 0, 0][..], &(movie as u64).to_be_bytes()].concat());
        let mut content = Vec::with_capacity(all.len() + mehd.len());
        for b in children(all, moov.content..moov.end) {
            if b.kind != *b"mvex" {
                content.extend(&all[b.start..b.end]);
                continue;
            }
            let mut mvex = mehd.clone();
            for inner in children(all, b.content..b.end).filter(|i| i.kind != *b"mehd") {
                mvex.extend(&all[inner.start..inner.end]);
            }
            content.extend(boxed(b"mvex", &mvex));
        }
        Ok(boxed(b"moov", &content))
    }

    fn sidx(&self, first_offset: i32, references: &[Reference]) -> Vec<u8> {
        // A long clip has more fragments than an index has room for: several then share an entry.
        let together = references.len().div_ceil(MAX_REFERENCES).max(1);
        let mut content = vec![1, 0, 0, 0];
        content.extend(self.track.to_be_bytes());
        content.extend(self.timescale.to_be_bytes());
        content.extend((first_offset.max(0) as u64).to_be_bytes());
        content.extend(0u64.to_be_bytes());
        content.extend(0u16.to_be_bytes());
        content.extend((references.len().div_ceil(together) as u16).to_be_bytes());
        for group in references.chunks(together) {
            let bytes: u64 = group.iter().map(|r| r.bytes).sum();
            let duration: u64 = group.iter().map(|r| r.duration).sum();
            content.extend((bytes.min(0x7fff_ffff) as u32).to_be_bytes());
            content.extend((duration.min(u64::from(u32::MAX)) as u32).to_be_bytes());
            let access: u32 = if group.first().is_some_and(|r| r.keyframe) { 0x9000_0000 } else { 0 };
            content.extend(access.to_be_bytes());
        }
        boxed(b"sidx", &content)
    }

    /// Reads the samples of `fragment`, which is `moof` + `mdat`.
    ///
    /// # Errors
    /// `Corrupt` when it is not.
    pub fn samples(&self, fragment: &[u8]) -> Result<Samples> {
        let moof = child(fragment, 0..fragment.len(), b"moof").ok_or_else(|| broken("there is no moof"))?;
        let traf = path(fragment, moof, &[b"traf"])?;
        let tfhd = path(fragment, traf, &[b"tfhd"])?;
        let defaults = self.track_defaults(fragment, tfhd)?;
        let mdat = child(fragment, 0..fragment.len(), b"mdat").ok_or_else(|| broken("there is no mdat"))?;
        let mut samples = Vec::new();
        for trun in children(fragment, traf.content..traf.end).filter(|b| b.kind == *b"trun") {
            read_run(fragment, trun, defaults, &mut samples)?;
        }
        let bytes: u64 = samples.iter().map(|s| u64::from(s.size)).sum();
        // The recorder's runs lie one behind the other from the beginning of the mdat.
        if samples.is_empty() || bytes > (mdat.end - mdat.content) as u64 {
            return Err(broken("its samples are not in its mdat"));
        }
        Ok(Samples { samples, data: mdat.content..mdat.content + bytes as usize })
    }

    fn track_defaults(&self, fragment: &[u8], tfhd: Found) -> Result<Sample> {
        let flags = be32(fragment, tfhd.content)? & 0x00ff_ffff;
        let mut at = tfhd.content + 8;
        at += if flags & 0x1 != 0 { 8 } else { 0 };
        at += if flags & 0x2 != 0 { 4 } else { 0 };
        let mut defaults = self.defaults;
        for (bit, field) in [(0x8, &mut defaults.duration), (0x10, &mut defaults.size), (0x20, &mut defaults.flags)] {
            if flags & bit != 0 {
                *field = be32(fragment, at)?;
                at += 4;
            }
        }
        Ok(defaults)
    }

    /// Writes `moof` and the header of the `mdat` for `samples`, whose durations are in this track's ticks.
    pub fn fragment_head(&self, sequence: u32, decode_time: u64, samples: &[Sample]) -> Vec<u8> {
        let tfhd = boxed(b"tfhd", &[&[0, 0x02, 0, 0][..], &self.track.to_be_bytes()].concat());
        let tfdt = boxed(b"tfdt", &[&[1, 0, 0, 0][..], &decode_time.to_be_bytes()].concat());
        let mfhd = boxed(b"mfhd", &[&[0; 4][..], &sequence.to_be_bytes()].concat());
        let run_bytes = 8 + 12 + 16 * samples.len();
        let moof_bytes = 8 + mfhd.len() + 8 + tfhd.len() + tfdt.len() + run_bytes;
        // Version 1: signed offsets; data offset, and all four fields of each sample.
        let mut run = vec![1, 0, 0x0f, 0x01];
        run.extend((samples.len() as u32).to_be_bytes());
        run.extend((moof_bytes as u32 + 8).to_be_bytes());
        for s in samples {
            run.extend([s.duration, s.size, s.flags, s.offset as u32].iter().flat_map(|v| v.to_be_bytes()));
        }
        let traf = boxed(b"traf", &[tfhd, tfdt, boxed(b"trun", &run)].concat());
        let mut out = boxed(b"moof", &[mfhd, traf].concat());
        let data: u32 = samples.iter().map(|s| s.size).sum();
        out.extend((data + 8).to_be_bytes());
        out.extend(b"mdat");
        out
    }
}

fn read_run(fragment: &[u8], trun: Found, defaults: Sample, samples: &mut Vec<Sample>) -> Result<()> {
    let flags = be32(fragment, trun.content)? & 0x00ff_ffff;
    let count = be32(fragment, trun.content + 4)?;
    let mut at = trun.content + 8 + if flags & 0x1 != 0 { 4 } else { 0 };
    let mut first_flags = None;
    if flags & 0x4 != 0 {
        first_flags = Some(be32(fragment, at)?);
        at += 4;
    }
    for n in 0..count {
        let mut sample = defaults;
        let mut offset = 0;
        for (bit, field) in
            [(0x100, &mut sample.duration), (0x200, &mut sample.size), (0x400, &mut sample.flags), (0x800, &mut offset)]
        {
            if flags & bit != 0 {
                *field = be32(fragment, at)?;
                at += 4;
            }
        }
        if let (0, Some(first)) = (n, first_flags) {
            sample.flags = first;
        }
        samples.push(Sample { offset: offset as i32, ..sample });
    }
    Ok(())
}

/// A box of `kind` around `content`.
fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    [&(content.len() as u32 + 8).to_be_bytes()[..], kind, content].concat()
}

/// The boxes within `range`; ends at the first that does not fit.
fn children(bytes: &[u8], range: std::ops::Range<usize>) -> impl Iterator<Item = Found> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        let head = bytes.get(at..range.end.min(bytes.len()))?;
        let short = be32(head, 0).ok()? as usize;
        let kind: [u8; 4] = head.get(4..8)?.try_into().ok()?;
        let (length, header) = match short {
            0 => (head.len(), 8),
            1 => (usize::try_from(u64::from_be_bytes(head.get(8..16)?.try_into().ok()?)).ok()?, 16),
            n => (n, 8),
        };
        if length < header || length > head.len() {
            return None;
        }
        let found = Found { kind, start: at, content: at + header, end: at + length };
        at += length;
        Some(found)
    })
}

fn child(bytes: &[u8], range: std::ops::Range<usize>, kind: &[u8; 4]) -> Option<Found> {
    children(bytes, range).find(|b| b.kind == *kind)
}

fn path(bytes: &[u8], from: Found, kinds: &[&[u8; 4]]) -> Result<Found> {
    kinds.iter().try_fold(from, |b, kind| {
        let missing = || broken(format!("there is no {}", String::from_utf8_lossy(*kind)));
        child(bytes, b.content..b.end, kind).ok_or_else(missing)
    })
}

fn byte(bytes: &[u8], at: usize) -> Result<u8> {
    bytes.get(at).copied().ok_or_else(cut)
}

fn be32(bytes: &[u8], at: usize) -> Result<u32> {
    let four = bytes.get(at..at.saturating_add(4)).and_then(|b| b.try_into().ok()).ok_or_else(cut)?;
    Ok(u32::from_be_bytes(four))
}

fn cut() -> Error {
    broken("a box is cut off")
}

fn broken(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_that_is_written_reads_the_same() {
        let init =
            Init { moov: Vec::new(), timescale: 90_000, track: 1, defaults: Sample::default(), parameters: vec![] };
        let samples: Vec<Sample> =
            (1..4).map(|n| Sample { duration: 3000, size: n * 10, flags: n, offset: n as i32 - 2 }).collect();
        let mut bytes = init.fragment_head(7, 1 << 40, &samples);
        let head = bytes.len();
        bytes.resize(head + 60, 0xab);
        assert_eq!(init.samples(&bytes).expect("whole"), Samples { samples, data: head..head + 60 });
        bytes.truncate(head + 59);
        assert!(init.samples(&bytes).is_err(), "a cut fragment is seen");
    }

    #[test]
    fn what_is_no_box_is_an_error_and_no_panic() {
        for length in 0..40 {
            for fill in [0u8, 1, 8, 0xff] {
                assert!(Init::parse(&vec![fill; length]).is_err());
            }
        }
    }
}
