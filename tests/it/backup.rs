//! `wardwatch backup` and `wardwatch restore` on real sites: taken while events flow, put elsewhere, started again beside a
//! centre that went on meanwhile; damaged and hostile archives; places that are taken; what must not be seen.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use sha2::{Digest, Sha256};
use wardwatch::app::backup::backup;
use wardwatch::app::restore::{Target, restore};
use wardwatch::base::{Error, ErrorKind};

use crate::event_clips::camera;
use crate::support::broker::Mosquitto;
use crate::support::site::{Process, Site, free_port, metric, wardwatch};
use crate::support::stimulus::{self, SceneCamera};
use crate::support::wait::until;

const LONG: Duration = Duration::from_secs(60);
const CANARY: &str = "mat-khau-camera-7f3a";

fn run(arguments: &[&str]) -> Output {
    wardwatch().args(arguments).env_remove("RUST_LOG").output().expect("the binary is built")
}

/// Both streams of a command that has the exit code `code`.
fn said(output: &Output, code: i32) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8(text).expect("text");
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).permissions().mode() & 0o777
}

/// A node whose camera shows walks, and its centre, with everything a backup is of.
struct Post {
    site: Site,
    config: PathBuf,
    node: Process,
    centre: Process,
    _shown: SceneCamera,
    _broker: Mosquitto,
}

impl Post {
    fn start() -> Self {
        let site = Site::new();
        let model = stimulus::model(&site.path("models"));
        let scene = stimulus::scene(&site.path(""), 12);
        let (broker, door) = (Mosquitto::start(""), free_port());
        let mqtt = format!("host = \"127.0.0.1\"\nport = {}\n", broker.port);
        let common = site.common(&model);
        let link = format!("[centre.link]\nlisten = \"127.0.0.1:{door}\"\n");
        let at_centre = site.write("centre.toml", &(common.clone() + &site.centre(&mqtt) + &link));
        let link = format!("[node.link]\nurl = \"http://127.0.0.1:{door}\"\n[record]\ndisk_floor_mb = 0\n");
        let config = site.write("node.toml", &(common + &site.node("", &mqtt) + &link));
        let shown = SceneCamera::start(&scene, Some(("viewer".into(), CANARY.into())));
        let url = shown.url().replace("rtsp://", &format!("rtsp://viewer:{CANARY}@"));
        site.write("cameras.toml", &format!("revision = 1\n{}", camera("ngo-1", &url, "continuous", "")));
        let centre = site.run(&at_centre);
        until("the centre's door is open", LONG, || std::net::TcpStream::connect(("127.0.0.1", door)).is_ok());
        let code = run(&["enrol-code", "--config", text(&at_centre), "--node", "node-1"]);
        let code = String::from_utf8(code.stdout).expect("text").lines().next().expect("a code").to_owned();
        said(&run(&["enrol", "--config", text(&config), "--code", &code]), 0);
        let node = site.run(&config);
        Self { site, config, node, centre, _shown: shown, _broker: broker }
    }

    fn count(&self, database: &str, sql: &str) -> i64 {
        self.site.number(database, sql).unwrap_or(-1)
    }

    /// Every revision that the centre has of events of the camera.
    fn revisions(&self) -> Vec<Vec<String>> {
        let sql = "SELECT r.id, r.revision, r.json FROM revision r JOIN event e ON e.id = r.id AND e.node = r.node
                   WHERE e.camera <> '' ORDER BY r.id, r.revision";
        self.site.rows("centre/centre.db", sql).expect("the centre's database")
    }
}

const OPEN: &str = "SELECT COUNT(*) FROM event WHERE phase <> 'ended' AND camera <> ''";
const WHOLE: &str = "SELECT COUNT(*) FROM clip WHERE complete = 1 AND delivered_ms IS NOT NULL";
const SEQ: &str = "SELECT value FROM meta WHERE key = 'seq'";

#[test]
fn a_node_restored_elsewhere_goes_on_where_its_centre_is() {
    let mut post = Post::start();
    let archive = post.site.path("backup.tar");
    until("an event has its clip at the centre", LONG, || post.count("node/node.db", WHOLE) == 1);
    let (from, to) = ("2026-01-01T00:00:00+07:00", "2036-01-01T00:00:00+07:00");
    let config = text(&post.config).to_owned();
    let hold = ["hold", "--config", &config, "--camera", "ngo-1", "--from", from, "--to", to, "--reason", "case 17"];
    said(&run(&hold), 0);

    // Messages that are sent and not receipted are in the backup, and come again.
    post.centre.signal("STOP");
    until("another event is open", LONG, || post.count("node/node.db", OPEN) == 1);
    let report = said(&run(&["backup", "--config", &config, "-o", text(&archive)]), 0);
    let at_backup = post.count("node/node.db", SEQ);
    post.centre.signal("CONT");
    assert!(report.contains("node/node.db") && report.contains("not in it"), "{report}");
    assert_eq!(mode(&archive), 0o600);
    let bytes = std::fs::read(&archive).expect("it is there");
    assert!(bytes.windows(CANARY.len()).any(|w| w == CANARY.as_bytes()), "the camera's password is in the archive");

    let refused = said(&run(&["restore", "--from", text(&archive), "--config", &config, "--force"]), 1);
    assert!(refused.contains("is running"), "{refused}");
    until("the event has ended, and all of it is at the centre", LONG, || {
        post.count("node/node.db", OPEN) == 0
            && post.count("node/node.db", WHOLE) >= 2
            && post.count("node/node.db", "SELECT COUNT(*) FROM outbox") == 0
    });
    post.node.signal("TERM");
    assert_eq!(post.node.exit_code(), 0);
    until("nothing more comes", LONG, || {
        let sql = "SELECT COUNT(*) FROM event WHERE phase <> 'ended' AND camera <> ''";
        post.count("centre/centre.db", sql) == 0
    });
    let (before, used) = (post.revisions(), post.count("node/node.db", SEQ));
    assert!(used > at_backup, "numbers were given out after the backup");

    let elsewhere = post.site.path("elsewhere");
    let restored = said(&run(&["restore", "--from", text(&archive), "--to", text(&elsewhere)]), 0);
    assert!(restored.contains("1 events were open"), "{restored}");
    for (said, what) in [(&report, "backup"), (&refused, "refusal"), (&restored, "restore"), (&post.node.log(), "log")]
    {
        assert!(!said.contains(CANARY), "the camera's password stands in the {what}");
    }
    for (name, wanted) in [("node/node.db", 0o600), ("node/link.json", 0o600), ("node", 0o700)] {
        assert_eq!(mode(&elsewhere.join(name)), wanted, "{name}");
    }
    assert_eq!(mode(&elsewhere.join("cameras.toml")) & 0o137, 0, "nobody but owner and group");
    let identity = |dir: &Path| std::fs::read(dir.join("node/link.json")).expect("enrolled");
    assert_eq!(identity(&elsewhere), identity(&post.site.path("")));
    let seq = post.count("elsewhere/node/node.db", SEQ);
    assert!(seq > used && seq > 1_700_000_000_000, "{seq}");
    assert!(post.count("elsewhere/node/node.db", "SELECT COUNT(*) FROM outbox") > 0, "something is to come again");
    goes_on(&post, &elsewhere, &before, seq);
}

/// The node in `elsewhere` delivers what happens now, contradicts nothing of what the centre has, and keeps its holds.
fn goes_on(post: &Post, elsewhere: &Path, before: &[Vec<String>], seq: i64) {
    let known: Vec<&str> = before.iter().map(|r| r[0].as_str()).collect();
    let fresh = |r: &[String]| !known.contains(&r[0].as_str());
    std::os::unix::fs::symlink(post.site.path("models"), elsewhere.join("models")).expect("writable");
    let config = elsewhere.join("wardwatch.toml");
    let mut node = post.site.run(&config);
    until("a new event made the whole trip", LONG, || {
        post.revisions().iter().any(|r| fresh(r) && r[2].contains("\"phase\":\"ended\""))
    });
    let delivered = "SELECT COUNT(*) FROM clip WHERE complete = 1";
    let clips = format!("SELECT COUNT(*) FROM clip WHERE event NOT IN ('{}')", known.join("','"));
    until("its clip was delivered by the old secret", LONG, || post.count("centre/centre.db", &clips) > 0);
    until("nothing waits", LONG, || post.count("elsewhere/node/node.db", "SELECT COUNT(*) FROM outbox") == 0);

    let after = post.revisions();
    let old: Vec<&Vec<String>> = after.iter().filter(|r| !fresh(r)).collect();
    assert_eq!(old, before.iter().collect::<Vec<_>>(), "of the old events the centre has what it had");
    let numbered = "SELECT MIN(json_extract(json, '$.seq')) FROM revision WHERE id NOT IN";
    let first = post.count("centre/centre.db", &format!("{numbered} ('{}')", known.join("','")));
    assert!(first > seq, "{first} was given out before");
    let of = |name: &str| metric(post.site.centre_port, name).unwrap_or(0.0);
    assert_eq!(of("wardwatch_centre_refused_total{reason=\"conflict\"}"), 0.0);
    assert!(of("wardwatch_centre_duplicates_total{kind=\"event\"}") > 0.0, "what was not receipted came again");
    let holds = said(&run(&["hold", "--config", text(&config), "--list"]), 0);
    assert!(holds.contains("case 17"), "{holds}");

    // Files of the old place were not in the backup: the next start forgets their rows, and no others.
    node.signal("TERM");
    assert_eq!(node.exit_code(), 0);
    let mut node = post.site.run(&config);
    let gone = |table: &str, dir: &str| -> usize {
        let rows = post.site.rows("elsewhere/node/node.db", &format!("SELECT path FROM {table}")).unwrap_or_default();
        rows.iter().filter(|r| !elsewhere.join(dir).join(&r[0]).exists()).count()
    };
    until("only what is there is in the index", LONG, || {
        gone("clip", "node/record/.clips") == 0 && gone("segment", "node/record") == 0
    });
    assert!(post.count("elsewhere/node/node.db", delivered) > 0, "the new clip is");
    node.signal("TERM");
    assert_eq!(node.exit_code(), 0);
}

/// Node, centre and broker in one directory, with passwords in files, that ran for a moment.
fn whole() -> (Site, PathBuf) {
    let site = Site::new();
    let model = stimulus::model(&site.path("models"));
    let (node, centre) = (site.node("", ""), site.centre(""));
    let roles = (node + &centre).replace("[node.mqtt]\n", "").replace("[centre.mqtt]\n", "");
    let broker = "[broker]\nport = 0\nstate_dir = \"broker\"\n";
    let config = site.write("wardwatch.toml", &(site.common(&model) + broker + &roles));
    let inside = site.write("camera.password", &format!("{CANARY}\n"));
    let camera = camera("ngo-1", &format!("rtsp://127.0.0.1:{}/x", free_port()), "off", "");
    let secret = format!("user = \"viewer\"\npassword = \"file:{}\"\n", inside.display());
    let camera = camera.replace("[camera.detect]\n", &format!("[camera.detect]\n{secret}"));
    site.write("cameras.toml", &format!("revision = 1\n{camera}"));
    let both = site.run(&config);
    until("it runs", LONG, || site.number("centre/centre.db", "SELECT COUNT(*) FROM camera").unwrap_or(0) == 1);
    assert_eq!(both.stop(), 0);
    (site, config)
}

fn write_backup(config: &Path, to: &Path) {
    let mut nothing = std::io::sink();
    backup(config, to, &mut nothing, &mut std::io::sink()).expect("it is written");
}

fn into(archive: &Path, directory: &Path) -> Result<String, Error> {
    let mut out = Vec::new();
    let target = Target::Directory(directory.to_owned());
    restore(archive, &target, false, &mut out, &mut std::io::sink())?;
    Ok(String::from_utf8(out).expect("text"))
}

#[test]
fn what_is_there_is_left_alone_or_put_aside_and_a_whole_site_starts_again() {
    let (site, config) = whole();
    let archive = site.path("backup.tar");
    let report = said(&run(&["backup", "--config", text(&config), "-o", text(&archive)]), 0);
    for member in ["wardwatch.toml", "cameras.toml", "node/node.db", "centre/centre.db", "broker/credentials", "keys/0"]
    {
        assert!(report.contains(member), "{member}: {report}");
    }
    for left in ["centre/snapshots", "centre/clips", "node/record"] {
        assert!(report.contains(left), "{left}: {report}");
    }
    let again = said(&run(&["backup", "--config", text(&config), "-o", text(&archive)]), 2);
    assert!(again.contains("already"), "{again}");
    let leftovers: Vec<_> = std::fs::read_dir(site.path("")).expect("a directory").flatten().collect();
    assert!(!leftovers.iter().any(|e| e.file_name().to_string_lossy().starts_with(".wardwatch-backup")));

    // The machine has gone on since; its configuration was edited, its password file lost.
    let secrets = |name: &str| std::fs::read(site.path(name)).expect(name);
    let broker = secrets("broker/credentials");
    std::fs::remove_file(site.path("camera.password")).expect("there");
    std::fs::write(site.path("broker/credentials"), "node:other\n").expect("writable");
    let database = secrets("node/node.db");
    let refused = said(&run(&["restore", "--from", text(&archive), "--config", text(&config)]), 2);
    assert!(refused.contains("node.db") && refused.contains("--force"), "{refused}");
    assert!(secrets("node/node.db") == database, "nothing was touched");
    assert!(!site.path("camera.password").exists() && !site.path("node/node.db.restoring").exists());

    // A clip that was made after the backup: the restored index does not know it, and it is no leftover.
    let clip = site.path(&format!("node/record/.clips/ab/{}.mp4", "ab".repeat(32)));
    std::fs::create_dir_all(clip.parent().expect("has one")).expect("writable");
    std::fs::write(&clip, "a clip").expect("writable");
    let restored = said(&run(&["restore", "--from", text(&archive), "--config", text(&config), "--force"]), 0);
    let aside = |name: &str| {
        let (dir, start) = (site.path(name), format!("{}.before-restore-", name.rsplit('/').next().expect("a name")));
        let entries = std::fs::read_dir(dir.parent().expect("has one")).expect("a directory").flatten();
        let number = |name: &str| name.strip_prefix(&start).is_some_and(|ms| ms.parse::<u64>().is_ok());
        let mut found = entries.filter(|e| number(&e.file_name().to_string_lossy()));
        found.next().map(|e| e.path())
    };
    let old = std::fs::read(aside("node/node.db").expect("it was put aside")).expect("there");
    assert!(old == database, "what was put aside is what was there");
    assert_eq!(aside("cameras.toml"), None, "what is the same stays where it is");
    assert_eq!(secrets("broker/credentials"), broker);
    assert_eq!(secrets("camera.password"), format!("{CANARY}\n").as_bytes());
    assert!(restored.contains("ARE LOST"), "what a centre has lost is said: {restored}");
    assert!(![report, refused, restored].iter().any(|said| said.contains(CANARY)));

    let both = site.run(&config);
    until("node and centre found each other", LONG, || {
        metric(site.node_port, "wardwatch_broker_connected") == Some(1.0)
            && site.number("centre/centre.db", "SELECT COUNT(*) FROM node WHERE state = 'online'") == Some(1)
    });
    assert_eq!(both.stop(), 0);
    assert!(clip.exists(), "what was made after the backup stays on the disk");
}

#[test]
fn an_archive_that_is_not_what_it_was_is_refused_before_anything_is_touched() {
    let (site, config) = whole();
    let (archive, torn, to) = (site.path("backup.tar"), site.path("torn.tar"), site.path("to"));
    write_backup(&config, &archive);
    let good = std::fs::read(&archive).expect("it is there");
    let refused = |bytes: &[u8], what: &str| {
        std::fs::write(&torn, bytes).expect("writable");
        let error = into(&torn, &to).err().unwrap_or_else(|| panic!("{what}: it was taken"));
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
        assert!(!to.exists(), "{what}: something was written");
    };
    for end in (0..good.len()).step_by(512) {
        refused(&good[..end], &format!("cut off at {end}"));
    }
    for at in (0..good.len() - 1024).step_by(512) {
        let mut flipped = good.clone();
        flipped[at] ^= 0x40;
        refused(&flipped, &format!("a bit at {at}"));
    }
    refused(&[&good[..], &[0; 512]].concat(), "something after its end");
    refused(b"", "nothing");
    assert!(into(&archive, &to).is_ok(), "the archive itself is good");
}

/// An archive as an enemy makes it: every hash is right.
fn forged(members: &[(&str, &[u8])], schema: &str, claim: Option<u64>) -> Vec<u8> {
    let described: Vec<_> = members
        .iter()
        .map(|(name, content)| {
            let sha256 = hex::encode(Sha256::digest(content));
            let bytes = claim.unwrap_or(content.len() as u64);
            serde_json::json!({ "name": name, "path": "x", "bytes": bytes, "sha256": sha256 })
        })
        .collect();
    let manifest = serde_json::json!({
        "schema": schema, "version": "9.9.9", "made_at": "2026-11-24T00:00:00.000Z", "made_ms": 1, "ward": "w",
        "node": "n", "members": described, "not_included": [],
    })
    .to_string()
    .into_bytes();
    let hash = hex::encode(Sha256::digest(&manifest)).into_bytes();
    let mut out = Vec::new();
    let all = [("manifest.json", &manifest[..]), ("manifest.sha256", &hash[..])];
    for (n, (name, content)) in all.iter().chain(members).enumerate() {
        let mut header = tar::Header::new_gnu();
        // Written as it is: the library would refuse `..`.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(claim.filter(|_| n >= 2).unwrap_or(content.len() as u64));
        header.set_mode(0o600);
        header.set_cksum();
        out.extend(header.as_bytes());
        out.extend(*content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.extend([0; 1024]);
    out
}

#[test]
fn a_hostile_or_newer_archive_writes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let (archive, to) = (dir.path().join("forged.tar"), dir.path().join("to"));
    let site = b"[site]\nward = \"w\"\n[node]\nname = \"n\"\nstate_dir = \"node\"\n";
    let good: &[(&str, &[u8])] = &[("wardwatch.toml", site), ("cameras.toml", b"revision = 1\n")];
    let with = |name, content| [good, &[(name, content)]].concat();
    let outside = b"[site]\n[node]\nname = \"n\"\nstate_dir = \"../../out\"\n".as_slice();
    let one = "wardwatch.backup/1";
    let cases = [
        ("a newer form", forged(good, "wardwatch.backup/2", None), ErrorKind::Config),
        ("a path that climbs", forged(&with("../../evil", b"x"), one, None), ErrorKind::Corrupt),
        ("an absolute path", forged(&with("/etc/evil", b"x"), one, None), ErrorKind::Corrupt),
        ("a key file with a path", forged(&with("keys/../../evil", b"x"), one, None), ErrorKind::Corrupt),
        ("a key file that nothing names", forged(&with("keys/0", b"x"), one, None), ErrorKind::Corrupt),
        ("one file twice", forged(&with("cameras.toml", b"revision = 2\n"), one, None), ErrorKind::Corrupt),
        ("a centre without [centre]", forged(&with("centre/centre.db", b"x"), one, None), ErrorKind::Corrupt),
        ("no configuration", forged(&good[1..], one, None), ErrorKind::Corrupt),
        ("a huge size", forged(good, one, Some(1 << 60)), ErrorKind::Corrupt),
        (
            "a state_dir outside",
            forged(&[("wardwatch.toml", outside), good[1], ("node/node.db", b"x")], one, None),
            ErrorKind::Config,
        ),
        (
            "a database that is none",
            forged(&with("node/node.db", b"no database at all"), one, None),
            ErrorKind::Corrupt,
        ),
    ];
    for (what, bytes, kind) in cases {
        std::fs::write(&archive, bytes).expect("writable");
        let error = into(&archive, &to).err().unwrap_or_else(|| panic!("{what}: it was taken"));
        assert_eq!(error.kind(), kind, "{what}: {error}");
        for file in ["wardwatch.toml", "cameras.toml", "node/node.db", "node/node.db.restoring"] {
            assert!(!to.join(file).exists(), "{what}: {file} was written");
        }
    }
    std::fs::write(&archive, forged(good, one, None)).expect("writable");
    assert!(into(&archive, &to).is_ok(), "the forgery without a fault is taken");
}

#[test]
fn passwords_and_keys_outside_of_the_configurations_directory_are_not_put_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let secret = dir.path().join("vault/camera.password");
    std::fs::create_dir(dir.path().join("vault")).expect("writable");
    std::fs::create_dir(dir.path().join("etc")).expect("writable");
    std::fs::write(&secret, CANARY).expect("writable");
    let config = dir.path().join("etc/wardwatch.toml");
    std::fs::write(&config, "[site]\nward = \"w\"\n[node]\nname = \"n\"\nstate_dir = \"node\"\n").expect("writable");
    let cameras =
        format!("revision = 1\n[[camera]]\npassword = \"file:{}\"\nurl = \"${{NO_SUCH}}\"\n", secret.display());
    std::fs::write(dir.path().join("etc/cameras.toml"), cameras).expect("writable");
    let archive = dir.path().join("backup.tar");
    let report = said(&run(&["backup", "--config", text(&config), "-o", text(&archive)]), 0);
    assert!(report.contains("${NO_SUCH}"), "what is in the environment is named: {report}");
    for gone in ["vault", "etc"] {
        std::fs::remove_dir_all(dir.path().join(gone)).expect("ours");
    }
    let inside = dir.path().join("etc/from-backup").join(secret.strip_prefix("/").expect("absolute"));
    for named in [text(&config), "wardwatch.toml"] {
        std::fs::create_dir(dir.path().join("etc")).expect("writable");
        let mut command = wardwatch();
        command.current_dir(dir.path().join("etc")).env_remove("RUST_LOG");
        command.args(["restore", "--from", text(&archive), "--config", named]);
        let restored = said(&command.output().expect("the binary is built"), 0);
        assert!(!secret.exists(), "{named}: nothing is written outside");
        assert_eq!(std::fs::read_to_string(&inside).expect("it is kept"), CANARY);
        assert!(restored.contains(text(&inside)), "{restored}");
        std::fs::remove_dir_all(dir.path().join("etc")).expect("ours");
    }
}
