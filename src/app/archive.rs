//! The file that `wardwatch backup` writes and `wardwatch restore` reads: a tar with a manifest first, its hash second,
//! then the members in the manifest's order. Whoever reads it believes nothing: names come from a list, sizes from the
//! manifest, and the file is as long as both say, to the byte. Knows no place on this machine.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::base::clock::SystemClock;
use crate::base::{Clock, Error, ErrorKind, Result, Stamp};

pub(super) const SITE: &str = "wardwatch.toml";
pub(super) const CAMERAS: &str = "cameras.toml";
pub(super) const NODE: &str = "node/node.db";
pub(super) const IDENTITY: &str = "node/link.json";
pub(super) const CENTRE: &str = "centre/centre.db";
pub(super) const BROKER: &str = "broker/credentials";
/// `keys/<n>`: the n-th file of [`crate::config::Places::keys`].
pub(super) const KEYS: &str = "keys/";

const MANIFEST: &str = "manifest.json";
const MANIFEST_HASH: &str = "manifest.sha256";
const SCHEMA: &str = "wardwatch.backup/1";

/// A tar's unit.
const BLOCK: u64 = 512;
/// Some hundred bytes a member; nobody has thousands of password files.
const MAX_MANIFEST: u64 = 1 << 20;
/// Progress is told when something takes longer.
const TELL: Duration = Duration::from_secs(2);

/// What is in the archive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    schema: String,
    /// Of the program that made it.
    pub(super) version: String,
    pub(super) made_at: String,
    pub(super) made_ms: i64,
    pub(super) ward: String,
    /// Empty without a node.
    pub(super) node: String,
    pub(super) members: Vec<Member>,
    /// What has to be copied otherwise, for a person.
    pub(super) not_included: Vec<String>,
}

/// A file of the archive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) name: String,
    /// Where it was; for a person.
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

impl Manifest {
    pub(super) fn new(ward: &str, node: &str, now: Stamp) -> Self {
        let made_at = crate::wire::event::rfc3339(now.wall_ms, &jiff::tz::TimeZone::UTC);
        Self {
            schema: SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            made_at,
            made_ms: now.wall_ms,
            ward: ward.to_owned(),
            node: node.to_owned(),
            members: Vec::new(),
            not_included: Vec::new(),
        }
    }
}

/// Tells, on standard error, how far something is that takes long.
pub(super) struct Progress<'a> {
    out: &'a mut dyn Write,
    told: Stamp,
}

impl<'a> Progress<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        Self { out, told: SystemClock.now() }
    }

    pub(super) fn at(&mut self, doing: &str, done: u64, all: u64) {
        let now = SystemClock.now();
        if now.since(self.told) >= TELL {
            self.told = now;
            // Nobody may be there to read it.
            writeln!(self.out, "{doing}: {} / {} MiB", done >> 20, all >> 20).ok();
        }
    }
}

/// Length and SHA-256 of what `source` gives; a copy of it goes to `to`.
pub(super) fn pump(
    source: &mut dyn Read,
    to: &mut dyn Write,
    step: &mut dyn FnMut(u64),
) -> std::io::Result<(u64, String)> {
    let (mut buffer, mut hash, mut bytes) = (vec![0; 1 << 16], Sha256::new(), 0);
    loop {
        let n = match source.read(&mut buffer) {
            Ok(0) => return Ok((bytes, hex::encode(hash.finalize()))),
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        hash.update(&buffer[..n]);
        to.write_all(&buffer[..n])?;
        bytes += n as u64;
        step(bytes);
    }
}

/// Writes `manifest` and its members, each read from the file beside it in `files`, to `out`.
pub(super) fn write(
    out: &mut File,
    manifest: &Manifest,
    files: &mut [File],
    progress: &mut Progress<'_>,
) -> Result<()> {
    let json = serde_json::to_vec_pretty(manifest)
        .map_err(|e| Error::new(ErrorKind::Internal, "the manifest cannot be written as JSON").source(e))?;
    let hash = hex::encode(Sha256::digest(&json));
    let seconds = (manifest.made_ms / 1000).max(0) as u64;
    let mut append = |out: &mut File, name: &str, bytes: u64, source: &mut dyn Read| -> std::io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_path(name)?;
        header.set_size(bytes);
        header.set_mode(0o600);
        header.set_mtime(seconds);
        header.set_cksum();
        out.write_all(header.as_bytes())?;
        let (written, _) = pump(source, out, &mut |done| progress.at(name, done, bytes))?;
        let padding = written.next_multiple_of(BLOCK) - written;
        out.write_all(&[0; BLOCK as usize][..padding as usize])
    };
    let all = || -> std::io::Result<()> {
        append(out, MANIFEST, json.len() as u64, &mut json.as_slice())?;
        append(out, MANIFEST_HASH, hash.len() as u64, &mut hash.as_bytes())?;
        for (member, file) in manifest.members.iter().zip(files) {
            file.rewind()?;
            append(out, &member.name, member.bytes, file)?;
        }
        out.write_all(&[0; 2 * BLOCK as usize])?;
        out.sync_all()
    };
    all().map_err(|e| Error::io("cannot write the archive", "the archive", e))
}

/// Reads the archive `file` (`path` is for messages) from its beginning and gives each member to `take`, which reads what
/// it wants of it. When this returns without an error, everything was whole.
///
/// # Errors
/// `Corrupt` when it is damaged, cut short or not a backup, `Config` when a newer wardwatch wrote it; whatever `take` says.
pub(super) fn read(
    file: &mut File,
    path: &Path,
    take: &mut dyn FnMut(&Member, &mut dyn Read) -> Result<()>,
) -> Result<Manifest> {
    let length = file.metadata().map_err(|e| Error::io("cannot read the archive", path, e))?.len();
    file.seek(SeekFrom::Start(0)).map_err(|e| Error::io("cannot read the archive", path, e))?;
    let mut archive = tar::Archive::new(file);
    let mut entries = archive.entries().map_err(|e| damaged(path, "it is no archive").source(e))?.raw(true);
    let mut next = |name: &str, most: u64| {
        let entry = entries.next().ok_or_else(|| damaged(path, &format!("it ends before {name}")))?;
        let entry = entry.map_err(|e| damaged(path, &format!("before {name}")).source(e))?;
        if entry.path_bytes() != name.as_bytes() || !entry.header().entry_type().is_file() {
            return Err(damaged(path, &format!("{name} is not where it belongs")));
        }
        match entry.size() {
            bytes if bytes <= most.min(length) => Ok(entry),
            _ => Err(damaged(path, &format!("{name} claims a size that it cannot have"))),
        }
    };
    let mut expected = 2 * BLOCK;
    let mut text = |name: &str, most: u64| -> Result<Vec<u8>> {
        let mut entry = next(name, most)?;
        let (bytes, mut text) = (entry.size(), Vec::new());
        entry.read_to_end(&mut text).map_err(|e| damaged(path, name).source(e))?;
        expected += BLOCK + bytes.next_multiple_of(BLOCK);
        Ok(text)
    };
    let json = text(MANIFEST, MAX_MANIFEST)?;
    if text(MANIFEST_HASH, BLOCK)? != hex::encode(Sha256::digest(&json)).as_bytes() {
        return Err(damaged(path, "its manifest is not what it was"));
    }
    let manifest = understood(&json, path)?;
    for member in &manifest.members {
        let name = member.name.as_str();
        let mut entry = next(name, u64::MAX)?;
        if entry.size() != member.bytes {
            return Err(damaged(path, &format!("{name} is not as long as the manifest says")));
        }
        let mut hashed = Hashed { source: &mut entry, hash: Sha256::new(), bytes: 0, failed: false };
        let taken = take(member, &mut hashed);
        if taken.is_ok() {
            std::io::copy(&mut hashed, &mut std::io::sink()).map_err(|e| damaged(path, name).source(e))?;
        }
        let (whole, sha256, failed) =
            (hashed.bytes == member.bytes, hex::encode(hashed.hash.finalize()), hashed.failed);
        if failed || taken.is_ok() && !(whole && sha256 == member.sha256) {
            return Err(damaged(path, &format!("{name} is not what it was")));
        }
        taken?;
        expected += BLOCK + member.bytes.next_multiple_of(BLOCK);
    }
    if length != expected {
        return Err(damaged(path, "it is not as long as it was"));
    }
    Ok(manifest)
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the archive is damaged: {what}"))
        .at(path.display())
        .hint("nothing was changed; take another backup")
}

fn understood(json: &[u8], path: &Path) -> Result<Manifest> {
    #[derive(Deserialize)]
    struct Which {
        schema: String,
    }
    let no_manifest = |e| damaged(path, "its manifest cannot be understood").source(e);
    let Which { schema } = serde_json::from_slice(json).map_err(no_manifest)?;
    if schema != SCHEMA {
        let text = format!("the archive is of the form `{schema}`, this program reads `{SCHEMA}`");
        let hint = "restore it with the wardwatch that made it, or a newer one";
        return Err(Error::new(ErrorKind::Config, text).at(path.display()).hint(hint));
    }
    let manifest: Manifest = serde_json::from_slice(json).map_err(no_manifest)?;
    let known = |name: &str| match name.strip_prefix(KEYS) {
        Some(n) => n.parse::<u16>().is_ok_and(|number| number.to_string() == n),
        None => [SITE, CAMERAS, NODE, IDENTITY, CENTRE, BROKER].contains(&name),
    };
    let mut seen = std::collections::BTreeSet::new();
    match manifest.members.iter().find(|m| !known(&m.name) || !seen.insert(&m.name)) {
        Some(stranger) => Err(damaged(path, &format!("{:?} does not belong into it", stranger.name))),
        None => Ok(manifest),
    }
}

/// What was read through it, and its hash.
struct Hashed<'a> {
    source: &'a mut dyn Read,
    hash: Sha256,
    bytes: u64,
    failed: bool,
}

impl Read for Hashed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.source.read(buffer);
        match read {
            Ok(n) => {
                self.hash.update(&buffer[..n]);
                self.bytes += n as u64;
            }
            Err(ref e) if e.kind() != std::io::ErrorKind::Interrupted => self.failed = true,
            Err(_) => {}
        }
        read
    }
}
