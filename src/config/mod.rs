//! L1: the two configuration files, read strictly, validated once, then frozen.
//!
//! `wardwatch.toml` ([`site`]) says what this machine is; `cameras.toml` ([`cameras`]) is a revisioned document that
//! may change while it runs. Every error names the file, the line, the key and the mend, and never quotes a value that
//! could be a secret.

pub mod cameras;
pub mod edit;
mod link;
mod places;
mod record;
mod rule;
pub mod secret;
pub mod site;
mod trust;
pub mod vendor;
mod web;
mod webhook;

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::base::{Error, ErrorKind, Result};

pub use cameras::{Camera, CamerasDocument, LineConfig, Sharing, StreamSource, Transport, cameras_from, load_cameras};
pub use link::{CentreLinkConfig, ClipStore, NodeLinkConfig, S3Config, TlsFiles};
pub use places::{NodePlaces, Places};
pub use record::{CLIPS, RecordConfig, RecordingConfig, RecordingMode};
pub use rule::{KeyError, Roll, RuleCheck, RuleConfig, ScheduleConfig, Weekday, Window, read_keys};
pub use secret::{Secret, StreamUrl};
pub use site::{
    BrokerConfig, CentreConfig, DetectConfig, MqttConfig, NodeConfig, Provider, Sandbox, SnapshotConfig, TrackConfig,
    WardwatchConfig, load_site,
};
pub use trust::{tls_believing_nobody, tls_client};
pub use web::{MapConfig, PlanConfig, TilesConfig, WebConfig};
pub use webhook::{WebhookConfig, What};

/// The text of a configuration file with what is needed to point into it.
pub(crate) struct Document {
    path: PathBuf,
    text: String,
}

impl Document {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            Error::new(ErrorKind::Config, "cannot read the configuration")
                .at(path.display())
                .source(e)
                .hint("copy the example file beside it and edit it, or name another with --config")
        })?;
        Ok(Self { path: path.to_owned(), text })
    }

    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        toml::from_str(&self.text).map_err(|e| {
            // Only the parser's own sentence: its Display quotes the source line, which may hold a password.
            self.error(e.span(), e.message().trim_end().replace('\n', "; "))
        })
    }

    /// A configuration error at a byte range of the file.
    pub(crate) fn error(&self, span: Option<Range<usize>>, message: impl Into<String>) -> Error {
        let error = Error::new(ErrorKind::Config, message);
        match span {
            Some(span) => {
                let (line, column) = position(&self.text, span.start);
                error.at(format_args!("{}:{line}:{column}", self.path.display()))
            }
            None => error.at(self.path.display()),
        }
    }

    /// Where `key` is set in the table at `span`, or the table itself. The parser gives a table's heading only, so the
    /// table is taken to reach to the next heading; an inline table has its braces.
    pub(crate) fn key_span(&self, span: &Range<usize>, key: &str) -> Range<usize> {
        let table = self.text.get(span.clone()).unwrap_or_default();
        let (inline, region) = match table.starts_with('{') {
            true => (true, table),
            false => (false, self.text.get(span.start..).unwrap_or_default()),
        };
        let mut offset = span.start;
        for (index, line) in region.split_inclusive('\n').enumerate() {
            if !inline && index > 0 && is_heading(line) {
                break;
            }
            for (at, _) in line.match_indices(key) {
                let begins = line[..at].trim_end().chars().last().is_none_or(|c| matches!(c, '{' | ','));
                let ends = line[at + key.len()..].trim_start().starts_with('=');
                if begins && ends && (inline || line[..at].trim().is_empty()) {
                    return offset + at..offset + at + key.len();
                }
            }
            offset += line.len();
        }
        span.clone()
    }

    /// Resolves a path of the file relative to the file's own directory.
    pub(crate) fn resolve(&self, path: &Path) -> PathBuf {
        if path.is_absolute() {
            return path.to_owned();
        }
        self.path.parent().unwrap_or(Path::new(".")).join(path)
    }
}

/// `[name` or `[[name`: not the continuation of an array, which begins with a number or a quote.
fn is_heading(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with('[') && line.trim_start_matches('[').starts_with(|c: char| c.is_ascii_alphabetic())
}

fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
    (line, column)
}
