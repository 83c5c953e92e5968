//! `wardwatch replay` as a user calls it: the shipped example configuration, the real street clip, the real model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::support::site::{root, wardwatch};

const CLIP: &str = ".cache/footage/vtest.avi";

struct Replayed {
    events: String,
    mot: String,
    /// Hash of every snapshot by name.
    snapshots: BTreeMap<String, String>,
}

fn replay(arguments: &[&str]) -> Replayed {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| dir.path().join(name);
    let output = wardwatch()
        .current_dir(root())
        .args(["replay", CLIP, "--config", "wardwatch.example.toml", "--start", "2026-11-24T02:00:00+07:00"])
        .args(arguments)
        .arg("--events")
        .arg(path("events.jsonl"))
        .arg("--mot")
        .arg(path("mot.txt"))
        .arg("--snapshots")
        .arg(path("shots"))
        .output()
        .expect("the binary is built");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |name: &str| std::fs::read_to_string(path(name)).expect("written");
    Replayed { events: read("events.jsonl"), mot: read("mot.txt"), snapshots: hashes(&path("shots")) }
}

fn hashes(dir: &Path) -> BTreeMap<String, String> {
    let files = std::fs::read_dir(dir).expect("the directory is there");
    let paths: Vec<PathBuf> = files.map(|f| f.expect("readable").path()).collect();
    paths
        .iter()
        .map(|p| {
            let jpeg = std::fs::read(p).expect("readable");
            image::load_from_memory(&jpeg).expect("it decodes");
            let name = p.file_name().expect("a file").to_string_lossy().into_owned();
            (name, hex::encode(Sha256::digest(&jpeg)))
        })
        .collect()
}

/// Rows of the first `frames` frames.
fn rows(mot: &str, frames: u32) -> Vec<&str> {
    let frame = |row: &&str| row.split(',').next().and_then(|f| f.parse::<u32>().ok()).expect("a frame number");
    mot.lines().filter(|row| frame(row) <= frames).collect()
}

#[test]
fn the_street_gives_the_same_events_twice_and_its_beginning_does_not_know_the_rest() {
    let camera = ["--camera", "ngo-12-dau"];
    let whole = replay(&camera);
    let again = replay(&camera);
    assert_eq!(whole.events, again.events);
    assert_eq!(whole.mot, again.mot);
    assert_eq!(whole.snapshots, again.snapshots);

    let kinds: std::collections::BTreeSet<String> = whole
        .events
        .lines()
        .map(|line| {
            let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
            assert!(event["started_at"].as_str().expect("text").starts_with("2026-11-24T02:0"), "{event}");
            event["kind"].as_str().expect("text").to_owned()
        })
        .collect();
    let expected = ["intrusion", "line_crossing", "loitering"].map(str::to_owned);
    assert_eq!(kinds, expected.into(), "each kind of the example happens on the street");
    assert!(!whole.snapshots.is_empty());
    for row in whole.mot.lines() {
        let fields: Vec<f32> = row.split(',').map(|f| f.parse().expect("a number")).collect();
        assert_eq!(fields.len(), 10, "{row}");
        let (left, top, width, height) = (fields[2], fields[3], fields[4], fields[5]);
        assert!(left >= 0.0 && top >= 0.0 && left + width <= 768.01 && top + height <= 576.01, "{row}");
    }

    let beginning = replay(&["--camera", "ngo-12-dau", "--frames", "150"]);
    assert_eq!(rows(&beginning.mot, 150), rows(&whole.mot, 150));
}

#[test]
fn a_camera_that_is_not_there_is_named_with_those_that_are() {
    let output = wardwatch()
        .current_dir(root())
        .args(["replay", CLIP, "--config", "wardwatch.example.toml", "--camera", "nobody"])
        .output()
        .expect("the binary is built");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("nobody") && text.contains("ngo-12-dau"), "{text}");
}
