//! The MQTT door: the only file that names rumqttc. Version 5, QoS 1, clean start, a fresh client and event loop for
//! every connection: the outbox is the queue, this client keeps nothing across connections.
//!
//! Written around rumqttc 0.25's habits: `publish()` returns no packet id, so a first-in-first-out list is matched
//! against `Outgoing::Publish`; awaiting `publish()` in the task that polls deadlocks, so only `try_` calls are made;
//! its packet limit is 10 KiB unless told otherwise; it knows no acknowledgement code 0x95, so sizes are checked before.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectProperties, ConnectReturnCode, Filter, LastWill, Packet, PubAck, PubAckReason, Publish, PublishProperties,
    SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ClientError, ConnectionError, Event, EventLoop, MqttOptions, StateError};
use rumqttc::{NetworkOptions, Outgoing, TlsConfiguration, Transport};

use super::link::{Arrived, Connect, Link, MAX_PACKET, Message, Refusal, Signal};
use crate::base::{Error, ErrorKind, Result};
use crate::config::{MqttConfig, tls_client};

/// Requests that may wait inside the client, and messages before the broker that it has not acknowledged.
const REQUESTS: usize = 512;
/// Messages the broker may send before the first is acknowledged.
const RECEIVE_MAXIMUM: u16 = 256;
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Makes MQTT connections to one broker.
pub struct MqttConnect {
    mqtt: MqttConfig,
    client_id: String,
    manual_acks: bool,
    tls: Option<Arc<rustls::ClientConfig>>,
}

impl MqttConnect {
    /// Reads certificates where TLS is on. `client_id` is unique at the broker; with `manual_acks` every message that
    /// arrives must be given to [`Link::ack`].
    pub fn new(mqtt: MqttConfig, client_id: String, manual_acks: bool) -> Result<Self> {
        let tls = mqtt.tls.then(|| tls_client(mqtt.ca.as_deref(), "the broker")).transpose()?.map(Arc::new);
        Ok(Self { mqtt, client_id, manual_acks, tls })
    }

    fn options(&self, will: Message) -> MqttOptions {
        let mut options = MqttOptions::new(&self.client_id, &self.mqtt.host, self.mqtt.port());
        options.set_keep_alive(KEEP_ALIVE).set_clean_start(true).set_manual_acks(self.manual_acks);
        options.set_connection_timeout(CONNECT_TIMEOUT.as_secs()).set_request_channel_capacity(REQUESTS);
        // The client makes room for that many beforehand; its own 65,535 would be 13 MB for every connection.
        options.set_outgoing_inflight_upper_limit(REQUESTS as u16);
        let mut properties = ConnectProperties::new();
        properties.max_packet_size = Some(MAX_PACKET as u32);
        properties.receive_maximum = Some(RECEIVE_MAXIMUM);
        options.set_connect_properties(properties);
        options.set_last_will(LastWill::new(will.topic, will.payload, QoS::AtLeastOnce, will.retain, None));
        if let (Some(user), Some(password)) = (&self.mqtt.user, &self.mqtt.password) {
            options.set_credentials(user, password.expose());
        }
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        if let Some(tls) = &self.tls {
            options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls.clone())));
        }
        options
    }
}

impl Connect for MqttConnect {
    type Link = MqttLink;

    async fn connect(&self, will: Message) -> Result<MqttLink> {
        let place = format!("{}:{}", self.mqtt.host, self.mqtt.port());
        let (client, mut events) = AsyncClient::new(self.options(will), REQUESTS);
        let connack = tokio::time::timeout(CONNECT_TIMEOUT, events.poll())
            .await
            .map_err(|_| Error::new(ErrorKind::Timeout, "the broker does not answer").at(&place))?
            .map_err(|e| explain(e).at(&place))?;
        let Event::Incoming(Packet::ConnAck(connack)) = connack else {
            return Err(Error::new(ErrorKind::Invalid, "the broker did not answer the connection").at(&place));
        };
        let max_packet = connack.properties.and_then(|p| p.max_packet_size).map_or(MAX_PACKET, |n| n as usize);
        Ok(MqttLink {
            client,
            polling: Some(Box::pin(poll(events))),
            last_words: VecDeque::new(),
            failure: None,
            handed_over: VecDeque::new(),
            in_flight: HashMap::new(),
            max_packet: max_packet.min(MAX_PACKET),
        })
    }
}

type Polling = Pin<Box<dyn Future<Output = (EventLoop, Result<Event, ConnectionError>)> + Send>>;

/// Owns the event loop while it works, so that a caller who stops waiting does not cut it off in the middle.
async fn poll(mut events: EventLoop) -> (EventLoop, Result<Event, ConnectionError>) {
    let event = events.poll().await;
    (events, event)
}

/// One MQTT connection.
pub struct MqttLink {
    client: AsyncClient,
    polling: Option<Polling>,
    /// What came in before the connection broke: mosquitto 2.0.11 hangs up right after the acknowledgement that says
    /// "not authorized", and rumqttc reports the hanging up first.
    last_words: VecDeque<Event>,
    failure: Option<Error>,
    /// Tokens whose packet id is not known yet, in the order they will leave.
    handed_over: VecDeque<u64>,
    in_flight: HashMap<u16, u64>,
    max_packet: usize,
}

/// Acknowledges one message.
#[derive(Debug)]
pub struct MqttAck(Publish);

impl Link for MqttLink {
    type Ack = MqttAck;

    fn max_packet(&self) -> usize {
        self.max_packet
    }

    fn publish(&mut self, message: Message, token: u64) -> Result<()> {
        let properties = PublishProperties {
            message_expiry_interval: message.expiry.map(|d| d.as_secs() as u32),
            user_properties: message.properties,
            ..Default::default()
        };
        self.client
            .try_publish_with_properties(message.topic, QoS::AtLeastOnce, message.retain, message.payload, properties)
            .map_err(waiting)?;
        self.handed_over.push_back(token);
        Ok(())
    }

    fn subscribe(&mut self, filters: &[String]) -> Result<()> {
        let filters = filters.iter().map(|f| Filter::new(f.as_str(), QoS::AtLeastOnce));
        self.client.try_subscribe_many(filters).map_err(waiting)
    }

    fn ack(&mut self, ack: MqttAck) -> Result<()> {
        self.client.try_ack(&ack.0).map_err(waiting)
    }

    async fn next(&mut self) -> Result<Signal<MqttAck>> {
        loop {
            let event = match (self.last_words.pop_front(), &mut self.polling) {
                (Some(event), _) => event,
                (None, Some(polling)) => match polling.await {
                    (events, Ok(event)) => {
                        self.polling = Some(Box::pin(poll(events)));
                        event
                    }
                    (mut events, Err(e)) => {
                        self.polling = None;
                        self.last_words = std::mem::take(&mut events.state.events);
                        self.failure = Some(explain(e));
                        continue;
                    }
                },
                (None, None) => {
                    let over = || Error::new(ErrorKind::Unavailable, "the connection is over");
                    return Err(self.failure.take().unwrap_or_else(over));
                }
            };
            if let Some(signal) = self.understand(event)? {
                return Ok(signal);
            }
        }
    }

    async fn close(mut self, patience: Duration) {
        let farewell = async {
            while !self.handed_over.is_empty() || !self.in_flight.is_empty() {
                self.next().await?;
            }
            self.client.try_disconnect().map_err(waiting)?;
            // Ends with the error that the broker has hung up.
            while self.next().await.is_ok() {}
            Ok::<(), Error>(())
        };
        if let Ok(Err(e)) = tokio::time::timeout(patience, farewell).await {
            tracing::debug!(error = %e, "the broker's connection did not end in order");
        }
    }
}

impl MqttLink {
    fn understand(&mut self, event: Event) -> Result<Option<Signal<MqttAck>>> {
        Ok(match event {
            Event::Outgoing(Outgoing::Publish(id)) => {
                if let Some(token) = self.handed_over.pop_front() {
                    self.in_flight.insert(id, token);
                }
                None
            }
            Event::Incoming(Packet::PubAck(PubAck { pkid, reason, .. })) => {
                self.in_flight.remove(&pkid).map(|token| Signal::Acked { token, refused: refusal(reason) })
            }
            Event::Incoming(Packet::SubAck(ack)) => {
                if ack.return_codes.iter().any(|code| !matches!(code, SubscribeReasonCode::Success(_))) {
                    return Err(Error::new(ErrorKind::Unauthorized, "the broker refuses our subscriptions"));
                }
                Some(Signal::Subscribed)
            }
            Event::Incoming(Packet::Publish(mut publish)) => {
                let payload = std::mem::take(&mut publish.payload);
                let properties = publish.properties.take().map(|p| p.user_properties).unwrap_or_default();
                Some(Signal::Arrived(Arrived {
                    topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                    payload,
                    retained: publish.retain,
                    properties,
                    ack: MqttAck(publish),
                }))
            }
            _ => None,
        })
    }
}

fn refusal(reason: PubAckReason) -> Option<Refusal> {
    let permanent = match reason {
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => return None,
        PubAckReason::NotAuthorized | PubAckReason::TopicNameInvalid | PubAckReason::PayloadFormatInvalid => true,
        _ => false,
    };
    Some(Refusal { permanent, reason: format!("the broker refuses it: {reason:?}") })
}

fn waiting(e: ClientError) -> Error {
    let message = match e {
        ClientError::TryRequest(_) => "too many requests wait for the broker",
        ClientError::Request(_) => "the request cannot be made",
    };
    Error::new(ErrorKind::Exhausted, message)
}

fn explain(e: ConnectionError) -> Error {
    match e {
        ConnectionError::ConnectionRefused(
            code @ (ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized),
        ) => Error::new(ErrorKind::Unauthorized, format!("the broker refuses our user and password ({code:?})"))
            .hint("check user and password of the [….mqtt] section"),
        ConnectionError::Timeout(_) => Error::new(ErrorKind::Timeout, "the broker does not answer"),
        ConnectionError::MqttState(StateError::Io(e)) | ConnectionError::Io(e) => {
            Error::new(ErrorKind::Unavailable, "the broker cannot be reached").source(e)
        }
        ConnectionError::MqttState(e @ (StateError::ConnectionAborted | StateError::AwaitPingResp)) => {
            Error::new(ErrorKind::Unavailable, "the connection to the broker is gone").source(e)
        }
        ConnectionError::MqttState(StateError::Deserialization(rumqttc::v5::mqttbytes::Error::Io(e))) => {
            Error::new(ErrorKind::Unavailable, "the connection to the broker is gone").source(e)
        }
        ConnectionError::MqttState(e) => {
            let kind = if is_objection(&e) { ErrorKind::Invalid } else { ErrorKind::Unavailable };
            Error::new(kind, "the broker broke off").source(e)
        }
        e => Error::new(ErrorKind::Unavailable, "the broker cannot be reached").source(e),
    }
}

/// Whether the broker hung up because of what it was sent, and not because it stops or is busy.
fn is_objection(e: &StateError) -> bool {
    use rumqttc::v5::mqttbytes::v5::DisconnectReasonCode as Code;
    match e {
        StateError::ServerDisconnect { reason_code, .. } => matches!(
            reason_code,
            Code::MalformedPacket
                | Code::ProtocolError
                | Code::PacketTooLarge
                | Code::TopicNameInvalid
                | Code::PayloadFormatInvalid
                | Code::QuotaExceeded
        ),
        _ => true,
    }
}
