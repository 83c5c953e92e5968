//! Cameras that answer on the node's own network: WS-Discovery as ONVIF uses it. One question by multicast, answers for a
//! few seconds. Whoever is on the network may answer anything: sizes, counts, names and addresses are bounded and cleaned,
//! a document type or an entity ends the reading, and nobody is connected to.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use futures_util::future::join_all;
use quick_xml::Reader;
use quick_xml::events::Event;
use tokio::net::UdpSocket;
use tokio::time::timeout;
use url::{Host, Url};
use uuid::Uuid;

use crate::base::{Error, ErrorKind, Result};
use crate::config::vendor;

/// Where devices listen.
pub const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 255, 255, 250), 3702);
/// How long answers are waited for.
pub const PATIENCE: Duration = Duration::from_secs(4);
/// The question is asked again after this: datagrams are lost.
const AGAIN: Duration = Duration::from_millis(800);
/// The largest answer.
const MAX_DATAGRAM: usize = 64 << 10;
/// Answers that are read on one interface.
const MAX_ANSWERS: usize = 2048;
/// Devices that are told of.
const MAX_DEVICES: usize = 256;
/// Elements within each other.
const MAX_DEPTH: usize = 32;
/// Letters of a name.
const MAX_NAME: usize = 64;
/// Addresses of one device.
const MAX_XADDRS: usize = 4;
/// Scopes of one device that are looked at.
const MAX_SCOPES: usize = 64;

/// A device that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where its answer came from.
    pub address: IpAddr,
    pub name: Option<String>,
    pub hardware: Option<String>,
    /// An id of [`vendor::VENDORS`].
    pub vendor: Option<&'static str>,
    /// Where it says that its services are; only on `address`.
    pub xaddrs: Vec<String>,
}

/// Asks `target` from every interface of this machine, for `patience`.
///
/// # Errors
/// `Unavailable` when no interface can ask.
pub async fn search(target: SocketAddrV4, patience: Duration) -> Result<Vec<Found>> {
    let failed = |e| Error::new(ErrorKind::Unavailable, "this machine's interfaces cannot be listed").source(e);
    let interfaces = if_addrs::get_if_addrs().map_err(failed)?;
    let addresses = interfaces.iter().filter(|i| !i.is_loopback()).filter_map(|i| match i.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    search_from(&addresses.collect::<Vec<_>>(), target, patience).await
}

/// [`search`] from the interfaces that have `addresses`.
///
/// # Errors
/// `Unavailable` when none of them can ask.
pub async fn search_from(addresses: &[Ipv4Addr], target: SocketAddrV4, patience: Duration) -> Result<Vec<Found>> {
    let question = question(&Uuid::new_v4().to_string());
    let asked = join_all(addresses.iter().map(|from| ask(*from, target, &question, patience))).await;
    let (mut found, mut last) = (BTreeMap::new(), None);
    for answers in asked {
        match answers {
            Ok(answers) => {
                for one in answers {
                    found.entry(one.address).or_insert(one);
                }
                last = Some(Ok(()));
            }
            Err(e) if last.is_none() => last = Some(Err(e)),
            Err(e) => tracing::debug!("an interface cannot ask for cameras: {e}"),
        }
    }
    match last {
        Some(Ok(())) => Ok(found.into_values().take(MAX_DEVICES).collect()),
        Some(Err(e)) => Err(e),
        None => Err(Error::new(ErrorKind::Unavailable, "this machine has no network to look for cameras on")),
    }
}

/// Asks from one interface: on Linux a multicast leaves by the interface that its sender is bound to.
async fn ask(from: Ipv4Addr, target: SocketAddrV4, question: &str, patience: Duration) -> Result<Vec<Found>> {
    let failed = |e: std::io::Error| {
        Error::new(ErrorKind::Unavailable, "cameras cannot be asked for on this network").at(from).source(e)
    };
    let socket = UdpSocket::bind((from, 0)).await.map_err(failed)?;
    socket.send_to(question.as_bytes(), target).await.map_err(failed)?;
    let mut found = BTreeMap::new();
    timeout(AGAIN.min(patience), listen(&socket, &mut found)).await.ok();
    if let Some(rest) = patience.checked_sub(AGAIN).filter(|rest| !rest.is_zero()) {
        // The first one was heard at least.
        socket.send_to(question.as_bytes(), target).await.ok();
        timeout(rest, listen(&socket, &mut found)).await.ok();
    }
    Ok(found.into_values().collect())
}

async fn listen(socket: &UdpSocket, found: &mut BTreeMap<IpAddr, Found>) {
    let mut answer = vec![0; MAX_DATAGRAM];
    for _ in 0..MAX_ANSWERS {
        let Ok((length, SocketAddr::V4(sender))) = socket.recv_from(&mut answer).await else { continue };
        if found.len() >= MAX_DEVICES {
            return;
        }
        if let Some(one) = read(&answer[..length], IpAddr::V4(*sender.ip())) {
            found.entry(one.address).or_insert(one);
        }
    }
}

/// The question, with `id` to answer to.
fn question(id: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" xmlns:dn="http://www.onvif.org/ver10/network/wsdl"><s:Header><a:Action s:mustUnderstand="1">http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</a:Action><a:MessageID>uuid:{id}</a:MessageID><a:To s:mustUnderstand="1">urn:schemas-xmlsoap-org:ws:2005:04:discovery</a:To></s:Header><s:Body><d:Probe><d:Types>dn:NetworkVideoTransmitter</d:Types></d:Probe></s:Body></s:Envelope>"#
    )
}

/// What an answer says of itself.
#[derive(Default)]
struct Said {
    types: String,
    scopes: String,
    xaddrs: String,
}

/// A device's answer; `None` for whatever else comes.
pub fn read(answer: &[u8], sender: IpAddr) -> Option<Found> {
    if answer.len() > MAX_DATAGRAM {
        return None;
    }
    let said = parse(std::str::from_utf8(answer).ok()?)?;
    let is_camera = |t: &str| matches!(t.rsplit(':').next(), Some("NetworkVideoTransmitter" | "Device"));
    if !said.types.split_ascii_whitespace().any(is_camera) {
        return None;
    }
    let scope = |kind: &str| {
        let mut all = said.scopes.split_ascii_whitespace().take(MAX_SCOPES);
        all.find_map(|s| s.strip_prefix("onvif://www.onvif.org/")?.strip_prefix(kind)?.strip_prefix('/'))
            .and_then(words)
    };
    let (name, hardware) = (scope("name"), scope("hardware"));
    let known = [name.as_deref(), hardware.as_deref(), scope("manufacturer").as_deref(), scope("mfr").as_deref()]
        .into_iter()
        .flatten()
        .find_map(vendor::guess);
    let at_home = |x: &&str| {
        x.len() <= 256
            && Url::parse(x).is_ok_and(|url| {
                let here = match url.host() {
                    Some(Host::Ipv4(host)) => IpAddr::V4(host) == sender,
                    _ => false,
                };
                here && matches!(url.scheme(), "http" | "https")
                    && url.username().is_empty()
                    && url.password().is_none()
            })
    };
    let xaddrs = said.xaddrs.split_ascii_whitespace().filter(at_home).take(MAX_XADDRS).map(str::to_owned).collect();
    Some(Found { address: sender, name, hardware, vendor: known, xaddrs })
}

/// Texts of the first match. Strict: what is no plain XML gives nothing.
fn parse(text: &str) -> Option<Said> {
    let mut reader = Reader::from_str(text);
    let (mut path, mut said, mut matched): (Vec<Vec<u8>>, Said, bool) = (Vec::new(), Said::default(), false);
    loop {
        match reader.read_event().ok()? {
            Event::Start(e) => {
                if path.len() >= MAX_DEPTH {
                    return None;
                }
                path.push(e.local_name().as_ref().to_vec());
                matched |= path.last().is_some_and(|n| n == b"ProbeMatch");
            }
            Event::End(e) => {
                path.pop();
                if e.local_name().as_ref() == b"ProbeMatch" {
                    return Some(said);
                }
            }
            Event::Text(e) if matched => {
                let part = e.decode().ok()?;
                let Some(into) = said.part(path.last()?) else { continue };
                into.push_str(&part);
            }
            // Scopes may have an ampersand; anything else that stands for something is not resolved.
            Event::GeneralRef(e) if matched => {
                let resolved = quick_xml::escape::resolve_predefined_entity(std::str::from_utf8(&e).ok()?)?;
                let Some(into) = said.part(path.last()?) else { continue };
                into.push_str(resolved);
            }
            Event::DocType(_) | Event::PI(_) | Event::CData(_) => return None,
            Event::Eof => return None,
            _ => {}
        }
    }
}

impl Said {
    fn part(&mut self, element: &[u8]) -> Option<&mut String> {
        match element {
            b"Types" => Some(&mut self.types),
            b"Scopes" => Some(&mut self.scopes),
            b"XAddrs" => Some(&mut self.xaddrs),
            _ => None,
        }
    }
}

/// What a scope says, for a person.
fn words(scope: &str) -> Option<String> {
    let text = percent_encoding::percent_decode_str(scope).decode_utf8_lossy();
    let plain = |c: &char| {
        !c.is_control() && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let text: String = text.replace('_', " ").chars().filter(plain).take(MAX_NAME).collect();
    let text = text.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOME: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 20));

    fn answer(types: &str, scopes: &str, xaddrs: &str) -> String {
        format!(
            r#"<?xml version="1.0" encoding="UTF-8"?><SOAP-ENV:Envelope xmlns:SOAP-ENV="http://www.w3.org/2003/05/soap-envelope" xmlns:wsdd="http://schemas.xmlsoap.org/ws/2005/04/discovery"><SOAP-ENV:Body><wsdd:ProbeMatches><wsdd:ProbeMatch><wsdd:Types>{types}</wsdd:Types><wsdd:Scopes>{scopes}</wsdd:Scopes><wsdd:XAddrs>{xaddrs}</wsdd:XAddrs></wsdd:ProbeMatch></wsdd:ProbeMatches></SOAP-ENV:Body></SOAP-ENV:Envelope>"#
        )
    }

    const NVT: &str = "dn:NetworkVideoTransmitter tds:Device";

    #[test]
    fn a_camera_is_described_by_its_scopes() {
        let scopes = "onvif://www.onvif.org/type/video_encoder onvif://www.onvif.org/name/HIKVISION%20DS-2CD2043G2 \
                      onvif://www.onvif.org/hardware/DS-2CD2043G2-I onvif://www.onvif.org/location/hanoi";
        let found = read(answer(NVT, scopes, "http://192.168.1.20/onvif/device_service").as_bytes(), HOME);
        let expected = Found {
            address: HOME,
            name: Some("HIKVISION DS-2CD2043G2".into()),
            hardware: Some("DS-2CD2043G2-I".into()),
            vendor: Some("hikvision"),
            xaddrs: vec!["http://192.168.1.20/onvif/device_service".into()],
        };
        assert_eq!(found, Some(expected));
    }

    #[test]
    fn addresses_elsewhere_and_signs_that_deceive_stay_out() {
        let xaddrs = "http://10.0.0.1/x http://evil.example/x file:///etc/passwd http://u:p@192.168.1.20/ \
                      http://192.168.1.20:8000/onvif javascript:alert(1)";
        let scopes = "onvif://www.onvif.org/name/a%00%1b%5b31m%e2%80%aeb&amp;c";
        let found = read(answer(NVT, scopes, xaddrs).as_bytes(), HOME).expect("a camera");
        assert_eq!(found.xaddrs, ["http://192.168.1.20:8000/onvif"]);
        assert_eq!(found.name.as_deref(), Some("a[31mb&c"));
        let long = format!("onvif://www.onvif.org/name/{}", "x".repeat(10_000));
        let found = read(answer(NVT, &long, "").as_bytes(), HOME).expect("a camera");
        assert_eq!(found.name.map(|n| n.len()), Some(MAX_NAME));
    }

    #[test]
    fn what_is_no_answer_of_a_camera_is_dropped() {
        let whole = answer(NVT, "", "");
        assert!(read(whole.as_bytes(), HOME).is_some());
        let outside = r#"<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>"#;
        let deep = format!("{}{}", "<a>".repeat(100), whole);
        for bad in [
            String::new(),
            "GET / HTTP/1.1".into(),
            answer("wsdp:Device2 p:Printer", "", ""),
            whole.replace("<SOAP-ENV:Body>", &format!("{outside}<SOAP-ENV:Body>")),
            answer(NVT, "onvif://www.onvif.org/name/&e;", ""),
            whole[..whole.len() / 2].to_owned(),
            deep,
            format!("{whole}{}", " ".repeat(MAX_DATAGRAM)),
        ] {
            assert_eq!(read(bad.as_bytes(), HOME), None, "{}", &bad[..bad.len().min(200)]);
        }
        assert_eq!(read(&[0xff, 0xfe, 0x00], HOME), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), cut in 0usize..600) {
            read(&bytes, HOME);
            let whole = answer(NVT, "onvif://www.onvif.org/name/%F0%9F", "http://192.168.1.20/");
            read(&whole.as_bytes()[..cut.min(whole.len())], HOME);
        }
    }
}
