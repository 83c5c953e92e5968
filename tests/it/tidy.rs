//! The rules of the house, read off the sources: layers, one door for each heavy dependency, who may spawn, sizes,
//! headers, words that must not stay. Change a table here in the commit that needs it, and say why in its reason.

use std::path::{Path, PathBuf};

/// Top-level modules by layer. A file names lower layers only, or what `also` lists.
struct Module {
    name: &'static str,
    layer: u8,
    also: &'static [&'static str],
    reason: &'static str,
}

const MODULES: &[Module] = &[
    module("base", 0, &[], "the vocabulary every other layer speaks"),
    module("config", 1, &[], "the two files"),
    module("wire", 1, &["config"], "worker messages carry a camera's validated configuration"),
    module("ingest", 2, &[], "a stage"),
    module("detect", 2, &[], "a stage"),
    module("track", 2, &[], "a stage"),
    module("rules", 2, &[], "a stage"),
    module("store", 2, &[], "a stage"),
    module("snapshot", 2, &[], "a stage"),
    module("privacy", 2, &[], "a stage"),
    module("publish", 3, &[], "from the store to the broker"),
    module("record", 3, &[], "from the ring to files, and from files to clips"),
    module("link", 3, &[], "HTTP doors, and the client of the outbound link"),
    module("centre", 4, &[], "the command centre"),
    module("app", 5, &[], "wiring"),
    module("main", 6, &[], "arguments and exit codes"),
    module("lib", 6, &[], "the crate's map"),
];

const fn module(name: &'static str, layer: u8, also: &'static [&'static str], reason: &'static str) -> Module {
    Module { name, layer, also, reason }
}

/// Only files whose path (below `src/`) begins with one of `places` may contain one of `words` as code.
struct Door {
    words: &'static [&'static str],
    places: &'static [&'static str],
    reason: &'static str,
}

const DOORS: &[Door] = &[
    Door {
        words: &["gst", "gstreamer", "gstreamer_app", "gstreamer_video", "gstreamer_rtsp_server", "gio", "glib"],
        places: &[
            "ingest/receive.rs",
            "ingest/audio.rs",
            "ingest/decode.rs",
            "ingest/file.rs",
            "ingest/sample.rs",
            "record/",
        ],
        reason: "C code fed by strangers stays behind the stages that own a pipeline",
    },
    Door { words: &["ort"], places: &["detect/onnx.rs"], reason: "a runtime can be replaced in one file" },
    Door {
        words: &["rumqttc"],
        places: &["publish/mqtt.rs", "centre/receive.rs"],
        reason: "the client drops what it has queued; the outbox must not learn to rely on it",
    },
    Door { words: &["rusqlite"], places: &["store/", "centre/store/"], reason: "SQL lives with its schema" },
    Door { words: &["axum"], places: &["centre/api", "link"], reason: "doors to the outside are few and known" },
    Door {
        words: &["reqwest"],
        places: &["link/client.rs", "link/receiver.rs"],
        reason: "one client for the centre and one for receivers of webhooks, each with one set of limits",
    },
    Door { words: &["ring::hmac"], places: &["centre/sign.rs"], reason: "what is signed and counted is in one place" },
    Door {
        words: &["tokio_tungstenite", "tokio_rustls"],
        places: &["link/channel.rs"],
        reason: "one channel, with one set of limits",
    },
    Door { words: &["object_store"], places: &["centre/objects.rs"], reason: "the bucket's keys are in one place" },
    Door { words: &["image", "yuv"], places: &["snapshot.rs"], reason: "pictures are made in one place" },
    Door { words: &["secrecy"], places: &["config/secret.rs"], reason: "one type holds secrets" },
];

/// Only these may start threads, tasks and processes, so that shutdown has one order.
const SPAWNERS: &[&str] = &["app/", "publish/broker"];
const SPAWNS: &[&str] = &[
    "thread::spawn",
    "thread::Builder",
    "thread::scope",
    "tokio::spawn",
    "task::spawn",
    "spawn_blocking",
    "Command::new",
    "JoinSet::new",
];

const MAX_LINES: usize = 600;
const MAX_CODE_LINES: usize = 450;
const MAX_FUNCTION: usize = 100;

/// The one helper that may wait in tests, by polling with a deadline.
const POLLING: &str = "tests/it/support/wait.rs";

/// A file of the repository: its path with `/`, relative to the root.
struct File {
    path: String,
    text: String,
}

#[test]
fn the_sources_keep_the_rules_of_the_house() {
    let files = repository();
    assert!(files.iter().filter(|f| f.path.starts_with("src/")).count() > 30, "the sources were not found");
    let found: Vec<String> = files.iter().flat_map(violations).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

fn violations(file: &File) -> Vec<String> {
    let mut out = Vec::new();
    if file.path.ends_with(".rs") {
        let code = blank(&file.text);
        let tests = test_start(&code);
        if let Some(inner) = file.path.strip_prefix("src/") {
            layers(inner, &code[..tests], &mut out);
            doors(inner, &code[..tests], &mut out);
            sizes(&code, tests, &mut out);
            sleeps("src", &code[tests..], &mut out);
        } else {
            sleeps(&file.path, &code, &mut out);
        }
        let lines = file.text.lines().count();
        if lines > MAX_LINES {
            out.push(format!("has {lines} lines; {MAX_LINES} is the most"));
        }
        if !file.text.starts_with("//!") {
            out.push("does not begin with //! (what it does, what it must not do)".into());
        }
        words(&file.text, &unfinished(), "is unfinished", &mut out);
    }
    if file.path != "Cargo.lock" {
        words(&file.text, &registries(), "names a registry", &mut out);
        words(&file.text, &machine_paths(), "names a path of one machine", &mut out);
    }
    out.into_iter().map(|v| format!("{}: {v}", file.path)).collect()
}

fn layers(inner: &str, code: &str, out: &mut Vec<String>) {
    let path: Vec<&str> =
        inner.trim_end_matches(".rs").split('/').filter(|p| !matches!(*p, "mod" | "lib" | "main")).collect();
    let top = path.first().copied().unwrap_or_else(|| inner.trim_end_matches(".rs"));
    let Some(own) = MODULES.iter().find(|m| m.name == top) else {
        return out.push(format!("module `{top}` has no layer: add it to the table"));
    };
    let mut imported = after(code, "crate::");
    imported.extend(after(code, "wardwatch::"));
    // `super::` repeated until it leaves the top-level module is another way to say `crate::`.
    imported.extend(after(code, &"super::".repeat(path.len().max(1))));
    for name in imported {
        let Some(other) = MODULES.iter().find(|m| m.name == name) else { continue };
        if other.name != own.name && other.layer >= own.layer && !own.also.contains(&other.name) {
            out.push(format!(
                "{} (L{}, {}) imports {} (L{}, {})",
                own.name, own.layer, own.reason, other.name, other.layer, other.reason
            ));
        }
    }
}

/// The first names after each `prefix`, of a braced group all of them.
fn after(code: &str, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        if code[..at].ends_with(|c: char| is_word(c) || c == ':') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.push(rest.chars().take_while(|c| is_word(*c)).collect());
            continue;
        };
        let (mut depth, mut name) = (1, String::new());
        for c in group.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 1 && is_word(c) {
                name.push(c);
                continue;
            }
            if !name.is_empty() && depth <= 2 {
                names.push(std::mem::take(&mut name));
            }
            if depth == 0 {
                break;
            }
        }
    }
    names
}

fn doors(inner: &str, code: &str, out: &mut Vec<String>) {
    for door in DOORS.iter().filter(|d| !d.places.iter().any(|p| inner.starts_with(p))) {
        for word in door.words {
            let path =
                [format!("{word}::"), format!("use {word};"), format!("use {word} as"), format!("extern crate {word}")];
            if path.iter().any(|p| is_there(code, p)) {
                out.push(format!("names {word}, which only {} may ({})", door.places.join(", "), door.reason));
            }
        }
    }
    if !SPAWNERS.iter().any(|p| inner.starts_with(p)) {
        for spawn in SPAWNS.iter().filter(|s| is_there(code, s)) {
            out.push(format!("has {spawn}, which only {} may: shutdown has one order", SPAWNERS.join(", ")));
        }
    }
}

/// Whether `word` stands in `code` and is not the tail of a longer path or name.
fn is_there(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| !code[..at].ends_with(|c: char| is_word(c)))
}

fn sizes(code: &str, tests: usize, out: &mut Vec<String>) {
    let code_lines = code[..tests].lines().filter(|l| !l.trim().is_empty()).count();
    if code_lines > MAX_CODE_LINES {
        out.push(format!("has {code_lines} lines of code; {MAX_CODE_LINES} is the most, about 400 the aim"));
    }
    for (at, _) in code.match_indices("fn ") {
        if code[..at].ends_with(is_word) {
            continue;
        }
        let name: String = code[at + 3..].chars().take_while(|c| is_word(*c)).collect();
        let body = match code[at..].find(['{', ';']) {
            Some(open) if code[at + open..].starts_with('{') => &code[at + open..],
            _ => continue,
        };
        let length = body[..block(body)].lines().filter(|l| !l.trim().is_empty()).count();
        if !name.is_empty() && length > MAX_FUNCTION {
            out.push(format!("fn {name} has {length} lines; {MAX_FUNCTION} is the most, about 50 the aim"));
        }
    }
}

fn sleeps(path: &str, code: &str, out: &mut Vec<String>) {
    let calls = ["thread::sleep", "time::sleep"].iter().map(|s| code.matches(s).count()).sum::<usize>();
    // A blocking and an async twin of the helper.
    let allowed = if path == POLLING { 2 } else { 0 };
    if calls > allowed {
        out.push(format!("a test sleeps: wait for what you wait for, with the helper in {POLLING}"));
    }
}

fn words(text: &str, bad: &[String], what: &str, out: &mut Vec<String>) {
    for (number, line) in text.lines().enumerate() {
        for word in bad.iter().filter(|w| line.contains(w.as_str())) {
            out.push(format!("line {} {what}: {word}", number + 1));
        }
    }
}

// The words are put together here so that this file does not contain them.
fn unfinished() -> Vec<String> {
    ["TO DO", "FIX ME", "X XX", "to do!", "unimpl emented!"].iter().map(|w| w.replace(' ', "")).collect()
}

fn registries() -> Vec<String> {
    ["crates|io", "pypi|org", "pythonhosted|org", "npmjs|org", "npmjs|com", "docker|io", "proxy|golang|org"]
        .iter()
        .map(|w| w.replace('|', "."))
        .collect()
}

fn machine_paths() -> Vec<String> {
    let here = env!("CARGO_MANIFEST_DIR").to_owned();
    ["work", "home", "root", "Users"].iter().map(|d| format!("/{d}/")).chain([here]).collect()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where the trailing `#[cfg(test)] mod …` begins, or the end. Tests may use what the code may not.
fn test_start(code: &str) -> usize {
    code.match_indices("#[cfg(test)]")
        .find(|(at, attribute)| code[at + attribute.len()..].trim_start().starts_with("mod "))
        .map_or(code.len(), |(at, _)| at)
}

/// Length of the block that `text` begins with, braces included.
fn block(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return at + 1;
        }
    }
    text.len()
}

/// The code without comments and without what is inside of strings; line breaks stay.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut i) = (Vec::with_capacity(bytes.len()), 0);
    while i < bytes.len() {
        let rest = &bytes[i..];
        let skip = if rest.starts_with(b"//") {
            rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            rest.windows(2).position(|w| w == b"*/").map_or(rest.len(), |p| p + 2)
        } else {
            literal(rest, i > 0 && is_word(char::from(bytes[i - 1])))
        };
        if skip == 0 {
            out.push(bytes[i]);
            i += 1;
        } else {
            out.extend(rest[..skip].iter().map(|b| if *b == b'\n' { b'\n' } else { b' ' }));
            i += skip;
        }
    }
    String::from_utf8(out).expect("only whole characters were replaced")
}

/// Length of the string or character literal that `rest` begins with; 0 if it does not.
fn literal(rest: &[u8], in_word: bool) -> usize {
    if rest[0] == b'r' && !in_word {
        let hashes = rest[1..].iter().take_while(|b| **b == b'#').count();
        if rest.get(1 + hashes) == Some(&b'"') {
            let end = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
            let body = &rest[2 + hashes..];
            return body.windows(end.len()).position(|w| w == end).map_or(rest.len(), |p| 2 + hashes + p + end.len());
        }
    }
    let quote = match rest {
        [b'"', ..] => b'"',
        // A lifetime has no closing quote.
        [b'\'', b'\\', ..] | [b'\'', _, b'\'', ..] => b'\'',
        [b'\'', c, ..] if *c >= 0x80 => b'\'',
        _ => return 0,
    };
    let mut i = 1;
    while i < rest.len() && rest[i] != quote {
        i += if rest[i] == b'\\' { 2 } else { 1 };
    }
    (i + 1).min(rest.len())
}

/// Every text file of the repository; what git ignores lies in the directories left out.
fn repository() -> Vec<File> {
    const LEFT_OUT: &[&str] = &[
        ".git",
        ".cache",
        "target",
        "node_modules",
        "dist",
        "var",
        "proptest-regressions",
        "wardwatch.toml",
        "cameras.toml",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut open: Vec<PathBuf> = vec![root.to_owned()];
    let mut files = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).expect("readable").flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let Ok(kind) = entry.file_type() else { continue };
            if LEFT_OUT.iter().any(|l| name == *l) {
                continue;
            }
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file()
                && let Ok(text) = std::fs::read_to_string(&path)
            {
                let relative = path.strip_prefix(root).expect("below the root");
                files.push(File { path: relative.to_string_lossy().replace('\\', "/"), text });
            }
        }
    }
    files
}

/// The violations of a made-up file.
fn of(path: &str, text: &str) -> String {
    violations(&File { path: path.into(), text: format!("//! x\n{text}") }).join("\n")
}

#[test]
fn the_check_sees_what_it_is_there_for() {
    for (path, text, expected) in [
        ("src/rules/a.rs", "use crate::track::Track;", "imports track"),
        ("src/rules/a.rs", "use crate::{base::Stamp, snapshot::take};", "imports snapshot"),
        ("src/rules/a.rs", "fn f() { super::super::privacy::burn(); }", "imports privacy"),
        ("src/snapshot.rs", "use super::privacy;", "imports privacy"),
        ("src/base/a.rs", "use crate::config::Camera;", "imports config"),
        ("src/config/a.rs", "use crate::wire::ipc;", "imports wire"),
        ("src/publish/a.rs", "fn f() { crate::app::run() }", "imports app"),
        ("src/store/a.rs", "use crate::publish::x;", "imports publish"),
        ("src/novel.rs", "", "has no layer"),
        ("src/track/a.rs", "use gstreamer as gst;", "names gstreamer"),
        ("src/detect/a.rs", "fn f(s: ort::Session) {}", "names ort"),
        ("src/publish/a.rs", "use rumqttc::v5::Client;", "names rumqttc"),
        ("src/centre/a.rs", "fn f() { ::rusqlite::Connection::open(p) }", "names rusqlite"),
        ("src/app/a.rs", "use axum::Router;", "names axum"),
        ("src/ingest/a.rs", "fn f() { std::thread::spawn(|| ()); }", "thread::spawn"),
        ("src/centre/a.rs", "async fn f() { tokio::spawn(g()); }", "tokio::spawn"),
        ("src/store/a.rs", "fn f() { Command::new(p).spawn(); }", "Command::new"),
        ("src/track/a.rs", "#[cfg(test)]\nmod tests {\n fn f() { std::thread::sleep(d) } }", "sleeps"),
        ("tests/it/a.rs", "async fn f() { tokio::time::sleep(d).await }", "sleeps"),
        ("docs/a.md", &format!("see {}", registries()[0]), "names a registry"),
        ("scripts/a.sh", &format!("cd {}", env!("CARGO_MANIFEST_DIR")), "names a path"),
        ("src/track/a.rs", &format!("// {}: later", unfinished()[0]), "is unfinished"),
        ("src/track/a.rs", &format!("fn f() {{ {}() }}", unfinished()[3]), "is unfinished"),
        ("src/track/a.rs", &"fn f() {}\n".repeat(700), "700 lines of code"),
        ("src/track/a.rs", &format!("fn long() {{\n{}}}\n", "x();\n".repeat(120)), "fn long has 122 lines"),
    ] {
        let found = of(path, text);
        assert!(found.contains(expected), "{path}: `{expected}` was not found in:\n{text}\ngot: {found}");
    }
    let headless = violations(&File { path: "src/track/a.rs".into(), text: "use std::fmt;".into() });
    assert!(headless.concat().contains("does not begin"));
}

#[test]
fn the_check_lets_pass_what_is_allowed() {
    for (path, text) in [
        ("src/rules/a.rs", "use crate::{base::{Stamp, types::Track}, config::Camera};\nuse super::track;"),
        ("src/rules/a.rs", "// use crate::track\nconst S: &str = \"crate::track \\\" thread::spawn\";"),
        ("src/rules/a.rs", "const S: &str = r#\"crate::track \" ort::\"#; fn f<'a>(c: char) -> bool { c == '\"' }"),
        ("src/rules/a.rs", "#[cfg(test)]\nmod tests {\n use crate::track::X; fn f() { std::thread::spawn(g); } }"),
        ("src/wire/a.rs", "use crate::config::Camera;"),
        ("src/app/a.rs", "use crate::{centre, rules};\nfn f() { std::thread::spawn(g); tokio::time::sleep(d); }"),
        ("src/publish/mqtt.rs", "use rumqttc::v5::Client;"),
        ("src/track/a.rs", "fn f(image: Image) { report::support::x(image) }"),
        ("tests/it/support/wait.rs", "fn until() { std::thread::sleep(STEP) }"),
        ("Cargo.lock", &registries()[0]),
    ] {
        assert_eq!(of(path, text), "", "{path}:\n{text}");
    }
}
