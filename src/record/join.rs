//! The little of ISO-BMFF that joining fragments needs: read a segment's initialisation part, read the samples of a
//! `moof`, write both anew. Pure bytes: no files, no clock. A video track and perhaps one of sound, as the recorder writes
//! them.

use super::audio;
use crate::base::audio::AudioParams;
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
    pub video: Track,
    pub audio: Option<Track>,
}

/// One track of an initialisation part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    id: u32,
    /// Ticks a second.
    pub timescale: u32,
    defaults: Sample,
    /// The decoder's configuration (`avcC`, `hvcC`, `mp4a`): tracks join only where it is the same.
    pub parameters: Vec<u8>,
}

/// One picture of a fragment, or one access unit of sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    pub duration: u32,
    pub size: u32,
    pub flags: u32,
    /// Presentation minus decoding time.
    pub offset: i32,
}

/// The samples of one track in one `moof`, and where their bytes lie in moof + mdat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Decoding time of the first, in ticks.
    pub decode_time: u64,
    pub samples: Vec<Sample>,
    pub data: std::ops::Range<usize>,
}

impl Run {
    /// In ticks.
    pub fn duration(&self) -> u64 {
        self.samples.iter().map(|s| u64::from(s.duration)).sum()
    }
}

/// What is in one fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    pub video: Run,
    /// None, or not empty.
    pub audio: Option<Run>,
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
    /// `Corrupt` when it is no initialisation part that begins with a video track.
    pub fn parse(bytes: &[u8]) -> Result<Init> {
        let moov = child(bytes, 0..bytes.len(), b"moov").ok_or_else(|| broken("there is no moov"))?;
        let mut tracks = children(bytes, moov.content..moov.end).filter(|b| b.kind == *b"trak");
        let video = tracks.next().ok_or_else(|| broken("there is no trak"))?;
        let is_audio = |trak: &Found| path(bytes, *trak, &[b"mdia", b"minf", b"smhd"]).is_ok();
        let audio = tracks.find(is_audio).map(|trak| Track::parse(bytes, moov, trak)).transpose()?;
        let video = Track::parse(bytes, moov, video)?;
        Ok(Init { moov: bytes.get(moov.start..moov.end).ok_or_else(cut)?.to_vec(), video, audio })
    }

    /// The same with a second track, of sound.
    pub fn with_audio(&self, params: &AudioParams) -> Result<Init> {
        let id = self.video.id + 1;
        let all = &self.moov;
        let moov = child(all, 0..all.len(), b"moov").ok_or_else(cut)?;
        let mut content = Vec::with_capacity(all.len() + 512);
        let mut last_trak = true;
        for b in children(all, moov.content..moov.end) {
            let bytes = &all[b.start..b.end];
            match &b.kind {
                b"mvhd" => {
                    content.extend(&bytes[..bytes.len() - 4]);
                    content.extend((id + 1).to_be_bytes());
                    continue;
                }
                b"mvex" => {
                    let trex = audio::trex(id, params);
                    content.extend(boxed(b"mvex", &[&all[b.content..b.end], &trex].concat()));
                    continue;
                }
                _ => content.extend(bytes),
            }
            if b.kind == *b"trak" && std::mem::take(&mut last_trak) {
                content.extend(audio::trak(id, params));
            }
        }
        Self::parse(&boxed(b"moov", &content))
    }

    /// `ftyp` + `moov` (with the whole `duration` in it, so that a player knows it before it has read the file) + `sidx`.
    pub fn write(&self, duration: u64, first_offset: i32, references: &[Reference]) -> Result<Vec<u8>> {
        let mut out = self.head();
        out.extend(self.moov_with(duration)?);
        out.extend(self.sidx(first_offset, references));
        Ok(out)
    }

    /// `ftyp` + `moov` of a file whose length is not known yet.
    pub fn begin(&self) -> Vec<u8> {
        let mut out = self.head();
        out.extend(&self.moov);
        out
    }

    fn head(&self) -> Vec<u8> {
        boxed(b"ftyp", b"iso6\0\0\0\0iso6iso5mp41")
    }

    /// The same without the track of sound: an empty one would have a player wait for it.
    pub fn without_audio(mut self) -> Init {
        let Some(audio) = self.audio.take() else { return self };
        let all = std::mem::take(&mut self.moov);
        let mut content = Vec::with_capacity(all.len());
        for b in children(&all, 8..all.len()) {
            match &b.kind {
                b"trak" if Track::id(&all, b).ok() == Some(audio.id) => {}
                b"mvex" => {
                    let other = |i: &Found| i.kind != *b"trex" || be32(&all, i.content + 4).ok() != Some(audio.id);
                    let inner = children(&all, b.content..b.end).filter(other);
                    let inner: Vec<u8> = inner.flat_map(|i| all[i.start..i.end].to_vec()).collect();
                    content.extend(boxed(b"mvex", &inner));
                }
                _ => content.extend(&all[b.start..b.end]),
            }
        }
        self.moov = boxed(b"moov", &content);
        self
    }

    fn moov_with(&self, duration: u64) -> Result<Vec<u8>> {
        let all = &self.moov;
        let moov = child(all, 0..all.len(), b"moov").ok_or_else(cut)?;
        let mvhd = path(all, moov, &[b"mvhd"])?;
        let timescale = be32(all, mvhd.content + if byte(all, mvhd.content)? == 1 { 20 } else { 12 })?;
        let movie = u128::from(duration) * u128::from(timescale) / u128::from(self.video.timescale);
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
        content.extend(self.video.id.to_be_bytes());
        content.extend(self.video.timescale.to_be_bytes());
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
    pub fn samples(&self, fragment: &[u8]) -> Result<Media> {
        let moof = child(fragment, 0..fragment.len(), b"moof").ok_or_else(|| broken("there is no moof"))?;
        let mdat = child(fragment, 0..fragment.len(), b"mdat").ok_or_else(|| broken("there is no mdat"))?;
        let mut trafs = children(fragment, moof.content..moof.end).filter(|b| b.kind == *b"traf");
        let video = trafs.next().ok_or_else(|| broken("there is no traf"))?;
        let video = self.video.run(fragment, video, mdat.content..mdat.end)?;
        let audio = match (&self.audio, trafs.next()) {
            (Some(track), Some(traf)) => Some(track.run(fragment, traf, video.data.end..mdat.end)?),
            _ => None,
        };
        Ok(Media { video, audio })
    }

    /// Writes `moof` and the header of the `mdat` for the samples of the video and of the sound, each with its decoding time
    /// and in its own track's ticks. Their bytes follow one behind the other.
    pub fn fragment_head(&self, sequence: u32, video: (u64, &[Sample]), audio: Option<(u64, &[Sample])>) -> Vec<u8> {
        let mfhd = boxed(b"mfhd", &[&[0; 4][..], &sequence.to_be_bytes()].concat());
        let runs = [Some((&self.video, video)), self.audio.as_ref().zip(audio)];
        let write = |moof_bytes: usize| {
            let mut data = moof_bytes as u32 + 8;
            let mut content = mfhd.clone();
            for (track, (decode_time, samples)) in runs.into_iter().flatten() {
                content.extend(track.traf(decode_time, samples, data));
                data += samples.iter().map(|s| s.size).sum::<u32>();
            }
            (boxed(b"moof", &content), data - moof_bytes as u32)
        };
        // Its own length decides where the data begins.
        let (mut out, mdat) = write(write(0).0.len());
        out.extend(mdat.to_be_bytes());
        out.extend(b"mdat");
        out
    }
}

impl Track {
    fn parse(bytes: &[u8], moov: Found, trak: Found) -> Result<Track> {
        let mdhd = path(bytes, trak, &[b"mdia", b"mdhd"])?;
        let stsd = path(bytes, trak, &[b"mdia", b"minf", b"stbl", b"stsd"])?;
        let id = Track::id(bytes, trak)?;
        let mvex = path(bytes, moov, &[b"mvex"])?;
        let mut extends = children(bytes, mvex.content..mvex.end).filter(|b| b.kind == *b"trex");
        let trex = extends.find(|b| be32(bytes, b.content + 4).ok() == Some(id));
        let trex = trex.ok_or_else(|| broken("there is no trex"))?;
        let timescale = be32(bytes, after_times(bytes, mdhd)?)?;
        if timescale == 0 {
            return Err(broken("a track has no timescale"));
        }
        // version, flags, entry count; then the entry: its header and 78 bytes of a visual sample entry.
        let entry = stsd.content + 8;
        let boxes = entry + 8 + 78..stsd.end;
        let parameters = [b"avcC", b"hvcC"].iter().find_map(|kind| child(bytes, boxes.clone(), kind));
        let parameters = parameters.map_or(entry..stsd.end, |b| b.content..b.end);
        Ok(Track {
            id,
            timescale,
            defaults: Sample {
                duration: be32(bytes, trex.content + 12)?,
                size: be32(bytes, trex.content + 16)?,
                flags: be32(bytes, trex.content + 20)?,
                offset: 0,
            },
            parameters: bytes.get(parameters).ok_or_else(cut)?.to_vec(),
        })
    }

    fn id(bytes: &[u8], trak: Found) -> Result<u32> {
        be32(bytes, after_times(bytes, path(bytes, trak, &[b"tkhd"])?)?)
    }

    /// Reads one run of samples whose bytes lie at the beginning of `data`.
    fn run(&self, fragment: &[u8], traf: Found, data: std::ops::Range<usize>) -> Result<Run> {
        let tfhd = path(fragment, traf, &[b"tfhd"])?;
        let tfdt = path(fragment, traf, &[b"tfdt"])?;
        let defaults = self.run_defaults(fragment, tfhd)?;
        let mut decode_time = u64::from(be32(fragment, tfdt.content + 4)?);
        if byte(fragment, tfdt.content)? == 1 {
            decode_time = decode_time << 32 | u64::from(be32(fragment, tfdt.content + 8)?);
        }
        let mut samples = Vec::new();
        for trun in children(fragment, traf.content..traf.end).filter(|b| b.kind == *b"trun") {
            read_run(fragment, trun, defaults, &mut samples)?;
        }
        let bytes: u64 = samples.iter().map(|s| u64::from(s.size)).sum();
        // The recorder's runs lie one behind the other from the beginning of the mdat.
        if samples.is_empty() || bytes > (data.end - data.start) as u64 {
            return Err(broken("its samples are not in its mdat"));
        }
        Ok(Run { decode_time, samples, data: data.start..data.start + bytes as usize })
    }

    fn run_defaults(&self, fragment: &[u8], tfhd: Found) -> Result<Sample> {
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

    /// Writes the `traf` of samples whose bytes begin at `data`, counted from the `moof`.
    fn traf(&self, decode_time: u64, samples: &[Sample], data: u32) -> Vec<u8> {
        let tfhd = boxed(b"tfhd", &[&[0, 0x02, 0, 0][..], &self.id.to_be_bytes()].concat());
        let tfdt = boxed(b"tfdt", &[&[1, 0, 0, 0][..], &decode_time.to_be_bytes()].concat());
        // Version 1: signed offsets; data offset, and all four fields of each sample.
        let mut run = vec![1, 0, 0x0f, 0x01];
        run.extend((samples.len() as u32).to_be_bytes());
        run.extend(data.to_be_bytes());
        for s in samples {
            run.extend([s.duration, s.size, s.flags, s.offset as u32].iter().flat_map(|v| v.to_be_bytes()));
        }
        boxed(b"traf", &[tfhd, tfdt, boxed(b"trun", &run)].concat())
    }
}

/// Where the field behind a head's times lies: version 1 has two 64-bit times, version 0 two of 32 bits.
fn after_times(bytes: &[u8], b: Found) -> Result<usize> {
    Ok(b.content + if byte(bytes, b.content)? == 1 { 20 } else { 12 })
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
pub(super) fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
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
        let track = |id, timescale| Track { id, timescale, defaults: Sample::default(), parameters: vec![] };
        let mut init = Init { moov: Vec::new(), video: track(1, 90_000), audio: Some(track(2, 8_000)) };
        let samples: Vec<Sample> =
            (1..4).map(|n| Sample { duration: 3000, size: n * 10, flags: n, offset: n as i32 - 2 }).collect();
        let sound = [Sample { duration: 1024, size: 7, flags: 0, offset: 0 }; 2];
        let mut bytes = init.fragment_head(7, (1 << 40, &samples), Some((5, &sound)));
        let head = bytes.len();
        bytes.resize(head + 60 + 14, 0xab);
        let video = Run { decode_time: 1 << 40, samples: samples.clone(), data: head..head + 60 };
        let audio = Run { decode_time: 5, samples: sound.to_vec(), data: head + 60..head + 74 };
        assert_eq!(init.samples(&bytes).expect("whole"), Media { video: video.clone(), audio: Some(audio) });
        bytes.truncate(head + 73);
        assert!(init.samples(&bytes).is_err(), "a cut fragment is seen");

        init.audio = None;
        let mut bytes = init.fragment_head(7, (1 << 40, &samples), None);
        let head = bytes.len();
        bytes.resize(head + 60, 0xab);
        let video = Run { data: head..head + 60, ..video };
        assert_eq!(init.samples(&bytes).expect("whole"), Media { video, audio: None });
        bytes.truncate(head + 59);
        assert!(init.samples(&bytes).is_err(), "a cut fragment is seen");
    }

    #[test]
    fn without_sound_a_head_is_what_it_was_before_there_was_any() {
        let video = Track { id: 1, timescale: 90_000, defaults: Sample::default(), parameters: vec![] };
        let init = Init { moov: Vec::new(), video, audio: None };
        let head =
            init.fragment_head(7, (5, &[Sample { duration: 3000, size: 10, flags: 0x0200_0000, offset: 0 }]), None);
        let expected = "00000068 6d6f6f66 00000010 6d666864 00000000 00000007 00000050 74726166 \
            00000010 74666864 00020000 00000001 00000014 74666474 01000000 00000000 00000005 \
            00000024 7472756e 01000f01 00000001 00000070 00000bb8 0000000a 02000000 00000000 00000012 6d646174";
        assert_eq!(hex::encode(head), expected.replace(' ', ""));
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
