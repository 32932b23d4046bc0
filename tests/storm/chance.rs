//! Choices that a seed repeats (`SplitMix64`, by Sebastiano Vigna).

pub(crate) struct Chance(u64);

impl Chance {
    /// `STORM_SEED`, or the time.
    pub(crate) fn seed() -> u64 {
        use portcullis::clock::{Clock, SystemClock};
        match std::env::var("STORM_SEED") {
            Ok(seed) => seed.parse().expect("STORM_SEED is a number"),
            Err(_) => SystemClock.now().seconds(),
        }
    }

    pub(crate) fn new(seed: u64, whose: u64) -> Self {
        let mut chance = Self(seed ^ whose.wrapping_mul(0xd134_2543_de82_ef95));
        chance.next();
        chance
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    pub(crate) fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}
