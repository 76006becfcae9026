//! `random_distribution`: places that are visited more often than others.
//!
//! Knows nothing of directions and lengths: blocks come out. As fio 3.33's `lib/zipf.c` and `lib/gauss.c`
//! compute them; the logarithms and powers are `libm`'s, the same on every machine.

use crate::random::Taus88;

/// Which blocks a random job prefers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Distribution {
    /// `random`: none.
    #[default]
    Random,
    /// `zipf`, with its theta.
    Zipf(f64, Option<f64>),
    /// `pareto`, with its input.
    Pareto(f64, Option<f64>),
    /// `normal`, with its deviation in percent.
    Normal(f64, Option<f64>),
}

impl Distribution {
    /// Reads `zipf:1.2:0.5`: a name, its parameter, and where between 0 and 1 the centre is.
    ///
    /// # Errors
    ///
    /// What fio would take instead.
    pub(crate) fn parse(text: &str) -> Result<Distribution, String> {
        let mut parts = text.splitn(3, ':');
        let name = parts.next().unwrap_or_default();
        let mut number = || {
            let number = parts.next().map(|part| part.trim().parse::<f64>());
            let finite = |number: &f64| number.is_finite();
            match number {
                None => Ok(None),
                Some(number) => number.ok().filter(finite).map(Some).ok_or(()),
            }
        };
        let expected =
            || "random, zipf:1.1, pareto:0.2 or normal:10, with a centre from 0 to 1 behind";
        let [value, centre] = [number(), number()];
        let value = value.map_err(|()| expected())?;
        let centre = centre.map_err(|()| expected())?;
        if centre.is_some_and(|centre| !(0.0..=1.0).contains(&centre)) {
            return Err("a centre from 0 to 1".to_owned());
        }
        match name {
            "random" => Ok(Distribution::Random),
            "zipf" => match value.unwrap_or(1.1) {
                1.0 => Err("a theta other than 1".to_owned()),
                theta => Ok(Distribution::Zipf(theta, centre)),
            },
            "pareto" => match value.unwrap_or(0.2) {
                input if input > 0.0 && input < 1.0 => Ok(Distribution::Pareto(input, centre)),
                _ => Err("an input between 0 and 1".to_owned()),
            },
            "normal" => match value.unwrap_or(0.0) {
                percent if (0.0..100.0).contains(&percent) => {
                    Ok(Distribution::Normal(percent, centre))
                }
                _ => Err("a deviation from 0 to below 100".to_owned()),
            },
            _ => Err(expected().to_owned()),
        }
    }
}

/// Terms of zipf's sum that fio adds up (`ZIPF_MAX_GEN`).
const TERMS_MAX: u64 = 10_000_000;
/// Draws that make one of a normal distribution (`GAUSS_ITERS`).
const NORMAL_DRAWS: u64 = 12;
/// Spreads neighbours over the disk (`GOLDEN_RATIO_64`).
const SPREAD: u64 = 0x61c8_8646_80b5_83eb;

/// A generator of blocks.
#[derive(Clone, Debug)]
pub(crate) struct Preference {
    draws: Taus88,
    blocks: u64,
    shift: u64,
    shape: Shape,
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    Zipf {
        theta: f64,
        alpha: f64,
        eta: f64,
        sum: f64,
    },
    Pareto {
        power: f64,
    },
    Normal {
        deviation: u32,
    },
}

impl Preference {
    /// The generator of `distribution` over `blocks` blocks, unless it is the even one.
    pub fn new(distribution: Distribution, blocks: u64, seed: u32) -> Option<Preference> {
        let mut draws = Taus88::new(u64::from(seed));
        let n = blocks as f64;
        let (shape, shift) = match distribution {
            Distribution::Random => return None,
            Distribution::Zipf(theta, centre) => {
                let terms = 1..=blocks.min(TERMS_MAX);
                let sum = terms.fold(0.0, |sum, i| sum + libm::pow(1.0 / i as f64, theta));
                let two = 1.0 + libm::pow(0.5, theta);
                let eta = (1.0 - libm::pow(2.0 / n, 1.0 - theta)) / (1.0 - two / sum);
                let alpha = 1.0 / (1.0 - theta);
                (
                    Shape::Zipf {
                        theta,
                        alpha,
                        eta,
                        sum,
                    },
                    centre.map(|centre| n * centre),
                )
            }
            Distribution::Pareto(input, centre) => {
                let power = libm::log(input) / libm::log(1.0 - input);
                (Shape::Pareto { power }, centre.map(|centre| n * centre))
            }
            Distribution::Normal(percent, centre) => {
                let deviation = (libm::ceil(n * percent / 100.0) as u64).min(blocks / 2) as u32;
                let shift = centre.map_or(0.0, |centre| n * (centre - 0.5));
                let shift = u64::from(shift as i64 as u32);
                let shape = Shape::Normal { deviation };
                return Some(Preference {
                    draws,
                    blocks,
                    shift,
                    shape,
                });
            }
        };
        let drawn = u64::from(draws.draw());
        let shift = shift.map_or(drawn, |shift| shift as u64);
        Some(Preference {
            draws,
            blocks,
            shift,
            shape,
        })
    }

    /// The next block.
    pub fn next(&mut self) -> u64 {
        let n = self.blocks as f64;
        let mut unit = || f64::from(self.draws.draw()) / f64::from(u32::MAX);
        let place = match self.shape {
            Shape::Zipf {
                theta,
                alpha,
                eta,
                sum,
            } => {
                let unit = unit();
                if unit * sum < 1.0 {
                    0
                } else if unit * sum < 1.0 + libm::pow(0.5, theta) {
                    1
                } else {
                    (n * libm::pow(eta * unit - eta + 1.0, alpha)) as u64
                }
            }
            Shape::Pareto { power } => ((n - 1.0) * libm::pow(unit(), power)) as u64,
            Shape::Normal { deviation } => self.normal(deviation),
        };
        let place = place.wrapping_mul(SPREAD);
        place.wrapping_add(self.shift) % self.blocks
    }

    fn normal(&mut self, deviation: u32) -> u64 {
        let mut sum = 0;
        for _ in 0..NORMAL_DRAWS {
            sum += u64::from(self.draws.draw()) % (self.blocks + 1);
        }
        let mean = sum.div_ceil(NORMAL_DRAWS);
        if deviation == 0 {
            return mean;
        }
        let drawn = self.draws.below(u64::from(deviation)) as i64;
        let mut off = drawn - i64::from(deviation / 2);
        while off != 0 && mean.wrapping_add_signed(off) >= self.blocks {
            off /= 2;
        }
        mean.wrapping_add_signed(off)
    }
}

/// Bob Jenkins' hash as fio takes it of a file's name: of all twelve bytes of a block but the last it adds
/// every fourth.
pub(crate) fn name_hash(name: &str) -> u32 {
    let mut key = name.as_bytes();
    let start = 0x61c8_8647u32.wrapping_add(key.len() as u32);
    let [mut a, mut b, mut c] = [start; 3];
    while key.len() > 12 {
        a = a.wrapping_add(u32::from(key[0]));
        b = b.wrapping_add(u32::from(key[4]));
        c = c.wrapping_add(u32::from(key[8]));
        for [r, s, t] in [[4, 6, 8], [16, 19, 4]] {
            a = a.wrapping_sub(c) ^ c.rotate_left(r);
            c = c.wrapping_add(b);
            b = b.wrapping_sub(a) ^ a.rotate_left(s);
            a = a.wrapping_add(c);
            c = c.wrapping_sub(b) ^ b.rotate_left(t);
            b = b.wrapping_add(a);
        }
        key = &key[12..];
    }
    if key.is_empty() {
        return c;
    }
    let mut last = [0; 12];
    last[..key.len()].copy_from_slice(key);
    let (words, _) = last.as_chunks::<4>();
    a = a.wrapping_add(u32::from_le_bytes(words[0]));
    b = b.wrapping_add(u32::from_le_bytes(words[1]));
    c = c.wrapping_add(u32::from_le_bytes(words[2]));
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_are_read_as_fio_reads_them() {
        let read = Distribution::parse;
        assert_eq!(read("zipf"), Ok(Distribution::Zipf(1.1, None)));
        assert_eq!(read("zipf:1.2:0.5"), Ok(Distribution::Zipf(1.2, Some(0.5))));
        assert_eq!(read("pareto:0.9"), Ok(Distribution::Pareto(0.9, None)));
        assert_eq!(read("normal:10"), Ok(Distribution::Normal(10.0, None)));
        for text in [
            "zipf:1",
            "pareto:1",
            "normal:100",
            "zipf:2:2",
            "zipf:x",
            "even",
            "zipf:nan",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn blocks_are_on_the_disk_and_some_are_preferred() {
        for text in [
            "zipf:1.2",
            "pareto:0.1",
            "normal:5",
            "normal:0:0.2",
            "zipf:0.4",
        ] {
            let distribution = Distribution::parse(text).expect(text);
            let mut preference = Preference::new(distribution, 1000, 7).expect("not even");
            let mut hits = vec![0; 1000];
            for _ in 0..100_000 {
                hits[preference.next() as usize] += 1;
            }
            let most = hits.iter().max().expect("some");
            assert!(*most > 200, "{text}: {most} of 100 a block");
        }
    }
}
