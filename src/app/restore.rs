//! `wardwatch restore`: puts a backup into place. First everything is read and checked, then everything is written beside
//! its place and made ready, then it gets its names; what was there is put aside, never deleted. The site must not run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use super::archive::{self, Manifest, Member, Progress};
use super::backup::say;
use crate::base::clock::SystemClock;
use crate::base::{Clock, Error, ErrorKind, Result};
use crate::config::Places;
use crate::link::identity;
use crate::publish::broker;
use crate::store::backup::Settled;
use crate::store::sqlite;
use crate::{centre, store};

/// A configuration, a password, an identity is no larger.
const MAX_SMALL: u64 = 16 << 20;
/// What is written before it has its name.
const STAGED: &str = ".restoring";
/// Where files go whose own place is not for a restore to write to.
const ELSEWHERE: &str = "from-backup";
/// What SQLite keeps beside a database.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Where a backup is put.
pub enum Target {
    /// `wardwatch.toml` becomes this file, the rest goes where it says.
    Config(PathBuf),
    /// Everything goes below this directory.
    Directory(PathBuf),
}

/// A member and its place.
struct Item {
    name: String,
    path: PathBuf,
    sha256: String,
    /// The configuration says another place, and goes on to.
    moved: bool,
}

impl Item {
    fn is_database(&self) -> bool {
        [archive::NODE, archive::CENTRE].contains(&self.name.as_str())
    }

    fn staged(&self) -> PathBuf {
        beside(&self.path, STAGED)
    }

    /// Whether something is in its place that would be lost.
    fn is_taken(&self) -> bool {
        let there = |suffix: &str| beside(&self.path, suffix).symlink_metadata().is_ok();
        if self.is_database() {
            return there("") || BESIDE.iter().any(|s| there(s));
        }
        there("") && !self.is_same()
    }

    /// Whether its place has it already.
    fn is_same(&self) -> bool {
        let hash = |mut file: File| archive::pump(&mut file, &mut std::io::sink(), &mut |_| {}).ok();
        !self.is_database() && File::open(&self.path).ok().and_then(hash).is_some_and(|(_, hash)| hash == self.sha256)
    }
}

/// Removes what was written and has not got its name.
struct Staging<'a>(&'a [Item]);

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        for staged in self.0.iter().map(Item::staged) {
            for suffix in [""].iter().chain(&BESIDE) {
                // Most of them are not there.
                std::fs::remove_file(beside(&staged, suffix)).ok();
            }
        }
    }
}

/// What the databases hold, for the report.
#[derive(Default)]
struct Restored {
    node: Option<Settled>,
    centre: Option<u64>,
}

/// Restores the backup `from` to `target`; `force` puts aside what is there. What was done goes to `out`.
///
/// # Errors
/// `Corrupt` for a damaged archive, `Config` for one of a newer wardwatch or a place that is taken, `Unavailable` while
/// node or centre run: nothing was changed then.
pub fn restore(from: &Path, target: &Target, force: bool, out: &mut dyn Write, progress: &mut dyn Write) -> Result<()> {
    let mut progress = Progress::new(progress);
    let mut file = File::open(from).map_err(|e| Error::io("cannot read the archive", from, e))?;
    let mut texts: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let manifest = archive::read(&mut file, from, &mut |member, content| {
        progress.at(&format!("checking {}", member.name), 0, member.bytes);
        if [archive::SITE, archive::CAMERAS].contains(&member.name.as_str()) {
            let mut text = Vec::new();
            let read = content.take(MAX_SMALL).read_to_end(&mut text);
            read.map_err(|e| Error::io("cannot read the archive", from, e))?;
            texts.insert(member.name.clone(), text);
        }
        Ok(())
    })?;
    let places = places(&texts, from)?;
    let items = items(&manifest, &places, &target.absolute()?, from)?;

    // Its lock lies beside each database, also of one that is not there yet.
    let databases: Vec<&Item> = items.iter().filter(|i| i.is_database()).collect();
    if let Some(used) = databases.iter().find(|i| sqlite::in_use(&i.path)) {
        return Err(Error::new(ErrorKind::Unavailable, "wardwatch is running and uses this database")
            .at(used.path.display())
            .hint("stop it first"));
    }
    let taken: Vec<String> = items.iter().filter(|i| i.is_taken()).map(|i| i.path.display().to_string()).collect();
    if !taken.is_empty() && !force {
        return Err(Error::new(ErrorKind::Config, format!("these are there already: {}", taken.join(", ")))
            .hint("--force puts them aside and restores the backup in their place"));
    }

    for item in &items {
        make_directory(item.path.parent().unwrap_or(Path::new(".")))?;
    }
    let mut locks = Vec::new();
    for item in &databases {
        locks.push(sqlite::lock(&item.path)?);
        own(&beside(&item.path, ".lock"), 0o600)?;
    }
    let staging = Staging(&items);
    let restored = stage(&mut file, from, &items, &mut progress)?;
    let now_ms = SystemClock.now().wall_ms;
    let aside = exchange(&items, now_ms)?;
    drop(staging);
    drop(locks);
    say(out, &report(&manifest, &items, &aside, &restored))
}

fn places(texts: &BTreeMap<String, Vec<u8>>, from: &Path) -> Result<Places> {
    let text = |name: &str| {
        let bytes = texts.get(name).ok_or_else(|| odd(from, &format!("there is no {name} in it")))?;
        std::str::from_utf8(bytes).map_err(|_| odd(from, &format!("its {name} is not UTF-8")))
    };
    let places = Places::of(text(archive::SITE)?, Path::new(archive::SITE))?;
    match places.node {
        Some(_) => places.with_cameras(text(archive::CAMERAS)?, Path::new(archive::CAMERAS)),
        None => Ok(places),
    }
}

fn odd(from: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the archive cannot be restored: {what}")).at(from.display())
}

/// Each member with its place; `wardwatch.toml` last, so that a restore that was cut off is not taken for whole.
fn items(manifest: &Manifest, places: &Places, target: &Target, from: &Path) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    for Member { name, sha256, .. } in &manifest.members {
        let node = places.node.as_ref();
        let key = name.strip_prefix(archive::KEYS).and_then(|n| n.parse::<usize>().ok());
        let was = match name.as_str() {
            archive::SITE => Some(archive::SITE.into()),
            archive::CAMERAS => node.map(|n| n.cameras.clone()),
            archive::NODE => node.map(|n| n.state_dir.join("node.db")),
            archive::IDENTITY => node.map(|n| identity::path(&n.state_dir)),
            archive::CENTRE => places.centre.as_ref().map(|dir| dir.join("centre.db")),
            archive::BROKER => places.broker.as_ref().map(|dir| broker::credentials(dir)),
            _ => key.and_then(|n| places.keys.iter().nth(n).cloned()),
        };
        let was = was.ok_or_else(|| odd(from, &format!("its configuration has no place for {name}")))?;
        let path = match target {
            Target::Config(file) if name == archive::SITE => file.clone(),
            _ if key.is_some() || name == archive::CAMERAS => target.place_inside(&was)?,
            _ => target.place(&was)?,
        };
        let elsewhere = |path: &Path| path.components().any(|c| c.as_os_str() == ELSEWHERE);
        let moved = was.is_absolute() && path != was || elsewhere(&path) && !elsewhere(&was);
        items.push(Item { name: name.clone(), path, sha256: sha256.clone(), moved });
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = items.iter().find(|i| !seen.insert(&i.path)) {
        return Err(odd(from, &format!("two of its files belong to {}", twice.path.display())));
    }
    items.sort_by_key(|i| i.name == archive::SITE);
    Ok(items)
}

impl Target {
    /// The same, whatever the working directory.
    fn absolute(&self) -> Result<Self> {
        let absolute =
            |path: &Path| std::path::absolute(path).map_err(|e| Error::io("there is no such place", path, e));
        Ok(match self {
            Self::Config(file) => Self::Config(absolute(file)?),
            Self::Directory(directory) => Self::Directory(absolute(directory)?),
        })
    }

    /// Where a file of the configuration belongs.
    fn place(&self, path: &Path) -> Result<PathBuf> {
        match self {
            Self::Config(file) => Ok(file.parent().unwrap_or(Path::new("/")).join(path)),
            Self::Directory(directory) => below(directory, path),
        }
    }

    /// Where a file of keys or the cameras document belongs: a restore writes none outside of the configuration's
    /// directory, whatever the archive says.
    fn place_inside(&self, path: &Path) -> Result<PathBuf> {
        let Self::Config(file) = self else { return self.place(path) };
        let base = file.parent().unwrap_or(Path::new("/"));
        let climbs = path.components().any(|c| c == Component::ParentDir);
        let inside = base.join(path).starts_with(base) && !climbs;
        let names: PathBuf = path.components().filter(|c| matches!(c, Component::Normal(_))).collect();
        Ok(if inside { base.join(path) } else { base.join(ELSEWHERE).join(names) })
    }
}

/// `path` as if `directory` was the root.
fn below(directory: &Path, path: &Path) -> Result<PathBuf> {
    let mut place = directory.to_owned();
    for component in path.components() {
        match component {
            Component::Normal(name) => place.push(name),
            Component::ParentDir => {
                return Err(Error::new(
                    ErrorKind::Config,
                    "the backup's configuration names a place outside of its directory",
                )
                .at(path.display())
                .hint("use --config and the place that its wardwatch.toml is to have"));
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(place)
}

/// Writes each member beside its place and makes it ready.
fn stage(file: &mut File, from: &Path, items: &[Item], progress: &mut Progress<'_>) -> Result<Restored> {
    archive::read(file, from, &mut |member, content| {
        let Some(item) = items.iter().find(|i| i.name == member.name) else { return Ok(()) };
        let staged = item.staged();
        let io = |e| Error::io("cannot write what is to be restored", &staged, e);
        std::fs::remove_file(&staged).or_else(|e| absent(e).map_err(io))?;
        let mut to = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&staged).map_err(io)?;
        archive::pump(content, &mut to, &mut |done| progress.at(&member.name, done, member.bytes)).map_err(io)?;
        to.sync_all().map_err(io)
    })?;
    let mut restored = Restored::default();
    for item in items {
        let staged = item.staged();
        match item.name.as_str() {
            archive::NODE => restored.node = Some(store::backup::settle(&staged, SystemClock.now().wall_ms)?),
            archive::CENTRE => restored.centre = Some(centre::store::backup::settle(&staged)?),
            _ => {}
        }
        let shared =
            item.name == archive::SITE || item.name == archive::CAMERAS || item.name.starts_with(archive::KEYS);
        own(&staged, if shared { 0o640 } else { 0o600 })?;
    }
    Ok(restored)
}

/// Gives everything its name; returns what was put aside, as (place, where it is now).
fn exchange(items: &[Item], now_ms: i64) -> Result<Vec<(PathBuf, PathBuf)>> {
    let mut aside = Vec::new();
    let mut touched = BTreeSet::new();
    for item in items.iter().filter(|i| !i.is_same()) {
        let put = |suffix: &str| -> std::io::Result<()> {
            let old = beside(&item.path, &format!(".before-restore-{now_ms}"));
            std::fs::rename(beside(&item.path, suffix), beside(&old, suffix)).or_else(absent)
        };
        let io = |e| Error::io("cannot put aside what was there", &item.path, e);
        if item.path.symlink_metadata().is_ok() {
            aside.push((item.path.clone(), beside(&item.path, &format!(".before-restore-{now_ms}"))));
        }
        put("").map_err(io)?;
        if item.is_database() {
            BESIDE.iter().try_for_each(|suffix| put(suffix)).map_err(io)?;
        }
        std::fs::rename(item.staged(), &item.path)
            .map_err(|e| Error::io("cannot put the restored file into place", &item.path, e))?;
        touched.extend(item.path.parent().map(Path::to_owned));
    }
    for directory in touched {
        let synced = File::open(&directory).and_then(|d| d.sync_all());
        synced.map_err(|e| Error::io("cannot sync the directory", &directory, e))?;
    }
    Ok(aside)
}

fn absent(e: std::io::Error) -> std::io::Result<()> {
    if e.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(e) }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Makes `directory` and those above it that are missing, each for the owner of the one above it.
fn make_directory(directory: &Path) -> Result<()> {
    if directory.as_os_str().is_empty() || directory.is_dir() {
        return Ok(());
    }
    make_directory(directory.parent().unwrap_or(Path::new(".")))?;
    let made = DirBuilder::new().mode(0o700).create(directory);
    made.map_err(|e| Error::io("cannot make the directory", directory, e))?;
    own(directory, 0o700)
}

/// What root restores belongs to whoever owns the directory it is in, so that the service can use it; `mode` gives the
/// group no more than the directory does, and nothing when it was not root.
fn own(path: &Path, mode: u32) -> Result<()> {
    let io = |e| Error::io("cannot give the restored file its owner", path, e);
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let above = std::fs::metadata(directory).map_err(io)?;
    let root = rustix::process::geteuid().is_root();
    if root {
        std::os::unix::fs::chown(path, Some(above.uid()), Some(above.gid())).map_err(io)?;
    }
    let group = if root { above.mode() & 0o040 } else { 0 };
    std::fs::set_permissions(path, Permissions::from_mode(mode & (0o700 | group))).map_err(io)
}

fn report(manifest: &Manifest, items: &[Item], aside: &[(PathBuf, PathBuf)], restored: &Restored) -> String {
    let mut text = format!("đã phục hồi / restored: {} {}, {}\n", manifest.ward, manifest.node, manifest.made_at);
    for item in items {
        text += &format!("  {:<18} {}\n", item.name, item.path.display());
    }
    for (place, now) in aside {
        text += &format!("bản cũ / what was there: {} -> {}\n", place.display(), now.display());
    }
    for item in items.iter().filter(|i| i.moved) {
        text += &format!(
            "wardwatch.toml chỉ đến chỗ khác: hãy sửa lại, hoặc tự chép tệp sang đó / wardwatch.toml names another place: change it, or copy the \
             file there: {}\n",
            item.path.display()
        );
    }
    if let Some(Settled { open, waiting }) = restored.node {
        text += &format!(
            "node: {waiting} rows wait for the centre; {open} events were open, they are ended and nothing more is told of \
             them\n"
        );
        text += "node: masks that were set after the backup are not known; look at them before you show a recording of that time\n";
    }
    if let Some(events) = restored.centre {
        text += &format!(
            "trung tâm / centre: {events} sự kiện / events. SỰ KIỆN NHẬN SAU {at} ĐÃ MẤT: máy trạm không còn lưu. Máy trạm \
             đăng ký sau thời điểm đó phải đăng ký lại.\n\
             EVENTS THAT CAME AFTER {at} ARE LOST: the nodes have them no more. Nodes enrolled since must enrol again.\n",
            at = manifest.made_at
        );
    }
    text += "không có trong tệp / not in the backup:\n";
    for line in &manifest.not_included {
        text += &format!("  {line}\n");
    }
    text
}
