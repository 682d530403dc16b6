//! Other names of the same length, one for each.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};

/// What most pseudonyms are made of.
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// From this length on pseudonyms are made by the key alone and two names have
/// the same with a probability that is of no account (36 to the power of 12); the
/// shorter ones are remembered, so that no two are the same.
const LONG: usize = 12;

/// Times that a short pseudonym is made by the key before the free ones are gone
/// through in order.
const TRIES: u64 = 64;

/// Gives names pseudonyms.
#[derive(Debug)]
pub(super) struct Pseudonyms {
    key: [u64; 2],
    given: HashMap<Vec<u8>, Vec<u8>>,
    taken: HashSet<Vec<u8>>,
}

impl Pseudonyms {
    /// Of a key that nobody knows.
    pub(super) fn random() -> Self {
        // The standard library's own random keys.
        let random = RandomState::new();
        Self::of_key([random.hash_one(0), random.hash_one(1)])
    }

    pub(super) fn of_seed(seed: u64) -> Self {
        Self::of_key([seed, !seed])
    }

    fn of_key(key: [u64; 2]) -> Self {
        Self {
            key,
            given: HashMap::new(),
            taken: HashSet::new(),
        }
    }

    /// Replaces a name, or each name of a path. `.` and `..` are no names.
    pub(super) fn path(&mut self, path: &mut [u8]) {
        for name in path.split_mut(|byte| *byte == b'/') {
            if !matches!(&*name, b"" | b"." | b"..") {
                self.name(name);
            }
        }
    }

    fn name(&mut self, name: &mut [u8]) {
        if name.len() >= LONG {
            let made = self.make(name, 0);
            name.copy_from_slice(&made);
            return;
        }
        if let Some(given) = self.given.get(name) {
            name.copy_from_slice(given);
            return;
        }
        let mut tries = (0..TRIES).map(|round| self.make(name, round));
        let made = tries
            .find(|made| self.is_free(name, made))
            .or_else(|| self.next_free(name))
            // There are no more names of this length than it has pseudonyms.
            .unwrap_or_else(|| name.to_vec());
        self.taken.insert(made.clone());
        self.given.insert(name.to_vec(), made.clone());
        name.copy_from_slice(&made);
    }

    fn is_free(&self, name: &[u8], made: &[u8]) -> bool {
        made != name && made != b"." && made != b".." && !self.taken.contains(made)
    }

    /// As many letters as `name` has.
    fn make(&self, name: &[u8], round: u64) -> Vec<u8> {
        let mut made = Vec::with_capacity(name.len());
        let mut block = 0_u64;
        while made.len() < name.len() {
            let mut hasher = DefaultHasher::new();
            for word in [self.key[0], self.key[1], round, block] {
                hasher.write_u64(word);
            }
            hasher.write(name);
            let mut digits = hasher.finish();
            // Eight letters a word, less than the word could give.
            for _ in 0..(name.len() - made.len()).min(8) {
                made.push(LETTERS[(digits % LETTERS.len() as u64) as usize]);
                digits /= LETTERS.len() as u64;
            }
            block += 1;
        }
        made
    }

    /// Any bytes that a name may have, letters first.
    fn next_free(&self, name: &[u8]) -> Option<Vec<u8>> {
        let others = (1..=u8::MAX).filter(|byte| *byte != b'/' && !LETTERS.contains(byte));
        let bytes: Vec<u8> = LETTERS.iter().copied().chain(others).collect();
        let mut digits = vec![0; name.len()];
        loop {
            let made: Vec<u8> = digits.iter().map(|digit| bytes[*digit]).collect();
            if self.is_free(name, &made) {
                return Some(made);
            }
            let place = digits.iter().position(|digit| digit + 1 < bytes.len())?;
            digits[place] += 1;
            digits[..place].fill(0);
        }
    }
}
