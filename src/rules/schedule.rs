//! When a rule looks: weekly windows of local time, across midnight, in the site's time zone. Windows are local times
//! of day, so a zone with daylight saving stretches or shortens them; they never move.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::base::Stamp;
use crate::config::{ScheduleConfig, Weekday, Window};

/// A schedule bound to a time zone.
#[derive(Clone, Debug)]
pub struct Schedule {
    windows: Vec<Window>,
    timezone: TimeZone,
}

impl Schedule {
    /// `config` as it is lived in `timezone`.
    pub fn new(config: &ScheduleConfig, timezone: TimeZone) -> Self {
        Self { windows: config.windows.clone(), timezone }
    }

    /// Whether any window is open at `now`.
    pub fn is_open(&self, now: Stamp) -> bool {
        let at = Timestamp::from_millisecond(now.wall_ms).unwrap_or(Timestamp::UNIX_EPOCH);
        let local = self.timezone.to_datetime(at);
        // Monday is 0.
        let day = local.weekday().to_monday_zero_offset() as usize % 7;
        let (today, yesterday) = (Weekday::ALL[day], Weekday::ALL[(day + 6) % 7]);
        let minute = local.hour() as u16 * 60 + local.minute() as u16;
        self.windows.iter().any(|w| {
            if w.from_minute < w.to_minute {
                return w.days.contains(&today) && (w.from_minute..w.to_minute).contains(&minute);
            }
            // Past midnight: the evening of its own day, or the morning after it.
            w.days.contains(&today) && minute >= w.from_minute || w.days.contains(&yesterday) && minute < w.to_minute
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn schedule(zone: &str, days: &[Weekday], from: u16, to: u16) -> Schedule {
        let windows = vec![Window { days: days.to_vec(), from_minute: from, to_minute: to }];
        let config = ScheduleConfig { name: "s".into(), windows };
        Schedule::new(&config, TimeZone::get(zone).expect("bundled"))
    }

    fn at(text: &str) -> Stamp {
        let t: Timestamp = text.parse().expect("RFC 3339");
        Stamp { wall_ms: t.as_millisecond(), ..Stamp::default() }
    }

    #[test]
    fn a_night_belongs_to_the_day_it_began_on() {
        // 2026-11-28 is a Saturday.
        let s = schedule("Asia/Ho_Chi_Minh", &[Weekday::Sat], 22 * 60, 5 * 60);
        for (time, open) in [
            ("2026-11-28T21:59:59+07:00", false),
            ("2026-11-28T22:00:00+07:00", true),
            ("2026-11-29T00:00:00+07:00", true),
            ("2026-11-29T04:59:59+07:00", true),
            ("2026-11-29T05:00:00+07:00", false),
            ("2026-11-29T22:00:00+07:00", false),
            ("2026-11-28T04:00:00+07:00", false),
        ] {
            assert_eq!(s.is_open(at(time)), open, "{time}");
        }
    }

    #[test]
    fn equal_ends_are_twenty_four_hours() {
        let s = schedule("Asia/Ho_Chi_Minh", &[Weekday::Sun], 6 * 60, 6 * 60);
        for (time, open) in [
            ("2026-11-29T05:59:00+07:00", false),
            ("2026-11-29T06:00:00+07:00", true),
            ("2026-11-30T05:59:00+07:00", true),
            ("2026-11-30T06:00:00+07:00", false),
        ] {
            assert_eq!(s.is_open(at(time)), open, "{time}");
        }
    }

    #[test]
    fn daylight_saving_moves_the_sun_and_not_the_window() {
        // New York springs from 02:00 to 03:00 on 2026-03-08 and falls back from 02:00 to 01:00 on 2026-11-01.
        let s = schedule("America/New_York", &Weekday::ALL, 60, 180);
        assert!(s.is_open(at("2026-03-08T01:30:00-05:00")));
        assert!(!s.is_open(at("2026-03-08T03:00:00-04:00")), "the hour from 2 to 3 did not exist");
        assert!(s.is_open(at("2026-11-01T01:30:00-04:00")) && s.is_open(at("2026-11-01T01:30:00-05:00")));
        assert!(!s.is_open(at("2026-11-01T03:00:00-05:00")));
    }

    proptest! {
        #[test]
        fn a_window_and_its_complement_share_the_week(from in 0u16..1440, to in 0u16..1440, minute in 0i64..10080) {
            prop_assume!(from != to);
            let zone = "Asia/Ho_Chi_Minh";
            let now = Stamp { wall_ms: (1_780_000_000 / 60 + minute) * 60_000, ..Stamp::default() };
            let day = schedule(zone, &Weekday::ALL, from, to).is_open(now);
            let night = schedule(zone, &Weekday::ALL, to, from).is_open(now);
            prop_assert!(day != night);
        }
    }
}
