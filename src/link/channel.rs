//! The node's end of the channel: the only file that names the WebSocket client. Opens the connection, checks who
//! answers, and gives two halves; what is said lies in `wire::channel`. No redirects, everything bounded.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message, client::IntoClientRequest};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::base::{Error, ErrorKind, Result};
use crate::config::{NodeLinkConfig, tls_client};
use crate::wire::channel::{CHANNEL_PATH, MAX_BINARY, MAX_TEXT, SILENCE_SECONDS};
use crate::wire::link::Identity;

/// Address, encryption and handshake each.
const STEP: Duration = Duration::from_secs(10);
/// A message that does not go for so long never will.
const SENDING: Duration = Duration::from_secs(SILENCE_SECONDS);

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}
type Socket = WebSocketStream<Box<dyn Wire>>;

/// Something the centre says.
#[derive(Debug, PartialEq)]
pub enum Heard {
    Text(String),
    /// It is there, and says nothing else.
    Alive,
}

/// To be said to the centre.
#[derive(Debug)]
pub enum Say {
    Text(String),
    Binary(Bytes),
    Ping,
}

/// The half that listens.
pub struct Listener(SplitStream<Socket>);

/// The half that speaks.
pub struct Speaker(SplitSink<Socket, Message>);

/// Opens the channel as `who`.
///
/// # Errors
/// `Unavailable` when nobody answers, `Unauthorized` when the centre does not know this node, `Config` for a wrong `ca`.
pub async fn open(config: &NodeLinkConfig, who: &Identity) -> Result<(Speaker, Listener)> {
    let url = &config.url;
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(443);
    let bare = host.trim_matches(['[', ']']);
    let tcp = step("connect", TcpStream::connect((bare, port))).await?;
    // Small messages must not wait for others.
    tcp.set_nodelay(true).map_err(|e| away(format!("the connection takes no setting: {e}")))?;
    let wire: Box<dyn Wire> = if url.scheme() == "https" {
        let tls = TlsConnector::from(Arc::new(tls_client(config.ca.as_deref(), "the centre")?));
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|e| Error::new(ErrorKind::Config, "the centre's name cannot be on a certificate").source(e))?;
        Box::new(step("encryption", tls.connect(name, tcp)).await?)
    } else {
        Box::new(tcp)
    };
    let base = url.as_str().trim_end_matches('/').replacen("http", "ws", 1);
    let malformed = |e: WsError| Error::new(ErrorKind::Config, "the centre's address makes no channel").source(e);
    let mut request = format!("{base}{CHANNEL_PATH}").into_client_request().map_err(malformed)?;
    let mut bearer = HeaderValue::from_str(&who.bearer())
        .map_err(|_| Error::new(ErrorKind::Corrupt, "this node's identity is no header").hint("wardwatch enrol"))?;
    bearer.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, bearer);
    let limits =
        WebSocketConfig::default().max_message_size(Some(MAX_TEXT.max(MAX_BINARY))).max_frame_size(Some(MAX_BINARY));
    let opened = timeout(STEP, client_async_with_config(request, wire, Some(limits))).await;
    let (socket, _) = opened.map_err(|_| away("the centre does not answer in time"))?.map_err(refused)?;
    let (sink, stream) = socket.split();
    Ok((Speaker(sink), Listener(stream)))
}

async fn step<T>(what: &str, doing: impl Future<Output = std::io::Result<T>>) -> Result<T> {
    match timeout(STEP, doing).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(e)) => Err(away("the centre cannot be reached").source(format!("{what}: {e}"))),
        Err(_) => Err(away("the centre does not answer in time").source(what)),
    }
}

fn refused(error: WsError) -> Error {
    match error {
        WsError::Http(answer) if answer.status().as_u16() == 401 => {
            Error::new(ErrorKind::Unauthorized, "the centre does not know this node")
                .hint("`wardwatch enrol-code` at the centre, `wardwatch enrol` here")
        }
        WsError::Http(answer) if answer.status().as_u16() == 404 => {
            away("the centre takes no channels").hint("the centre is older than this node: update it")
        }
        WsError::Http(answer) => away(format!("the centre answers {}", answer.status().as_u16())),
        e => away("something that is not the centre answers").source(e),
    }
}

fn away(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unavailable, what)
}

impl Listener {
    /// The next that is heard.
    ///
    /// # Errors
    /// When the channel is over. May be given up at any time; whoever waits minds the time.
    pub async fn next(&mut self) -> Result<Heard> {
        match self.0.next().await {
            Some(Ok(Message::Text(text))) => Ok(Heard::Text(text.as_str().to_owned())),
            Some(Ok(Message::Close(Some(frame)))) => Err(away(format!("the centre closed it: {}", frame.reason))),
            Some(Ok(Message::Binary(_))) => Err(Error::new(ErrorKind::Invalid, "a centre sends no binary messages")),
            Some(Ok(Message::Close(None))) | None => Err(away("the centre closed it")),
            Some(Ok(_)) => Ok(Heard::Alive),
            Some(Err(e)) => Err(away("the channel broke").source(e)),
        }
    }
}

impl Speaker {
    /// Says one thing; waits while the connection takes nothing.
    ///
    /// # Errors
    /// When the channel is over or stands still.
    pub async fn say(&mut self, what: Say) -> Result<()> {
        let message = match what {
            Say::Text(text) => Message::text(text),
            Say::Binary(bytes) => Message::binary(bytes),
            Say::Ping => Message::Ping(Bytes::new()),
        };
        self.send(message).await
    }

    /// Says why it ends.
    pub async fn close(&mut self, reason: &str) {
        // A reason has at most 123 bytes (RFC 6455, 5.5).
        let reason = reason[..reason.floor_char_boundary(120)].to_owned();
        let frame = CloseFrame { code: CloseCode::Policy, reason: reason.into() };
        self.send(Message::Close(Some(frame))).await.ok();
    }

    async fn send(&mut self, message: Message) -> Result<()> {
        match timeout(SENDING, self.0.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(away("the channel broke").source(e)),
            Err(_) => Err(away("the centre takes nothing any more")),
        }
    }
}
