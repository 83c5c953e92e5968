//! Values that must not be seen: passwords and stream addresses. Neither prints, and neither serialises.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, de};
use url::Url;

use crate::base::{Error, ErrorKind, Result};

/// A password, given as it is, as `${ENVIRONMENT_VARIABLE}`, or as `file:/path` (first line of the file).
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps a known value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(SecretString::from(value.into()))
    }

    /// The value itself, for the one place that hands it to a peer.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    fn resolve(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("${").and_then(|t| t.strip_suffix('}')) {
            return std::env::var(name).map(Self::new).map_err(|_| {
                format!("the environment variable {name} is not set; set it, or write the secret as file:/path")
            });
        }
        if let Some(path) = text.strip_prefix("file:") {
            let content = std::fs::read_to_string(path).map_err(|e| {
                format!("cannot read the secret's file {path}: {e}; create it, readable by wardwatch only")
            })?;
            return Ok(Self::new(content.lines().next().unwrap_or_default()));
        }
        Ok(Self::new(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

/// Reads a string and refuses anything else without quoting it.
struct Text(&'static str);

impl de::Visitor<'_> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, v: &str) -> Result<String, E> {
        Ok(v.to_owned())
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<String, E> {
        Err(E::custom(format!("a number where {} is expected; put it in quotes", self.0)))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<String, E> {
        self.visit_i64(0)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<String, E> {
        Err(E::custom(format!("a boolean where {} is expected; put it in quotes", self.0)))
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = deserializer.deserialize_str(Text("a secret as text"))?;
        Self::resolve(&text).map_err(de::Error::custom)
    }
}

/// A stream's address: `rtsp://` or `rtsps://`. Many cameras carry a password in the path or the query, so all of it but
/// the host is kept from view.
#[derive(Clone, PartialEq)]
pub struct StreamUrl {
    url: Url,
}

impl StreamUrl {
    /// Parses an address; credentials in it are taken out and returned beside it.
    pub fn parse(text: &str) -> Result<(Self, Option<String>, Option<Secret>)> {
        let bad = |what: &str| {
            Error::new(ErrorKind::Config, format!("the stream's address {what}"))
                .hint("write it as rtsp://192.168.1.20:554/path, user and password as keys of their own")
        };
        let mut url = Url::parse(text).map_err(|_| bad("is not a URL (special characters must be percent-encoded)"))?;
        if !matches!(url.scheme(), "rtsp" | "rtsps") {
            return Err(bad("must begin with rtsp:// or rtsps://"));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(bad("names no host"));
        }
        let user = (!url.username().is_empty()).then(|| percent_decode(url.username()));
        let password = url.password().map(|p| Secret::new(percent_decode(p)));
        if url.set_username("").is_err() || url.set_password(None).is_err() {
            return Err(bad("cannot hold credentials"));
        }
        Ok((Self { url }, user, password))
    }

    /// The whole address without user and password, for the RTSP client only.
    pub fn expose(&self) -> &str {
        self.url.as_str()
    }

    /// Whether the stream is encrypted.
    pub fn is_tls(&self) -> bool {
        self.url.scheme() == "rtsps"
    }

    /// Whether the address holds nothing that might be a password. Cameras put them into queries and into paths
    /// (`/user=admin&password=…&channel=1.sdp`), under many names: only parameters known to be harmless are shown.
    pub fn is_plain(&self) -> bool {
        const HARMLESS: [&str; 12] = [
            "channel",
            "subtype",
            "stream",
            "profile",
            "unicast",
            "proto",
            "resolution",
            "fps",
            "codec",
            "video",
            "id",
            "transportmode",
        ];
        let rest = percent_decode(self.expose().split_once("://").map_or("", |(_, rest)| rest));
        let mut parts = rest.split(['/', '?', '&', ';', '_', '#']).filter(|part| part.contains('='));
        parts.all(|part| part.split_once('=').is_some_and(|(key, _)| HARMLESS.contains(&key.to_lowercase().as_str())))
    }

    /// Host as written; IPv6 in brackets.
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// Port, or the scheme's default (554; 322 for rtsps).
    pub fn port(&self) -> u16 {
        self.url.port().unwrap_or(if self.is_tls() { 322 } else { 554 })
    }
}

fn percent_decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

impl fmt::Display for StreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}/…", self.url.scheme(), self.host(), self.port())
    }
}

impl fmt::Debug for StreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The address as the file has it, before its credentials are taken out.
#[derive(Clone)]
pub(crate) struct RawUrl(pub(crate) String);

impl<'de> Deserialize<'de> for RawUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The whole address may be a secret reference.
        let text = deserializer.deserialize_str(Text("a stream address as text"))?;
        Secret::resolve(&text).map(|s| Self(s.expose().to_owned())).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_leave_the_address_and_nothing_prints() {
        let (url, user, password) =
            StreamUrl::parse("rtsp://admin:p%40ss@10.0.0.9/user=admin&password=p@ss&channel=1.sdp").expect("valid");
        assert_eq!(user.as_deref(), Some("admin"));
        let password = password.expect("has one");
        assert_eq!(password.expose(), "p@ss");
        let shown = format!("{url} {url:?} {password:?}");
        assert!(!shown.contains("p@ss") && !shown.contains("p%40ss") && !shown.contains("channel"), "{shown}");
        assert!(url.expose().contains("channel=1") && !url.expose().contains("admin:"));
    }

    #[test]
    fn other_schemes_are_refused_without_quoting_them() {
        let e = StreamUrl::parse("http://u:canary@host/x").err().map(|e| e.to_string()).unwrap_or_default();
        assert!(e.contains("rtsp://") && !e.contains("canary"), "{e}");
    }

    #[test]
    fn only_addresses_without_a_place_for_a_password_are_shown() {
        let plain = |text: &str| StreamUrl::parse(text).expect("valid").0.is_plain();
        for shown in [
            "rtsp://10.0.0.9/Streaming/Channels/102?transportmode=unicast&profile=Profile_1",
            "rtsp://10.0.0.9/cam/realmonitor?channel=1&subtype=1",
            "rtsp://10.0.0.9:8554/live",
        ] {
            assert!(plain(shown), "{shown}");
        }
        for hidden in [
            "rtsp://10.0.0.9/user=admin&password=x&channel=1.sdp",
            "rtsp://10.0.0.9/user=admin_password=x_channel=1_stream=0.sdp",
            "rtsp://10.0.0.9/live?p=x",
            "rtsp://10.0.0.9/live?channel=1&PWD=x",
            "rtsp://10.0.0.9/user%3Dadmin%26password%3Dx.sdp",
        ] {
            assert!(!plain(hidden), "{hidden}");
        }
    }
}
