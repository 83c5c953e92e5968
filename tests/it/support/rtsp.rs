//! Cameras of every kind: real footage from an RTSP server in this process, and bad ones that speak just enough RTSP to
//! be wrong in one way. Each stops when it is dropped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use wardwatch::base::Clock;
use wardwatch::base::clock::SystemClock;
use wardwatch::base::types::Codec;
use wardwatch::config::Transport;
use wardwatch::ingest::receive::Endpoint;
use wardwatch::ingest::sample::{Footage, RtspService, SampleCamera, SampleOptions};

fn footage_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/footage").join(name)
}

fn load(name: &str, codec: Codec) -> Footage {
    Footage::load(&footage_path(name), codec).expect("`make setup` makes the footage")
}

/// 768×576, 10 frames a second.
pub fn h264() -> Footage {
    static ONCE: OnceLock<Footage> = OnceLock::new();
    ONCE.get_or_init(|| load("street-h264.mp4", Codec::H264)).clone()
}

/// 640×360.
pub fn h264_small() -> Footage {
    static ONCE: OnceLock<Footage> = OnceLock::new();
    ONCE.get_or_init(|| load("street-360p.mp4", Codec::H264)).clone()
}

/// 768×576.
pub fn h265() -> Footage {
    static ONCE: OnceLock<Footage> = OnceLock::new();
    ONCE.get_or_init(|| load("street-h265.mp4", Codec::H265)).clone()
}

/// 640×360.
pub fn mjpeg() -> Footage {
    static ONCE: OnceLock<Footage> = OnceLock::new();
    let options = ["-c:v", "mjpeg", "-q:v", "5", "-pix_fmt", "yuvj420p"];
    ONCE.get_or_init(|| transcoded(Codec::Mjpeg, &options)).clone()
}

/// Two seconds of the small clip, made anew with ffmpeg's `options`.
pub fn transcoded(codec: Codec, options: &[&str]) -> Footage {
    let directory = tempfile::tempdir().expect("a directory");
    let clip = directory.path().join("street.mov");
    ffmpeg(&[&["-t", "2", "-an"], options].concat(), &clip);
    Footage::load(&clip, codec).expect("just made")
}

fn ffmpeg(options: &[&str], to: &Path) {
    let made = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y", "-i"])
        .arg(footage_path("street-360p.mp4"))
        .args(options)
        .arg(to)
        .status()
        .expect("ffmpeg is installed");
    assert!(made.success());
}

/// Certificate and key of a camera, as PEM, and the certificate's SHA-256.
pub fn self_signed() -> (String, String) {
    static ONCE: OnceLock<(String, String)> = OnceLock::new();
    ONCE.get_or_init(|| {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
        let (key, certificate, der) = (path("key"), path("certificate"), path("der"));
        let openssl = |arguments: &[&str]| {
            let out = Command::new("openssl").args(arguments).output().expect("openssl is installed");
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        };
        let request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"];
        openssl(&[&request[..], &["-subj", "/CN=camera", "-keyout", &key, "-out", &certificate]].concat());
        openssl(&["x509", "-in", &certificate, "-outform", "DER", "-out", &der]);
        let read = |path: &str| std::fs::read(path).expect("written");
        let pem = [read(&certificate), read(&key)].concat();
        let pin = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(read(&der)));
        (String::from_utf8(pem).expect("PEM is text"), pin)
    })
    .clone()
}

/// A camera with a microphone, whose description names the sound first.
pub fn with_sound() -> Camera {
    use gstreamer_rtsp_server::prelude::*;
    wardwatch::ingest::init().expect("GStreamer");
    let server = gstreamer_rtsp_server::RTSPServer::new();
    let factory = gstreamer_rtsp_server::RTSPMediaFactory::new();
    factory.set_launch(
        "( audiotestsrc is-live=true ! audio/x-raw,rate=8000,channels=1 ! alawenc ! rtppcmapay name=pay0 pt=8 \
         videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=10/1 \
         ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! rtph264pay name=pay1 pt=96 )",
    );
    server.mount_points().expect("mounts").add_factory("/stream", factory);
    let (camera, serving) = RtspService::start(server, 0).expect("a free port");
    let port = camera.port();
    let service = std::thread::spawn(move || serving.run());
    let stop: Box<dyn FnOnce() + Send> = Box::new(move || camera.stop());
    Camera { stop: Some(stop), service: Some(service), scheme: "rtsp", port }
}

/// A camera with real footage.
pub struct Camera {
    stop: Option<Box<dyn FnOnce() + Send>>,
    service: Option<JoinHandle<()>>,
    scheme: &'static str,
    pub port: u16,
}

impl Camera {
    pub fn start(footage: Footage) -> Self {
        Self::with(footage, SampleOptions::default())
    }

    pub fn with(footage: Footage, options: SampleOptions) -> Self {
        let scheme = if options.tls_pem.is_some() { "rtsps" } else { "rtsp" };
        let (camera, service) = SampleCamera::start(footage, options).expect("a camera");
        let service = std::thread::spawn(move || service.run());
        Self { port: camera.port(), stop: Some(Box::new(move || camera.stop())), service: Some(service), scheme }
    }

    /// A camera that asks for user `viewer` and this password.
    pub fn with_password(footage: Footage, password: &str) -> Self {
        let credentials = Some(("viewer".to_owned(), password.to_owned()));
        Self::with(footage, SampleOptions { credentials, ..SampleOptions::default() })
    }

    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}/stream", self.scheme, self.port)
    }

    /// Takes its power away; its port is free after that.
    pub fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop();
        }
        if let Some(service) = self.service.take() {
            service.join().expect("no panic");
        }
    }

    /// Plugs it in again at the same port, with other settings perhaps.
    pub fn restart(&mut self, footage: Footage) {
        self.stop();
        *self = Self::with(footage, SampleOptions { port: self.port, ..SampleOptions::default() });
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An endpoint at `url`.
pub fn endpoint(url: String) -> Endpoint {
    Endpoint { url, user: None, password: None, transport: Transport::Tcp, latency_ms: 100, tls_pin: None }
}

/// What is wrong with a bad camera.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bad {
    /// Takes the connection and says nothing.
    Silent,
    /// Takes the connection and closes it.
    HangsUp,
    /// Answers DESCRIBE with this status.
    Status(u16),
    /// Sends whoever asks to another port.
    Redirects(u16),
    /// Refuses the transport it is asked for.
    OtherTransport,
    /// Answers with bytes that are no RTSP.
    Garbage,
    /// Describes itself with megabytes.
    HugeDescription,
    /// Plays, but never sends a packet.
    NeverSends,
    /// Sends twenty pictures and then nothing, with the connection open.
    Stalls,
    /// Sends twenty pictures of 320×180, then larger ones of 480×270, as if nothing had happened.
    ChangesSize,
    /// Plays well, and reports a wall clock that was never set.
    UnsetClock,
    /// Plays well, and its RTP timestamps pass the end of their 32 bits after a second.
    Wraps,
    /// Plays well, and its RTP timestamps go back by ten seconds after a second.
    StepsBack,
    /// Shows a white figure that walks, and reports a wall clock that is an hour behind.
    WrongClock,
    /// Sends twenty pictures, then the first of them again and again.
    Freezes,
    /// Sends two thousand pictures a second.
    Floods,
    /// Sends rubbish in place of RTP.
    GarbageRtp,
    /// Sends RTP packets with rubbish for video.
    GarbageVideo,
    /// Announces a codec that nobody reads.
    OddCodec,
    /// Plays well, but hangs up on who asks for the sound that it announces.
    KeepsItsSound,
    /// Plays well, and sets up the sound that it announces, but never sends any.
    SilentMicrophone,
    /// Plays well, but takes leave of its sound now and then, and goes on sending it.
    LeavesItsSound,
}

/// A bad camera.
pub struct BadCamera {
    pub port: u16,
    /// Connections so far.
    pub connections: Arc<AtomicU32>,
    /// Requests with a password so far.
    pub passwords: Arc<AtomicU32>,
    stopping: Arc<AtomicBool>,
    service: Option<JoinHandle<()>>,
}

impl BadCamera {
    pub fn start(bad: Bad) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let (connections, passwords) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let stopping = Arc::new(AtomicBool::new(false));
        let (counted, shown, stop) = (connections.clone(), passwords.clone(), stopping.clone());
        let service = std::thread::spawn(move || {
            let mut sessions = Vec::new();
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                counted.fetch_add(1, Ordering::Relaxed);
                let (shown, stop) = (shown.clone(), stop.clone());
                // An error only means that the other side has gone.
                sessions.push(std::thread::spawn(move || Session { bad, stream, shown, stop }.serve().unwrap_or(())));
            }
            sessions.into_iter().for_each(|s| s.join().expect("no panic"));
        });
        Self { port, connections, passwords, stopping, service: Some(service) }
    }

    pub fn url(&self) -> String {
        format!("rtsp://127.0.0.1:{}/stream", self.port)
    }
}

impl Drop for BadCamera {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        // Wakes the listener.
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok();
        if let Some(service) = self.service.take() {
            service.join().expect("no panic");
        }
    }
}

struct Session {
    bad: Bad,
    stream: TcpStream,
    shown: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
}

impl Session {
    fn serve(mut self) -> std::io::Result<()> {
        self.stream.set_read_timeout(Some(Duration::from_millis(50)))?;
        if self.bad == Bad::HangsUp {
            return Ok(());
        }
        let mut requests = BufReader::new(self.stream.try_clone()?);
        while let Some((method, sequence)) = self.request(&mut requests)? {
            let answer = self.answer(&method, &sequence);
            self.stream.write_all(&answer)?;
            if answer.is_empty() && self.bad == Bad::KeepsItsSound {
                return Ok(());
            }
            if method == "PLAY" {
                self.play()?;
            }
        }
        Ok(())
    }

    /// Method and CSeq of the next request; `None` when the other side or the test is over.
    fn request(&self, from: &mut BufReader<TcpStream>) -> std::io::Result<Option<(String, String)>> {
        let (mut method, mut sequence) = (String::new(), String::new());
        loop {
            let Some(line) = self.line(from)? else { return Ok(None) };
            let line = line.trim();
            let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
            match name.as_str() {
                "cseq" => sequence = line.to_owned(),
                "authorization" => drop(self.shown.fetch_add(1, Ordering::Relaxed)),
                _ if method.is_empty() && line.contains("trackID=1") => method = "SETUP of sound".to_owned(),
                "" if !method.is_empty() => return Ok(Some((method, sequence))),
                _ if method.is_empty() => method = line.split(' ').next().unwrap_or_default().to_owned(),
                _ => {}
            }
        }
    }

    fn line(&self, from: &mut BufReader<TcpStream>) -> std::io::Result<Option<String>> {
        let mut line = Vec::new();
        loop {
            match from.read_until(b'\n', &mut line) {
                Ok(0) => return Ok(None),
                Ok(_) => return Ok(Some(String::from_utf8_lossy(&line).into_owned())),
                Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                    if self.stop.load(Ordering::Relaxed) {
                        return Ok(None);
                    }
                }
                Err(e) => return Err(e),
            }
        }
    }

    fn answer(&self, method: &str, sequence: &str) -> Vec<u8> {
        let ok = |headers: &str, body: &str| {
            let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
            format!("RTSP/1.0 200 OK\r\n{sequence}\r\n{headers}{length}\r\n{body}").into_bytes()
        };
        match (self.bad, method) {
            (Bad::Silent, _) | (Bad::KeepsItsSound, "SETUP of sound") => Vec::new(),
            (Bad::Garbage, _) => b"\x00\xff\r\nnot rtsp\r\n\r\n".repeat(200),
            (_, "OPTIONS") => ok("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n", ""),
            (Bad::Status(code), _) => {
                let challenge = match code {
                    401 => "WWW-Authenticate: Digest realm=\"camera\", nonce=\"abc\"\r\n",
                    _ => "",
                };
                format!("RTSP/1.0 {code} No\r\n{sequence}\r\n{challenge}\r\n").into_bytes()
            }
            (Bad::Redirects(port), _) => {
                format!("RTSP/1.0 302 No\r\n{sequence}\r\nLocation: rtsp://127.0.0.1:{port}/x\r\n\r\n").into_bytes()
            }
            (_, "DESCRIBE") => ok("Content-Type: application/sdp\r\n", &self.description()),
            (Bad::OtherTransport, "SETUP") => format!("RTSP/1.0 461 No\r\n{sequence}\r\n\r\n").into_bytes(),
            (_, "SETUP of sound") => ok("Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=2-3\r\n", ""),
            (_, "SETUP") => ok("Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n", ""),
            _ => ok("Session: 1\r\n", ""),
        }
    }

    fn description(&self) -> String {
        let codec = if self.bad == Bad::OddCodec { "VP8" } else { "H264" };
        let filler = match self.bad {
            Bad::HugeDescription => "a=x-filler:0123456789012345678901234567890123456789\r\n".repeat(40_000),
            _ => String::new(),
        };
        let sound = match self.bad {
            Bad::KeepsItsSound | Bad::SilentMicrophone | Bad::LeavesItsSound => {
                "m=audio 0 RTP/AVP 8\r\na=control:trackID=1\r\n"
            }
            _ => "",
        };
        format!(
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n{filler}m=video 0 RTP/AVP 96\r\n\
             a=rtpmap:96 {codec}/90000\r\na=control:trackID=0\r\n{sound}"
        )
    }

    /// Sends what it has to send until the test is over; never answers a request any more.
    fn play(&mut self) -> std::io::Result<()> {
        let mut sender = Sender::default();
        let (mut small, large) = (pictures("320:180"), pictures("480:270"));
        if self.bad == Bad::WrongClock {
            small = pictures(FIGURE);
        }
        for number in 0.. {
            match self.bad {
                Bad::Stalls | Bad::ChangesSize if number < 20 => sender.picture(&small[number], &mut self.stream)?,
                Bad::ChangesSize => sender.picture(&large[(number - 20) % large.len()], &mut self.stream)?,
                Bad::UnsetClock => {
                    sender.report(u64::from(SINCE_START) << 32, &mut self.stream)?;
                    sender.picture(&small[number % small.len()], &mut self.stream)?;
                }
                Bad::Wraps => {
                    if number == 0 {
                        sender.timestamp = u32::MAX - 20 * 4500;
                    }
                    sender.picture(&small[number % small.len()], &mut self.stream)?;
                }
                Bad::KeepsItsSound | Bad::SilentMicrophone => {
                    sender.picture(&small[number % small.len()], &mut self.stream)?;
                }
                Bad::StepsBack => {
                    if number == 20 {
                        sender.timestamp = sender.timestamp.wrapping_sub(10 * 90_000);
                    }
                    sender.picture(&small[number % small.len()], &mut self.stream)?;
                }
                Bad::WrongClock => {
                    sender.report(ntp(SystemClock.now().wall_ms - 3_600_000), &mut self.stream)?;
                    sender.picture(&small[number % small.len()], &mut self.stream)?;
                }
                Bad::Freezes => sender.picture(&small[if number < 20 { number } else { 0 }], &mut self.stream)?,
                Bad::Floods => {
                    for n in 0..100 {
                        sender.picture(&small[(number * 100 + n) % small.len()], &mut self.stream)?;
                        sender.timestamp = sender.timestamp.wrapping_sub(4500 - 45);
                    }
                }
                Bad::LeavesItsSound => {
                    sender.picture(&small[number % small.len()], &mut self.stream)?;
                    sender.sound(number, &mut self.stream)?;
                }
                Bad::GarbageRtp => {
                    sender.interleaved(&[number as u8 ^ 0x2a; 200], &mut self.stream)?;
                }
                Bad::GarbageVideo | Bad::OddCodec => {
                    let rubbish: Vec<u8> = (0..150u8).map(|i| i.wrapping_mul(37).wrapping_add(number as u8)).collect();
                    sender.picture(&[[&[0x65], &rubbish[..]].concat()], &mut self.stream)?;
                }
                _ => {}
            }
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            // A read with its own limit paces the pictures: about twenty a second.
            match self.stream.read(&mut [0; 1024]) {
                Ok(0) => break,
                Err(e) if !matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                    return Err(e);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// A white figure that walks through the dark, as `support/stimulus.rs` has it.
const FIGURE: &str = "320:240,geq=lum='16+219*lt(abs(X-W*(0.25+0.25*T)),22)*lt(abs(Y-H/2),80)':cb=128:cr=128";

/// NTP seconds of a clock that counts from the camera's start.
const SINCE_START: u32 = 86_400;

/// A moment (UTC milliseconds) as NTP has it: seconds since 1900 and their 2^32 parts.
fn ntp(wall_ms: i64) -> u64 {
    let ms = u64::try_from(wall_ms).expect("after 1970") + 2_208_988_800_000;
    ((ms / 1000) << 32) | (((ms % 1000) << 32) / 1000)
}

/// Sends RTP over the RTSP connection.
#[derive(Default)]
struct Sender {
    sequence: u16,
    timestamp: u32,
}

impl Sender {
    /// One picture, a packet for each of its NAL units.
    fn picture(&mut self, nals: &[Vec<u8>], to: &mut TcpStream) -> std::io::Result<()> {
        for (index, nal) in nals.iter().enumerate() {
            let marker = if index + 1 == nals.len() { 0x80 } else { 0 };
            let mut packet = vec![0x80, marker | 96];
            packet.extend(self.sequence.to_be_bytes());
            packet.extend(self.timestamp.to_be_bytes());
            packet.extend([0, 0, 0, 7]);
            packet.extend(nal);
            self.sequence = self.sequence.wrapping_add(1);
            self.interleaved(&packet, to)?;
        }
        self.timestamp = self.timestamp.wrapping_add(4500);
        Ok(())
    }

    /// A sender report for the next picture.
    fn report(&self, ntp: u64, to: &mut TcpStream) -> std::io::Result<()> {
        let mut packet = vec![0x80, 200, 0, 6, 0, 0, 0, 7];
        packet.extend(ntp.to_be_bytes());
        packet.extend(self.timestamp.to_be_bytes());
        packet.extend([0; 8]);
        self.framed(1, &packet, to)
    }

    /// A packet of silence in A-law, and every second a report and a goodbye behind it.
    fn sound(&self, number: usize, to: &mut TcpStream) -> std::io::Result<()> {
        let number = number as u16;
        let mut packet = vec![0x80, 8];
        packet.extend(number.to_be_bytes());
        packet.extend((u32::from(number) * 400).to_be_bytes());
        packet.extend([0, 0, 0, 9]);
        packet.extend([0xd5; 400]);
        self.framed(2, &packet, to)?;
        if number % 20 != 19 {
            return Ok(());
        }
        let mut leave = vec![0x80, 201, 0, 1, 0, 0, 0, 9];
        leave.extend([0x81, 203, 0, 1, 0, 0, 0, 9]);
        self.framed(3, &leave, to)
    }

    fn interleaved(&self, packet: &[u8], to: &mut TcpStream) -> std::io::Result<()> {
        self.framed(0, packet, to)
    }

    fn framed(&self, channel: u8, packet: &[u8], to: &mut TcpStream) -> std::io::Result<()> {
        let length = u16::try_from(packet.len()).expect("small pictures make small packets");
        to.write_all(&[&[b'$', channel][..], &length.to_be_bytes(), packet].concat())
    }
}

/// Two seconds of the small clip at `size`, as NAL units by picture, a keyframe every ten.
fn pictures(size: &str) -> Vec<Vec<Vec<u8>>> {
    let directory = tempfile::tempdir().expect("a directory");
    let clip = directory.path().join("clip.h264");
    let scale = format!("scale={size}");
    let codec = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-g", "10", "-x264-params", "slices=1"];
    ffmpeg(&[&["-t", "2", "-an", "-vf", &scale], &codec[..], &["-threads", "1"]].concat(), &clip);
    let bytes = std::fs::read(&clip).expect("just made");
    let mut starts: Vec<usize> =
        bytes.windows(3).enumerate().filter(|(_, w)| *w == [0, 0, 1]).map(|(i, _)| i).collect();
    starts.push(bytes.len());
    let (mut all, mut picture) = (Vec::new(), Vec::new());
    for pair in starts.windows(2) {
        let nal: Vec<u8> = bytes[pair[0] + 3..pair[1]].to_vec();
        let is_slice = matches!(nal[0] & 0x1f, 1 | 5);
        picture.push(nal);
        if is_slice {
            all.push(std::mem::take(&mut picture));
        }
    }
    all
}
