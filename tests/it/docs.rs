//! What README and docs say against what is there: links, paths, command lines, metrics, message fields, camera faults.
//! Reads files and asks the program for its help; starts nothing else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use wardwatch::base::types::CameraState;
use wardwatch::wire::command::{Answer, Command};
use wardwatch::wire::event::Event;
use wardwatch::wire::receipt::Receipt;
use wardwatch::wire::status::{CameraStatus, PeerStatus};

/// A document: its path relative to the root, and its text.
struct Doc {
    path: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// README, CHANGELOG and every `.md` of docs/ and deploy/.
fn documents() -> Vec<Doc> {
    let mut paths: Vec<String> = vec!["README.md".into(), "CHANGELOG.md".into()];
    for dir in ["docs", "deploy"] {
        let entries = std::fs::read_dir(root().join(dir)).expect("the directory is there");
        let names = entries.flatten().map(|e| format!("{dir}/{}", e.file_name().to_string_lossy()));
        paths.extend(names.filter(|p| p.ends_with(".md")));
    }
    paths.sort();
    paths.into_iter().map(|path| Doc { text: read(&path), path }).collect()
}

/// Fenced blocks of `text` as (language, content), and the text without them.
fn blocks(text: &str) -> (Vec<(String, String)>, String) {
    let (mut blocks, mut rest, mut open) = (Vec::new(), String::new(), None::<(String, String)>);
    for line in text.lines() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(language)) => open = Some((language.trim().to_owned(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some((_, content)), None) => *content += &format!("{line}\n"),
            (None, None) => rest += &format!("{line}\n"),
        }
    }
    assert!(open.is_none(), "a fenced block has no end");
    (blocks, rest)
}

/// What stands between single backticks.
fn inline_code(text: &str) -> Vec<&str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

fn is_word(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}

/// Names of metrics in `text`, those of a histogram's parts as the histogram's.
fn metrics(text: &str) -> BTreeSet<String> {
    let names = text.match_indices("wardwatch_").map(|(at, _)| {
        let name: String = text[at..].chars().take_while(|c| is_word(*c)).collect();
        let part = ["_bucket", "_sum", "_count"].iter().find_map(|p| name.strip_suffix(p));
        part.unwrap_or(&name).to_owned()
    });
    names.collect()
}

#[test]
fn every_metric_is_described_and_every_described_metric_exists() {
    let known = metrics(&read("src/base/telemetry.rs"));
    assert!(known.len() > 20, "{known:?}");
    let described: BTreeSet<String> = read("docs/metrics.md")
        .lines()
        .filter(|l| l.starts_with("| `wardwatch_"))
        .flat_map(|l| metrics(l.split('|').nth(1).unwrap_or_default()))
        .collect();
    assert_eq!(known, described, "left: src/base/telemetry.rs, right: the tables of docs/metrics.md");
    for doc in documents() {
        let unknown: Vec<String> = metrics(&doc.text).difference(&known).cloned().collect();
        assert!(unknown.is_empty(), "{} names metrics that do not exist: {unknown:?}", doc.path);
    }
}

#[test]
fn the_handbook_has_every_brand_with_its_addresses() {
    let handbook = read("docs/technician.md");
    for vendor in wardwatch::config::vendor::VENDORS {
        let path = |template: &str| template.replace("rtsp://{host}:554", "");
        let (sub, main) = (path(vendor.sub), path(vendor.main));
        let row = format!("| {} | `{sub}` | `{main}` | {} | {} |", vendor.name, vendor.note_vi, vendor.note_en);
        assert!(handbook.contains(&row), "docs/technician.md lacks the row\n{row}");
    }
}

/// GitHub's anchor for a heading.
fn slug(heading: &str) -> String {
    let kept = heading.to_lowercase().replace('`', "");
    kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    let (_, prose) = blocks(text);
    let headings = prose.lines().filter(|l| l.starts_with('#')).map(|l| slug(l.trim_start_matches('#').trim()));
    let named = prose.split("<a id=\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned);
    headings.chain(named).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut seen = 0;
    for doc in documents() {
        let (_, prose) = blocks(&doc.text);
        for target in prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.starts_with("https://") {
                continue;
            }
            seen += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let own = root().join(&doc.path);
            let path: PathBuf = if file.is_empty() { own } else { own.parent().expect("has one").join(file) };
            assert!(path.exists(), "{}: the link to {target} leads nowhere", doc.path);
            if !anchor.is_empty() {
                let there = anchors(&std::fs::read_to_string(&path).expect("a text"));
                assert!(there.contains(anchor), "{}: {target}: there are only {there:?}", doc.path);
            }
        }
    }
    assert!(seen > 30, "only {seen} links were found");
}

#[test]
fn every_path_named_is_there() {
    const OURS: [&str; 6] = ["src/", "tests/", "docs/", "scripts/", "deploy/", ".ci/"];
    let mut seen = 0;
    for doc in documents() {
        let (blocks, prose) = blocks(&doc.text);
        let mut named: Vec<&str> = inline_code(&prose);
        let commands = blocks.iter().filter(|(language, _)| language == "sh");
        named.extend(commands.flat_map(|(_, content)| content.split_whitespace()));
        for path in named.into_iter().filter(|p| OURS.iter().any(|o| p.starts_with(o)) && !p.contains(['*', ' '])) {
            seen += 1;
            assert!(root().join(path).exists(), "{} names {path}, which is not there", doc.path);
        }
    }
    assert!(seen > 60, "only {seen} paths were found");
}

/// A command line cut into words; quotes hold words together.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, c) if c.is_whitespace() => words.push(std::mem::take(&mut word)),
            (None, '#') if word.is_empty() => break,
            _ => word.push(c),
        }
    }
    words.push(word);
    words.retain(|w| !w.is_empty());
    words
}

/// The arguments of each call of wardwatch in a shell text.
fn calls(shell: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for line in shell.replace("\\\n", " ").lines() {
        for call in words(line).split(|w| matches!(w.as_str(), "&&" | "|" | "||" | ";")) {
            let mut call = call.iter().peekable();
            while let Some(word) = call.peek() {
                match word.as_str() {
                    "sudo" | "env" | "$" => {}
                    "-u" => drop(call.next()),
                    assignment if assignment.contains('=') => {}
                    _ => break,
                }
                call.next();
            }
            if call.next().is_some_and(|program| program == "wardwatch" || program.ends_with("bin/wardwatch")) {
                found.push(call.take_while(|w| *w != ">").cloned().collect());
            }
        }
    }
    found
}

/// Gives `arguments` and then `--help` to the program: it complains of a flag it does not know and starts nothing.
fn complaint(arguments: &[String]) -> Option<String> {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_wardwatch"))
        .args(arguments)
        .arg("--help")
        .output()
        .expect("the program can be started");
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn every_command_line_shown_is_understood() {
    let mut shown: BTreeSet<Vec<String>> = BTreeSet::new();
    for doc in documents() {
        let (blocks, prose) = blocks(&doc.text);
        for (language, content) in &blocks {
            if matches!(language.as_str(), "sh" | "console") {
                shown.extend(calls(content));
            }
        }
        shown.extend(inline_code(&prose).into_iter().flat_map(calls));
    }
    let unit = read("deploy/wardwatch.service");
    let start = unit.lines().find_map(|l| l.strip_prefix("ExecStart=")).expect("the unit starts something");
    let started = calls(start);
    assert_eq!(started.len(), 1, "{start}");
    shown.extend(started);
    assert!(shown.len() > 8, "{shown:?}");
    for arguments in shown.iter().filter(|a| !a.is_empty()) {
        let complaint = complaint(arguments);
        assert_eq!(complaint, None, "wardwatch {} is shown but not understood", arguments.join(" "));
    }
}

#[test]
fn wrong_command_lines_are_found_and_refused() {
    let call = |line: &str| calls(line).pop().unwrap_or_default();
    let line = "X=1 sudo -u wardwatch env Y=2 wardwatch check \\\n --config 'a b.toml' # a comment";
    assert_eq!(call(line), ["check", "--config", "a b.toml"]);
    assert_eq!(call("make demo && ./bin/wardwatch probe rtsp://a | less"), ["probe", "rtsp://a"]);
    assert!(calls("sudo systemctl reload wardwatch; journalctl -u wardwatch").is_empty());
    for wrong in ["wardwatch watch", "wardwatch run --no-such-flag", "wardwatch demo --seconds soon"] {
        assert!(complaint(&call(wrong)).is_some(), "{wrong}");
    }
}

#[test]
fn every_message_shown_is_one_and_every_field_is_described() {
    let manual = read("docs/mqtt.md");
    let (blocks, prose) = blocks(&manual);
    let mut seen = BTreeSet::new();
    for (_, json) in blocks.iter().filter(|(language, _)| language == "json") {
        let value: Value = serde_json::from_str(json).unwrap_or_else(|e| panic!("{e}: {json}"));
        let has = |key: &str| value.get(key).is_some();
        let (what, again) = if has("kind") && has("issuer") {
            ("command", serde_json::from_str::<Command>(json).map(serde_json::to_value))
        } else if has("missing_more") {
            ("answer", serde_json::from_str::<Answer>(json).map(serde_json::to_value))
        } else if has("schema") {
            ("event", serde_json::from_str::<Event>(json).map(serde_json::to_value))
        } else if has("events") {
            ("receipt", serde_json::from_str::<Receipt>(json).map(serde_json::to_value))
        } else if has("version") {
            ("peer", serde_json::from_str::<PeerStatus>(json).map(serde_json::to_value))
        } else {
            ("camera", serde_json::from_str::<CameraStatus>(json).map(serde_json::to_value))
        };
        let again = again.unwrap_or_else(|e| panic!("this is no {what} message: {e}: {json}")).expect("JSON");
        let keys = |v: &Value| v.as_object().map(|o| o.keys().cloned().collect::<BTreeSet<_>>());
        assert_eq!(keys(&value), keys(&again), "{what}");
        seen.insert(what);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["answer", "camera", "command", "event", "peer", "receipt"]);
    let described: BTreeSet<&str> = inline_code(&prose).into_iter().collect();
    for schema in ["event", "command", "answer"] {
        let schema: Value = serde_json::from_str(&read(&format!("docs/{schema}.schema.json"))).expect("JSON");
        for field in schema["properties"].as_object().expect("the schema has properties").keys() {
            assert!(described.contains(field.as_str()), "docs/mqtt.md does not say what `{field}` is");
        }
    }
}

#[test]
fn every_state_and_fault_of_a_camera_has_its_mend() {
    let types = read("src/base/types.rs");
    let names = types.split("impl FaultKind {").nth(1).and_then(|rest| rest.split("\n}\n").next()).expect("is there");
    let faults = names.split("=> \"").skip(1).filter_map(|rest| rest.split('"').next());
    let all: Vec<&str> = faults.chain(CameraState::ALL.iter().map(|s| s.as_str())).collect();
    assert!(all.len() > 14, "{all:?}");
    let manual = read("docs/technician.md");
    for name in all {
        let rows = manual.lines().filter(|l| l.starts_with(&format!("| `{name}` |"))).count();
        assert!(rows > 0, "docs/technician.md has no row for `{name}`");
    }
}

/// Rows of the table below `heading`, cells between the bars.
fn table<'a>(text: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let section = text.split(&format!("\n{heading}\n")).nth(1).expect("the section is there");
    let lines = section.lines().filter(|l| l.starts_with('|')).skip(2);
    lines.map(|l| l.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

#[test]
fn every_fault_has_an_injector_that_is_there() {
    let text = read("docs/faults.md");
    let rows = table(&text, "## Every fault");
    assert!(rows.len() > 35, "{} rows", rows.len());
    for row in rows {
        assert_eq!(row.len(), 4, "{row:?}");
        assert!(row.iter().all(|cell| !cell.is_empty()), "{row:?}");
        let mut source = None;
        for code in inline_code(row[1]) {
            if code.ends_with(".rs") {
                source = Some(read(code));
                continue;
            }
            let within = source.as_ref().unwrap_or_else(|| panic!("{}: `{code}` stands before its file", row[0]));
            let named = within.contains(&format!("fn {code}(")) || within.contains(&format!("\"{code}\""));
            assert!(named, "{}: no test or mode `{code}` in the file before it", row[0]);
        }
        assert!(source.is_some(), "{} has no injector", row[0]);
    }
}

#[test]
fn the_handbook_shows_configuration_that_loads() {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("can be written");
        path
    };
    let (blocks, _) = blocks(&read("docs/technician.md"));
    let shown: Vec<&String> = blocks.iter().filter(|(language, _)| language == "toml").map(|(_, text)| text).collect();
    assert_eq!(shown.len(), 2);
    let site = write("wardwatch.toml", format!("[site]\nward = \"o-cho-dua\"\n{}", shown[0]));
    wardwatch::config::load_site(&site).expect("section 1 loads");
    let secret = write("secret", "word".into());
    let cameras = shown[1].replace("/etc/wardwatch/ngo-12-dau.password", &secret.display().to_string());
    let cameras = write("cameras.toml", format!("revision = 1\n{cameras}"));
    wardwatch::app::camera::load_cameras_for(&cameras, &["person"]).expect("section 2 loads");
}
