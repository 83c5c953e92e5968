//! Puts fragments of several segments one behind the other: each sample's times in the ticks of one clip. The pictures
//! follow one another without a pause; the sound keeps its place beside them. Pure.

use std::ops::Range;

use super::audio::tolerance;
use super::join::{Init, Media, Sample, Track};

/// One fragment in its clip.
pub(super) struct Timed {
    pub(super) decode_time: u64,
    pub(super) video: Vec<Sample>,
    /// Decoding time, samples, and where their bytes lie in the fragment.
    pub(super) audio: Option<(u64, Vec<Sample>, Range<usize>)>,
}

impl Timed {
    /// In ticks.
    pub(super) fn duration(&self) -> u64 {
        self.video.iter().map(|s| u64::from(s.duration)).sum()
    }
}

/// Retimes `fragments`, each with the number of its segment, in order; the second value is the whole duration.
pub(super) fn retime<'a>(
    clip: &Init,
    inits: &[Init],
    fragments: impl Iterator<Item = (usize, &'a Media)>,
) -> (Vec<Timed>, u64) {
    let to = u128::from(clip.video.timescale);
    let mut decode_time = 0u64;
    // Rounded on the running sum, so that no error adds up.
    let (mut segment, mut within) = (0, 0u64);
    let mut sound = clip.audio.as_ref().map(|track| Sound { track, end: None });
    let mut retimed = Vec::new();
    for (number, media) in fragments {
        let init = &inits[number];
        let from = u128::from(init.video.timescale);
        let scaled = |ticks: u64| (u128::from(ticks) * to / from) as u64;
        if number != segment {
            (segment, within) = (number, 0);
        }
        let begin = decode_time;
        let one = |s: &Sample| {
            let duration = (scaled(within + u64::from(s.duration)) - scaled(within)) as u32;
            within += u64::from(s.duration);
            decode_time += u64::from(duration);
            let offset = (i128::from(s.offset) * to as i128 / from as i128) as i32;
            Sample { duration, offset, ..*s }
        };
        let video = media.video.samples.iter().map(one).collect();
        let beside = (begin, clip.video.timescale);
        let audio = sound.as_mut().and_then(|s| s.place(init, media, beside));
        retimed.push(Timed { decode_time: begin, video, audio });
    }
    (retimed, decode_time)
}

struct Sound<'a> {
    track: &'a Track,
    /// Where the last unit ends.
    end: Option<u64>,
}

impl Sound<'_> {
    /// The sound of one fragment whose pictures begin at a time in a timescale of the clip. What does not fit goes: another
    /// configuration, what was heard before the clip begins, what two segments both have.
    fn place(
        &mut self,
        init: &Init,
        media: &Media,
        (begin, scale): (u64, u32),
    ) -> Option<(u64, Vec<Sample>, Range<usize>)> {
        let (track, run) = (init.audio.as_ref()?, media.audio.as_ref()?);
        if (track.timescale, &track.parameters) != (self.track.timescale, &self.track.parameters) {
            return None;
        }
        let ticks = |time: u64, of: u32| i128::from(time) * i128::from(track.timescale) / i128::from(of);
        let mut at =
            i128::from(run.decode_time) + ticks(begin, scale) - ticks(media.video.decode_time, init.video.timescale);
        let (mut samples, mut data) = (run.samples.as_slice(), run.data.clone());
        let tolerance = i128::from(tolerance(track.timescale));
        let end = self.end.map(i128::from);
        let earliest = end.map_or(0, |end| end - tolerance);
        while let Some((first, rest)) = samples.split_first().filter(|_| at < earliest) {
            (at, samples) = (at + i128::from(first.duration), rest);
            data.start += first.size as usize;
        }
        if let Some(end) = end.filter(|end| (at - end).abs() <= tolerance) {
            at = end;
        }
        let at = u64::try_from(at).ok().filter(|_| !samples.is_empty())?;
        self.end = Some(at + samples.iter().map(|s| u64::from(s.duration)).sum::<u64>());
        Some((at, samples.to_vec(), data))
    }
}

#[cfg(test)]
mod tests {
    use super::super::audio::{AudioTrack, tests as made};
    use super::*;

    #[test]
    fn sound_keeps_its_place_beside_the_pictures_from_segment_to_segment() {
        let silent = Init::parse(&made::video()).expect("a moov");
        let (mut track, head) = AudioTrack::begin(&made::video(), &made::params()).expect("it begins");
        let init = Init::parse(&head).expect("a moov");
        let mut heard = |at: u64, ms: &[u64]| {
            let units: Vec<_> = ms.iter().copied().map(made::unit).collect();
            let bytes = track.add(&made::fragment(&silent, at), std::time::Duration::ZERO, &units).expect("added");
            init.samples(&bytes).expect("whole")
        };
        // What begins before its fragment came late for the one before it.
        let first = heard(1000, &[700, 828, 956, 1084]);
        let second = heard(2000, &[2108, 2236]);
        let none = silent.samples(&made::fragment(&silent, 0)).expect("whole");
        let inits = [init.clone(), silent];
        let all = [(0, &first), (1, &none), (0, &second)];
        let (timed, duration) = retime(&init, &inits, all.into_iter());
        assert_eq!((duration, timed.iter().map(|t| t.decode_time).collect::<Vec<_>>()), (3000, vec![0, 1000, 2000]));
        let sound: Vec<_> = timed
            .iter()
            .map(|t| t.audio.as_ref().map(|(at, samples, data)| (*at, samples.len(), data.len())))
            .collect();
        // At 8 kHz: 84 ms and 108 ms after the pictures of their fragments.
        assert_eq!(sound, [Some((672, 1, 3)), None, Some((16_864, 2, 6))]);
        let data = timed[0].audio.as_ref().expect("heard").2.clone();
        assert_eq!(data.end, first.audio.as_ref().expect("heard").data.end, "the last one stays");

        let (timed, _) = retime(&inits[1], &inits, all.into_iter());
        assert!(timed.iter().all(|t| t.audio.is_none()), "a silent clip stays silent");
    }
}
