//! Sound in a segment: a second track that is put into the fragments when `mp4mux` has made them of the pictures.
//!
//! `mp4mux` never sees the sound. With two pads it waits for data on both, and a microphone that stops would stop the
//! recording; so the pictures alone decide what a fragment is and when it is written, and what sound there is by then is
//! added to it by own editing of its boxes ([`super::join`]). Sound that comes later goes into the next fragment, at its own
//! time; none is no fault. A segment without sound is byte for byte what `mp4mux` made.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::join::{Init, Sample, boxed};
use crate::base::Result;
use crate::base::audio::{AudioParams, AudioUnit};

/// What a connection sent that begins from one time until before another.
pub type Listen = Box<dyn Fn(u64, Duration, Duration) -> Vec<AudioUnit> + Send>;

/// Times that are off by less follow one another without a hole: cameras' clocks jitter, and players hear every step.
pub(super) fn tolerance(rate: u32) -> u64 {
    u64::from(rate) / 32
}

/// The sound of one segment.
pub(super) struct AudioTrack {
    init: Init,
    params: Arc<AudioParams>,
    /// Where the last unit ends, in ticks since the segment's first picture.
    end: Option<u64>,
    sequence: u32,
}

impl AudioTrack {
    /// A track beside the pictures of `init`; the second value is to stand in its place.
    pub(super) fn begin(init: &[u8], params: &Arc<AudioParams>) -> Result<(Self, Bytes)> {
        let init = Init::parse(init)?.with_audio(params)?;
        let bytes = init.begin().into();
        Ok((Self { init, params: params.clone(), end: None, sequence: 0 }, bytes))
    }

    /// `fragment` with `units` in it, whose times count from `base`.
    pub(super) fn add(&mut self, fragment: &[u8], base: Duration, units: &[AudioUnit]) -> Result<Vec<u8>> {
        let video = self.init.samples(fragment)?.video;
        let (begin, samples, data) = self.place(base, units);
        self.sequence += 1;
        let audio = (!samples.is_empty()).then_some((begin, samples.as_slice()));
        let mut out = self.init.fragment_head(self.sequence, (video.decode_time, &video.samples), audio);
        out.extend(&fragment[video.data]);
        out.extend(data);
        Ok(out)
    }

    /// Time of the first sample, the samples, and their bytes.
    fn place(&mut self, base: Duration, units: &[AudioUnit]) -> (u64, Vec<Sample>, Vec<u8>) {
        let (mut begin, mut samples, mut data) = (0, Vec::<Sample>::new(), Vec::new());
        let ticks = |d: Duration| (d.as_nanos() * u128::from(self.params.rate) / 1_000_000_000) as u64;
        for unit in units.iter().filter(|u| *u.params == *self.params) {
            let mut at = ticks(unit.pts.saturating_sub(base));
            if let Some(end) = self.end {
                if at.abs_diff(end) <= tolerance(self.params.rate) {
                    at = end;
                }
                // It was sent twice, or its clock was set back.
                if at < end {
                    continue;
                }
            }
            match (samples.last_mut(), self.end) {
                // A hole within a run: the unit before it lasts until its end.
                (Some(last), Some(end)) => last.duration += u32::try_from(at - end).unwrap_or(0),
                _ => begin = at,
            }
            samples.push(Sample {
                duration: self.params.samples,
                size: unit.data.len() as u32,
                flags: INDEPENDENT,
                offset: 0,
            });
            data.extend_from_slice(&unit.data);
            self.end = Some(at + u64::from(self.params.samples));
        }
        (begin, samples, data)
    }
}

/// Depends on no other sample (ISO/IEC 14496-12, 8.8.3.1).
const INDEPENDENT: u32 = 0x0200_0000;

/// Gives a version and flags to a box.
fn full(kind: &[u8; 4], flags: u32, fields: &[&[u8]]) -> Vec<u8> {
    boxed(kind, &[&flags.to_be_bytes()[..], &fields.concat()].concat())
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_be_bytes()).collect()
}

/// The defaults of the track's samples.
pub(super) fn trex(id: u32, params: &AudioParams) -> Vec<u8> {
    full(b"trex", 0, &[&words(&[id, 1, params.samples, 0, INDEPENDENT])])
}

/// The track of number `id` (ISO/IEC 14496-12, 8.3; 14496-14, 5.6).
pub(super) fn trak(id: u32, params: &AudioParams) -> Vec<u8> {
    let matrix = words(&[0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000]);
    // Enabled and in the movie; full volume; no width and height.
    let tkhd = full(b"tkhd", 3, &[&words(&[0, 0, id, 0, 0, 0, 0, 0, 0x0100_0000]), &matrix, &[0; 8]]);
    // The language `und`.
    let mdhd = full(b"mdhd", 0, &[&words(&[0, 0, params.rate, 0, 0x55c4_0000])]);
    let hdlr = full(b"hdlr", 0, &[&[0; 4], b"soun", &[0; 12], b"sound\0"]);
    let smhd = full(b"smhd", 0, &[&[0; 4]]);
    let dref = full(b"dref", 0, &[&words(&[1]), &full(b"url ", 1, &[])]);
    let stsd = full(b"stsd", 0, &[&words(&[1]), &mp4a(params)]);
    let none = |kind| full(kind, 0, &[&words(&[0])]);
    let tables = [stsd, none(b"stts"), none(b"stsc"), full(b"stsz", 0, &[&words(&[0, 0])]), none(b"stco")].concat();
    let minf = [smhd, boxed(b"dinf", &dref), boxed(b"stbl", &tables)].concat();
    let mdia = [mdhd, hdlr, boxed(b"minf", &minf)].concat();
    boxed(b"trak", &[tkhd, boxed(b"mdia", &mdia)].concat())
}

fn mp4a(params: &AudioParams) -> Vec<u8> {
    let channels = if params.channels == 0 { 2 } else { params.channels };
    let rate = u16::try_from(params.rate).unwrap_or(0);
    let mut entry = vec![0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    entry.extend([channels, 16, 0, 0, rate, 0].iter().flat_map(|v| v.to_be_bytes()));
    // A configuration is short: every length fits one byte.
    let tagged = |tag: u8, content: &[u8]| [&[tag, content.len() as u8], content].concat();
    let decoder = [&[0x40, 0x15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &tagged(5, &params.config)].concat();
    let descriptor = tagged(3, &[&[0, 0, 0][..], &tagged(4, &decoder), &tagged(6, &[2])].concat());
    entry.extend(full(b"esds", 0, &[&descriptor]));
    boxed(b"mp4a", &entry)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::boxes;
    use super::*;
    use crate::base::Stamp;

    pub(in super::super) fn params() -> Arc<AudioParams> {
        Arc::new(AudioParams::parse(&[0x15, 0x88]).expect("AAC, 8 kHz"))
    }

    pub(in super::super) fn unit(ms: u64) -> AudioUnit {
        let (pts, data) = (Duration::from_millis(ms), Bytes::from(vec![ms as u8; 3]));
        AudioUnit { pts, arrived: Stamp { mono: pts, wall_ms: 0 }, connection: 1, params: params(), data }
    }

    /// As mp4mux begins a file: one track, ten pictures a second.
    pub(in super::super) fn video() -> Vec<u8> {
        let tkhd = full(b"tkhd", 3, &[&words(&[0, 0, 1, 0])]);
        let mdhd = full(b"mdhd", 0, &[&words(&[0, 0, 1000, 0, 0])]);
        let stsd =
            full(b"stsd", 0, &[&words(&[1]), &boxed(b"avc1", &[&[0; 78][..], &boxed(b"avcC", &[1, 2])].concat())]);
        let mdia = [mdhd, boxed(b"minf", &boxed(b"stbl", &stsd))].concat();
        let trak = boxed(b"trak", &[tkhd, boxed(b"mdia", &mdia)].concat());
        let mvhd = full(b"mvhd", 0, &[&words(&[0, 0, 1000, 0]), &words(&[2])]);
        let mvex = boxed(b"mvex", &full(b"trex", 0, &[&words(&[1, 1, 0, 0, 0])]));
        boxed(b"moov", &[mvhd, trak, mvex].concat())
    }

    pub(in super::super) fn fragment(init: &Init, at: u64) -> Vec<u8> {
        let samples = [Sample { duration: 100, size: 4, flags: 0, offset: 0 }; 10];
        let mut bytes = init.fragment_head(1, (at, &samples), None);
        bytes.resize(bytes.len() + 40, 0xee);
        bytes
    }

    #[test]
    fn sound_goes_in_at_its_time_and_the_pictures_stay_what_they_are() {
        let plain = Init::parse(&video()).expect("a moov");
        let (mut track, begun) = AudioTrack::begin(&video(), &params()).expect("it begins");
        let init = Init::parse(&begun).expect("a moov");
        let audio = init.audio.as_ref().expect("a second track");
        assert_eq!((audio.timescale, boxes::timescale(&begun)), (8_000, Some(1000)));
        let silent = Init::parse(&init.clone().without_audio().begin()).expect("a moov");
        assert_eq!((silent.audio, silent.video), (None, plain.video.clone()), "what was put in can be taken out");

        // It begins a little late and jitters.
        let base = Duration::from_secs(5);
        let units: Vec<AudioUnit> = [5_040, 5_160, 5_301, 5_424].map(unit).to_vec();
        let bytes = fragment(&plain, 0);
        let with = track.add(&bytes, base, &units).expect("added");
        let media = init.samples(&with).expect("both");
        assert_eq!(&with[media.video.data.clone()], &[0xee; 40]);
        assert_eq!(boxes::times(&with), boxes::times(&bytes));
        let run = media.audio.expect("sound");
        assert_eq!((run.decode_time, run.duration(), run.samples.len()), (320, 4 * 1024, 4));
        assert_eq!(
            &with[run.data],
            [[5_040u64 as u8; 3], [5_160u64 as u8; 3], [5_301u64 as u8; 3], [5_424u64 as u8; 3]].concat()
        );

        // None, then a hole within a run, then what was there before.
        let none = track.add(&fragment(&plain, 1000), base, &[]).expect("added");
        assert_eq!(init.samples(&none).expect("whole").audio, None);
        let units = [7_000, 7_128, 7_756, 7_128].map(unit);
        let with = track.add(&fragment(&plain, 2000), base, &units).expect("added");
        let run = init.samples(&with).expect("both").audio.expect("sound");
        assert_eq!(run.decode_time, 16_000);
        let durations: Vec<u32> = run.samples.iter().map(|s| s.duration).collect();
        assert_eq!(durations, [1024, 1024 + 4000, 1024]);
    }
}
