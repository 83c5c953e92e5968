//! Where delivered clips end up: the only file that names object_store. A directory, or an S3 bucket. An object is named
//! by its content, is durable when [`Objects::keep`] returns, and is never changed.

use std::ops::Range;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ClientOptions, GetOptions, GetRange, ObjectStore, ObjectStoreExt, RetryConfig, WriteMultipart};
use tokio::io::AsyncReadExt;

use crate::base::{Error, ErrorKind, Result};
use crate::config::ClipStore;
use crate::store::sqlite::private_directory;

/// A bucket is fed in parts of this size, two at a time: that and no more is in memory.
const PART: usize = 8 << 20;
const PARTS_AT_ONCE: usize = 2;
/// A bucket that is away is told to the node after this; it tries again.
const PATIENCE: Duration = Duration::from_secs(15);

/// The store of clips. Cloneable.
#[derive(Clone, Debug)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// The store is a directory of this machine: a file that lies in it can be linked instead of copied.
    local: bool,
}

impl Objects {
    /// Opens the store; a bucket is not asked yet.
    pub fn open(config: &ClipStore) -> Result<Self> {
        match config {
            ClipStore::Directory(directory) => {
                private_directory(directory)?;
                let store = LocalFileSystem::new_with_prefix(directory).map_err(explain)?.with_fsync(true);
                Ok(Self { store: Arc::new(store), prefix: Path::default(), local: true })
            }
            ClipStore::S3(s3) => {
                // The client inside asks for the process's provider; whoever was first has set the same one.
                rustls::crypto::ring::default_provider().install_default().ok();
                let plaintext = s3.endpoint.as_ref().is_some_and(|url| url.scheme() == "http");
                let mut builder = AmazonS3Builder::new()
                    .with_bucket_name(&s3.bucket)
                    .with_region(&s3.region)
                    .with_access_key_id(s3.access_key_id.expose())
                    .with_secret_access_key(s3.secret_access_key.expose())
                    .with_client_options(ClientOptions::new().with_allow_http(plaintext))
                    .with_retry(RetryConfig { max_retries: 2, retry_timeout: PATIENCE, ..RetryConfig::default() });
                if let Some(endpoint) = &s3.endpoint {
                    builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/'));
                }
                let store = builder.build().map_err(|e| {
                    Error::new(ErrorKind::Config, "the bucket of `clips` cannot be used").at(&s3.bucket).source(e)
                })?;
                let prefix = Path::parse(&s3.prefix).map_err(|e| {
                    Error::new(ErrorKind::Config, "the prefix in `clips` cannot be used").at(&s3.prefix).source(e)
                })?;
                Ok(Self { store: Arc::new(store), prefix, local: false })
            }
        }
    }

    /// Keeps the file at `file`, whose hash was checked, under `sha256`. `relative` is the file's own place within the
    /// directory of the store, where there is one. Known content is left as it is.
    ///
    /// # Errors
    /// `Exhausted` when the disk is full, `Unavailable` when the bucket cannot be reached; the file stays.
    pub async fn keep(&self, sha256: &str, bytes: u64, file: &FilePath, relative: Option<&str>) -> Result<()> {
        let to = self.path(sha256);
        if self.has(sha256, bytes).await? {
            return Ok(());
        }
        // A file system without hard links refuses; then it is copied.
        if let (true, Some(relative)) = (self.local, relative)
            && self.store.copy(&Path::from(relative), &to).await.is_ok()
        {
            return Ok(());
        }
        self.send(&to, file).await?;
        if self.has(sha256, bytes).await? {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unavailable, "the store of clips took an object and does not have it").at(to))
    }

    /// Whether the whole object is there.
    pub async fn has(&self, sha256: &str, bytes: u64) -> Result<bool> {
        match self.store.head(&self.path(sha256)).await {
            Ok(found) => Ok(found.size == bytes),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(e) => Err(explain(e)),
        }
    }

    /// The bytes `range` of an object, as they come.
    ///
    /// # Errors
    /// `NotFound` when there is no such object, `Unavailable` when the store cannot be reached.
    pub async fn read(&self, sha256: &str, range: Range<u64>) -> Result<impl Stream<Item = Result<Bytes>> + use<>> {
        let path = self.path(sha256);
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let found = self.store.get_opts(&path, options).await.map_err(|e| match e {
            object_store::Error::NotFound { .. } => {
                Error::new(ErrorKind::NotFound, "the store of clips does not have this").at(&path)
            }
            e => explain(e),
        })?;
        Ok(found.into_stream().map_err(explain))
    }

    async fn send(&self, to: &Path, file: &FilePath) -> Result<()> {
        let unreadable = |e| Error::io("cannot read a delivered clip", file, e);
        let mut source = tokio::fs::File::open(file).await.map_err(unreadable)?;
        let upload = self.store.put_multipart(to).await.map_err(explain)?;
        let mut writing = WriteMultipart::new_with_chunk_size(upload, PART);
        let mut buffer = vec![0; 256 << 10];
        let sent = loop {
            if let Err(e) = writing.wait_for_capacity(PARTS_AT_ONCE).await {
                break Err(explain(e));
            }
            match source.read(&mut buffer).await {
                Ok(0) => break Ok(()),
                Ok(n) => writing.write(&buffer[..n]),
                Err(e) => break Err(unreadable(e)),
            }
        };
        match sent {
            Ok(()) => writing.finish().await.map(drop).map_err(explain),
            Err(error) => {
                if let Err(e) = writing.abort().await {
                    tracing::debug!(error = %e, "parts of a clip stay in the bucket until its own rules remove them");
                }
                Err(error)
            }
        }
    }

    fn path(&self, sha256: &str) -> Path {
        let name = format!("{sha256}.mp4");
        self.prefix.clone().join(&sha256[..2]).join(name)
    }
}

/// The library's error as ours. Its texts hold addresses and codes, no credentials.
fn explain(e: object_store::Error) -> Error {
    let full = std::iter::successors(std::error::Error::source(&e), |e| e.source())
        .filter_map(|e| e.downcast_ref::<std::io::Error>())
        .any(|e| matches!(e.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded));
    let kind = if full { ErrorKind::Exhausted } else { ErrorKind::Unavailable };
    Error::new(kind, "the store of clips does not take this").source(e)
}
