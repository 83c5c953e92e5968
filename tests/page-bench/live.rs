//! How old a live picture is when it is seen: a camera that burns its clock into every picture, the whole way through node,
//! channel and centre, and a Chromium that reads the clock from the `<video>`.

use std::process::{ExitCode, Stdio};

use gstreamer::prelude::*;
use gstreamer_rtsp_server::prelude::*;
use gstreamer_rtsp_server::{RTSPMediaFactory, RTSPServer};
use serde_json::Value;

use super::crowd::log_in;
use super::support::broker::Mosquitto;
use super::support::post::{now, until};
use super::support::site::{Site, free_port};
use super::support::stimulus;
use super::{account, row, script};

/// What a picture in full may be behind.
const PROMISE_MS: i64 = 2000;
const WIDTH: usize = 640;
const HEIGHT: usize = 360;
const BITS: usize = 32;
/// Rows of one copy of the stamp.
const ROWS: usize = 24;

/// Runs for `seconds`.
pub async fn run(seconds: u64) -> ExitCode {
    let (_context, camera) = camera();
    let (site, broker) = (Site::new(), Mosquitto::start(""));
    let (web, door) = (free_port(), free_port());
    let mqtt = format!("host = \"127.0.0.1\"\nport = {}\n", broker.port);
    let model = stimulus::model(&site.path("models"));
    let text = format!(
        "{}{}{}[node.link]\nurl = \"http://127.0.0.1:{door}\"\n[centre.link]\nlisten = \"127.0.0.1:{door}\"\n\
         [centre.web]\nlisten = \"127.0.0.1:{web}\"\n",
        site.common(&model),
        site.node("", &mqtt),
        site.centre(&mqtt)
    );
    let config = site.write("wardwatch.toml", &text);
    site.write(
        "cameras.toml",
        &format!(
            "revision = 1\n[[camera]]\nid = \"dong-ho\"\nsharing = \"scheduled_live\"\n[camera.detect]\nurl = \
             \"rtsp://127.0.0.1:{camera}/stream\"\n"
        ),
    );
    let address = format!("http://127.0.0.1:{web}");
    let token = account(&config);
    let process = site.run(&config);
    until("the page answers", || async { tokio::net::TcpStream::connect(("127.0.0.1", web)).await.is_ok() }).await;
    until("the camera is online", || async {
        let sql = "SELECT count(*) FROM camera WHERE state = 'online'";
        site.number("centre/centre.db", sql) == Some(1)
    })
    .await;
    let cookie = log_in(&address, &token).await;
    let out = script("live.mjs")
        .args([&address, &cookie, "#/wall/node-1/dong-ho", &seconds.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .await
        .expect("node is installed");
    drop(process);
    let Ok(said) = serde_json::from_slice::<Value>(&out.stdout) else {
        println!("the browser saw nothing");
        return ExitCode::FAILURE;
    };
    let delays: Vec<i64> = said["delays"].as_array().into_iter().flatten().filter_map(Value::as_i64).collect();
    println!("playing {} ms after it was opened; {} pictures without a readable clock", said["first"], said["unread"]);
    println!("\n| after the camera made it | of | p50 ms | p99 ms | max ms |\n|---|--:|--:|--:|--:|");
    let p99 = row("picture in the video", delays);
    if p99 <= PROMISE_MS { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// An RTSP server, and its port: ten pictures a second, a keyframe every two seconds, as cheap cameras send.
fn camera() -> (gstreamer::glib::MainLoop, i32) {
    wardwatch::ingest::init().expect("GStreamer");
    let context = gstreamer::glib::MainContext::new();
    let main_loop = gstreamer::glib::MainLoop::new(Some(&context), false);
    let server = RTSPServer::new();
    server.set_address("127.0.0.1");
    server.set_service("0");
    let factory = RTSPMediaFactory::new();
    factory.set_launch(&format!(
        "( videotestsrc is-live=true pattern=smpte ! video/x-raw,format=I420,width={WIDTH},height={HEIGHT},framerate=10/1 \
         ! identity name=stamp ! x264enc tune=zerolatency speed-preset=ultrafast bitrate=800 key-int-max=20 \
         ! rtph264pay name=pay0 pt=96 )"
    ));
    factory.connect_media_configure(|_, media| {
        let bin = media.element().downcast::<gstreamer::Bin>().expect("a bin");
        let pad = bin.by_name("stamp").and_then(|e| e.static_pad("src")).expect("a pad");
        pad.add_probe(gstreamer::PadProbeType::BUFFER, |_, info| {
            if let Some(buffer) = info.buffer_mut() {
                let mut data = buffer.make_mut().map_writable().expect("its own memory");
                burn(&mut data, now().wall_ms as u64 as u32);
            }
            gstreamer::PadProbeReturn::Ok
        });
    });
    server.mount_points().expect("mounts").add_factory("/stream", factory);
    server.attach(Some(&context)).expect("a free port");
    let (port, looping) = (server.bound_port(), main_loop.clone());
    // It ends with the process.
    std::thread::spawn(move || {
        let _server = server;
        context.with_thread_default(|| looping.run()).expect("it runs");
    });
    (main_loop, port)
}

/// Writes `stamp` into the luma of the top rows.
fn burn(luma: &mut [u8], stamp: u32) {
    for (y, line) in luma.chunks_exact_mut(WIDTH).take(2 * ROWS).enumerate() {
        for (x, pixel) in line.iter_mut().enumerate() {
            let bit = stamp >> (BITS - 1 - x * BITS / WIDTH) & 1 == 1;
            *pixel = if bit == (y < ROWS) { 235 } else { 16 };
        }
    }
}
