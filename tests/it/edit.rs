//! Changing the cameras document from far away: what goes out holds no secret, what comes in leaves the rest of the file as
//! it is, and a password goes nowhere that it did not go before.

use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};
use wardwatch::config::edit::{self, Changed, Edit, InForce, Refused, Settings, Widened};
use wardwatch::config::{CamerasDocument, cameras_from};

const CANARY: &str = "kanarienvogel";
const SECRETS: &str = "/state/secrets";

fn load(text: &str) -> CamerasDocument {
    cameras_from(text.to_owned(), Path::new("cameras.toml"), &|_, _, _| Ok(())).expect("a sound document")
}

/// A document with everything that a technician may write, in his own order and with his own remarks.
fn document() -> String {
    format!(
        r#"# The ward's cameras. Ask An before you touch them.
revision = 7

[[schedule]]
name = "ban-dem"   # at night
windows = [
  {{ from = "22:00", to = "05:00" }},
]

# --- the first ---
[[camera]]
id = "mot"
name = "Đầu ngõ"      # by the pump
position = [21.0193, 105.8262]
[camera.detect]
url = "rtsp://10.0.0.9:554/cam/realmonitor?channel=1&subtype=1"
user = "viewer"
password = "{CANARY}-1" # the old one
fps = 5
[camera.record]
url = "rtsp://admin:{CANARY}-2@10.0.0.9:554/main"
# a window of the neighbour's
[[camera.mask]]
polygon = [[0.1, 0.1], [0.4, 0.1], [0.4, 0.4], [0.1, 0.4]]
[[camera.zone]]
name = "san"
polygon = [[0.0, 0.5], [1.0, 0.5], [1.0, 1.0], [0.0, 1.0]] # the yard
[[camera.rule]]
name = "vao"
kind = "intrusion"
zones = ["san"]
schedule = "ban-dem"
[[camera.zone]]
name = "cua"
polygon = [[0.2, 0.2], [0.3, 0.2], [0.3, 0.3]]

# --- the second ---
[[camera]]
id = "hai"
detect = {{ url = "rtsp://10.0.0.10/user=admin&password={CANARY}-3&channel=1.sdp", transport = "udp" }}
zone = [{{ name = "duong", polygon = [[0, 0], [1, 0], [1, 1]] }}]

[[camera]] # the third
id = "ba"
detect.url = "rtsps://10.0.0.11/live"
detect.user = "u"
recording = {{ mode = "events" }}
# the end
"#
    )
}

fn described(text: &str) -> edit::Described {
    edit::describe(InForce { text, document: &load(text) }).expect("it is described")
}

fn camera(text: &str, id: &str) -> Settings {
    described(text).cameras.into_iter().find(|c| c["id"] == id).expect("it is there")
}

fn changed(text: &str, edits: Vec<Edit>) -> Result<Changed, Refused> {
    edit::change(InForce { text, document: &load(text) }, edits, Path::new(SECRETS))
}

fn put(text: &str, settings: Value) -> Result<Changed, Refused> {
    let Value::Object(settings) = settings else { panic!("a table") };
    changed(text, vec![Edit::Put(settings)])
}

/// The camera `id` with `change` done to it, put.
fn with(text: &str, id: &str, change: impl FnOnce(&mut Value)) -> Result<Changed, Refused> {
    let mut settings = Value::Object(camera(text, id));
    change(&mut settings);
    put(text, settings)
}

fn refused(result: Result<Changed, Refused>) -> Refused {
    let refused = result.map(|c| c.text).expect_err("it is refused");
    assert!(!format!("{refused:?}").contains(CANARY), "{refused:?}");
    refused
}

/// The changed document as the node reads it: with each new secret in its place.
fn reloaded(change: &Changed) -> CamerasDocument {
    let dir = tempfile::tempdir().expect("a directory");
    let here = change.text.replace(SECRETS, &dir.path().display().to_string());
    for secret in &change.secrets {
        let name = secret.path.strip_prefix(SECRETS).expect("below the directory of secrets");
        std::fs::write(dir.path().join(name), secret.value.expose()).expect("writable");
    }
    load(&here)
}

/// The lines of `after` that are not in `before`, and the other way round.
fn difference<'a>(before: &'a str, after: &'a str) -> (Vec<&'a str>, Vec<&'a str>) {
    let only = |a: &'a str, b: &'a str| a.lines().filter(|l| !b.lines().any(|o| o == *l)).collect();
    (only(after, before), only(before, after))
}

#[test]
fn nothing_secret_goes_out() {
    let text = document();
    let out = described(&text);
    let all = serde_json::to_string(&out.cameras).expect("JSON");
    assert!(!all.contains(CANARY) && !all.contains("admin:"), "{all}");
    assert_eq!(out.revision, 7);
    assert_eq!(
        out.schedules,
        vec![
            json!({"name": "ban-dem", "windows": [{"from": "22:00", "to": "05:00"}]})
                .as_object()
                .cloned()
                .expect("a table")
        ]
    );
    let mot = camera(&text, "mot");
    assert_eq!(
        mot["detect"],
        json!({"url": "rtsp://10.0.0.9:554/cam/realmonitor?channel=1&subtype=1", "user": "viewer", "password_set": true, "fps": 5})
    );
    assert_eq!(mot["record"], json!({"url": "rtsp://10.0.0.9:554/main", "user": "admin", "password_set": true}));
    let hai = camera(&text, "hai");
    assert_eq!(
        hai["detect"],
        json!({"url_withheld": true, "host": "10.0.0.10:554", "password_set": false, "transport": "udp"})
    );
}

#[test]
fn an_address_in_a_file_is_withheld() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("url");
    std::fs::write(&file, format!("rtsp://an:{CANARY}@10.0.0.7:8554/x\n")).expect("writable");
    let text = format!("revision = 1\n[[camera]]\nid = \"a\"\n[camera.detect]\nurl = \"file:{}\"\n", file.display());
    let detect = camera(&text, "a")["detect"].clone();
    assert_eq!(detect, json!({"url_withheld": true, "host": "10.0.0.7:8554", "user": "an", "password_set": true}));
    // Put back as it came, it stays what it was.
    let same = with(&text, "a", |_| {}).expect("it stays");
    assert_eq!(same.text, text.replace("revision = 1", "revision = 2"));
    // Another user would be given the password of the first: what is in the file is not known here.
    let e = refused(with(&text, "a", |c| c["detect"]["user"] = json!("binh")));
    assert_eq!((e.camera.as_deref(), e.key.as_deref()), (Some("a"), Some("detect.user")));
    let change = with(&text, "a", |c| {
        c["detect"]["user"] = json!("binh");
        c["detect"]["password"] = json!("khac");
    })
    .expect("both are given");
    let detect = reloaded(&change).cameras[0].detect.clone();
    assert_eq!((detect.user.as_deref(), detect.password.as_ref().map(|p| p.expose())), (Some("binh"), Some("khac")));
}

#[test]
fn what_is_put_back_as_it_came_changes_the_revision_only() {
    let text = document();
    let out = described(&text);
    let edits = out.cameras.into_iter().map(Edit::Put).chain(out.schedules.into_iter().map(Edit::PutSchedule));
    let change = changed(&text, edits.collect()).expect("nothing is wrong");
    assert_eq!(change.text, text.replace("revision = 7", "revision = 8"));
    assert_eq!(change.revision, 8);
    assert!(change.secrets.is_empty());
}

#[test]
fn the_example_is_put_back_as_it_came() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("cameras.example.toml");
    let text = std::fs::read_to_string(path).expect("a file of the repository");
    let out = described(&text);
    let change = changed(&text, out.cameras.into_iter().map(Edit::Put).collect()).expect("nothing is wrong");
    assert_eq!(change.text, text.replace("\nrevision = 1\n", "\nrevision = 2\n"));
}

#[test]
fn a_zone_that_changes_changes_its_line() {
    let text = document();
    let polygon = json!([[0.0, 0.6], [1.0, 0.6], [1.0, 1.0]]);
    let change = with(&text, "mot", |c| c["zone"][0]["polygon"] = polygon).expect("it can be");
    let (new, old) = difference(&text, &change.text);
    assert_eq!(new, ["revision = 8", "polygon = [[0.0, 0.6], [1.0, 0.6], [1.0, 1.0]] # the yard"]);
    assert_eq!(old.len(), 2, "{old:?}");
}

#[test]
fn new_zones_and_rules_come_after_those_that_are_there() {
    let text = document();
    let change = with(&text, "mot", |c| {
        let zone = json!({"name": "moi", "polygon": [[0.5, 0.5], [0.6, 0.5], [0.6, 0.6]]});
        c["zone"].as_array_mut().expect("a list").insert(1, zone);
        let line = json!({"name": "cong", "points": [[0.5, 0.5], [0.6, 0.5]]});
        c["line"] = json!([line]);
        let rule = json!({"name": "qua", "kind": "line_crossing", "line": "cong", "labels": ["person"]});
        c["rule"].as_array_mut().expect("a list").push(rule);
    })
    .expect("it can be");
    let (_, gone) = difference(&text, &change.text);
    assert_eq!(gone, ["revision = 7"]);
    let camera = &load(&change.text).cameras[0];
    let zones: Vec<&str> = camera.zones.iter().map(|z| z.name.as_str()).collect();
    assert_eq!(zones, ["san", "moi", "cua"]);
    assert_eq!((camera.lines.len(), camera.rules.len()), (1, 2));
    // The other order.
    let change = with(&text, "mot", |c| c["zone"].as_array_mut().expect("a list").reverse()).expect("it can be");
    let zones: Vec<String> = load(&change.text).cameras[0].zones.iter().map(|z| z.name.clone()).collect();
    assert_eq!(zones, ["cua", "san"]);
    assert!(change.text.contains("# the yard") && change.text.contains("# --- the second ---"));
    // None at all.
    let change = with(&text, "mot", |c| {
        c["zone"] = json!([]);
        c["rule"] = Value::Null;
    })
    .expect("it can be");
    let camera = &load(&change.text).cameras[0];
    assert!(camera.zones.is_empty() && camera.rules.is_empty() && camera.masks.len() == 1);
}

#[test]
fn cameras_and_schedules_come_and_go() {
    let text = document();
    let new = json!({
        "id": "bon", "name": "Ngõ 4", "sharing": "on_request",
        "detect": {"url": format!("rtsp://an:{CANARY}-9@10.0.0.40/sub?channel=2"), "fps": 3.5},
        "record": {"url": format!("rtsp://10.0.0.40/user=an&password={CANARY}-8.sdp"), "user": "an", "password": format!("{CANARY}-7")},
        "zone": [{"name": "z", "polygon": [[0, 0], [1, 0], [1, 1]]}],
    });
    let schedule = json!({"name": "trua", "windows": [{"days": ["mon"], "from": "12:00", "to": "13:00"}]});
    let tables = |v: &Value| v.as_object().cloned().expect("a table");
    let edits = vec![
        Edit::Put(tables(&new)),
        Edit::Remove("hai".into()),
        Edit::PutSchedule(tables(&schedule)),
        Edit::PutSchedule(tables(&json!({"name": "ban-dem", "windows": [{"from": "21:00", "to": "05:00"}]}))),
    ];
    let change = changed(&text, edits).expect("it can be");
    for secret in ["-9", "-8", "-7"] {
        assert!(!change.text.contains(&format!("{CANARY}{secret}")), "{}", change.text);
    }
    assert!(change.text.contains("# Ask An") == text.contains("# Ask An") && change.text.contains("# at night"));
    let document = reloaded(&change);
    let ids: Vec<&str> = document.cameras.iter().map(|c| c.id.as_str()).collect();
    assert_eq!(ids, ["mot", "ba", "bon"]);
    let bon = &document.cameras[2];
    assert_eq!(bon.detect.user.as_deref(), Some("an"));
    assert_eq!(bon.detect.password.as_ref().map(|p| p.expose().to_owned()), Some(format!("{CANARY}-9")));
    let record = bon.record.as_ref().expect("it has one");
    assert!(record.url.expose().contains(&format!("{CANARY}-8")));
    assert_eq!(record.password.as_ref().map(|p| p.expose().to_owned()), Some(format!("{CANARY}-7")));
    let files: Vec<String> = change.secrets.iter().map(|s| s.path.display().to_string()).collect();
    let expected = ["bon.detect.8", "bon.record-url.8", "bon.record.8"].map(|n| format!("{SECRETS}/{n}"));
    assert_eq!(files, expected);
    // Only one change of one thing at a time, and only of what is there.
    let e = refused(changed(&text, vec![Edit::Remove("hai".into()), Edit::Remove("hai".into())]));
    assert_eq!(e.camera.as_deref(), Some("hai"));
    refused(changed(&text, vec![Edit::Remove("nam".into())]));
    refused(changed(&text, vec![Edit::RemoveSchedule("nam".into())]));
    let change = changed("revision = 1\n", vec![Edit::Put(tables(&new))]).expect("the first camera");
    assert_eq!(reloaded(&change).cameras.len(), 1);
}

/// What became of the password of the camera `mot`'s detect stream, and of its record stream.
fn passwords(change: &Changed) -> [Option<String>; 2] {
    let document = reloaded(change);
    let mot = document.cameras.iter().find(|c| c.id.as_str() == "mot").expect("it is there");
    [Some(&mot.detect), mot.record.as_ref()]
        .map(|s| s.and_then(|s| s.password.as_ref()).map(|p| p.expose().replace(CANARY, "")))
}

#[test]
fn a_kept_password_goes_nowhere_else() {
    let text = document();
    let detect = |key: &str, value: Value| {
        passwords(&with(&text, "mot", |c| c["detect"][key] = value).expect("it can be"))[0].clone()
    };
    let kept = Some("-1".to_owned());
    assert_eq!(detect("url", json!("rtsp://10.0.0.9:554/other")), kept);
    assert_eq!(detect("url", json!("rtsp://10.0.0.9/other")), kept, "554 is what no port means");
    assert_eq!(detect("url", json!("rtsps://10.0.0.9:554/other")), kept, "better protected than before");
    assert_eq!(detect("url", json!("rtsp://10.0.0.99:554/cam/realmonitor?channel=1&subtype=1")), None);
    assert_eq!(detect("url", json!("rtsp://10.0.0.9:5554/cam/realmonitor?channel=1&subtype=1")), None);
    assert_eq!(detect("url", json!("rtsp://other@10.0.0.9:554/x")), kept, "`user` counts first");
    assert_eq!(detect("user", json!("admin")), None);
    assert_eq!(detect("user", json!("")), None);
    assert_eq!(detect("password", json!("moi")), Some("moi".to_owned()));
    assert_eq!(detect("password", json!("")), None);
    let no_url = |user: Option<Value>| {
        let change = with(&text, "mot", |c| {
            let table = c["record"].as_object_mut().expect("a table");
            table.remove("url");
            match user {
                Some(user) => table.insert("user".into(), user),
                None => table.remove("user"),
            };
        });
        passwords(&change.expect("it can be"))[1].clone()
    };
    assert_eq!(no_url(Some(json!("admin"))), Some("-2".to_owned()));
    assert_eq!(no_url(None), Some("-2".to_owned()), "nothing is said of the address at all");
    assert_eq!(no_url(Some(json!("viewer"))), None);
    // A password that stood in the address moves into a file when the address changes.
    let change = with(&text, "mot", |c| c["record"]["url"] = json!("rtsp://10.0.0.9:554/sub")).expect("it can be");
    assert_eq!(passwords(&change)[1], Some("-2".to_owned()));
    assert!(!change.text.contains(&format!("{CANARY}-2")));
    // Plain where it was encrypted: the same host and port are not the same protection.
    let change = with(&text, "ba", |c| {
        c["detect"]["url"] = json!("rtsps://10.0.0.11/live");
        c["detect"]["password"] = json!("mat-khau");
    })
    .expect("it can be");
    let text = change.text.replace(&format!("file:{SECRETS}/ba.detect.8"), "mat-khau");
    let change = with(&text, "ba", |c| c["detect"]["url"] = json!("rtsp://10.0.0.11:322/live")).expect("it can be");
    assert_eq!(reloaded(&change).cameras[2].detect.password, None);
    // Another id is another camera.
    let e = refused(with(&text, "ba", |c| {
        c["id"] = json!("bon");
        c["detect"].as_object_mut().expect("a table").remove("url");
    }));
    assert_eq!((e.camera.as_deref(), e.key.as_deref()), (Some("bon"), Some("detect.url")));
}

#[test]
fn what_makes_no_sense_is_refused_with_its_key() {
    let text = document();
    let deep = (0..40).fold(json!(1), |inner, _| json!([inner]));
    let cases: Vec<(&str, Value, &str)> = vec![
        ("/detect/password", json!("file:/etc/shadow"), "detect.password"),
        ("/detect/password", json!("${HOME}"), "detect.password"),
        ("/detect/password", json!(5), "detect.password"),
        ("/detect/password", json!(["x"]), "detect.password"),
        ("/detect/password", json!("two\nlines"), "detect.password"),
        ("/detect/password", json!("x".repeat(5000)), "detect.password"),
        ("/detect/url", json!("file:/etc/shadow"), "detect.url"),
        ("/detect/url", json!("${HOME}"), "detect.url"),
        ("/detect/url", json!("http://10.0.0.9/x"), "detect.url"),
        ("/detect/url", json!(" rtsp://10.0.0.9/x"), "detect.url"),
        ("/detect/url", json!("rtsp:///x"), "detect.url"),
        ("/detect/url", json!("rtsp://file%3A%2Fetc%2Fshadow:p@10.0.0.9/x"), "detect.url"),
        ("/detect/user", json!("file:/etc/shadow"), "detect.user"),
        ("/name", json!("file:/etc/shadow"), "name"),
        ("/detect", json!("rtsp://10.0.0.9/x"), "detect"),
        ("/zone/0/polygon/0/0", json!(null), "zone[0].polygon[0][0]"),
        ("/zone/0/polygon", deep, "zone[0].polygon[0][0][0][0][0][0]"),
        ("/position/0", json!(u64::MAX), "position[0]"),
        ("/rule/0", json!({"name": "file:/x"}), "rule[0].name"),
    ];
    for (pointer, value, key) in cases {
        let e = refused(with(&text, "mot", |c| {
            let table = c.pointer_mut(pointer);
            match table {
                Some(place) => *place = value.clone(),
                None => c["detect"][pointer.trim_start_matches("/detect/")] = value.clone(),
            }
            if pointer == "/detect/url" && value.as_str().is_some_and(|v| v.contains('%')) {
                c["detect"].as_object_mut().expect("a table").remove("user");
            }
        }));
        assert_eq!(e.camera.as_deref(), Some("mot"), "{pointer}: {e:?}");
        assert_eq!(e.key.as_deref(), Some(key), "{pointer}: {e:?}");
    }
    for id in ["", "../x", "a/b", "Ä", "a.b"] {
        assert_eq!(refused(put(&text, json!({"id": id}))).key.as_deref(), Some("id"));
    }
    refused(put(&text, json!({"name": "no id"})));
    refused(put(&text, json!({"id": "mot", "käy": 1})));
}

#[test]
fn an_error_of_the_reader_is_given_its_camera_and_key() {
    let text = document();
    let key = |change: Changed| {
        let error = cameras_from(change.text.clone(), Path::new("x.toml"), &|rule, _, _| match rule
            .params
            .contains_key("khong-co")
        {
            true => Err(wardwatch::config::KeyError::new("khong-co", "is not known").hint("leave it out")),
            false => Ok(()),
        })
        .expect_err("it is wrong");
        let refused = edit::locate(&change.text, &error);
        (refused.camera.unwrap_or_default(), refused.key.unwrap_or_default(), refused.hint)
    };
    let at = |pointer: &str, value: Value| {
        let id = if pointer.starts_with("/hai") { "hai" } else { "mot" };
        let change = with(&text, id, |c| *c.pointer_mut(pointer.trim_start_matches("/hai")).expect("there") = value);
        let (camera, key, _) = key(change.expect("it can be written"));
        assert_eq!(camera, id);
        key
    };
    assert_eq!(at("/zone/1/polygon", json!([[0, 0], [1, 0]])), "zone[1].polygon");
    assert_eq!(at("/zone/1/name", json!("Sai")), "zone[1].name");
    assert_eq!(at("/mask/0/polygon", json!([[0, 0], [1, 0], [1, 2]])), "mask[0].polygon");
    assert_eq!(at("/rule/0/schedule", json!("khong-co")), "rule[0].schedule");
    assert_eq!(at("/detect/fps", json!(900)), "detect.fps");
    assert_eq!(at("/position", json!([1000, 5])), "position");
    assert_eq!(at("/hai/zone/0/polygon", json!([[0, 0], [1, 0]])), "zone[0].polygon");
    let (camera, key, hint) = key(with(&text, "mot", |c| c["rule"][0]["khong-co"] = json!(1)).expect("written"));
    assert_eq!((camera.as_str(), key.as_str(), hint.as_deref()), ("mot", "rule[0].khong-co", Some("leave it out")));
}

fn widened(text: &str, change: impl FnOnce(&mut Value)) -> Vec<(String, Widened)> {
    let change = with(text, "mot", change).expect("it can be");
    edit::widened(&load(text), &reloaded(&change)).into_iter().map(|w| (w.camera.to_string(), w.what)).collect()
}

#[test]
fn what_shows_more_is_told() {
    let text = document();
    let mot = |what| vec![("mot".to_owned(), what)];
    assert_eq!(widened(&text, |_| {}), []);
    assert_eq!(widened(&text, |c| c["sharing"] = json!("scheduled_live")), mot(Widened::Sharing));
    assert_eq!(widened(&text, |c| c["sharing"] = json!("listed")), []);
    assert_eq!(widened(&text, |c| c["mask"] = json!([])), mot(Widened::Mask));
    let audio = |on: bool| move |c: &mut Value| c["recording"] = json!({"mode": "events", "audio": on});
    assert_eq!(widened(&text, audio(true)), mot(Widened::Audio));
    assert_eq!(widened(&text, audio(false)), []);
    let mask = |polygon: Value| widened(&text, |c| c["mask"] = json!([{"polygon": polygon}]));
    // Larger: a corner pulled outwards, more corners, all of it.
    assert_eq!(mask(json!([[0.1, 0.1], [0.5, 0.0], [0.4, 0.4], [0.1, 0.4]])), []);
    assert_eq!(mask(json!([[0.1, 0.1], [0.2, 0.05], [0.4, 0.1], [0.4, 0.4], [0.1, 0.4]])), []);
    assert_eq!(mask(json!([[0.1, 0.4], [0.4, 0.4], [0.4, 0.1], [0.1, 0.1]])), [], "the other way round");
    assert_eq!(mask(json!([[0, 0], [1, 0], [1, 1], [0, 1]])), []);
    // Smaller, moved, bent inwards, crossing itself.
    assert_eq!(mask(json!([[0.1, 0.1], [0.399, 0.1], [0.4, 0.4], [0.1, 0.4]])), mot(Widened::Mask));
    assert_eq!(mask(json!([[0.11, 0.1], [0.41, 0.1], [0.41, 0.4], [0.11, 0.4]])), mot(Widened::Mask));
    let bent = json!([[0.1, 0.1], [0.25, 0.2], [0.4, 0.1], [0.4, 0.4], [0.1, 0.4]]);
    assert_eq!(mask(bent), mot(Widened::Mask));
    let hole = json!([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0], [0.2, 0.2], [0.3, 0.2], [0.3, 0.3], [0.2, 0.2]]);
    assert_eq!(mask(hole), mot(Widened::Mask));
    assert_eq!(mask(json!([[0.0, 0.0], [0.9, 0.9], [0.9, 0.0], [0.0, 0.3]])), mot(Widened::Mask));
}

#[test]
fn a_stream_under_another_name_is_the_same_neighbours() {
    let text = document();
    let mut settings = camera(&text, "mot");
    settings["id"] = json!("khac");
    settings.insert("sharing".into(), json!("scheduled_live"));
    settings.remove("mask");
    let change = changed(&text, vec![Edit::Remove("mot".into()), Edit::Put(settings)]).expect("it can be");
    let told: Vec<Widened> = edit::widened(&load(&text), &reloaded(&change)).iter().map(|w| w.what).collect();
    assert_eq!(told, [Widened::Sharing, Widened::Mask]);
}

/// Whether something is taken from the environment.
fn has_variable(value: &toml::Value) -> bool {
    match value {
        toml::Value::String(text) => text.starts_with("${"),
        toml::Value::Array(values) => values.iter().any(has_variable),
        toml::Value::Table(table) => table.values().any(has_variable),
        _ => false,
    }
}

/// Camera, host, port, user and password of a stream.
type Reached = (String, String, u16, Option<String>, Option<String>);

fn any_json() -> impl Strategy<Value = Value> {
    let text =
        prop_oneof!["[a-z:/${}.@]{0,12}", Just("file:/etc/shadow".to_owned()), Just("rtsp://10.0.0.9/x".to_owned())];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("id"),
        Just("url"),
        Just("user"),
        Just("password"),
        Just("detect"),
        Just("record"),
        Just("zone"),
        Just("mask"),
        Just("name"),
        Just("polygon"),
        Just("url_withheld"),
        Just("host"),
        Just("x"),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_comes_in_no_stored_password_goes_elsewhere(
        id in prop_oneof![Just("mot"), Just("hai"), Just("ba"), Just("moi")],
        key in prop_oneof![Just("detect"), Just("record"), Just("zone"), Just("name"), Just("mask")],
        value in any_json(),
        detect in any_json(),
    ) {
        let text = document();
        let before = load(&text);
        let mut settings = described(&text).cameras.into_iter().find(|c| c["id"] == id).unwrap_or_default();
        settings.insert("id".into(), json!(id));
        if detect.is_object() {
            settings.insert("detect".into(), detect);
        }
        settings.insert(key.into(), value);
        match changed(&text, vec![Edit::Put(settings)]) {
            Err(e) => {
                let shown = format!("{e:?}");
                prop_assert!(!shown.contains(CANARY));
            }
            Ok(change) => {
                // No new text refers to a file but to those that are written with it.
                let files: Vec<String> = change.secrets.iter().map(|s| format!("file:{}", s.path.display())).collect();
                for (at, _) in change.text.match_indices("file:") {
                    prop_assert!(files.iter().any(|f| change.text[at..].starts_with(f)), "{}", change.text);
                }
                prop_assert!(!has_variable(&toml::Value::Table(change.text.parse().expect("TOML"))));
                for camera in before.cameras.iter().filter(|c| c.id.as_str() != id) {
                    let unchanged = described(&text).cameras.into_iter().find(|c| c["id"] == camera.id.as_str());
                    let parsed: toml::Table = change.text.parse().expect("TOML");
                    let there = parsed["camera"].as_array().expect("a list").iter();
                    prop_assert_eq!(there.filter(|c| c["id"].as_str() == Some(camera.id.as_str())).count(), 1);
                    prop_assert!(unchanged.is_some());
                }
                // Where it can be loaded: a password of before is where it was, or it is none of before.
                let dir = tempfile::tempdir().expect("a directory");
                let here = change.text.replace(SECRETS, &dir.path().display().to_string());
                for secret in &change.secrets {
                    let name = secret.path.file_name().expect("a name");
                    std::fs::write(dir.path().join(name), secret.value.expose()).expect("writable");
                }
                let Ok(after) = cameras_from(here, Path::new("x.toml"), &|_, _, _| Ok(())) else { return Ok(()) };
                let streams = |d: &CamerasDocument| -> Vec<Reached> {
                    d.cameras.iter().flat_map(|c| [Some(c.detect.clone()), c.record.clone()].into_iter().flatten().map(|s| {
                        let password = s.password.as_ref().map(|p| p.expose().to_owned());
                        (c.id.to_string(), s.url.host().to_owned(), s.url.port(), s.user.clone(), password)
                    }).collect::<Vec<_>>()).collect()
                };
                let old = streams(&before);
                for stream in streams(&after) {
                    if stream.4.as_ref().is_some_and(|p| p.contains(CANARY)) {
                        prop_assert!(old.contains(&stream), "{stream:?}");
                    }
                }
                let out = edit::describe(InForce { text: &change.text, document: &after });
                let shown = format!("{:?}", out.map(|o| o.cameras));
                prop_assert!(!shown.contains(CANARY));
            }
        }
    }

    #[test]
    fn a_mask_that_holds_another_holds_each_of_its_points(
        outer in prop::collection::vec((0.0f32..1.0, 0.0f32..1.0), 3..7),
        inner in prop::collection::vec((0.0f32..1.0, 0.0f32..1.0), 3..7),
        weights in prop::collection::vec((0.01f32..1.0, 0.01f32..1.0, 0.01f32..1.0), 20),
    ) {
        let polygon = |points: &[(f32, f32)]| json!(points.iter().map(|(x, y)| [*x, *y]).collect::<Vec<_>>());
        let base = document();
        let masked = |points: &[(f32, f32)]| with(&base, "mot", |c| c["mask"] = json!([{"polygon": polygon(points)}]));
        let (Ok(old), Ok(new)) = (masked(&inner), masked(&outer)) else { return Ok(()) };
        let load = |c: &Changed| cameras_from(c.text.clone(), Path::new("x.toml"), &|_, _, _| Ok(()));
        let (Ok(old), Ok(new)) = (load(&old), load(&new)) else { return Ok(()) };
        if edit::widened(&old, &new).is_empty() {
            let (inner, outer) = (&old.cameras[0].masks[0], &new.cameras[0].masks[0]);
            for (a, b, c) in weights {
                let (p, sum) = (&inner.0, a + b + c);
                let x = (p[0].x * a + p[1].x * b + p[2].x * c) / sum;
                let y = (p[0].y * a + p[1].y * b + p[2].y * c) / sum;
                let point = wardwatch::base::geometry::Point::new(x, y);
                prop_assert!(!inner.contains(point) || outer.contains(point), "{point:?} {inner:?} {outer:?}");
            }
        }
    }
}
