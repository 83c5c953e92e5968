//! The second factor: codes of an app on the user's phone (RFC 6238: SHA-1, six digits, 30 s). Pure but for the secret's
//! random bytes; the store remembers which code was taken.

use data_encoding::{BASE32, BASE32_NOPAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use qrcode::QrCode;
use qrcode::render::svg;
use subtle::ConstantTimeEq;

use crate::base::{Error, ErrorKind, Result};
use crate::centre::sign::one_time_code;

/// Bytes of a secret, as RFC 4226 recommends: base32 of it needs no filling.
const SECRET: usize = 20;
const DIGITS: u32 = 6;
const PERIOD_MS: i64 = 30_000;
/// Clocks may be off by so many steps either way.
const SLACK: i64 = 1;
/// Pixels of the picture's side.
const SIDE: u32 = 240;

/// A new secret, base32.
///
/// # Errors
/// `Internal` when the system has no random numbers.
pub fn new_secret() -> Result<String> {
    let mut bytes = [0; SECRET];
    getrandom::fill(&mut bytes).map_err(|e| Error::new(ErrorKind::Internal, format!("no random numbers: {e}")))?;
    Ok(BASE32.encode(&bytes))
}

/// What an app reads: for `name` at `place`.
pub fn uri(secret: &str, place: &str, name: &str) -> String {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let (place, name) = (encode(place), encode(name));
    format!("otpauth://totp/{place}:{name}?secret={secret}&issuer={place}&algorithm=SHA1&digits={DIGITS}&period=30")
}

/// The same as a picture for a phone's camera, SVG; none when it is too long for one.
pub fn picture(uri: &str) -> Option<String> {
    let code = QrCode::new(uri).ok()?;
    Some(code.render::<svg::Color<'_>>().min_dimensions(SIDE, SIDE).build())
}

/// The time step of which `code` is, if it is right about now.
pub fn step_of(secret: &str, code: &str, now_ms: i64) -> Option<i64> {
    let secret = BASE32_NOPAD.decode(secret.as_bytes()).ok()?;
    let typed: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    let now = now_ms.div_euclid(PERIOD_MS);
    // All are looked at, so that the time it takes says nothing.
    let steps = (now - SLACK..=now + SLACK).filter(|step| {
        // There were no codes before 1970.
        u64::try_from(*step).is_ok_and(|counter| {
            let wanted = one_time_code(&secret, counter, DIGITS);
            bool::from(wanted.as_bytes().ct_eq(typed.as_bytes()))
        })
    });
    steps.fold(None, |_, step| Some(step))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The RFC's secret, `12345678901234567890`.
    const RFC: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

    #[test]
    fn a_code_is_good_for_its_step_and_one_either_way() {
        // RFC 6238, appendix B: the last six digits at 59 s, in step 1.
        let at = |seconds: i64| step_of(RFC, "287082", seconds * 1000);
        assert_eq!(at(59), Some(1));
        assert_eq!((at(0), at(89)), (Some(1), Some(1)));
        assert_eq!((at(90), at(-1)), (None, None));
        assert_eq!(step_of(RFC, "287 082 ", 59_000), Some(1), "as apps show it");
        for wrong in ["287083", "28708", "", "2870820", "94287082", "một hai"] {
            assert_eq!(step_of(RFC, wrong, 59_000), None, "{wrong}");
        }
        assert_eq!(step_of("not base32!", "287082", 59_000), None);
    }

    #[test]
    fn a_secret_is_new_each_time_and_its_address_can_be_read() {
        let (one, other) = (new_secret().expect("random"), new_secret().expect("random"));
        assert!(one != other && one.len() == 32 && !one.contains('='));
        let uri = uri(&one, "Ô Chợ Dừa", "lan.anh");
        assert!(uri.starts_with("otpauth://totp/%C3%94%20Ch%E1%BB%A3%20D%E1%BB%ABa:lan%2Eanh?secret="), "{uri}");
        assert!(picture(&uri).is_some_and(|svg| svg.contains("<svg")));
    }
}
