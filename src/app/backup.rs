//! `wardwatch backup`: state and keys of a site in one file, while it runs or not. Databases are copied as they are at one
//! moment, what was written is read back before it gets its name. Recordings, clips and the centre's pictures are too
//! large for it and are named in what it says. It prints no secret.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use super::archive::{self, Manifest, Member, Progress};
use crate::base::clock::SystemClock;
use crate::base::{Clock, Error, ErrorKind, Result};
use crate::config::Places;
use crate::link::identity;
use crate::publish::broker;
use crate::{centre, store};

/// How often a copy that takes long is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// A site's files where they are.
struct Site {
    places: Places,
    /// Where relative paths of the configuration begin.
    base: PathBuf,
    config: PathBuf,
}

impl Site {
    fn load(config: &Path) -> Result<Self> {
        let read = |path: &Path| {
            let wrong = |e: std::io::Error| {
                Error::new(ErrorKind::Config, "cannot read the configuration").at(path.display()).source(e)
            };
            std::fs::read_to_string(path).map_err(wrong)
        };
        let base = config.parent().map(Path::to_owned).unwrap_or_default();
        let mut places = Places::of(&read(config)?, config)?;
        if let Some(node) = places.node.clone() {
            let cameras = base.join(&node.cameras);
            places = places.with_cameras(&read(&cameras)?, &cameras)?;
        }
        Ok(Self { places, base, config: config.to_owned() })
    }

    /// Each member's name and where it is; those that are not there are left out by whoever asks.
    fn members(&self) -> Vec<(String, PathBuf)> {
        let mut found = vec![(archive::SITE.to_owned(), self.config.clone())];
        let mut add = |name: &str, path: PathBuf| found.push((name.to_owned(), self.base.join(path)));
        if let Some(node) = &self.places.node {
            add(archive::CAMERAS, node.cameras.clone());
            add(archive::NODE, node.state_dir.join("node.db"));
            add(archive::IDENTITY, identity::path(&node.state_dir));
        }
        if let Some(state_dir) = &self.places.centre {
            add(archive::CENTRE, state_dir.join("centre.db"));
        }
        if let Some(state_dir) = &self.places.broker {
            add(archive::BROKER, broker::credentials(state_dir));
        }
        for (n, path) in self.places.keys.iter().enumerate() {
            add(&format!("{}{n}", archive::KEYS), path.clone());
        }
        found
    }

    /// What the archive does not hold, and what to do about it.
    fn not_included(&self) -> Vec<String> {
        let at = |path: &Path| {
            let path = self.base.join(path);
            std::path::absolute(&path).unwrap_or(path).display().to_string()
        };
        let mut out = Vec::new();
        if let Some(node) = &self.places.node {
            out.push(format!("{}: recordings and clips of this node", at(&node.recordings)));
        }
        if let Some(state_dir) = &self.places.centre {
            out.push(format!("{}: pictures of the centre", at(&state_dir.join("snapshots"))));
        }
        match &self.places.centre_clips {
            Some(bucket) if bucket.starts_with("s3:") => {
                out.push(format!("{}: clips of the centre, in a bucket", bucket.display()));
            }
            Some(clips) => out.push(format!("{}: clips of the centre", at(clips))),
            None => {}
        }
        out.extend(self.places.elsewhere.iter().map(|secret| format!("{secret}: a secret that is kept elsewhere")));
        out.push("models, ONNX Runtime, the program itself: they are installed anew".to_owned());
        out
    }
}

/// Writes the backup of the site that `config` describes to `output`, which must not exist; what was done goes to `out`,
/// how far it is to `progress`.
///
/// # Errors
/// `Config` for a wrong configuration or an `output` that is there already.
pub fn backup(config: &Path, output: &Path, out: &mut dyn Write, progress: &mut dyn Write) -> Result<()> {
    if output.symlink_metadata().is_ok() {
        return Err(Error::new(ErrorKind::Config, "there is such a file already").at(output.display()));
    }
    let site = Site::load(config)?;
    let directory = output.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |e| Error::io("cannot write the archive", output, e);
    let work = tempfile::Builder::new()
        .prefix(".wardwatch-backup-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(directory)
        .map_err(failed)?;
    let mut progress = Progress::new(progress);

    let node = site.places.node.as_ref().map_or("", |n| &n.name);
    let mut manifest = Manifest::new(&site.places.ward, node, SystemClock.now());
    manifest.not_included = site.not_included();
    let mut files = Vec::new();
    for (name, path) in site.members() {
        if !path.exists() {
            if name.starts_with(archive::KEYS) || name == archive::NODE || name == archive::CENTRE {
                manifest.not_included.push(format!("{}: it is not there", path.display()));
            }
            continue;
        }
        let (member, file) = member(name, &path, work.path(), &mut progress)?;
        manifest.members.push(member);
        files.push(file);
    }

    let mut archive = tempfile::Builder::new().tempfile_in(work.path()).map_err(failed)?;
    archive::write(archive.as_file_mut(), &manifest, &mut files, &mut progress)?;
    let read_back = archive::read(archive.as_file_mut(), output, &mut |member, _| {
        progress.at("reading it back", 0, member.bytes);
        Ok(())
    })?;
    if read_back != manifest {
        return Err(
            Error::new(ErrorKind::Corrupt, "what was written reads back as something else").at(output.display())
        );
    }
    archive.persist_noclobber(output).map_err(|e| failed(e.error))?;
    File::open(directory).and_then(|d| d.sync_all()).map_err(failed)?;
    say(out, &report(&manifest, output))
}

/// A file as a member, with the handle its content is read from: a database is copied first.
fn member(name: String, path: &Path, work: &Path, progress: &mut Progress<'_>) -> Result<(Member, File)> {
    let source = match name.as_str() {
        archive::NODE | archive::CENTRE => {
            let to = work.join(name.replace('/', "-"));
            let copy = if name == archive::NODE { store::backup::copy } else { centre::store::backup::copy };
            copy_watched(path, &to, copy, progress)?;
            to
        }
        _ => path.to_owned(),
    };
    let io = |e| Error::io("cannot read what is to be backed up", path, e);
    let mut file = File::open(&source).map_err(io)?;
    let all = file.metadata().map_err(io)?.len();
    let (bytes, sha256) =
        archive::pump(&mut file, &mut std::io::sink(), &mut |done| progress.at(&name, done, all)).map_err(io)?;
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    Ok((Member { name, path: path.display().to_string(), bytes, sha256 }, file))
}

/// Copies a database on a thread of its own and tells meanwhile how far it is.
fn copy_watched(
    path: &Path,
    to: &Path,
    copy: fn(&Path, &Path) -> Result<()>,
    progress: &mut Progress<'_>,
) -> Result<()> {
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |m| m.len());
    let (done, is_done) = channel::<()>();
    std::thread::scope(|scope| {
        let copying = scope.spawn(move || {
            let copied = copy(path, to);
            drop(done);
            copied
        });
        while let Err(RecvTimeoutError::Timeout) = is_done.recv_timeout(LOOK) {
            progress.at(&format!("copying {}", path.display()), size(to), size(path));
        }
        let died = |_| Err(Error::new(ErrorKind::Internal, "copying the database died"));
        copying.join().unwrap_or_else(died)
    })
}

fn report(manifest: &Manifest, output: &Path) -> String {
    let mut text = format!("đã sao lưu / backed up: {}\n", output.display());
    for member in &manifest.members {
        text += &format!("  {:<18} {:>12} bytes  {}\n", member.name, member.bytes, member.path);
    }
    text += "không có trong tệp / not in it:\n";
    for line in &manifest.not_included {
        text += &format!("  {line}\n");
    }
    text + "Nếu cần chép thêm thư mục, hãy chép SAU lệnh này. Tệp chứa mật khẩu và khóa: hãy cất kỹ.\n\
            Copy such directories AFTER this command, if you need them. The file holds passwords and keys: keep it safe.\n"
}

pub(super) fn say(out: &mut dyn Write, text: &str) -> Result<()> {
    out.write_all(text.as_bytes()).map_err(|e| Error::io("cannot write the report", "standard output", e))
}
