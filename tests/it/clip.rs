//! Clips of any range: what is in them, what they say is missing.

use std::path::{Path, PathBuf};

use wardwatch::base::ErrorKind;
use wardwatch::base::types::{Gap, GapReason, Segment};
use wardwatch::record::clip::{ClipReport, Request, cut};
use wardwatch::record::segment::{Sidecar, sidecar_path};

use crate::support::segments::{Recipe, duration, flip, pictures};

struct Shelf {
    dir: tempfile::TempDir,
    rows: Vec<Segment>,
    gaps: Vec<Gap>,
}

const FIRST: i64 = 1_764_000_000_000;

impl Shelf {
    fn new(recipes: &[Recipe]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let rows = recipes.iter().map(|r| r.make(dir.path())).collect();
        Self { dir, rows, gaps: Vec::new() }
    }

    /// Seconds after the first picture.
    fn cut(&self, name: &str, from: f64, to: f64) -> wardwatch::base::Result<(ClipReport, PathBuf)> {
        let ms = |s: f64| FIRST + (s * 1000.0) as i64;
        let request = Request { camera: "ngo-1".parse().expect("valid"), from_ms: ms(from), to_ms: ms(to) };
        let out = self.dir.path().join(name);
        Ok((cut(self.dir.path(), &request, &self.rows, &self.gaps, &out)?, out))
    }

    fn file(&self, n: usize) -> PathBuf {
        self.dir.path().join(&self.rows[n].path)
    }
}

fn monotonic(clip: &Path) -> usize {
    let pictures = pictures(clip);
    assert!(pictures.first().is_some_and(|p| p.1), "it begins with a keyframe");
    assert!(pictures.windows(2).all(|w| (w[1].0 - w[0].0 - 0.1).abs() < 0.01), "{pictures:?}");
    pictures.len()
}

fn holes(report: &ClipReport) -> Vec<(i64, i64, &'static str)> {
    report.holes.iter().map(|h| (h.start_ms - FIRST, h.end_ms - FIRST, h.why.as_str())).collect()
}

#[test]
fn a_range_over_three_files_plays_through_from_the_keyframe_before_it() {
    let shelf = Shelf::new(&[Recipe::at(0), Recipe { timescale: 90_000, ..Recipe::at(10) }, Recipe::at(20)]);
    let (report, clip) = shelf.cut("a.mp4", 5.5, 24.2).expect("recorded");
    assert_eq!((report.from_ms - FIRST, report.to_ms - FIRST), (4_000, 25_000), "whole fragments from the keyframe on");
    assert_eq!((report.duration_ms, report.holes.len(), report.changed_at_ms), (21_000, 0, None));
    assert_eq!(monotonic(&clip), 210);
    assert!((duration(&clip) - 21.0).abs() < 0.01, "a player knows the length at once");
    let bytes = std::fs::read(&clip).expect("there");
    assert_eq!((bytes.len() as u64, crate::support::segments::sha256(&bytes)), (report.bytes, report.sha256.clone()));

    let (again, _) = shelf.cut("b.mp4", 5.5, 24.2).expect("recorded");
    assert_eq!(again, report, "the same range gives the same bytes");
    let there = shelf.cut("a.mp4", 5.5, 24.2).expect_err("it is not overwritten");
    assert_eq!(there.kind(), ErrorKind::Invalid);
    let leftovers = std::fs::read_dir(shelf.dir.path()).expect("there").flatten();
    assert!(leftovers.map(|e| e.file_name()).all(|n| !n.to_string_lossy().starts_with('.')), "no temporary file stays");
}

#[test]
fn h265_is_joined_as_well() {
    let shelf = Shelf::new(&[Recipe { h264: false, ..Recipe::at(0) }, Recipe { h264: false, ..Recipe::at(10) }]);
    let (report, clip) = shelf.cut("a.mp4", 7.0, 13.0).expect("recorded");
    assert_eq!((report.duration_ms, monotonic(&clip)), (7_000, 70));
}

#[test]
fn a_gap_is_passed_over_and_told_with_its_reason() {
    let mut shelf = Shelf::new(&[Recipe::at(0), Recipe::at(40)]);
    let gap = |from, to, reason| Gap {
        id: 0,
        camera: "ngo-1".parse().expect("valid"),
        start_ms: FIRST + from,
        end_ms: to,
        reason,
    };
    shelf.gaps = vec![
        gap(10_200, Some(FIRST + 30_000), GapReason::Offline),
        gap(30_000, Some(FIRST + 39_000), GapReason::NodeDown),
        gap(50_000, None, GapReason::DiskFull),
    ];
    let (report, clip) = shelf.cut("a.mp4", 8.0, 60.0).expect("recorded");
    assert_eq!(
        holes(&report),
        [(10_000, 30_000, "offline"), (30_000, 39_000, "node_down"), (50_000, 60_000, "disk_full")]
    );
    assert_eq!((report.duration_ms, monotonic(&clip)), (12_000, 120), "no time stands still in the file");

    let nothing = shelf.cut("b.mp4", 15.0, 25.0).expect_err("a gap");
    assert_eq!(nothing.kind(), ErrorKind::NotFound);
    assert!(nothing.to_string().contains("offline"), "{nothing}");
    let nothing = shelf.cut("c.mp4", -100.0, -50.0).expect_err("before everything");
    assert!(nothing.to_string().contains("not_recorded"), "{nothing}");
    assert!(!shelf.dir.path().join("b.mp4").exists());
}

#[test]
fn a_gap_that_is_shorter_than_jitter_is_told_if_it_was_noted() {
    let mut shelf = Shelf::new(&[Recipe::at(0), Recipe::at(11)]);
    assert_eq!(shelf.cut("a.mp4", 8.0, 14.0).expect("recorded").0.missing_ms(), 0, "it may be jitter");
    shelf.gaps = vec![Gap {
        id: 0,
        camera: "ngo-1".parse().expect("valid"),
        start_ms: FIRST + 10_000,
        end_ms: Some(FIRST + 11_000),
        reason: GapReason::NodeDown,
    }];
    let (report, _) = shelf.cut("b.mp4", 8.0, 14.0).expect("recorded");
    assert_eq!((holes(&report), report.missing_ms()), (vec![(10_000, 11_000, "node_down")], 1000));
}

#[test]
fn the_clip_ends_where_the_camera_changed_its_stream() {
    let shelf = Shelf::new(&[Recipe::at(0), Recipe { size: "640x480", ..Recipe::at(10) }]);
    let (report, clip) = shelf.cut("a.mp4", 4.0, 16.0).expect("recorded");
    assert_eq!((report.changed_at_ms, report.to_ms), (Some(FIRST + 10_000), FIRST + 10_000));
    assert_eq!((monotonic(&clip), report.holes.len()), (60, 0));
    let (rest, clip) = shelf.cut("b.mp4", 10.0, 16.0).expect("recorded");
    assert_eq!((rest.from_ms, monotonic(&clip)), (FIRST + 10_000, 60));
}

#[test]
fn damage_costs_the_pictures_up_to_the_next_keyframe_and_is_told() {
    let shelf = Shelf::new(&[Recipe::at(0), Recipe::at(10), Recipe::at(20)]);
    let sidecar = Sidecar::read(&sidecar_path(&shelf.file(0))).expect("there");
    flip(&shelf.file(0), sidecar.fragments[4].offset + sidecar.fragments[4].bytes - 1);
    std::fs::remove_file(shelf.file(1)).expect("there");
    let (report, clip) = shelf.cut("a.mp4", 0.0, 24.0).expect("recorded");
    assert_eq!(holes(&report), [(4_000, 6_000, "damaged"), (10_000, 20_000, "damaged")]);
    assert_eq!((monotonic(&clip), report.duration_ms), (120, 12_000));
}

#[test]
fn a_file_that_is_being_written_is_read_as_far_as_its_sidecar_goes() {
    let mut shelf = Shelf::new(&[Recipe::at(0)]);
    shelf.rows[0].end_ms = None;
    let path = sidecar_path(&shelf.file(0));
    let text = std::fs::read_to_string(&path).expect("there");
    let lines: Vec<&str> = text.lines().collect();
    std::fs::write(&path, lines[..7].join("\n") + "\n" + &lines[7][..30]).expect("writable");
    let (report, clip) = shelf.cut("a.mp4", 3.0, 9.0).expect("recorded");
    assert_eq!((report.from_ms - FIRST, report.to_ms - FIRST), (2_000, 6_000));
    assert_eq!((monotonic(&clip), holes(&report)), (40, vec![(6_000, 9_000, "not_recorded")]));
}
