//! Files as a power cut or a failing disk leaves them: cut off, or with a block of zeros, at every boundary of 512 bytes.
//! Each kind of file has its outcome: what it was or what it became, put aside, or refused with a reason; never a panic,
//! and never the same again at the next start.

use std::path::Path;
use std::time::Duration;

use wardwatch::app::camera::load_cameras_for;
use wardwatch::base::types::{Phase, SegmentState};
use wardwatch::config::load_site;
use wardwatch::detect::manifest::Manifest;
use wardwatch::record::fsck::{self, Depth, Problem};
use wardwatch::record::segment::{self, Sidecar, sidecar_path};
use wardwatch::store::{Settings, Store, sqlite};

use super::post::{new_id, now, open_store, origin, picture, report, with_picture};
use super::segments::Recipe;
use super::wait::until;

const BLOCK: usize = 512;

/// What became of the cases of one file.
#[derive(Debug, Default)]
pub struct Tally {
    pub cases: usize,
    /// Put aside, and begun anew.
    pub aside: usize,
    /// Refused, or named as damaged.
    pub told: usize,
}

/// `bytes` damaged at every `stride`th boundary, cut off there and with the block there zeroed.
fn damaged(bytes: &[u8], stride: usize) -> impl Iterator<Item = (String, Vec<u8>)> {
    (0..bytes.len()).step_by(BLOCK * stride).flat_map(move |at| {
        let mut zeroed = bytes.to_vec();
        zeroed[at..(at + BLOCK).min(bytes.len())].fill(0);
        [(format!("cut at {at}"), bytes[..at].to_vec()), (format!("zeros at {at}"), zeroed)]
    })
}

/// The database and its log, taken from a node that was cut off. `file` is `node.db` or `node.db-wal`.
pub fn database(file: &str, stride: usize) -> Tally {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let life = tempfile::tempdir().expect("a directory");
    const EVENTS: u64 = 12;
    let (database, log) = runtime.block_on(async {
        let (store, _) = open_store(life.path(), 1 << 20);
        let commit = async |store: &Store| {
            let picture = picture(3000);
            let started = with_picture(report(&new_id(), Phase::Started), &picture);
            store.commit(started, Some(picture), now()).await.expect("commits");
        };
        // Half of it is in the database itself, the other half still in the log.
        for _ in 0..EVENTS / 2 {
            commit(&store).await;
        }
        drop(store);
        until("it is closed", Duration::from_secs(30), || !sqlite::in_use(&life.path().join("node.db")));
        let (store, _) = open_store(life.path(), 1 << 20);
        for _ in EVENTS / 2..EVENTS {
            commit(&store).await;
        }
        let read = |name: &str| std::fs::read(life.path().join(name)).expect("there");
        (read("node.db"), read("node.db-wal"))
    });
    let of = if file == "node.db" { &database } else { &log };
    let mut tally = Tally::default();
    for (what, bytes) in damaged(of, stride) {
        let place = tempfile::tempdir().expect("a directory");
        std::fs::write(place.path().join("node.db"), &database).expect("writable");
        std::fs::write(place.path().join("node.db-wal"), &log).expect("writable");
        std::fs::write(place.path().join(file), bytes).expect("writable");
        let open = || {
            let settings = Settings { origin: origin(), snapshot_quota_bytes: 1 << 20, ballast_bytes: 0 };
            let path = place.path().join("node.db");
            // A process that another test is just starting may still hold the lock that it will close.
            until("it is closed", Duration::from_secs(30), || !sqlite::in_use(&path));
            let opened = Store::open(&path, settings, now()).unwrap_or_else(|e| panic!("{file}, {what}: {e}"));
            opened.2
        };
        let first = open();
        tally.cases += 1;
        tally.aside += usize::from(first.quarantined.is_some());
        tally.told += usize::from(first.waiting < EVENTS * 2);
        assert!(first.waiting <= EVENTS * 2, "{file}, {what}: {first:?}");
        let second = open();
        assert_eq!((second.quarantined, second.waiting), (None, first.waiting), "{file}, {what}: at the next start");
    }
    tally
}

/// A recording that was cut off; `sidecar` damages that file instead of the video.
pub fn recording(sidecar: bool, stride: usize) -> Tally {
    let made = tempfile::tempdir().expect("a directory");
    let recipe = Recipe { seconds: 4, ..Recipe::default() };
    let whole = recipe.make(made.path());
    let mp4 = made.path().join(&whole.path);
    let video = std::fs::read(&mp4).expect("there");
    let names = std::fs::read_to_string(sidecar_path(&mp4)).expect("there");
    // Its last line goes: nobody has ended it.
    let names = names.trim_end().rsplit_once('\n').map(|(open, _)| format!("{open}\n")).expect("several lines");
    let mut tally = Tally::default();
    for (what, bytes) in damaged(if sidecar { names.as_bytes() } else { &video }, stride) {
        std::fs::write(&mp4, if sidecar { &video } else { &bytes }).expect("writable");
        std::fs::write(sidecar_path(&mp4), if sidecar { &bytes } else { names.as_bytes() }).expect("writable");
        let found = segment::recover(made.path(), &whole.path).unwrap_or_else(|e| panic!("{what}: {e}"));
        tally.cases += 1;
        if let Some(found) = &found {
            assert_eq!(found.state, SegmentState::Recovered, "{what}");
            assert!((1..=whole.fragments).contains(&found.fragments), "{what}: {found:?}");
            let again = segment::recover(made.path(), &whole.path).expect("the disk is fine");
            assert_eq!(again.as_ref(), Some(found), "{what}: at the next start");
        }
        let lost = found.as_ref().is_none_or(|f| f.fragments < whole.fragments);
        tally.told += usize::from(lost || problems(made.path(), &found.map_or(vec![], |f| vec![f]), &what) > 0);
        tally.aside += usize::from(!mp4.exists());
    }
    tally
}

fn problems(dir: &Path, rows: &[wardwatch::base::types::Segment], what: &str) -> usize {
    let depth = Depth { hashes: true, live: false, now_ms: now().wall_ms };
    let disk = fsck::list(dir, "ngo-1", depth.now_ms).expect("readable");
    let mut found = 0;
    let told = fsck::compare(dir, &disk, rows, depth, &mut |problem| {
        assert!(!matches!(problem, Problem::LeftOpen(_)), "{what}: {problem:?}");
        found += 1;
        Ok(())
    });
    told.unwrap_or_else(|e| panic!("{what}: {e}"));
    found
}

/// A sidecar at every boundary of a byte, not of a block: it is small.
pub fn sidecar_at_every_byte() -> usize {
    let made = tempfile::tempdir().expect("a directory");
    let whole = Recipe { seconds: 2, ..Recipe::default() }.make(made.path());
    let bytes = std::fs::read(sidecar_path(&made.path().join(&whole.path))).expect("there");
    let parsed = Sidecar::parse(&bytes).expect("whole");
    for cut in 0..bytes.len() {
        if let Ok(part) = Sidecar::parse(&bytes[..cut]) {
            assert!(parsed.fragments.starts_with(&part.fragments) && part.closing.is_none(), "cut at {cut}");
        }
    }
    bytes.len()
}

/// Both configuration files: a damaged one is refused with a reason or is still one.
pub fn configuration(stride: usize) -> Tally {
    let root = super::site::root();
    let place = tempfile::tempdir().expect("a directory");
    let mut tally = Tally::default();
    for name in ["wardwatch.example.toml", "cameras.example.toml"] {
        let whole = std::fs::read(root.join(name)).expect("there");
        for (what, bytes) in damaged(&whole, stride) {
            let path = place.path().join("file.toml");
            std::fs::write(&path, bytes).expect("writable");
            let refused = match name {
                "wardwatch.example.toml" => load_site(&path).err(),
                _ => load_cameras_for(&path, &["person"]).err(),
            };
            tally.cases += 1;
            tally.told += usize::from(refused.is_some());
            assert!(refused.is_none_or(|e| !e.message().is_empty()), "{name}, {what}");
        }
    }
    tally
}

/// The detector's file: one that is not what its manifest says is refused before anything reads it.
pub fn model(stride: usize) -> Tally {
    let place = tempfile::tempdir().expect("a directory");
    let name = super::stimulus::model(place.path());
    let manifest = Manifest::read(place.path(), &name).expect("just made");
    let path = place.path().join(format!("{name}.onnx"));
    let whole = std::fs::read(&path).expect("there");
    let mut tally = Tally::default();
    for (what, bytes) in damaged(&whole, stride) {
        let same = bytes == whole;
        std::fs::write(&path, bytes).expect("writable");
        let refused = manifest.read_model(place.path()).is_err();
        assert!(refused || same, "{what}");
        tally.cases += 1;
        tally.told += usize::from(refused);
    }
    tally
}
