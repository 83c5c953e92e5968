//! The scripted stimulus: which events there are, what their reports say, which pictures they have. Pure: everything
//! follows from a seed and an event's number, so that the oracle knows what must be at the centre. The journal is what
//! the worker has said, in order, across its lives.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use wardwatch::base::Stamp;
use wardwatch::base::geometry::{Point, Polygon, RelativeBox};
use wardwatch::base::types::{CameraId, EventReport, PathPoint, Phase, Severity, SnapshotInfo, Zone};

use super::plan::Random;

pub const CAMERAS: [&str; 3] = ["ngo-1", "ngo-2", "ngo-3"];
/// The kind of every scripted event.
pub const KIND: &str = "intrusion";
const WIDTH: u32 = 320;
const HEIGHT: u32 = 240;
/// Different pictures; a comment in each copy makes it one of its own.
const SCENES: u32 = 24;

/// What the script says.
pub struct Script {
    seed: u64,
    scenes: Vec<Vec<u8>>,
}

/// One report of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    pub phase: Phase,
    /// Comes with a new picture.
    pub picture: bool,
}

impl Script {
    pub fn new(seed: u64) -> Self {
        Self { seed, scenes: (0..SCENES).map(|n| scene(seed, n)).collect() }
    }

    fn draw(&self, event: u64) -> Random {
        let mut random = Random::new(self.seed ^ event.wrapping_mul(0x2545_f491_4f6c_dd1d));
        random.draw();
        random
    }

    /// The reports of event `n`, from its start to its end.
    pub fn reports(&self, n: u64) -> Vec<Said> {
        let mut random = self.draw(n);
        let mut one_in = |n: u64| random.below(n) == 0;
        let mut said = vec![Said { phase: Phase::Started, picture: one_in(2) }];
        if one_in(3) {
            said.push(Said { phase: Phase::Updated, picture: one_in(2) });
        }
        said.push(Said { phase: Phase::Ended, picture: one_in(12) });
        said
    }

    pub fn severity(&self, n: u64) -> Severity {
        if self.draw(n).draw().is_multiple_of(3) { Severity::Alert } else { Severity::Notice }
    }

    pub fn id(&self, n: u64) -> String {
        event_id(self.seed, n)
    }

    /// The picture that event `n` has after its report `k` (from 1).
    pub fn picture(&self, n: u64, k: usize) -> Option<Bytes> {
        let newest = (1..=k).rev().find(|k| self.reports(n).get(k - 1).is_some_and(|said| said.picture))?;
        let scene = &self.scenes[(n % u64::from(SCENES)) as usize];
        let text = format!("event {n} report {newest}");
        // After the start-of-image marker a comment may stand.
        let mut jpeg = scene[..2].to_vec();
        jpeg.extend([0xff, 0xfe]);
        jpeg.extend((text.len() as u16 + 2).to_be_bytes());
        jpeg.extend(text.as_bytes());
        jpeg.extend(&scene[2..]);
        Some(jpeg.into())
    }

    /// Report `k` (from 1) of event `n`, and the bytes of its picture if that is new.
    pub fn report(&self, n: u64, k: usize, started_at: Stamp, now: Stamp) -> (EventReport, Bytes) {
        let said = self.reports(n)[k - 1];
        let picture = self.picture(n, k);
        let info = picture.as_ref().map(|jpeg| SnapshotInfo {
            sha256: sha256(jpeg),
            bytes: jpeg.len() as u64,
            width: WIDTH,
            height: HEIGHT,
        });
        let x = (n % 10) as f32 / 10.0;
        let report = EventReport {
            id: self.id(n),
            camera: Some(camera(n)),
            model: "script@00000000".into(),
            rule: "vao".into(),
            kind: KIND.into(),
            message: None,
            phase: said.phase,
            severity: self.severity(n),
            started_at,
            updated_at: now,
            ended_at: (said.phase == Phase::Ended).then_some(now),
            best_at: now,
            arrived_at: now,
            camera_time_ms: None,
            clock_suspect: false,
            zones: vec![Zone {
                name: "giua".into(),
                polygon: Polygon(vec![Point::new(0.2, 0.5), Point::new(0.8, 0.5), Point::new(0.5, 1.0)]),
            }],
            line: None,
            direction: None,
            label: "person".into(),
            score: 0.8,
            count: 1,
            // By these the oracle knows a report again.
            tracks: vec![n, k as u64],
            bbox: RelativeBox { left: x, top: 0.2, right: x + 0.1, bottom: 0.6 },
            path: vec![PathPoint { seconds: 0.0, at: Point::new(x, 0.6) }],
            snapshot: info,
            clip: None,
            config_revision: 1,
        };
        (report, if said.picture { picture.unwrap_or_default() } else { Bytes::new() })
    }
}

pub fn camera(n: u64) -> CameraId {
    CAMERAS[(n % CAMERAS.len() as u64) as usize].parse().expect("a valid name")
}

pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// A UUID that holds the event's number.
pub fn event_id(seed: u64, n: u64) -> String {
    let seed = seed & 0xffff_ffff;
    format!("{seed:08x}-0000-7000-8000-{n:012x}")
}

/// A picture of some 12 kB: a grey street and noise.
fn scene(seed: u64, n: u32) -> Vec<u8> {
    let mut random = Random::new(seed ^ u64::from(n));
    let grain = 16 + u64::from(n % 4) * 16;
    let pixels = image::RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
        let noise = (random.below(grain)) as u8;
        image::Rgb([(x / 2) as u8 + noise / 2, (y / 2) as u8 + noise, 60 + noise])
    });
    let mut jpeg = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 60)
        .encode_image(&pixels)
        .expect("an encoder in memory does not fail");
    jpeg
}

/// What the worker said, in the order in which it went into the socket, by life.
#[derive(Debug, Default)]
pub struct Journal {
    pub lives: Vec<Vec<(u64, usize)>>,
    /// The script was told to end and has said everything.
    pub finished: bool,
}

impl Journal {
    pub fn read(path: &Path) -> Self {
        let mut journal = Self::default();
        let text = std::fs::read_to_string(path).unwrap_or_default();
        // A line that a kill tore has no end.
        for line in text.split_inclusive('\n').filter_map(|l| l.strip_suffix('\n')) {
            let mut words = line.split(' ');
            match (words.next(), words.next(), words.next()) {
                (Some("life"), ..) => journal.lives.push(Vec::new()),
                (Some("said"), Some(n), Some(k)) => {
                    if let (Some(life), Ok(n), Ok(k)) = (journal.lives.last_mut(), n.parse(), k.parse()) {
                        life.push((n, k));
                    }
                }
                (Some("finished"), ..) => journal.finished = true,
                _ => {}
            }
        }
        journal
    }

    /// The number of the first event that was never begun.
    pub fn next_event(&self) -> u64 {
        self.lives.iter().flatten().map(|(n, _)| n + 1).max().unwrap_or(0)
    }

    /// Reports said of each event.
    pub fn said(&self) -> BTreeMap<u64, usize> {
        let mut said = BTreeMap::new();
        for (n, k) in self.lives.iter().flatten() {
            let most = said.entry(*n).or_insert(0);
            *most = (*most).max(*k);
        }
        said
    }
}

/// The worker's end of the journal: a line is with the kernel before its report goes into the socket.
pub struct JournalWriter(File);

impl JournalWriter {
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let mut file = File::options().create(true).append(true).open(path)?;
        // Whatever a predecessor left of a line is ended here.
        file.write_all(format!("\nlife {}\n", std::process::id()).as_bytes())?;
        Ok(Self(file))
    }

    pub fn said(&mut self, n: u64, k: usize) -> std::io::Result<()> {
        self.0.write_all(format!("said {n} {k}\n").as_bytes())
    }

    pub fn finished(&mut self) -> std::io::Result<()> {
        self.0.write_all(b"finished\n")
    }
}
