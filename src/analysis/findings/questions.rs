//! How many different things are asked for, in little memory: the smallest of their hashes tell.

use super::least::Least;

/// Hashes that are kept to tell how many different ones there are, with a standard error of a 32nd of the number.
const QUESTIONS: usize = 1024;

/// How many different keys a kind of looks into a cache asks for, and in requests of how many URLs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Questions {
    pub looks: u64,
    /// Looks whose keys are not known.
    pub unknown: u64,
    /// The [`QUESTIONS`] smallest hashes: how close they are tells how many there are.
    pub keys: Least<u64>,
    pub urls: Least<u64>,
}

impl Questions {
    pub(super) fn add(&mut self, key: u32, url: u64) {
        self.looks += 1;
        if key == 0 {
            self.unknown += 1;
            return;
        }
        self.keys.keep(scattered(u64::from(key)), QUESTIONS);
        self.urls.keep(scattered(url), QUESTIONS);
    }

    pub(super) fn merge(&mut self, other: Questions) {
        self.looks += other.looks;
        self.unknown += other.unknown;
        self.keys.extend(&other.keys, QUESTIONS);
        self.urls.extend(&other.urls, QUESTIONS);
    }

    /// The share of looks that ask for what was asked for before, or come in a request that did: only those can find it. All,
    /// where keys are not known. Where it is estimated, no more than is sure by two standard errors.
    pub fn asked_before(&self) -> f64 {
        if self.unknown > 0 || self.looks == 0 {
            return 1.0;
        }
        let different = number_of(&self.keys).min(number_of(&self.urls));
        (1.0 - different / self.looks as f64).max(0.0)
    }
}

/// How many different hashes there were: all, while they fit; else by how much room the smallest take.
fn number_of(smallest: &Least<u64>) -> f64 {
    match smallest.last() {
        Some(last) if smallest.len() == QUESTIONS => {
            let estimate = (QUESTIONS - 1) as f64 / (*last as f64 / u64::MAX as f64);
            estimate * (1.0 + 2.0 / (QUESTIONS as f64).sqrt())
        }
        _ => smallest.len() as f64,
    }
}

/// Bits without a pattern (SplitMix64).
fn scattered(n: u64) -> u64 {
    let z = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
