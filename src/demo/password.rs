//! Password hashes: PBKDF2 with HMAC-SHA-256 (RFC 8018), from ring, so that its cost is the same in debug builds.

use ring::pbkdf2::{self, PBKDF2_HMAC_SHA256};
use ring::rand::{SecureRandom, SystemRandom};
use std::num::NonZeroU32;

/// Rounds of the stored hashes: cheap, because this is a demo.
pub(super) const ROUNDS: u32 = 1_000;
/// Rounds that the cpu fault's policy asks for.
pub(super) const RAISED_ROUNDS: u32 = 150_000;

/// A hash as a user table holds it.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) salt: String,
    /// Hexadecimal.
    pub(super) hash: String,
    pub(super) rounds: u32,
}

impl Stored {
    pub(super) fn derive(password: &str, salt: &str, rounds: u32) -> Stored {
        let mut hash = [0; 32];
        let count = NonZeroU32::new(rounds).unwrap_or(NonZeroU32::MIN);
        pbkdf2::derive(PBKDF2_HMAC_SHA256, count, salt.as_bytes(), password.as_bytes(), &mut hash);
        Stored { salt: salt.to_owned(), hash: hex(&hash), rounds }
    }

    pub(super) fn verify(&self, password: &str) -> bool {
        // Not in constant time: the demo's passwords are no secret.
        Stored::derive(password, &self.salt, self.rounds).hash == self.hash
    }
}

/// The password of every user of the shop, as its table holds it. Derived once: 5,000 users would cost seconds.
pub(super) fn seed_password() -> Stored {
    Stored::derive("secret", "hotspan-demo", ROUNDS)
}

/// 128 random bits in hexadecimal; `None` if the system has no randomness to give.
pub(super) fn new_token() -> Option<String> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(hex(&bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_is_right() {
        let stored = Stored::derive("secret", "salt", 10);
        assert!(stored.verify("secret"));
        assert!(!stored.verify("Secret"));
        let more = Stored { rounds: 11, ..stored.clone() };
        assert!(!more.verify("secret"), "rounds are part of the hash");
    }

    #[test]
    fn the_hash_is_the_published_one() {
        // RFC 7914, section 11: PBKDF2-HMAC-SHA256 (P="passwd", S="salt", c=1), first 32 of 64 bytes.
        assert_eq!(
            Stored::derive("passwd", "salt", 1).hash,
            "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
        );
    }

    #[test]
    fn tokens_differ() {
        let (one, other) = (new_token().unwrap(), new_token().unwrap());
        assert_eq!(one.len(), 32);
        assert_ne!(one, other);
    }
}
