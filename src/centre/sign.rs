//! What is signed and counted with a shared secret: webhooks (Standard Webhooks: HMAC-SHA256) and one-time codes
//! (RFC 6238: HMAC-SHA1). The only file that names the library. Pure.

use data_encoding::BASE64;
use ring::hmac;

use crate::base::{Error, ErrorKind, Result};
use crate::config::Secret;

/// The key of one receiver of webhooks.
pub struct WebhookKey(hmac::Key);

impl WebhookKey {
    /// Of base64, without its prefix.
    ///
    /// # Errors
    /// `Config` when it is none.
    pub fn new(secret: &Secret) -> Result<Self> {
        // The library's text would say where in the secret it stumbled.
        let bytes = BASE64
            .decode(secret.expose().as_bytes())
            .map_err(|_| Error::new(ErrorKind::Config, "the secret of a webhook is not base64"))?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// The header `webhook-signature` of a message.
    pub fn signature(&self, id: &str, timestamp: i64, body: &str) -> String {
        let tag = hmac::sign(&self.0, format!("{id}.{timestamp}.{body}").as_bytes());
        format!("v1,{}", BASE64.encode(tag.as_ref()))
    }
}

/// The code of `secret` in the time step `step` (RFC 4226, RFC 6238): `digits` decimal digits.
pub fn one_time_code(secret: &[u8], step: u64, digits: u32) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    let at = usize::from(tag[tag.len() - 1] & 0xf);
    let four: [u8; 4] = [tag[at] & 0x7f, tag[at + 1], tag[at + 2], tag[at + 3]];
    let number = u32::from_be_bytes(four) % 10u32.pow(digits);
    format!("{number:0width$}", width = digits as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the Standard Webhooks specification's libraries.
    #[test]
    fn a_signature_is_the_specifications() {
        let key = WebhookKey::new(&Secret::new("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")).expect("base64");
        let made = key.signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, "{\"test\": 2432232314}");
        assert_eq!(made, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    /// RFC 6238, appendix B, SHA-1.
    #[test]
    fn codes_are_those_of_the_rfc() {
        for (seconds, code) in [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (1_111_111_111, "14050471"),
            (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"),
            (20_000_000_000, "65353130"),
        ] {
            assert_eq!(one_time_code(b"12345678901234567890", seconds / 30, 8), code, "at {seconds}");
        }
        assert_eq!(one_time_code(b"12345678901234567890", 59 / 30, 6), "287082");
    }
}
