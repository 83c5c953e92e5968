//! Sample cameras: an RTSP server that loops real footage, for `wardwatch demo` and for tests. Footage goes through
//! `appsrc` with our own timestamps, because a looped file has none that go on (a looping `multifilesrc` has no PTS).

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_rtsp_server as rtsp;
use gstreamer_rtsp_server::prelude::*;

use super::gst_error;
use crate::base::clock::SystemClock;
use crate::base::types::Codec;
use crate::base::{Clock, Error, ErrorKind, Result};

/// Encoded footage in memory.
#[derive(Clone)]
pub struct Footage {
    codec: Codec,
    caps: gst::Caps,
    units: Arc<Vec<(Bytes, bool)>>,
    frame: gst::ClockTime,
}

impl Footage {
    /// Reads an MP4 or MOV file of one `codec` stream.
    pub fn load(path: &Path, codec: Codec) -> Result<Self> {
        super::init()?;
        let pipeline = gst::parse::launch(load_template(codec).trim())
            .map_err(|e| gst_error("footage cannot be read", e))?
            .downcast::<gst::Pipeline>()
            .map_err(|_| gst_error("the load template is no pipeline", ""))?;
        let file = pipeline.by_name("file").ok_or_else(|| gst_error("the load template lacks `file`", ""))?;
        file.set_property("location", path);
        let sink = pipeline
            .by_name("encoded")
            .and_then(|e| e.downcast::<gst_app::AppSink>().ok())
            .ok_or_else(|| gst_error("the load template lacks `encoded`", ""))?;
        pipeline.set_state(gst::State::Playing).map_err(|e| gst_error("footage cannot be read", e))?;
        let (mut units, mut caps) = (Vec::new(), None);
        while let Ok(sample) = sink.pull_sample() {
            let Some(buffer) = sample.buffer() else { continue };
            caps = sample.caps_owned().or(caps);
            let keyframe = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
            if let Ok(map) = buffer.map_readable() {
                units.push((Bytes::copy_from_slice(&map), keyframe));
            }
        }
        pipeline.set_state(gst::State::Null).map_err(|e| gst_error("footage cannot be closed", e))?;
        let unreadable = || {
            Error::new(ErrorKind::Invalid, format!("holds no {} video", codec.as_str()))
                .at(path.display())
                .hint("`make setup` makes the sample footage")
        };
        let caps = caps.filter(|_| !units.is_empty()).ok_or_else(unreadable)?;
        let rate = caps.structure(0).and_then(|s| s.get::<gst::Fraction>("framerate").ok()).filter(|f| f.numer() > 0);
        let rate = rate.unwrap_or(gst::Fraction::new(10, 1));
        let frame = gst::ClockTime::from_nseconds(1_000_000_000 * rate.denom() as u64 / rate.numer() as u64);
        Ok(Self { codec, caps, units: Arc::new(units), frame })
    }

    /// Frames before it starts over.
    pub fn len(&self) -> usize {
        self.units.len()
    }

    /// Whether there is nothing in it; never true for loaded footage.
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }
}

fn load_template(codec: Codec) -> &'static str {
    match codec {
        Codec::H264 => include_str!("../../pipelines/load-h264.gst"),
        Codec::H265 => include_str!("../../pipelines/load-h265.gst"),
        Codec::Mjpeg => include_str!("../../pipelines/load-mjpeg.gst"),
    }
}

fn serve_template(codec: Codec) -> &'static str {
    match codec {
        Codec::H264 => include_str!("../../pipelines/sample-h264.gst"),
        Codec::H265 => include_str!("../../pipelines/sample-h265.gst"),
        Codec::Mjpeg => include_str!("../../pipelines/sample-mjpeg.gst"),
    }
}

/// How a sample camera differs from a plain one.
#[derive(Clone, Default)]
pub struct SampleOptions {
    /// 0: a free port.
    pub port: u16,
    /// User and password it asks for.
    pub credentials: Option<(String, String)>,
    /// PEM of certificate and key: serves `rtsps`.
    pub tls_pem: Option<String>,
    /// Plays the footage once to each viewer and ends the stream.
    pub once: bool,
    /// Footage frame it shows when it starts: cameras of one street need not all show the same moment.
    pub start_at: usize,
}

/// An RTSP server at the loopback address, served by one thread with all its connections. By itself the server gives
/// connections to threads of its own, and one of those that reads from a connection while another thread closes it goes
/// on reading from nothing, without end.
pub struct RtspService {
    port: u16,
    server: rtsp::RTSPServer,
    main_loop: gst::glib::MainLoop,
    /// The source that takes connections in; none once it is to stop.
    listening: Mutex<Option<gst::glib::SourceId>>,
}

/// The loop of an [`RtspService`]: run it on a thread of its own.
pub struct ServiceLoop(gst::glib::MainLoop);

impl ServiceLoop {
    /// Serves until [`RtspService::stop`]; the port is free again when it ends.
    pub fn run(self) {
        if let Err(e) = self.0.context().with_thread_default(|| self.0.run()) {
            tracing::error!("a sample camera does not run: {e}");
        }
    }
}

impl RtspService {
    /// Binds `port` (0: a free one); it answers once its loop runs.
    ///
    /// # Errors
    /// `Unavailable` when the port cannot be had.
    pub fn start(server: rtsp::RTSPServer, port: u16) -> Result<(Self, ServiceLoop)> {
        let context = gst::glib::MainContext::new();
        let main_loop = gst::glib::MainLoop::new(Some(&context), false);
        if let Some(pool) = server.thread_pool() {
            pool.set_max_threads(0);
        }
        server.set_address("127.0.0.1");
        server.set_service(&port.to_string());
        let listening = server.attach(Some(&context)).map_err(|e| {
            Error::new(ErrorKind::Unavailable, "the sample camera's port cannot be used")
                .at(format_args!("127.0.0.1:{port}"))
                .hint("another program holds it; choose port 0 for a free one")
                .source(e)
        })?;
        let port = u16::try_from(server.bound_port()).unwrap_or(0);
        let listening = Mutex::new(Some(listening));
        Ok((Self { port, server, main_loop: main_loop.clone(), listening }, ServiceLoop(main_loop)))
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Has every connection broken, as by a camera that loses power; it goes on listening.
    pub fn drop_clients(&self) {
        // What a loop is asked after its end would keep both alive for ever.
        if self.listening.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            let server = self.server.clone();
            on_loop(&self.main_loop, move |_| drop_clients(&server));
        }
    }

    /// Has every connection broken and the loop ended.
    pub fn stop(&self) {
        let listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(listening) = listening else { return };
        let server = self.server.clone();
        on_loop(&self.main_loop, move |main_loop| {
            if let Some(source) = main_loop.context().find_source_by_id(&listening) {
                source.destroy();
            }
            drop_clients(&server);
            main_loop.quit();
        });
    }
}

impl Drop for RtspService {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Does `act` on the thread that runs the loop, once it runs.
fn on_loop(main_loop: &gst::glib::MainLoop, act: impl FnOnce(&gst::glib::MainLoop) + Send + 'static) {
    let (mut act, of) = (Some(act), main_loop.clone());
    let once = move || {
        if let Some(act) = act.take() {
            act(&of);
        }
        gst::glib::ControlFlow::Break
    };
    gst::glib::idle_source_new(None, gst::glib::Priority::DEFAULT, once).attach(Some(&main_loop.context()));
}

fn drop_clients(server: &rtsp::RTSPServer) {
    server.client_filter(Some(&mut |_, _| rtsp::RTSPFilterResult::Remove));
}

/// A running sample camera. Like a real one it goes on whether anyone looks or not: a viewer who comes back sees the
/// present and not the footage's beginning. It is at `rtsp://127.0.0.1:<port>/stream`.
pub struct SampleCamera {
    service: RtspService,
    credentials: Option<(String, String)>,
}

impl SampleCamera {
    /// Binds the port; the camera answers once its loop runs.
    pub fn start(footage: Footage, options: SampleOptions) -> Result<(Self, ServiceLoop)> {
        super::init()?;
        let server = rtsp::RTSPServer::new();
        let factory = rtsp::RTSPMediaFactory::new();
        factory.set_launch(serve_template(footage.codec).trim());
        factory.set_shared(true);
        if options.credentials.is_some() || options.tls_pem.is_some() {
            server.set_auth(Some(&auth(&factory, &options)?));
        }
        let (once, start_at) = (options.once, options.start_at);
        let begun = SystemClock.now();
        factory.connect_media_configure(move |_, media| {
            let passed = SystemClock.now().since(begun).as_nanos() as u64 / footage.frame.nseconds();
            // What is played once is played from its beginning, for each viewer anew.
            let position = start_at as u64 + if once { 0 } else { passed };
            let source = media.element().downcast::<gst::Bin>().ok().and_then(|b| b.by_name_recurse_up("footage"));
            if let Some(source) = source.and_then(|e| e.downcast::<gst_app::AppSrc>().ok()) {
                play(&source, footage.clone(), once, position);
            }
        });
        let mounts = server.mount_points().ok_or_else(|| gst_error("the sample camera has no mount points", ""))?;
        mounts.add_factory("/stream", factory);
        let (service, serving) = RtspService::start(server, options.port)?;
        Ok((Self { service, credentials: options.credentials }, serving))
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.service.port()
    }

    /// The password it asks for.
    pub fn password(&self) -> Option<&str> {
        self.credentials.as_ref().map(|(_, password)| password.as_str())
    }

    /// Has every connection broken, as by a camera that loses power; it goes on listening.
    pub fn drop_clients(&self) {
        self.service.drop_clients();
    }

    /// Has every connection broken and the loop ended.
    pub fn stop(&self) {
        self.service.stop();
    }
}

fn auth(factory: &rtsp::RTSPMediaFactory, options: &SampleOptions) -> Result<rtsp::RTSPAuth> {
    let auth = rtsp::RTSPAuth::new();
    let role = if options.credentials.is_some() { "viewer" } else { "anyone" };
    let token = rtsp::RTSPToken::builder().field("media.factory.role", role).build();
    match &options.credentials {
        Some((user, password)) => {
            auth.add_basic(&rtsp::RTSPAuth::make_basic(user, password), &token);
            auth.add_digest(user, password, &token);
            auth.set_supported_methods(gstreamer_rtsp::RTSPAuthMethod::Digest);
        }
        None => {
            let mut token = token;
            auth.set_default_token(Some(&mut token));
        }
    }
    if let Some(pem) = &options.tls_pem {
        let certificate = gio::TlsCertificate::from_pem(pem)
            .map_err(|e| Error::new(ErrorKind::Invalid, "the sample camera's certificate cannot be used").source(e))?;
        auth.set_tls_certificate(Some(&certificate));
    }
    let permissions = gst::Structure::builder(role)
        .field("media.factory.access", true)
        .field("media.factory.construct", true)
        .build();
    factory.add_role_from_structure(&permissions);
    Ok(auth)
}

/// Feeds the footage from the keyframe before frame `start`, with times that go on at every turn.
fn play(source: &gst_app::AppSrc, footage: Footage, once: bool, start: u64) {
    source.set_caps(Some(&footage.caps));
    let length = footage.units.len() as u64;
    let unit = move |position: u64| (position % length) as usize;
    let first = (0..=start).rev().find(|p| footage.units[unit(*p)].1).unwrap_or(start);
    let next = AtomicU64::new(first);
    source.set_callbacks(
        gst_app::AppSrcCallbacks::builder()
            .need_data(move |source, _| {
                let position = next.fetch_add(1, Ordering::Relaxed);
                // A viewer that has gone away is no reason to complain, here and below.
                if once && position >= first + length {
                    source.end_of_stream().ok();
                    return;
                }
                let (data, keyframe) = &footage.units[unit(position)];
                let mut buffer = gst::Buffer::from_slice(data.clone());
                if let Some(b) = buffer.get_mut() {
                    let time = footage.frame * (position - first);
                    b.set_pts(time);
                    b.set_dts(time);
                    b.set_duration(footage.frame);
                    if !keyframe {
                        b.set_flags(gst::BufferFlags::DELTA_UNIT);
                    }
                }
                source.push_buffer(buffer).ok();
            })
            .build(),
    );
}
