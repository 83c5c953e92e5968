//! The two configuration files: the examples are the reference and load as they are; what is wrong is told with file,
//! line, key and mend, and never with a secret.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use wardwatch::app::camera::{self, load_cameras_for};
use wardwatch::base::Result;
use wardwatch::config::{Camera, CamerasDocument, DetectConfig, Provider, RecordingMode, Sharing, load_site};
use wardwatch::rules;
use wardwatch::wire::ipc::{self, CameraAssignment, ToWorker};

const CANARY: &str = "kanarienvogel";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).expect("a file of the repository")
}

/// Writes `text` to a file called `name` and gives its path; the directory lives as long as the guard.
fn file(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join(name);
    std::fs::write(&path, text).expect("writable");
    (dir, path)
}

/// The document as a node with the default model reads it.
fn load_cameras(path: &Path) -> Result<CamerasDocument> {
    let detect = DetectConfig {
        model: "yolox-nano".into(),
        models_dir: root().join("models"),
        runtime: PathBuf::new(),
        provider: Provider::Cpu,
    };
    camera::load_cameras(path, &detect)
}

fn site_error(text: &str) -> String {
    let (_dir, path) = file("wardwatch.toml", text);
    load_site(&path).err().map_or_else(|| panic!("accepted:\n{text}"), |e| e.to_string())
}

fn cameras_error(text: &str) -> String {
    let (_dir, path) = file("cameras.toml", text);
    load_cameras(&path).err().map_or_else(|| panic!("accepted:\n{text}"), |e| e.to_string())
}

/// The error must point at the line that holds `<<`, and say each of `parts`.
fn assert_points(error: &str, text: &str, parts: &[&str]) {
    let marked = text.lines().position(|l| l.contains("#<<")).expect("a marked line") + 1;
    assert!(error.contains(&format!(".toml:{marked}:")), "not line {marked}: {error}\n{text}");
    for part in parts {
        assert!(error.contains(part), "no `{part}` in: {error}");
    }
    assert!(!error.contains(CANARY), "a secret shows: {error}");
}

const SITE: &str = "[site]\nward = 'w'\n[detect]\nruntime = 'r'\n[broker]\nstate_dir = 'b'\n";

#[test]
fn the_examples_load_as_they_are() {
    let site = load_site(&root().join("wardwatch.example.toml")).expect("the example loads");
    let node = site.node.expect("has a node");
    assert!(site.broker.is_some() && site.centre.is_some());
    assert_eq!(node.cameras, root().join("cameras.example.toml"));
    assert_eq!(site.detect.runtime, root().join(".cache/onnxruntime/libonnxruntime.so.1.32.0"));
    let document = load_cameras(&node.cameras).expect("the example loads");
    let first: BTreeSet<&str> = document.cameras[0].rules.iter().map(|r| r.kind.as_str()).collect();
    let kinds: BTreeSet<&str> = rules::KINDS.iter().map(|k| k.name).collect();
    assert_eq!(first, kinds, "the first camera shows every kind of rule");
    assert!(document.cameras[0].rules.iter().all(|r| r.schedule.is_none()), "a recording of any hour must show them");
    assert!(document.cameras.iter().any(|c| c.sharing == Sharing::Listed && c.rules.is_empty()));
}

#[test]
fn a_camera_arrives_at_its_worker_as_it_was_configured() {
    let document = load_cameras(&root().join("cameras.example.toml")).expect("the example loads");
    for camera in &document.cameras {
        let sent = ToWorker::Assign(Box::new(CameraAssignment::new(camera, 1, 1, Vec::new())));
        let mut decoder = ipc::Decoder::default();
        decoder.push(&ipc::encode(&sent, &[]).expect("fits"));
        let (got, _) = decoder.pull::<ToWorker>().expect("well formed").expect("whole");
        assert_eq!(got, sent);
        let ToWorker::Assign(got) = got else { panic!("another message") };
        assert!(got.rules.iter().all(|r| rules::check(r, &got.zones, &got.lines).is_ok()));
    }
}

#[test]
fn the_commented_out_keys_of_the_examples_are_valid_too() {
    // The heading above its keys, in one go: what a technician would do.
    let text = read("wardwatch.example.toml")
        .replace("# [node.mqtt]", "[node.mqtt]")
        .replace("# [centre.s3]", "[centre.s3]")
        .replace("# [centre.web.map]", "[centre.web.map]")
        .replace("# [[centre.webhook]]", "[[centre.webhook]]")
        .replace("file:/etc/wardwatch/webhook-secret", "whsec_3Uw8sVxT1JpKzKpZ0bUeHk9mQyY2nB5cF7dL4aR6gXo=")
        .replace("file:/etc/wardwatch/mqtt-password", "x")
        .replace("file:/etc/wardwatch/s3-secret", "x");
    let (_dir, path) = file("wardwatch.toml", &uncomment(&text));
    let site = load_site(&path).expect("valid");
    assert_eq!(site.node.and_then(|n| n.mqtt).map(|m| m.port()), Some(8883));
    let centre = site.centre.expect("a centre");
    assert_eq!(centre.webhooks.first().map(|w| w.name.as_str()), Some("bo-dam"));
    assert!(centre.web.is_some_and(|web| web.map.plan.is_some() && web.map.tiles.is_some()));
    let text = read("cameras.example.toml").replace("file:/etc/wardwatch/ngo-12-dau", "x");
    let (_dir, path) = file("cameras.toml", &uncomment(&text));
    let document = load_cameras(&path).expect("valid");
    assert_eq!(document.cameras[0].detect.user.as_deref(), Some("viewer"));
    assert!(document.cameras[0].rules[0].schedule.is_some());
}

/// `# key = value` becomes `key = value`; prose stays a comment.
fn uncomment(text: &str) -> String {
    let is_key = |l: &str| {
        l.split_once(" = ")
            .is_some_and(|(k, _)| !k.is_empty() && k.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
    };
    text.lines().map(|l| l.strip_prefix("# ").filter(|l| is_key(l)).unwrap_or(l).to_owned() + "\n").collect()
}

/// The keys a section knows, as its own error for an unknown one lists them.
fn known_keys(error: &str) -> Vec<String> {
    let (_, list) = error.split_once("expected ").unwrap_or_else(|| panic!("no list of keys in: {error}"));
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_key_is_in_the_reference() {
    let node = format!("{SITE}[node]\nname = 'n'\nstate_dir = 's'\n");
    let camera = "revision = 1\n[[camera]]\nid = 'c'\ndetect = { url = 'rtsp://h/' }\n";
    let missing = |reference: &str, error: String| {
        let reference = read(reference);
        let documented = |key: &str| {
            let starts = [format!("{key} ="), format!("[{key}]"), format!("[[{key}]]")];
            let parts = [format!("[camera.{key}]"), format!(".{key}]"), format!("{{ {key} = "), format!(", {key} = ")];
            reference.lines().any(|l| {
                let body = l.trim_start_matches(['#', ' ']);
                starts.iter().any(|s| body.starts_with(s)) || parts.iter().any(|p| body.contains(p))
            })
        };
        let keys = known_keys(&error);
        assert!(!keys.is_empty(), "{error}");
        keys.into_iter().filter(|k| !documented(k)).collect::<Vec<_>>()
    };
    for text in [
        "zz = 1\n".to_owned(),
        "[site]\nzz = 1\n".into(),
        "[site]\nward = 'w'\n[detect]\nzz = 1\n".into(),
        "[site]\nward = 'w'\n[track]\nzz = 1\n".into(),
        "[site]\nward = 'w'\n[snapshot]\nzz = 1\n".into(),
        "[site]\nward = 'w'\n[broker]\nzz = 1\n".into(),
        format!("{SITE}[node]\nzz = 1\n"),
        format!("{node}[record]\nzz = 1\n"),
        format!("{SITE}[centre]\nzz = 1\n"),
        format!("{node}[node.mqtt]\nzz = 1\n"),
        format!("{node}[node.link]\nzz = 1\n"),
        format!("{SITE}[centre]\nstate_dir = 's'\n[centre.link]\nzz = 1\n"),
        format!("{SITE}[centre]\nstate_dir = 's'\n[centre.s3]\nzz = 1\n"),
        format!("{SITE}[centre]\nstate_dir = 's'\n[centre.web]\nzz = 1\n"),
        format!("{SITE}[centre]\nstate_dir = 's'\n[centre.web.map]\nzz = 1\n"),
        format!("{SITE}[centre]\nstate_dir = 's'\n[[centre.webhook]]\nzz = 1\n"),
    ] {
        assert_eq!(missing("wardwatch.example.toml", site_error(&text)), Vec::<String>::new(), "{text}");
    }
    let mut texts = vec![
        "zz = 1\n".to_owned(),
        "revision = 1\n[[schedule]]\nzz = 1\n".into(),
        "revision = 1\n[[schedule]]\nname = 's'\nwindows = [{ zz = 1 }]\n".into(),
        "revision = 1\n[[camera]]\nzz = 1\n".into(),
        "revision = 1\n[[camera]]\nid = 'c'\n[camera.detect]\nzz = 1\n".into(),
        format!("{camera}[[camera.mask]]\nzz = 1\n"),
        format!("{camera}[camera.recording]\nzz = 1\n"),
        format!("{camera}[[camera.zone]]\nzz = 1\n"),
        format!("{camera}[[camera.line]]\nzz = 1\n"),
    ];
    texts
        .extend(rules::KINDS.iter().map(|k| format!("{camera}[[camera.rule]]\nname='r'\nkind='{}'\nzz = 1\n", k.name)));
    for text in texts {
        assert_eq!(missing("cameras.example.toml", cameras_error(&text)), Vec::<String>::new(), "{text}");
    }
    let reference = read("cameras.example.toml");
    for key in [
        "name",
        "kind",
        "severity",
        "schedule",
        "labels",
        "min_score",
        "min_height",
        "inertia",
        "cooldown_seconds",
        "pre_roll_seconds",
        "post_roll_seconds",
    ] {
        assert!(uncomment(&reference).lines().any(|l| l.starts_with(&format!("{key} = "))), "{key}");
    }
}

#[test]
fn a_wrong_site_file_says_where_and_how_to_mend_it() {
    let node = format!("{SITE}[node]\nname = 'n'\nstate_dir = 's'\n");
    let cases: &[(String, &[&str])] = &[
        ("[site]\nward = 'w'\nwrad = 'x' #<<\n".into(), &["wrad", "ward"]),
        (
            format!("{SITE}[centre]\nstate_dir='c'\nescalate_after_seconds = 86401 #<<\n"),
            &["escalate_after_seconds", "86400"],
        ),
        ("[site]\nward = 'Ô Chợ Dừa' #<<\n[centre]\nstate_dir='c'\n".into(), &["ward", "a-z"]),
        ("[site]\nward = 'w'\ntimezone = 'Asia/Hanoi' #<<\n".into(), &["Asia/Hanoi", "Asia/Ho_Chi_Minh"]),
        (format!("{node}cameras_per_worker = 9 #<<\n"), &["cameras_per_worker", "between 1 and 8"]),
        (format!("{node}ring_mb = 0 #<<\n"), &["ring_mb", "between 1 and 256"]),
        (format!("{node}receipt_timeout_seconds = 0 #<<\n"), &["receipt_timeout_seconds"]),
        (format!("{node}listen = 'here' #<<\n"), &["socket address"]),
        (format!("{node}[snapshot]\nmax_width = 640\nquality = 101 #<<\n"), &["quality", "between 1 and 100"]),
        (format!("{node}[snapshot]\nmax_width = 10 #<<\n"), &["max_width"]),
        (format!("{node}[track]\nstationary_seconds = 5.0\nlost_seconds = 0.0 #<<\n"), &["lost_seconds"]),
        (format!("{node}[record]\nsegment_seconds = 1 #<<\n"), &["segment_seconds", "between 2 and 600"]),
        (format!("{SITE}[centre]\nstate_dir='c'\n[record] #<<\ndir = 'r'\n"), &["[record]", "[node]"]),
        (format!("{node}[node.mqtt] #<<\nhost = '192.168.1.5'\n"), &["192.168.1.5", "unencrypted", "tls = true"]),
        (
            format!("{node}[node.mqtt]\nhost='localhost'\npassword = '${{WARDWATCH_TEST_UNSET}}' #<<\n"),
            &["WARDWATCH_TEST_UNSET", "not set"],
        ),
        (format!("{node}[node.mqtt]\nhost='localhost'\npassword = 4711 #<<\n"), &["secret", "quotes"]),
        (format!("{node}[node.mqtt]\nhost='localhost'\npassword = 'file:/nowhere/at/all' #<<\n"), &["/nowhere/at/all"]),
        (
            "[site]\nward = 'w'\n[detect]\nruntime='r'\n[node] #<<\nname='n'\nstate_dir='s'\n".into(),
            &["[node.mqtt]", "[broker]"],
        ),
    ];
    for (text, parts) in cases {
        let error = site_error(text);
        assert_points(&error, text, parts);
        assert!(!error.contains("4711"), "a value that could be a password is quoted: {error}");
    }
    for (text, parts) in [
        ("[site]\nward = 'w'\n", ["[node]", "[centre]"]),
        ("[site]\nward = 'w'\n[broker]\nstate_dir='b'\n[node]\nname='n'\nstate_dir='s'\n", ["[detect]", "runtime"]),
    ] {
        let error = site_error(text);
        assert!(parts.iter().all(|p| error.contains(p)) && error.contains("wardwatch.toml"), "{error}");
    }
}

#[test]
fn a_wrong_webhook_or_map_says_where_and_how_to_mend_it() {
    let centre = format!("{SITE}[centre]\nstate_dir='c'\n");
    let secret = format!("whsec_{}", "QUJD".repeat(8));
    let hook = |url: &str, secret: &str, more: &str| {
        format!("{centre}[[centre.webhook]]\nname='radio'\nurl='{url}'\nsecret='{secret}'\n{more}\n")
    };
    let here = "http://127.0.0.1:9/x";
    let map = |keys: &str| format!("{centre}[centre.web]\n[centre.web.map]\n{keys}\n");
    let cases: &[(String, &[&str])] = &[
        (hook("http://192.168.1.5/x", &secret, "").replace("5/x'", "5/x' #<<"), &["192.168.1.5", "unencrypted"]),
        (hook("https://u:kanarienvogel@h/x", &secret, "").replace("h/x'", "h/x' #<<"), &["neither user"]),
        (hook(here, "kanarienvogel", "").replace("vogel'", "vogel' #<<"), &["base64", "openssl rand"]),
        (hook(here, &secret, "events = [] #<<"), &["events", "alert"]),
        (hook(here, &secret, "events = ['crime'] #<<"), &["crime", "dispatch"]),
        (hook(here, &secret, "cameras = ['ngo-12'] #<<"), &["ngo-12", "node-1/"]),
        (hook(here, &secret, "give_up_hours = 0 #<<"), &["give_up_hours", "168"]),
        (
            hook(here, &secret, &format!("[[centre.webhook]]\nname='radio' #<<\nurl='{here}'\nsecret='{secret}'")),
            &["second", "radio"],
        ),
        (map("plan = 'a.png'").replace("[centre.web.map]", "[centre.web.map] #<<"), &["corners", "plan"]),
        (map("plan = 'a.png'\ncorners = [[21.1, 105.1], [21.0, 105.2]] #<<"), &["south", "degrees"]),
        (map("tiles = 't'\nmin_zoom = 4\nmax_zoom = 23 #<<"), &["max_zoom", "22"]),
    ];
    for (text, parts) in cases {
        assert_points(&site_error(text), text, parts);
    }
}

#[test]
fn a_recording_that_cannot_be_kept_as_written_says_where_and_how_to_mend_it() {
    let camera = "revision = 1\n[[camera]]\nid = 'cam-a'\ndetect = { url = 'rtsp://h/' }\n[camera.recording]\n";
    for (line, words) in [
        ("schedule = 'dem'", ["dem", "[[schedule]]"]),
        ("keep_days = 0.0", ["keep_days", "0.01"]),
        ("max_gb = 0.0", ["max_gb", "0.01"]),
    ] {
        let error = cameras_error(&format!("{camera}{line}\n"));
        assert!(words.iter().all(|w| error.contains(w)) && error.contains(":6:"), "{error}");
    }
    let udp = camera.replace("'rtsp://h/' }", "'rtsp://h/', transport = 'udp' }");
    let error = cameras_error(&format!("{udp}audio = true\n"));
    assert!(["audio", "TCP", "transport", ":6:"].iter().all(|w| error.contains(w)), "{error}");
    // What is recorded is another stream.
    let document = format!("{udp}audio = true\n[camera.record]\nurl = 'rtsp://h/1'\n");
    let (_dir, path) = file("cameras.toml", &document);
    let document = load_cameras(&path).expect("valid");
    let mut camera = document.cameras[0].clone();
    let asked = |camera: &Camera| {
        let assignment = CameraAssignment::new(camera, 1, 0, vec![]);
        (assignment.detect.audio, assignment.record.map(|r| r.audio))
    };
    assert!(camera.recording.audio);
    assert_eq!(asked(&camera), (false, Some(false)), "what is not recorded is not heard");
    camera.recording.mode = RecordingMode::Continuous;
    assert_eq!(asked(&camera), (false, Some(true)));
    camera.record = None;
    assert_eq!(asked(&camera), (true, None));
}

#[test]
fn a_wrong_cameras_document_says_where_and_how_to_mend_it() {
    let camera = "revision = 1\n[[camera]]\nid = 'cam-a'\ndetect = { url = 'rtsp://h/' }\n";
    let places = "[[camera.zone]]\nname = 'yard'\npolygon = [[0,0],[1,0],[1,1]]\n[[camera.line]]\nname = 'gate'\npoints = [[0,0],[1,1]]\n";
    let rule = format!("{camera}{places}[[camera.rule]]\nname = 'r'\n");
    let cases: &[(String, &[&str])] = &[
        (
            format!("{camera}[[camera]]\nid = 'cam-a' #<<\ndetect = {{ url = 'rtsp://h/' }}\n"),
            &["second camera", "cam-a"],
        ),
        (format!("{camera}colour = 'red' #<<\n"), &["colour"]),
        (format!("{camera}position = [181.0, 2.0] #<<\n"), &["latitude"]),
        (format!("{camera}sharing = 'everything' #<<\n"), &["everything", "events_only"]),
        (
            format!("{camera}[[camera.zone]]\nname = 'z'\npolygon = [[0.1,0.1],[0.2,0.2]] #<<\n"),
            &["cam-a", "2 points", "three"],
        ),
        (
            format!("{camera}[[camera.zone]]\nname = 'z'\npolygon = [[0.1,0.1],[0.2,0.2],[0.3,0.3]] #<<\n"),
            &["encloses nothing"],
        ),
        (
            format!("{camera}[[camera.zone]]\nname = 'z'\npolygon = [[0,0],[100,0],[100,100]] #<<\n"),
            &["leaves the picture", "0 to 1"],
        ),
        (
            format!("{camera}[[camera.mask]]\npolygon = [{}] #<<\n", vec!["[0.1,0.2]"; 65].join(",")),
            &["65 points", "64"],
        ),
        (format!("{camera}[[camera.line]]\nname = 'l'\npoints = [[0,0],[1,1],[0,1]] #<<\n"), &["3 points", "two"]),
        (
            format!("{camera}{places}[[camera.zone]]\nname = 'yard' #<<\npolygon = [[0,0],[1,0],[1,1]]\n"),
            &["second zone", "yard"],
        ),
        (format!("{rule}kind = 'gathering' #<<\n"), &["gathering", "intrusion, line_crossing, loitering"]),
        (format!("{rule}kind = 'intrusion'\nzones = ['yrad'] #<<\n"), &["cam-a", "`r`", "yrad", "its zones: yard"]),
        (format!("{rule}kind = 'intrusion'\nzones = ['yard']\nzone = 'yard' #<<\n"), &["`zone`", "zones"]),
        (format!("{rule}kind = 'intrusion'\nzones = 'yard' #<<\n"), &["zones", "sequence"]),
        (format!("{rule}kind = 'line_crossing'\nline = 'gat' #<<\n"), &["gat", "its lines: gate"]),
        (format!("{rule}kind = 'line_crossing'\nline = 'gate'\ndirection = 'up' #<<\n"), &["up", "left_to_right"]),
        (
            format!("{rule}kind = 'intrusion'\nzones = ['yard']\nmin_move = 11 #<<\n"),
            &["min_move", "between 0 and 10", "height"],
        ),
        (format!("{rule}kind = 'line_crossing'\nline = 'gate'\nmargin = 3 #<<\n"), &["margin", "between 0 and 1"]),
        (format!("{rule}kind = 'loitering'\nzones = ['yard']\ndwell_seconds = 0 #<<\n"), &["dwell_seconds", "seconds"]),
        (format!("{rule}kind = 'loitering'\nzones = ['yard']\ndwell_seconds = 'long' #<<\n"), &["dwell_seconds"]),
        (format!("{rule}kind = 'intrusion'\nzones = ['yard']\nschedule = 'night' #<<\n"), &["night", "[[schedule]]"]),
        (format!("{rule}kind = 'intrusion'\nzones = ['yard']\nseverity = 'urgent' #<<\n"), &["urgent", "alert"]),
        (
            format!("{rule}kind = 'intrusion'\nzones = ['yard']\nmin_score = 50 #<<\n"),
            &["min_score", "between 0 and 1"],
        ),
        (format!("{rule}kind = 'intrusion'\nzones = ['yard']\nlabels = [] #<<\n"), &["no label", "person"]),
        (
            format!(
                "{rule}kind = 'intrusion'\nzones = ['yard']\n[[camera.rule]]\nkind = 'intrusion'\nname = 'r' #<<\n"
            ),
            &["second rule"],
        ),
        (
            "revision = 1\n[[schedule]]\nname = 's'\nwindows = [{ from = '25:00', to = '05:00' }] #<<\n".into(),
            &["25:00", "HH:MM"],
        ),
        ("revision = 1\n[[schedule]]\nname = 's' #<<\nwindows = []\n".into(), &["needs a window"]),
        (
            "revision = 1\n[[schedule]]\nname = 's'\nwindows = [{ from = '01:00', to = '05:00' }]\n[[schedule]]\nname = 's' #<<\nwindows = [{ from = '01:00', to = '05:00' }]\n".into(),
            &["second schedule"],
        ),
        ("revision = 1\n[[camera]]\nid = 'Ngõ 12' #<<\ndetect = { url = 'rtsp://h/' }\n".into(), &["Ngõ 12", "a-z"]),
        (
            format!("revision = 1\n[[camera]]\nid = 'c'\n[camera.detect]\nurl = 'http://admin:{CANARY}@h/' #<<\n"),
            &["rtsp://"],
        ),
        (
            format!(
                "revision = 1\n[[camera]]\nid = 'c'\n[camera.detect]\nurl = 'rtsp://h/?password={CANARY}'\nfps = 0 #<<\n"
            ),
            &["fps", "0.1"],
        ),
        (
            format!(
                "revision = 1\n[[camera]]\nid = 'c'\n[camera.detect]\nurl = 'rtsp://h/'\nuser = 'a'\npassword = {CANARY} #<<\n"
            ),
            &["quote"],
        ),
        (
            "revision = 1\n[[camera]]\nid = 'c'\n[camera.detect]\nurl = 'rtsp://h/'\npassword = 4711 #<<\n".into(),
            &["quotes"],
        ),
        (
            "revision = 1\n[[camera]]\nid = 'c'\n[camera.detect]\nurl = 'rtsp://h/'\ntls_pin = 'abc' #<<\n".into(),
            &["64 hex", "probe"],
        ),
    ];
    for (text, parts) in cases {
        let error = cameras_error(text);
        assert_points(&error, text, parts);
        assert!(!error.contains("4711"), "a value that could be a password is quoted: {error}");
    }
    // A key that is missing has no line of its own: the rule's heading is the next best place.
    let error = cameras_error(&format!("{rule}kind = 'loitering'\nzones = ['yard']\n"));
    assert!(error.contains("cameras.toml:11:") && error.contains("dwell_seconds"), "{error}");
}

#[test]
fn a_label_that_the_model_does_not_know_is_refused() {
    let text = "revision = 1\n[[camera]]\nid = 'c'\ndetect = { url = 'rtsp://h/' }\n[[camera.zone]]\nname = 'z'\n\
                polygon = [[0,0],[1,0],[1,1]]\n[[camera.rule]]\nname = 'r'\nkind = 'intrusion'\nzones = ['z']\n\
                labels = ['person', 'motobike'] #<<\n";
    let (_dir, path) = file("cameras.toml", text);
    let error = load_cameras_for(&path, &["person", "motorcycle"]).err().map(|e| e.to_string()).unwrap_or_default();
    assert_points(&error, text, &["motobike", "person, motorcycle"]);
}

#[test]
fn a_missing_file_says_what_to_do() {
    let error = load_site(Path::new("/nowhere/wardwatch.toml")).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("/nowhere/wardwatch.toml") && error.contains("example"), "{error}");
}

#[test]
fn a_secret_is_read_from_its_file() {
    let (dir, secret) = file("password", &format!("{CANARY}\nsecond line\n"));
    let path = dir.path().join("cameras.toml");
    let text = format!(
        "revision = 1\n[[camera]]\nid = 'c'\n[camera.detect]\nurl = 'rtsp://h/'\npassword = 'file:{}'\n",
        secret.display()
    );
    std::fs::write(&path, text).expect("writable");
    let document = load_cameras(&path).expect("valid");
    assert_eq!(document.cameras[0].detect.password.as_ref().map(|p| p.expose()), Some(CANARY));
    assert!(!format!("{document:?}").contains(CANARY));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn however_a_document_is_mangled_the_error_names_the_file_and_no_secret(
        edits in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(vec![
            "", "[", "]", "\"", "'", "=", "{", "}", "#", "\n", " ", "4711", "x", "\\", "ữ", "${", "0.5,", "true",
        ]), 0usize..12), 1..6),
    ) {
        let mut text = read("cameras.example.toml").replace(
            "# password = \"file:/etc/wardwatch/ngo-12-dau\"",
            &format!("password = \"{CANARY}\""),
        );
        for (at, insert, remove) in edits {
            // Anywhere, right beside the secret too, but never inside it.
            let mut chars: Vec<char> = text.chars().collect();
            let place = at.index(chars.len());
            let end = (place + remove).min(chars.len());
            chars.splice(place..end, insert.chars());
            let mangled: String = chars.into_iter().collect();
            if mangled.contains(CANARY) {
                text = mangled;
            }
        }
        let (_dir, path) = file("cameras.toml", &text);
        if let Err(e) = load_cameras(&path) {
            let error = format!("{e} {e:?}");
            prop_assert!(error.contains("cameras.toml"), "{error}");
            prop_assert!(!error.contains(CANARY), "{error}");
        }
    }

    #[test]
    fn a_password_left_without_quotes_or_under_a_wrong_key_does_not_show(
        key in prop::sample::select(vec!["password", "pasword", "password.x", "user", "url", "tls_pin"]),
        value in prop::sample::select(vec![
            "\"kanarienvogel\"", "'kanarienvogel'", "kanarienvogel", "\"kanarienvogel", "[\"kanarienvogel\"]", "{ x = 'kanarienvogel' }",
            "\"\"\"\nkanarienvogel\"\"\"", "kanarienvogel.x", "\"kanarienvogel\" 1",
        ]),
    ) {
        let address = if key == "url" { "" } else { "url = 'rtsp://h/'\n" };
        let text = format!("revision = 1\n[[camera]]\nid = 'c'\n[camera.detect]\n{address}{key} = {value}\n");
        let (_dir, path) = file("cameras.toml", &text);
        if let Err(e) = load_cameras(&path) {
            let error = format!("{e} {e:?}");
            prop_assert!(!error.contains(CANARY), "{error}\n{text}");
        }
    }
}

/// Fenced `toml` blocks of a document; the word after `toml` says which file they belong to.
fn snippets(markdown: &str) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in markdown.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) if info.starts_with("toml") => open = Some((info[4..].trim().to_owned(), String::new())),
            (Some(_), Some(_)) => out.extend(open.take()),
            (Some((_, text)), None) => *text += &format!("{line}\n"),
            _ => {}
        }
    }
    out
}

#[test]
fn every_snippet_of_the_manual_loads() {
    let snippets = snippets(&read("docs/configuration.md"));
    assert!(snippets.len() >= 6, "{}", snippets.len());
    for (which, text) in snippets {
        match which.as_str() {
            "wardwatch" => {
                let (_dir, path) = file("wardwatch.toml", &text);
                load_site(&path).unwrap_or_else(|e| panic!("{e}\n{text}"));
            }
            "cameras" => {
                let (_dir, path) = file("cameras.toml", &text);
                load_cameras(&path).unwrap_or_else(|e| panic!("{e}\n{text}"));
            }
            // A part of the document, shown without the rest: it is put where it belongs.
            "camera" => {
                let whole = format!(
                    "revision = 1\n[[schedule]]\nname = 'ban-dem'\nwindows = [{{ from = '22:00', to = '05:00' }}]\n\
                     [[camera]]\nid = 'c'\ndetect = {{ url = 'rtsp://h/' }}\n{text}"
                );
                let (_dir, path) = file("cameras.toml", &whole);
                load_cameras(&path).unwrap_or_else(|e| panic!("{e}\n{whole}"));
            }
            other => panic!("say which file the snippet belongs to: ```toml {other}"),
        }
    }
}
