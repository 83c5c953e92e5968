//! Passwords: what is good enough, and Argon2id (RFC 9106) of it. Hashing takes a tenth of a second and 19 MiB, so one
//! thread does it, one at a time; `app` runs [`Hasher::run`] on it.

use argon2::password_hash::phc::{self, PasswordHash};
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::{mpsc, oneshot};

use crate::base::{Error, ErrorKind, Result};
use crate::config::Secret;

/// Memory in KiB, passes, lanes: OWASP's parameters for Argon2id.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);
/// Who comes when so many wait is refused.
const QUEUE: usize = 16;
/// Characters.
const SHORTEST: usize = 10;
/// Characters.
const LONGEST: usize = 128;
/// Passwords, or their beginnings, that are tried first. Folded.
const COMMONEST: &[&str] = &[
    "0123456789",
    "1234567890",
    "123456789",
    "1111111111",
    "0000000000",
    "abcdefghij",
    "abc123456",
    "anhyeuem",
    "baoan",
    "camera",
    "congan",
    "iloveyou",
    "letmein",
    "matkhau",
    "password",
    "qwerty",
    "trucban",
    "vietnam",
    "wardwatch",
];

type Job = Box<dyn FnOnce(&Argon2<'_>) + Send>;

/// Asks the hashing thread. The last one that goes ends it.
#[derive(Clone)]
pub struct Passwords(mpsc::Sender<Job>);

/// The thread's loop.
#[must_use = "no password is checked until Hasher::run runs on a thread"]
pub struct Hasher(mpsc::Receiver<Job>);

/// A handle and the loop that serves it.
pub fn pair() -> (Passwords, Hasher) {
    let (sender, jobs) = mpsc::channel(QUEUE);
    (Passwords(sender), Hasher(jobs))
}

impl Hasher {
    /// Hashes until the last handle is dropped. Blocks.
    pub fn run(mut self) {
        let argon2 = argon2();
        while let Some(job) = self.0.blocking_recv() {
            job(&argon2);
        }
    }
}

fn argon2() -> Argon2<'static> {
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None).expect("these parameters are within Argon2's bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

impl Passwords {
    /// What is stored of a password: a PHC string.
    ///
    /// # Errors
    /// `Unavailable` when too many wait.
    pub async fn hash(&self, password: Secret) -> Result<String> {
        self.ask(move |argon2| {
            let failed = |e| Error::new(ErrorKind::Internal, "a password cannot be hashed").source(Hashing(e));
            let made = argon2.hash_password_with_salt(password.expose().as_bytes(), &salt()?);
            made.map(|h: phc::PasswordHash| h.to_string()).map_err(failed)
        })
        .await
    }

    /// Whether `password` is the one that `stored` was made of. Without one it takes as long, and is wrong.
    ///
    /// # Errors
    /// `Unavailable` when too many wait.
    pub async fn verify(&self, password: Secret, stored: Option<String>) -> Result<bool> {
        self.ask(move |argon2| {
            let Some(stored) = stored else {
                let salt = salt()?;
                let made: std::result::Result<phc::PasswordHash, _> =
                    argon2.hash_password_with_salt(password.expose().as_bytes(), &salt);
                made.map(drop).ok();
                return Ok(false);
            };
            let parsed = PasswordHash::new(&stored).map_err(|_| {
                Error::new(ErrorKind::Corrupt, "what is stored of a password cannot be read")
                    .hint("`wardwatch user link` gives a link to set a new one")
            })?;
            Ok(argon2.verify_password(password.expose().as_bytes(), &parsed).is_ok())
        })
        .await
    }

    async fn ask<T: Send + 'static>(&self, work: impl FnOnce(&Argon2<'_>) -> Result<T> + Send + 'static) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |argon2| {
            answer.send(work(argon2)).ok();
        });
        self.0.try_send(job).map_err(|_| Error::new(ErrorKind::Unavailable, "too many log in at the same time"))?;
        answered.await.map_err(|_| Error::new(ErrorKind::Unavailable, "the thread that checks passwords has ended"))?
    }
}

/// As long as RFC 9106 recommends.
fn salt() -> Result<[u8; 16]> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|e| Error::new(ErrorKind::Internal, format!("no random numbers: {e}")))?;
    Ok(salt)
}

/// The library's error; it holds no password.
#[derive(Debug)]
struct Hashing(argon2::password_hash::Error);

impl std::fmt::Display for Hashing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl std::error::Error for Hashing {}

/// Why `password` is no good one for the user `name`, in Vietnamese and English; `None`: it is.
pub fn weakness(password: &Secret, name: &str) -> Option<String> {
    let text = password.expose();
    let length = text.chars().count();
    if !(SHORTEST..=LONGEST).contains(&length) {
        return Some(format!(
            "mật khẩu phải có từ {SHORTEST} đến {LONGEST} ký tự / a password has {SHORTEST} to {LONGEST} characters"
        ));
    }
    let fold = crate::centre::store::query::fold;
    let bare_of = |text: &str| fold(text).split_whitespace().collect::<String>();
    let (folded, name) = (bare_of(text), bare_of(name));
    let bare = folded.trim_end_matches(|c: char| c.is_ascii_digit() || c.is_ascii_punctuation());
    let mut letters: Vec<char> = folded.chars().collect();
    letters.sort_unstable();
    letters.dedup();
    let guessed = bare == name || COMMONEST.iter().any(|common| bare == *common || folded == *common);
    if guessed || letters.len() < 4 {
        return Some("mật khẩu quá dễ đoán / the password is too easy to guess".into());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_guessed_first_is_no_password() {
        let weak = |password: &str| weakness(&Secret::new(password), "Lan Anh").is_some();
        for bad in
            ["", "short", "1234567890", "matkhau123", "Mật Khẩu 12", "lan anh 2026!", "aaaaaaaaaaaa", "congan2026"]
        {
            assert!(weak(bad), "{bad}");
        }
        assert!(weak(&"dài".repeat(200)));
        for good in ["mưa rơi trên phố cổ", "kx7-Lqp0-zzR", "correct horse battery"] {
            assert!(!weak(good), "{good}");
        }
    }
}
