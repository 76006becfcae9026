//! fio's generators and the table of seeds that a job gives them, bit for bit.
//!
//! Knows nothing of offsets, lengths or payload: it deals numbers.

/// L'Ecuyer's three-component Tausworthe generator, fio's `tausworthe`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taus88 {
    words: [u32; 3],
}

impl Taus88 {
    /// Seeds from the low 32 bits of `seed`, as fio does: a multiplicative chain, each word lifted
    /// above its threshold, six draws thrown away.
    pub fn new(seed: u64) -> Taus88 {
        let seed = seed as u32;
        // fio's source writes the start as `(2^31) + (2^17) + (2^7)`, which in C is 29 + 19 + 5.
        let mut chain: u32 = 53;
        let words = [1, 7, 15].map(|threshold| {
            chain = chain.wrapping_mul(69069) ^ seed;
            if chain < threshold {
                chain += threshold;
            }
            chain
        });
        let mut taus = Taus88 { words };
        for _ in 0..6 {
            taus.draw();
        }
        taus
    }

    /// A generator that goes on where another one stood.
    pub(crate) fn from_words(words: [u32; 3]) -> Taus88 {
        Taus88 { words }
    }

    /// Where it stands.
    pub(crate) fn words(&self) -> [u32; 3] {
        self.words
    }

    /// The next 32 bits.
    pub fn draw(&mut self) -> u32 {
        let [a, b, c] = self.words;
        let a = ((a & !1) << 12) ^ (((a << 13) ^ a) >> 19);
        let b = ((b & !7) << 4) ^ (((b << 2) ^ b) >> 25);
        let c = ((c & !15) << 17) ^ (((c << 3) ^ c) >> 11);
        self.words = [a, b, c];
        a ^ b ^ c
    }

    /// Two draws multiplied: how fio makes a 64-bit payload seed of a 32-bit generator.
    pub fn draw_seed(&mut self) -> u64 {
        let first = u64::from(self.draw());
        first.wrapping_mul(u64::from(self.draw()))
    }

    /// A number in `0..bound`: the draw scaled in double arithmetic, as fio scales it.
    pub fn below(&mut self, bound: u64) -> u64 {
        (bound as f64 * (f64::from(self.draw()) / 4_294_967_296.0)) as u64
    }
}

/// fio's fixed seed where a run is to be repeatable.
const REPEATABLE: u64 = 0xb189_9bed;
/// The multiplier that walks the seed table.
const GOLDEN: u64 = 0x9e37_0001;

/// The seeds of one fio thread, by what they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeedTable {
    seeds: [u64; 21],
}

impl SeedTable {
    /// The table of thread `thread_number` (from 1) of a job with `randrepeat=1` or an explicit
    /// `randseed`. The offset seed does not depend on `randseed`.
    pub fn new(randseed: u64, thread_number: u32) -> SeedTable {
        let thread = u64::from(thread_number);
        let mut chain = randseed;
        for _ in 0..4 {
            chain = chain.wrapping_mul(GOLDEN);
        }
        let mut seeds = [0; 21];
        for (index, seed) in seeds.iter_mut().enumerate() {
            *seed = chain.wrapping_mul(thread).wrapping_add(index as u64);
            chain = chain.wrapping_mul(GOLDEN);
        }
        seeds[6] = REPEATABLE.wrapping_mul(thread);
        SeedTable { seeds }
    }

    /// The table under `allrandrepeat=1`: no seed depends on `randseed`.
    pub fn all_repeatable(thread_number: u32) -> SeedTable {
        let base = REPEATABLE.wrapping_mul(u64::from(thread_number));
        let mut seeds = [0; 21];
        for (index, seed) in seeds.iter_mut().enumerate() {
            *seed = base.wrapping_add(index as u64);
        }
        SeedTable { seeds }
    }

    /// Seed of the block lengths of reads; of writes too when the job verifies.
    pub fn lengths_read(&self) -> u64 {
        self.seeds[0]
    }

    /// Seed of the block lengths of writes in a job that does not verify.
    pub fn lengths_write(&self) -> u64 {
        self.seeds[1]
    }

    /// Seed of the block lengths of trims; a job that writes what it has trimmed takes that of its writes.
    pub fn lengths_trim(&self) -> u64 {
        self.seeds[2]
    }

    /// Seed of the generator that deals payload seeds.
    pub fn verify(&self) -> u64 {
        self.seeds[3]
    }

    /// Seed of the read/write mix.
    pub fn mix(&self) -> u64 {
        self.seeds[4]
    }

    /// Seed of the order of files.
    pub fn files(&self) -> u64 {
        self.seeds[5]
    }

    /// Seed of the offsets.
    pub fn offsets(&self) -> u64 {
        self.seeds[6]
    }

    /// Seed of buffer contents in a job that does not verify.
    pub fn buffers(&self) -> u64 {
        self.seeds[9]
    }

    /// All seeds, in fio's order.
    pub fn as_slice(&self) -> &[u64] {
        &self.seeds
    }
}
