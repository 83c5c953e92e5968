//! A one-time code becomes a node's secret. The code is used up by the right node only; the centre keeps hashes.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::{Refusal, Shared, digest, refuse};
use crate::base::types::is_name;
use crate::base::{Error, ErrorKind, Result};
use crate::centre::store::LinkStore;
use crate::wire::link::{EnrolRequest, Identity, Trouble};

/// A code is good for this long.
pub const CODE_LIFE_MS: i64 = 3600 * 1000;
/// Without letters that look like digits or like each other.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

pub(super) async fn enrol<S: LinkStore>(
    State(shared): State<Arc<Shared<S>>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    body: Bytes,
) -> std::result::Result<Response, Refusal> {
    let now = shared.door.clock.now();
    if !shared.guard.may_try(peer.ip(), now) {
        return Err(refuse(Trouble::TooMany));
    }
    let request: EnrolRequest = serde_json::from_slice(&body).map_err(|_| refuse(Trouble::Malformed))?;
    let secret = secret().map_err(|e| shared.failed(&e))?;
    let fitting = request.ward == shared.door.ward && is_name(&request.node);
    let code = digest(&normal(&request.code));
    let enrolled = match fitting {
        true => shared.door.store.enrol(request.node.clone(), code, digest(&secret), now.wall_ms).await,
        false => Ok(false),
    };
    if !enrolled.map_err(|e| shared.failed(&e))? {
        shared.guard.failed(peer.ip(), now);
        tracing::warn!(peer = %peer.ip(), "an enrolment was refused");
        return Err(refuse(Trouble::WrongCode));
    }
    tracing::info!(node = request.node, "a node was enrolled");
    let identity = Identity { ward: request.ward, node: request.node, secret };
    let body = serde_json::to_vec(&identity).unwrap_or_default();
    Ok(([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], body).into_response())
}

/// A fresh secret: 256 bits as hex.
pub fn secret() -> Result<String> {
    let mut bytes = [0; 32];
    random(&mut bytes)?;
    Ok(hex::encode(bytes))
}

/// A fresh code of 80 bits, as a person types it: four groups of four letters.
pub fn code() -> Result<String> {
    let mut bytes = [0; 16];
    random(&mut bytes)?;
    let letters: Vec<u8> = bytes.iter().map(|b| ALPHABET[usize::from(b % 32)]).collect();
    Ok(letters.chunks(4).map(String::from_utf8_lossy).collect::<Vec<_>>().join("-"))
}

/// The code as it is hashed: what a person may leave out or mistake does not count.
pub fn normal(code: &str) -> String {
    let letters = code.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase());
    letters
        .map(|c| match c {
            'O' => '0',
            'I' | 'L' => '1',
            c => c,
        })
        .collect()
}

fn random(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|e| Error::new(ErrorKind::Internal, format!("no random numbers: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_typable_and_forgive_how_they_are_typed() {
        let code = code().expect("random");
        assert_eq!(code.len(), 19);
        assert_eq!(normal(&code).len(), 16);
        assert_eq!(normal(&code.to_lowercase().replace('-', " ")), normal(&code));
        assert_eq!(normal("o0il-1"), "00111");
        assert_ne!(code, super::code().expect("random"));
    }
}
