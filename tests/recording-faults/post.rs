//! A node that records and has no rules, no broker, and a small detector that it does not need; looks at its index and
//! files from outside.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use wardwatch::base::Clock;
use wardwatch::base::clock::SystemClock;
use wardwatch::record::segment::{Sidecar, sidecar_path};

use crate::cameras::{Cameras, FPS};
use crate::support::site::{Process, Site, free_port, get, wardwatch};
use crate::support::stimulus;
use crate::support::wait::until_or;

pub const LONG: Duration = Duration::from_secs(90);
const DATABASE: &str = "node/node.db";

pub fn now_ms() -> i64 {
    SystemClock.now().wall_ms
}

/// See the module.
pub struct Post {
    pub site: Site,
    config: PathBuf,
    cameras: usize,
}

/// A file of the index.
#[derive(Clone, Debug)]
pub struct Row {
    pub path: String,
    pub start_ms: i64,
    pub end_ms: i64,
}

impl Post {
    /// A post whose camera `c<n>` is at `ports[n]`.
    pub fn new(ports: &[u16], per_worker: usize) -> Self {
        let site = Site::new();
        let model = stimulus::model(&site.path("models"));
        let mqtt = format!("host = \"127.0.0.1\"\nport = {}\n", free_port());
        let node = site.node(&format!("cameras_per_worker = {per_worker}\n"), &mqtt);
        let config = site.write("node.toml", &(site.common(&model) + &node + "[record]\ndisk_floor_mb = 0\n"));
        let camera = |(n, port): (usize, &u16)| {
            format!(
                "[[camera]]\nid = \"c{n}\"\n[camera.detect]\nurl = \"{}\"\n[camera.recording]\nmode = \"continuous\"\n",
                Cameras::url(*port)
            )
        };
        let cameras: String = ports.iter().enumerate().map(camera).collect();
        site.write("cameras.toml", &format!("revision = 1\n{cameras}"));
        Self { site, config, cameras: ports.len() }
    }

    pub fn run(&self) -> Process {
        self.site.run(&self.config)
    }

    /// Files of camera `c<n>`, oldest first.
    pub fn rows(&self, n: usize) -> Vec<Row> {
        let sql =
            format!("SELECT path, start_ms, COALESCE(end_ms, 0) FROM segment WHERE camera = 'c{n}' ORDER BY start_ms");
        let rows = self.site.rows(DATABASE, &sql).unwrap_or_default();
        let number = |text: &str| text.parse().expect("a number");
        let row = |r: Vec<String>| Row { path: r[0].clone(), start_ms: number(&r[1]), end_ms: number(&r[2]) };
        rows.into_iter().map(row).collect()
    }

    pub fn count(&self, wanted: &str) -> i64 {
        self.site.number(DATABASE, &format!("SELECT COUNT(*) FROM segment WHERE {wanted}")).unwrap_or(-1)
    }

    /// Waits until every camera has a growing file that was begun after `since_ms`.
    pub fn all_record(&self, since_ms: i64) {
        let sql = format!("SELECT COUNT(DISTINCT camera) FROM segment WHERE state = 'open' AND start_ms >= {since_ms}");
        let recording = || self.site.number(DATABASE, &sql).unwrap_or(0);
        let said = || format!("{} of {} cameras record", recording(), self.cameras);
        until_or(said, LONG, || recording() == self.cameras as i64);
    }

    pub fn file(&self, row: &Row) -> PathBuf {
        self.site.path("node/record").join(&row.path)
    }

    pub fn sidecar(&self, row: &Row) -> Sidecar {
        Sidecar::read(&sidecar_path(&self.file(row))).expect("readable")
    }

    /// Decodes every picture of a file; what is wrong with it, if anything is.
    pub fn plays(&self, row: &Row) -> Option<String> {
        let path = self.file(row);
        let pictures = match decoded(&path) {
            Ok(pictures) => pictures,
            Err(why) => return Some(format!("{}: {why}", row.path)),
        };
        let named: f64 = self.sidecar(row).fragments.iter().map(|f| f.duration_ns as f64 / 1e9).sum();
        let expected = named * f64::from(FPS);
        let differs = (pictures - expected).abs() > 2.0;
        differs.then(|| format!("{}: {pictures} pictures in {named:.2} s", row.path))
    }

    /// `wardwatch fsck` with every hash; what it found, if it found anything.
    pub fn fsck(&self) -> Option<String> {
        let done = wardwatch().arg("fsck").arg("--config").arg(&self.config).output().expect("runs");
        let text = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
        (done.status.code() != Some(0)).then_some(text)
    }

    /// Cameras whose state is `state` by the node's metrics.
    pub fn cameras_in(&self, state: &str) -> Vec<usize> {
        let body = get(self.site.node_port, "/metrics").map(|(_, body)| body).unwrap_or_default();
        let end = format!("\",state=\"{state}\"}} 1");
        let name = |line: &str| {
            line.strip_prefix("wardwatch_camera_state{camera=\"c")?.strip_suffix(end.as_str())?.parse().ok()
        };
        body.lines().filter_map(name).collect()
    }
}

fn decoded(path: &Path) -> Result<f64, String> {
    let out = Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0"])
        .arg(path)
        .output()
        .expect("ffprobe is installed");
    if !out.status.success() || !out.stderr.is_empty() {
        return Err(String::from_utf8_lossy(&out.stderr).trim().to_owned());
    }
    String::from_utf8_lossy(&out.stdout).trim().trim_end_matches(',').parse().map_err(|_| "no pictures".to_owned())
}
