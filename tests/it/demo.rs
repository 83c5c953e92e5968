//! `wardwatch demo` as a user sees it, and as somebody with `mosquitto_sub` beside it does.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::site::{kill, root, wardwatch};
use crate::support::wait::until;

/// The `mosquitto_sub` command of the demo's own words, run in a shell as a user would.
fn watch(line: &str, topics_from: &str, topics_to: &str, more: &str) -> std::process::Output {
    let command = line.trim().replace(topics_from, topics_to);
    Command::new("timeout")
        .args(["60", "sh", "-c", &format!("{command} {more}")])
        .output()
        .expect("mosquitto-clients is installed")
}

#[test]
fn events_reach_the_terminal_and_an_outside_subscriber_and_ctrl_c_ends_it() {
    let state = tempfile::tempdir().expect("a temporary directory");
    let mut demo = wardwatch()
        .current_dir(root())
        .args(["demo", "--state-dir"])
        .arg(state.path().join("demo"))
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary is built");
    let mut lines = BufReader::new(demo.stdout.take().expect("piped")).lines().map(|l| l.expect("UTF-8"));
    let subscribe = lines.by_ref().find(|l| l.contains("mosquitto_sub")).expect("it says how to watch");
    let event =
        lines.by_ref().find(|l| l.starts_with("EVENT ") && l.ends_with(".jpg")).expect("an event with a picture");
    let picture = event.rsplit(' ').next().expect("a path");
    image::open(picture).expect("the picture decodes");
    assert!(event.contains('/') && event.contains(" ms "), "{event}");

    let json = watch(&subscribe, "", "", "-C 1");
    let parsed: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap_or_else(|e| panic!("{e}: {json:?}"));
    assert_eq!(parsed["schema"], "wardwatch.event/1");
    let jpeg = watch(&subscribe, "/event'", "/snapshot/+'", "-C 1 -N");
    image::load_from_memory(&jpeg.stdout).expect("an outside subscriber gets a JPEG that decodes");

    kill(demo.id(), "INT");
    let rest: Vec<String> = lines.collect();
    let mut status = None;
    until("it ends", Duration::from_secs(15), || {
        status = demo.try_wait().expect("it is ours");
        status.is_some()
    });
    assert!(status.is_some_and(|s| s.success()), "{rest:?}");
    let mut complaints = String::new();
    let mut stderr = demo.stderr.take().expect("piped");
    std::io::Read::read_to_string(&mut stderr, &mut complaints).expect("UTF-8");
    assert_eq!(complaints, "", "a run where all went well says nothing on standard error");
}
