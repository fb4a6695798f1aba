//! Numbers by chance that can be had again.

use std::time::SystemTime;

/// SplitMix64, by Steele, Lea and Flood (2014).
#[derive(Debug, Clone)]
pub struct Chance {
    state: u64,
}

impl Chance {
    /// Begins at `GROOTFS_SEED`, or at some number, and prints which.
    pub fn new(test: &str) -> Self {
        let seed = super::number("GROOTFS_SEED").unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            now.as_nanos() as u64 % 1_000_000
        });
        println!("{test}: GROOTFS_SEED={seed}");
        Self { state: seed }
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Begins at a number.
    pub fn from(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Another one, for another thread.
    pub fn branch(&mut self) -> Self {
        Self { state: self.next() }
    }

    /// A number below a limit.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// One of several things.
    pub fn one_of<'a, T>(&mut self, things: &'a [T]) -> &'a T {
        &things[usize::try_from(self.below(things.len() as u64)).unwrap()]
    }
}
