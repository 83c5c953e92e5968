//! Rules over random walks: what must hold whatever people do.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use wardwatch::base::Stamp;
use wardwatch::base::types::{EventReport, Phase, Track};

use crate::rules::{World, assert_legal, crossing, intrusion, loitering, person, rule, started};

/// A walk along x: `(frames, speed in hundredths of the picture's width a frame)`, reflected at the borders.
fn walk(steps: &[(u8, i8)], start: f32) -> Vec<f32> {
    let mut x = start;
    let mut out = Vec::new();
    for (frames, speed) in steps {
        for _ in 0..*frames {
            x = (x + f32::from(*speed) / 100.0).clamp(0.055, 0.945);
            out.push(x);
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn who_never_enters_never_fires(steps in prop::collection::vec((1u8..20, -5i8..=5), 1..20)) {
        let mut w = World::new(&[intrusion(), loitering(1.0), crossing()]);
        for x in walk(&steps, 0.2) {
            prop_assert!(w.frame(&[person(1, x.min(0.39))]).is_empty());
        }
    }

    #[test]
    fn crossings_are_the_sign_changes_of_the_walk(steps in prop::collection::vec((1u8..20, -5i8..=5), 1..30)) {
        // Steps of a whole hundredth starting off the line by half a one: the foot is never within the margin.
        let xs = walk(&steps, 0.205);
        let mut config = crossing();
        config.params = "line='gate'\nmargin=0.01".parse().expect("TOML");
        let mut w = World::new(&[config]);
        let reports: Vec<EventReport> = xs.iter().flat_map(|x| w.frame(&[person(1, *x)])).collect();
        let changes = xs.windows(2).filter(|p| (p[0] < 0.5) != (p[1] < 0.5)).count();
        prop_assert_eq!(started(&reports), changes);
        let directions: Vec<_> =
            reports.iter().filter(|r| r.phase == Phase::Started).filter_map(|r| r.direction).collect();
        prop_assert!(directions.windows(2).all(|d| d[0] != d[1]), "they alternate");
    }

    #[test]
    fn loitering_never_fires_before_its_dwell(
        steps in prop::collection::vec((1u8..20, -5i8..=5), 1..40), dwell in 1u32..8, grace in 1u32..4,
    ) {
        let mut config = loitering(f64::from(dwell));
        config.params.insert("grace_seconds".into(), toml::Value::Integer(i64::from(grace)));
        let mut w = World::new(&[config]);
        let mut last_inside: Option<Stamp> = None;
        let mut since: Option<Stamp> = None;
        for x in walk(&steps, 0.2) {
            let now = w.now;
            if (0.4..0.6).contains(&x) {
                if last_inside.is_none_or(|l| now.since(l) > Duration::from_secs(u64::from(grace))) {
                    since = Some(now);
                }
                last_inside = Some(now);
            }
            for r in w.frame(&[person(1, x)]).iter().filter(|r| r.phase == Phase::Started) {
                let stay = since.map(|s| r.started_at.since(s)).unwrap_or_default();
                prop_assert!(stay >= Duration::from_secs(u64::from(dwell)), "{stay:?}");
            }
        }
    }

    #[test]
    fn any_scene_makes_legal_events_that_all_end_and_repeat(
        scene in prop::collection::vec(prop::collection::vec((1u8..30, -5i8..=5), 1..12), 1..6),
        hidden in prop::collection::vec(any::<bool>(), 64), cooldown in 0u64..20, inertia in 1u32..5,
        births in prop::option::of(prop::collection::vec(0usize..60, 6)),
    ) {
        let mut rules = [intrusion(), crossing(), loitering(3.0), rule("b", "intrusion", "zones=['yard','back']\nmin_move=0")];
        for r in &mut rules {
            (r.cooldown, r.inertia) = (Duration::from_secs(cooldown), inertia);
        }
        let walks: Vec<Vec<f32>> = scene.iter().enumerate().map(|(i, s)| walk(s, 0.15 * i as f32)).collect();
        let frames = walks.iter().map(Vec::len).max().unwrap_or(0);
        let run = || {
            let mut w = World::new(&rules);
            let mut reports = Vec::new();
            for f in 0..frames {
                let tracks: Vec<Track> = walks.iter().enumerate().filter_map(|(id, xs)| {
                    let seen_now = f == 0 || hidden[(f * 7 + id * 13) % 64];
                    let born = births.as_ref().map_or(0, |b| b[id]);
                    xs.get(f).filter(|_| f >= born).map(|x| Track { seen_now, ..person(id as u64 + 1, *x) })
                }).collect();
                reports.extend(w.frame(&tracks));
            }
            reports.extend(w.set.end_all(w.now));
            reports
        };
        let reports = run();
        assert_legal(&reports, true);
        // A track takes part in one event of a zone rule at most; one that is born beside a hidden one may go on as it.
        let mut taken = BTreeSet::new();
        for r in reports.iter().filter(|r| births.is_none() && r.phase == Phase::Ended && r.line.is_none()) {
            for t in &r.tracks {
                prop_assert!(taken.insert((r.rule.clone(), *t)), "{} {t}", r.rule);
            }
        }
        // The cool-down of a place is respected.
        for a in reports.iter().filter(|r| r.phase == Phase::Ended) {
            for b in reports.iter().filter(|r| r.phase == Phase::Started && r.rule == a.rule) {
                let ended = a.ended_at.expect("ended");
                let same_place = b.line.is_some() || a.zones.iter().any(|z| z.name == b.zones[0].name);
                if same_place && b.started_at.mono > ended.mono {
                    prop_assert!(b.started_at.since(ended) >= Duration::from_secs(cooldown));
                }
            }
        }
        prop_assert_eq!(reports, run());
    }
}
