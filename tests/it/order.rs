//! Nothing is told before it is on disk: node, worker and centre under strace, and the order of what they wrote, synced and
//! sent. What no kill can show, because the page cache survives it, a power cut would.

use std::path::PathBuf;
use std::time::Duration;

use crate::record::{RULE, camera};
use crate::support::broker::Mosquitto;
use crate::support::site::{Process, Site, children, kill, wardwatch};
use crate::support::stimulus::{self, SceneCamera};
use crate::support::trace::{Found, Trace, parse, strace};
use crate::support::wait::until;

/// Each call of interest costs two switches to the tracer.
const LONG: Duration = Duration::from_secs(120);

/// A process of the real binary below its tracer.
struct Traced {
    process: Process,
    trace: PathBuf,
}

impl Traced {
    /// `None` where a process may not be traced.
    fn start(site: &Site, role: &str, config: &std::path::Path) -> Option<Self> {
        let trace = site.path(&format!("{role}.trace"));
        let mut command = strace(&trace)?;
        command.arg(wardwatch().get_program()).arg("run").arg("--config").arg(config).env_remove("RUST_LOG");
        Some(Self { process: site.start(command, config), trace })
    }

    /// Stops the program in order; strace ends with it, with its exit code.
    fn stop(mut self) -> Trace {
        let program = children(self.process.pid());
        kill(program[0], "TERM");
        assert_eq!(self.process.exit_code(), 0);
        Trace(parse(&String::from_utf8_lossy(&std::fs::read(self.trace).expect("written"))))
    }
}

fn in_order(what: &str, found: &Found, at_least: usize) {
    assert!(
        found.violations.is_empty(),
        "{what}: {} of {}: {:#?}",
        found.violations.len(),
        found.cases,
        found.violations
    );
    assert!(found.cases >= at_least, "{what}: only {} cases were seen", found.cases);
}

#[test]
fn nothing_is_published_receipted_or_indexed_before_it_is_on_disk() {
    const WALKS: u32 = 2;
    let site = Site::new();
    let model = stimulus::model(&site.path("models"));
    let scene = stimulus::scene(&site.path(""), WALKS);
    let broker = Mosquitto::start("");
    let mqtt = format!("host = \"127.0.0.1\"\nport = {}\n", broker.port);
    let record = "[record]\ndisk_floor_mb = 0\nsegment_seconds = 2\n";
    let node_config = site.write("node.toml", &(site.common(&model) + &site.node("", &mqtt) + record));
    let centre_config = site.write("centre.toml", &(site.common(&model) + &site.centre(&mqtt)));
    let Some(centre) = Traced::start(&site, "centre", &centre_config) else { return };
    // Of two cameras with the same pictures a recording's hash would not say whose it is.
    let large = site.path("large.mp4");
    stimulus::enlarge(&scene, &large);
    let [shown, other] = SceneCamera::together([&scene, &large]);
    let rule = format!("{RULE}pre_roll_seconds = 1\npost_roll_seconds = 1\n");
    let document = |id: &str, url: &str| camera(id, url, "continuous").replace("fps = 5", "fps = 10") + &rule;
    // The clips of the second are made anew by a process of its own.
    let mask = "[[camera.mask]]\npolygon = [[0.0, 0.0], [0.2, 0.0], [0.2, 0.2]]\n";
    let (one, two) = (document("ngo-1", &shown.url()), document("ngo-2", &other.url()));
    site.write("cameras.toml", &format!("revision = 1\n{one}{two}{mask}"));
    let Some(node) = Traced::start(&site, "node", &node_config) else { return };
    let ended = "SELECT COUNT(*) FROM event WHERE phase = 'ended' AND snapshot IS NOT NULL";
    until("events made the whole trip", LONG, || site.number("centre/centre.db", ended) >= Some(1));
    let closed = "SELECT COUNT(*) FROM segment WHERE state = 'closed'";
    until("recordings were ended", LONG, || site.number("node/node.db", closed) >= Some(3));
    let clips = "SELECT sha256 FROM clip WHERE complete = 1";
    let of_both = "SELECT COUNT(DISTINCT masked) FROM clip WHERE complete = 1";
    until("a clip was made of each", LONG, || site.number("node/node.db", of_both) == Some(2));
    let outbox = "SELECT COUNT(*) FROM outbox";
    until("everything is receipted", LONG, || site.number("node/node.db", outbox) == Some(0));
    let (node, centre) = (node.stop(), centre.stop());

    in_order("events", &node.events_are_published_after_their_commit(), 2);
    in_order("pictures", &node.pictures_are_published_after_their_commit(), 1);
    in_order("receipts", &centre.receipts_follow_what_they_name(), 3);
    let rows = site.rows("node/node.db", "SELECT path, sha256 FROM segment WHERE state = 'closed'").expect("readable");
    let segments: Vec<(String, String)> = rows.into_iter().map(|r| (r[0].clone(), r[1].clone())).collect();
    in_order("recordings", &node.segment_rows_follow_their_files(&segments), 3);
    let rows = site.rows("node/node.db", clips).expect("readable");
    let clips: Vec<String> = rows.into_iter().map(|r| r[0].clone()).collect();
    in_order("clips", &node.clip_rows_follow_their_files(&clips), 2);
    what_is_out_of_order_is_seen(node, centre, &segments, &clips);
}

/// The same traces as if no sync had ever come back in time: every rule must object to every case.
fn what_is_out_of_order_is_seen(mut node: Trace, mut centre: Trace, segments: &[(String, String)], clips: &[String]) {
    for call in node.0.iter_mut().chain(&mut centre.0).filter(|c| c.name.ends_with("sync")) {
        call.ended = usize::MAX;
    }
    for found in [
        node.events_are_published_after_their_commit(),
        node.pictures_are_published_after_their_commit(),
        centre.receipts_follow_what_they_name(),
        node.segment_rows_follow_their_files(segments),
        node.clip_rows_follow_their_files(clips),
    ] {
        assert_eq!(found.violations.len(), found.cases);
    }
}

const ID: &str = "0198b1c2-0000-7000-8000-000000000001";

fn sha() -> String {
    "ab".repeat(32)
}

/// A trace in order: a commit, its publishing; a picture, its row, both receipts; a recording and its row.
fn lines() -> Vec<String> {
    let event = format!(
        "{{\\\"schema\\\":\\\"wardwatch.event/1\\\",\\\"id\\\":\\\"{ID}\\\",\\\"revision\\\":1,\\\"seq\\\":7,\\\"x\\\":0"
    );
    let sha = sha();
    let receipt = format!("{{\\\"events\\\":[[\\\"{ID}\\\",1]],\\\"snapshots\\\":[\\\"{sha}\\\"]}}");
    vec![
        format!("10 pwrite64(5</s/node.db-wal>, \"\\0\\15{event}{sha}\", 99, 0) = 99"),
        "10 fdatasync(5</s/node.db-wal> <unfinished ...>".into(),
        "11 write(2</s/node.log>, \"x\", 1) = 1".into(),
        "10 <... fdatasync resumed>)       = 0".into(),
        format!("11 sendto(9<socket:[77]>, \"0\\377{event}\", 99, MSG_NOSIGNAL, NULL, 0) = 99"),
        format!("11 sendto(9<socket:[77]>, \"event-id&\\0\\6sha256\\0@{sha}\\377\", 99, MSG_NOSIGNAL, NULL, 0) = 99"),
        format!("20 write(7</c/snapshots/ab/ab/.{sha}.part>, \"\\377\\330\", 2) = 2"),
        format!("20 fdatasync(7</c/snapshots/ab/ab/.{sha}.part>) = 0"),
        format!("20 rename(\"/c/snapshots/ab/ab/.{sha}.part\", \"/c/snapshots/ab/ab/{sha}.jpg\") = 0"),
        "20 fsync(8</c/snapshots/ab/ab>)  = 0".into(),
        format!("20 pwrite64(6</c/centre.db-wal>, \"{event}\", 99, 0) = 99"),
        format!("20 pwrite64(6</c/centre.db-wal>, \"{sha}\", 99, 99) = 99"),
        "20 fdatasync(6</c/centre.db-wal>) = 0".into(),
        format!("21 sendto(9<TCP:[127.0.0.1:1->127.0.0.1:2]>, \"{receipt}\", 99, 0, NULL, 0) = 99"),
        "30 write(4</s/record/ngo-1/20261124/1-0.mp4>, \"moof\", 4) = 4".into(),
        "30 fdatasync(4</s/record/ngo-1/20261124/1-0.mp4>) = 0".into(),
        "30 write(3</s/record/ngo-1/20261124/1-0.json>, \"{}\", 2) = 2".into(),
        "30 fdatasync(3</s/record/ngo-1/20261124/1-0.json>) = 0".into(),
        "30 fsync(2</s/record/ngo-1/20261124>) = 0".into(),
        format!("10 pwrite64(5</s/node.db-wal>, \"{}\", 64, 0) = 64", "cd".repeat(32)),
        "10 write(12</s/record/.clips/.wardwatch-clip-x>, \"moof\", 4) = 4".into(),
        "10 fdatasync(12</s/record/.clips/.wardwatch-clip-x>) = 0".into(),
        "10 renameat2(AT_FDCWD</>, \"/s/record/.clips/.wardwatch-clip-x\", AT_FDCWD</>, \"/s/record/.clips/1.mp4\", RENAME_NOREPLACE) = 0".into(),
        format!("10 rename(\"/s/record/.clips/1.mp4\", \"/s/record/.clips/ef/{}.mp4\") = 0", "ef".repeat(32)),
        "10 fsync(12</s/record/.clips/ef>) = 0".into(),
        format!("10 pwrite64(5</s/node.db-wal>, \"{}\", 64, 0) = 64", "ef".repeat(32)),
    ]
}

/// How many cases each rule saw, and to how many it objects.
fn judged(lines: &[String]) -> [(usize, usize); 5] {
    let trace = Trace(parse(&lines.join("\n")));
    [
        trace.events_are_published_after_their_commit(),
        trace.pictures_are_published_after_their_commit(),
        trace.receipts_follow_what_they_name(),
        trace.segment_rows_follow_their_files(&[("ngo-1/20261124/1-0.mp4".into(), "cd".repeat(32))]),
        trace.clip_rows_follow_their_files(&["ef".repeat(32)]),
    ]
    .map(|found| (found.cases, found.violations.len()))
}

#[test]
fn the_checker_sees_each_step_that_comes_too_late() {
    let good = lines();
    assert_eq!(judged(&good), [(1, 0), (1, 0), (2, 0), (1, 0), (1, 0)]);
    // One step at a time is moved to the end, as if it came after what depends on it; and none may fail.
    for (step, objections) in [
        (0, [1, 1, 0, 0, 0]),
        (3, [1, 1, 0, 0, 0]),
        (6, [0, 0, 1, 0, 0]),
        (7, [0, 0, 1, 0, 0]),
        (8, [0, 0, 1, 0, 0]),
        (9, [0, 0, 1, 0, 0]),
        (10, [0, 0, 1, 0, 0]),
        (11, [0, 0, 1, 0, 0]),
        (12, [0, 0, 2, 0, 0]),
        (14, [0, 0, 0, 1, 0]),
        (15, [0, 0, 0, 1, 0]),
        (16, [0, 0, 0, 1, 0]),
        (17, [0, 0, 0, 1, 0]),
        (18, [0, 0, 0, 1, 0]),
        (20, [0, 0, 0, 0, 1]),
        (21, [0, 0, 0, 0, 1]),
        (22, [0, 0, 0, 0, 1]),
        (23, [0, 0, 0, 0, 1]),
        (24, [0, 0, 0, 0, 1]),
    ] {
        let mut late = good.clone();
        let line = late.remove(step);
        late.push(line);
        assert_eq!(judged(&late).map(|(_, violations)| violations), objections, "late: {}", good[step]);
        let mut failed = good.clone();
        let (call, _) = good[step].rsplit_once(" = ").expect("it came back");
        failed[step] = format!("{call} = -1 EIO (Input/output error)");
        assert_eq!(judged(&failed).map(|(_, violations)| violations), objections, "failed: {}", good[step]);
    }
}
