//! Was something synced before it was told? The system calls of a process, as strace wrote them down, and rules over their
//! order. The checker knows no process: it reads text.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// What strace is to record: whatever changes files, and whatever is sent.
pub const CALLS: &str = "trace=write,writev,pwrite64,pwritev,sendto,sendmsg,fsync,fdatasync,rename,renameat,renameat2";

/// `strace` of everything that the program to be named after it does; `None` where a process may not be traced.
pub fn strace(to: &Path) -> Option<Command> {
    let tries = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output();
    match tries {
        Ok(tried) if tried.status.success() => {}
        tried => {
            let why = tried.map_or_else(|e| e.to_string(), |t| String::from_utf8_lossy(&t.stderr).trim().to_owned());
            // Whoever reads the output is to know that nothing was tested.
            #[allow(clippy::print_stderr)]
            let () = eprintln!("not tested: strace cannot trace here: {why}");
            return None;
        }
    }
    let mut command = Command::new("strace");
    // Signals to strace itself are passed on to nobody: whoever stops the program signals the program.
    command.args(["-f", "-y", "--seccomp-bpf", "-s", "1000000", "-e", CALLS, "-e", "signal=none", "-o"]).arg(to);
    Some(command)
}

/// One system call.
#[derive(Debug, Default)]
pub struct Call {
    pub name: String,
    /// Of the file, if it is about one; of a rename, where it went.
    pub path: String,
    /// Of a rename: where it came from.
    pub from: String,
    /// What was written or sent, each byte as the character of its number.
    pub data: String,
    /// Line numbers: when it was begun, and when it came back.
    pub begun: usize,
    pub ended: usize,
}

impl Call {
    fn writes(&self) -> bool {
        matches!(self.name.as_str(), "write" | "writev" | "pwrite64" | "pwritev")
    }

    /// Over a socket, however it is written to.
    fn sends(&self) -> bool {
        self.path.starts_with("socket:") || self.path.starts_with("TCP:") || self.name.starts_with("send")
    }

    fn syncs(&self) -> bool {
        matches!(self.name.as_str(), "fsync" | "fdatasync")
    }
}

/// Reads a trace. Calls that failed or never came back do not count.
pub fn parse(text: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut open: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(begun) = rest.strip_suffix(" <unfinished ...>") {
            open.insert(pid, (number, begun));
        } else if let Some((_, end)) = rest.strip_prefix("<... ").and_then(|r| r.split_once(" resumed>")) {
            if let Some((begun, start)) = open.remove(pid) {
                calls.extend(call(&format!("{start}{end}"), begun, number));
            }
        } else {
            calls.extend(call(rest, number, number));
        }
    }
    calls
}

fn call(text: &str, begun: usize, ended: usize) -> Option<Call> {
    let (head, result) = text.rsplit_once(" = ")?;
    if result.starts_with(['-', '?']) {
        return None;
    }
    let (name, arguments) = head.split_once('(')?;
    let strings = strings(arguments);
    let name = name.to_owned();
    if name.starts_with("rename") {
        let (from, path) = (strings.first()?.clone(), strings.last()?.clone());
        return Some(Call { name, path, from, data: String::new(), begun, ended });
    }
    let (_, path) = arguments.split_once('<')?;
    // A socket's own description holds `->`.
    let end = path.find(">,").or_else(|| path.find(">)")).or_else(|| path.rfind('>'))?;
    Some(Call { name, path: path[..end].to_owned(), from: String::new(), data: strings.concat(), begun, ended })
}

/// The string literals of a call's arguments, unescaped.
fn strings(arguments: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut characters = arguments.chars().peekable();
    while let Some(c) = characters.next() {
        if c != '"' {
            continue;
        }
        let mut text = String::new();
        while let Some(c) = characters.next() {
            match c {
                '"' => break,
                '\\' => match characters.next() {
                    Some(digit @ '0'..='7') => {
                        let mut value = digit.to_digit(8).unwrap_or_default();
                        for _ in 0..2 {
                            let Some(more) = characters.peek().and_then(|c| c.to_digit(8)) else { break };
                            value = value * 8 + more;
                            characters.next();
                        }
                        text.extend(char::from_u32(value));
                    }
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some('v') => text.push('\u{b}'),
                    Some('f') => text.push('\u{c}'),
                    Some(other) => text.push(other),
                    None => break,
                },
                c => text.push(c),
            }
        }
        found.push(text);
    }
    found
}

/// What a rule has found.
#[derive(Debug, Default)]
pub struct Found {
    /// Cases that it has looked at.
    pub cases: usize,
    pub violations: Vec<String>,
}

impl Found {
    fn case(&mut self, holds: bool, what: impl FnOnce() -> String) {
        self.cases += 1;
        if !holds {
            self.violations.push(what());
        }
    }
}

/// The calls of a run, to be asked about their order.
pub struct Trace(pub Vec<Call>);

impl Trace {
    /// Line after which `needle`, written to a file whose path ends in `file`, is on disk: the end of the first sync of
    /// that file that began when it was written.
    fn durable(&self, file: &str, needle: &str) -> Option<usize> {
        let written = self.row(file, needle)?;
        self.synced(&written.path, written.ended)
    }

    /// The end of the first sync of `path` that began after line `from`.
    fn synced(&self, path: &str, from: usize) -> Option<usize> {
        self.0.iter().filter(|c| c.syncs() && c.path == path && c.begun > from).map(|c| c.ended).min()
    }

    fn sent(&self) -> impl Iterator<Item = &Call> {
        self.0.iter().filter(|c| c.sends())
    }

    /// Node: an event's revision is in the synced log of the database before it is published.
    pub fn events_are_published_after_their_commit(&self) -> Found {
        const START: &str = "{\"schema\":\"wardwatch.event/1\",\"id\":\"";
        let mut found = Found::default();
        for call in self.sent() {
            for (at, _) in call.data.match_indices(START) {
                // As it is published, up to its sequence number, so that it is this revision and no other.
                let json = &call.data[at..];
                let Some(end) = json.find("\"seq\":").and_then(|s| Some(s + json[s..].find(',')?)) else { continue };
                let durable = self.durable("node.db-wal", &json[..end]);
                found.case(durable.is_some_and(|line| line < call.begun), || {
                    format!("line {}: published at once, on disk {durable:?}: {}", call.begun, &json[START.len()..end])
                });
            }
        }
        found
    }

    /// Node: a picture is in the synced log of the database before it is published.
    pub fn pictures_are_published_after_their_commit(&self) -> Found {
        let mut found = Found::default();
        for call in self.sent() {
            for (at, name) in call.data.match_indices("sha256") {
                // An MQTT user property: after the name two bytes of length, 64 in all, then the hash.
                let Some(sha) = call.data[at + name.len()..].strip_prefix("\0@").and_then(|rest| rest.get(..64)) else {
                    continue;
                };
                let durable = self.durable("node.db-wal", sha);
                found.case(durable.is_some_and(|line| line < call.begun), || {
                    format!("line {}: picture {sha} was published, on disk {durable:?}", call.begun)
                });
            }
        }
        found
    }

    /// Centre: what a receipt names is in the synced log of the database before the receipt is sent, and the file of a
    /// picture is written, synced, renamed and its directory synced before its row is.
    pub fn receipts_follow_what_they_name(&self) -> Found {
        let mut found = Found::default();
        for call in self.sent() {
            for (at, _) in call.data.match_indices("{\"events\":[") {
                let mut receipt = serde_json::Deserializer::from_str(&call.data[at..]).into_iter::<serde_json::Value>();
                let Some(Ok(receipt)) = receipt.next() else { continue };
                for event in receipt["events"].as_array().into_iter().flatten() {
                    let needle = format!("\"id\":{},\"revision\":{},", event[0], event[1]);
                    let durable = self.durable("centre.db-wal", &needle);
                    found.case(durable.is_some_and(|line| line < call.begun), || {
                        format!("line {}: receipt of {needle} on disk {durable:?}", call.begun)
                    });
                }
                for sha in receipt["snapshots"].as_array().into_iter().flatten().filter_map(|s| s.as_str()) {
                    let durable = self.picture(sha);
                    found.case(durable.is_some_and(|line| line < call.begun), || {
                        format!("line {}: receipt of picture {sha}, on disk {durable:?}", call.begun)
                    });
                }
            }
        }
        found
    }

    /// Line after which the centre's picture has a row on disk, if it and all before it came in order.
    fn picture(&self, sha: &str) -> Option<usize> {
        let named = self.named(&format!("{sha}.jpg"))?;
        let row = self.row("centre.db-wal", sha)?;
        (named < row.begun).then(|| self.synced(&row.path, row.ended)).flatten()
    }

    /// Line after which the file that was written under another name is on disk under its last one, which ends in `name`:
    /// the end of the sync of its directory, if the file itself was synced before it was renamed.
    fn named(&self, name: &str) -> Option<usize> {
        let rename = |to: &dyn Fn(&str) -> bool| self.0.iter().find(|c| c.name.starts_with("rename") && to(&c.path));
        let last = rename(&|path| path.ends_with(name))?;
        let mut first = last;
        while let Some(before) = rename(&|path| path == first.from) {
            if before.ended >= first.begun {
                return None;
            }
            first = before;
        }
        let written = self.0.iter().filter(|c| c.writes() && c.path == first.from).map(|c| c.ended).max()?;
        let synced = self.synced(&first.from, written)?;
        let directory = last.path.rsplit_once('/')?.0;
        (synced < first.begun).then(|| self.synced(directory, last.ended)).flatten()
    }

    /// The first time that `needle` was written to the log of the database `file`.
    fn row(&self, file: &str, needle: &str) -> Option<&Call> {
        self.0.iter().find(|c| c.writes() && c.path.ends_with(file) && c.data.contains(needle))
    }

    /// Node: the row of a clip, known by its hash, is written only after the file was synced, has its name, and the name is
    /// on disk. `clips`: the hashes.
    pub fn clip_rows_follow_their_files(&self, clips: &[String]) -> Found {
        let mut found = Found::default();
        for sha in clips {
            let Some(row) = self.row("node.db-wal", sha) else { continue };
            let named = self.named(&format!("{sha}.mp4"));
            found.case(named.is_some_and(|line| line < row.begun), || {
                format!("line {}: the row of clip {sha}, on disk {named:?}", row.begun)
            });
        }
        found
    }

    /// Node and worker: the row of an ended recording, known by the file's hash, is written only after the file, its
    /// sidecar and their directory were synced for the last time. `segments`: path below the recording directory, hash.
    pub fn segment_rows_follow_their_files(&self, segments: &[(String, String)]) -> Found {
        let mut found = Found::default();
        for (path, sha) in segments {
            let Some(row) = self.row("node.db-wal", sha) else { continue };
            let sidecar = path.replace(".mp4", ".json");
            let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
            let last = |end: &str| {
                let written = self.0.iter().filter(|c| c.writes() && c.path.ends_with(end)).max_by_key(|c| c.ended)?;
                self.synced(&written.path, written.ended)
            };
            let file = last(path);
            let beside = last(&sidecar);
            // Of the directory the sync that ends the file: the first after the sidecar's last.
            let named = beside.and_then(|from| {
                let syncs = self.0.iter().filter(|c| c.syncs() && c.path.ends_with(directory) && c.begun > from);
                syncs.map(|c| c.ended).min()
            });
            let on_disk = [file, beside, named];
            found.case(on_disk.iter().all(|s| s.is_some_and(|line| line < row.begun)), || {
                format!("line {}: the row of {path}; file, sidecar, directory on disk {on_disk:?}", row.begun)
            });
        }
        found
    }
}
