//! What time it was at the camera: RTCP sender reports tie the stream's own timestamps to the camera's wall clock. Pure
//! arithmetic on what the jitter buffer hands over with each report; says nothing while the camera has not said anything
//! believable.

use std::collections::VecDeque;
use std::time::Duration;

/// Seconds between the epochs of NTP (1900) and Unix (1970).
const NTP_TO_UNIX: i64 = 2_208_988_800;
/// 2000-01-01 in Unix seconds. A camera without a battery counts from 1970, or sends zeros.
const EARLIEST: i64 = 946_684_800;
/// RTCP packet type of a sender report (RFC 3550, 6.4.1).
const SENDER_REPORT: u8 = 200;

/// A sender report as the jitter buffer sees it (its `handle-sync` signal).
#[derive(Clone, Copy, Debug)]
pub struct SyncPoint<'a> {
    /// Extended RTP timestamp that the jitter buffer counts from.
    pub base_rtptime: u64,
    /// Presentation time that belongs to it.
    pub base_time: Duration,
    /// RTP ticks a second.
    pub clock_rate: u32,
    /// Extended RTP timestamp of the report.
    pub sr_ext_rtptime: u64,
    /// The RTCP packet that holds the report.
    pub rtcp: &'a [u8],
}

/// Maps presentation times to the camera's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct CameraClock {
    /// Unix nanoseconds at presentation time zero.
    zero: Option<i128>,
}

impl CameraClock {
    /// Takes in a report; the newest counts, because a camera sets its clock now and then. One that cannot be meant is
    /// worse than none: what was known is forgotten. One that cannot be read changes nothing.
    pub fn synchronise(&mut self, point: &SyncPoint<'_>) {
        let (Some(ntp), true) = (ntp_time(point.rtcp), point.clock_rate > 0) else { return };
        // The extended timestamps do not wrap in the life of a connection, but a report may lie before the base.
        let ticks = i128::from(point.sr_ext_rtptime.wrapping_sub(point.base_rtptime) as i64);
        let after_base = ticks * 1_000_000_000 / i128::from(point.clock_rate);
        let pts = point.base_time.as_nanos() as i128 + after_base;
        self.zero = unix_nanos(ntp).map(|at| at - pts);
    }

    /// The camera's time at `pts`, UTC milliseconds.
    pub fn at(&self, pts: Duration) -> Option<i64> {
        let nanos = self.zero? + pts.as_nanos() as i128;
        i64::try_from(nanos.div_euclid(1_000_000)).ok()
    }
}

/// How many reports the place of the sound is judged by: one that is off, of a machine that was busy, moves nothing.
const REPORTS: usize = 9;
/// Sound and pictures that lie further apart do not have one clock.
const ONE_CLOCK: i128 = 2_000_000_000;

/// The clocks of a connection's video and of its sound, which tell where the one belongs beside the other.
#[derive(Clone, Debug, Default)]
pub struct Clocks {
    pub video: CameraClock,
    pub audio: CameraClock,
    /// How much later sound belongs than its own times say, in nanoseconds: after each of the last reports.
    shifts: VecDeque<i128>,
}

impl Clocks {
    /// To be called after each report.
    pub fn compare(&mut self) {
        let (Some(video), Some(audio)) = (self.video.zero, self.audio.zero) else { return };
        let shift = audio - video;
        if shift.abs() > ONE_CLOCK {
            return;
        }
        self.shifts.push_back(shift);
        if self.shifts.len() > REPORTS {
            self.shifts.pop_front();
        }
    }

    /// The time of sound at `pts` on the clock of the pictures.
    pub fn beside_pictures(&self, pts: Duration) -> Duration {
        let mut shifts: Vec<i128> = self.shifts.iter().copied().collect();
        shifts.sort_unstable();
        let shift = shifts.get(shifts.len() / 2).copied().unwrap_or(0);
        let distance = Duration::from_nanos(shift.unsigned_abs() as u64);
        if shift < 0 { pts.saturating_sub(distance) } else { pts + distance }
    }
}

/// The packets of a compound RTCP packet (RFC 3550, section 6.1), each with its type and all that follows it, up to the
/// first that is none.
pub(super) fn packets(mut rtcp: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let [first, kind, high, low, ..] = *rtcp else { return None };
        let packet = (first >> 6 == 2).then_some((kind, rtcp))?;
        rtcp = rtcp.get((usize::from(u16::from_be_bytes([high, low])) + 1) * 4..).unwrap_or_default();
        Some(packet)
    })
}

/// The NTP timestamp of the first sender report in a compound packet.
fn ntp_time(rtcp: &[u8]) -> Option<u64> {
    let (_, report) = packets(rtcp).find(|(kind, _)| *kind == SENDER_REPORT)?;
    // Header and SSRC come first, four bytes each.
    report.get(8..16)?.try_into().ok().map(u64::from_be_bytes)
}

/// Unix nanoseconds of an NTP timestamp; `None` before 2000. Read in NTP's first era, which ends in February 2036: a
/// clock that counts from its start would otherwise look like one of 2036.
fn unix_nanos(ntp: u64) -> Option<i128> {
    let seconds = (ntp >> 32) as i64 - NTP_TO_UNIX;
    let fraction = (i128::from(ntp & 0xffff_ffff) * 1_000_000_000) >> 32;
    (seconds >= EARLIEST).then_some(i128::from(seconds) * 1_000_000_000 + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-24T02:11:04.250Z.
    const NOON: i64 = 1_795_486_264;
    const NOON_MS: i64 = NOON * 1000 + 250;

    fn ntp(unix_seconds: i64) -> u64 {
        (((unix_seconds + NTP_TO_UNIX) as u64) << 32) | (1 << 30)
    }

    fn sender_report(ntp: u64) -> Vec<u8> {
        let mut packet = vec![0x80, SENDER_REPORT, 0, 6, 1, 2, 3, 4];
        packet.extend(ntp.to_be_bytes());
        packet.extend([0; 12]);
        packet
    }

    fn point(rtcp: &[u8], base_rtptime: u64, sr_ext_rtptime: u64) -> SyncPoint<'_> {
        SyncPoint { base_rtptime, base_time: Duration::from_secs(1), clock_rate: 90_000, sr_ext_rtptime, rtcp }
    }

    fn after(point: &SyncPoint<'_>) -> CameraClock {
        let mut clock = CameraClock::default();
        clock.synchronise(point);
        clock
    }

    #[test]
    fn sound_is_placed_by_what_most_reports_say() {
        let mut clocks = Clocks::default();
        let late = Duration::from_secs(9);
        assert_eq!(clocks.beside_pictures(late), late, "nothing is known");
        let report = sender_report(ntp(NOON));
        let at = |ticks: i64| after(&point(&report, 0, (900_000 + ticks) as u64));
        // The sound's own times are ahead of the pictures' by so many ticks of 90 kHz.
        for (ahead, expected) in [(9_000, 8_900), (-9_000, 9_100), (9_000, 8_900), (90_000, 8_900), (270_000, 8_900)] {
            clocks.video = at(0);
            clocks.audio = at(ahead);
            clocks.compare();
            assert_eq!(clocks.beside_pictures(late).as_millis(), expected, "{ahead}");
        }
    }

    #[test]
    fn a_picture_has_no_camera_time_before_the_first_report() {
        assert_eq!(CameraClock::default().at(Duration::from_secs(9)), None);
    }

    #[test]
    fn times_before_and_after_the_report_follow_from_it() {
        let rtcp = sender_report(ntp(NOON));
        let clock = after(&point(&rtcp, 1000, 1000 + 90_000 * 2));
        assert_eq!(clock.at(Duration::from_secs(3)), Some(NOON_MS));
        assert_eq!(clock.at(Duration::from_millis(3040)), Some(NOON_MS + 40));
        assert_eq!(clock.at(Duration::ZERO), Some(NOON_MS - 3000));
        // The report may speak of a moment before the first packet.
        let clock = after(&point(&rtcp, 500_000, 500_000 - 45_000));
        assert_eq!(clock.at(Duration::from_secs(1)), Some(NOON_MS + 500));
    }

    #[test]
    fn the_wrap_of_rtp_time_goes_unnoticed() {
        let rtcp = sender_report(ntp(NOON));
        let base = (1 << 32) - 45_000;
        let clock = after(&point(&rtcp, base, base + 90_000));
        assert_eq!(clock.at(Duration::from_secs(2)), Some(NOON_MS));
        let clock = after(&point(&rtcp, u64::MAX - 44_999, 45_000));
        assert_eq!(clock.at(Duration::from_secs(2)), Some(NOON_MS));
    }

    #[test]
    fn the_newest_report_counts() {
        let mut clock = after(&point(&sender_report(ntp(NOON)), 0, 0));
        clock.synchronise(&point(&sender_report(ntp(NOON + 3600)), 0, 90_000));
        assert_eq!(clock.at(Duration::from_secs(2)), Some(NOON_MS + 3_600_000));
    }

    #[test]
    fn a_clock_that_was_never_set_is_no_clock() {
        for unset in [0, 1 << 32, 86_400 << 32, ntp(0), ntp(EARLIEST - 1)] {
            let mut clock = after(&point(&sender_report(ntp(NOON)), 0, 0));
            clock.synchronise(&point(&sender_report(unset), 0, 0));
            assert_eq!(clock.at(Duration::from_secs(1)), None, "{unset}");
        }
        assert!(after(&point(&sender_report(ntp(EARLIEST)), 0, 0)).at(Duration::from_secs(1)).is_some());
    }

    #[test]
    fn the_report_is_found_behind_other_packets_and_rubbish_changes_nothing() {
        let mut compound = vec![0x81, 201, 0, 1, 9, 9, 9, 9];
        compound.extend(sender_report(ntp(NOON)));
        let mut clock = after(&point(&compound, 0, 0));
        let known = clock.at(Duration::from_secs(1));
        assert_eq!(known, Some(NOON_MS));
        let whole = sender_report(ntp(NOON + 9));
        for cut in 0..16 {
            clock.synchronise(&point(&whole[..cut], 0, 0));
        }
        for rubbish in
            [&[0xff; 40][..], &[0x80, 201, 0xff, 0xff], &[0x00, 200, 0, 6, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]]
        {
            clock.synchronise(&point(rubbish, 0, 0));
        }
        clock.synchronise(&SyncPoint { clock_rate: 0, ..point(&whole, 0, 0) });
        assert_eq!(clock.at(Duration::from_secs(1)), known);
    }
}
