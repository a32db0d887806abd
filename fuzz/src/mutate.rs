//! Makes new inputs from those in the pool.

use fastrand::Rng;

/// Where an input stops growing.
const LENGTH_MAX: usize = 4_096;
/// Values at which programs tend to change their mind.
const EDGES: [u8; 8] = [0, 1, 2, 0x7f, 0x80, 0x81, 0xfe, 0xff];
const MUTATIONS_MAX: usize = 5;

/// Mutates a random input of the pool, a few times over.
pub(crate) fn mutant(pool: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut input = choice(pool, rng).to_vec();
    for _ in 0..rng.usize(1..=MUTATIONS_MAX) {
        mutate(&mut input, pool, rng);
    }
    input.truncate(LENGTH_MAX);
    input
}

fn choice<'a>(pool: &'a [Vec<u8>], rng: &mut Rng) -> &'a [u8] {
    rng.choice(pool).map_or(&[], Vec::as_slice)
}

fn mutate(input: &mut Vec<u8>, pool: &[Vec<u8>], rng: &mut Rng) {
    let range = range(input.len(), rng);
    let at = range.start;
    match rng.u8(..9) {
        0 => set(input, at, |byte| byte ^ (1 << (byte % 8))),
        1 => set(input, at, |_| rng.u8(..)),
        2 => set(input, at, |_| rng.choice(EDGES).unwrap_or(0)),
        3 => set(input, at, |byte| {
            byte.wrapping_add(rng.choice([1, 0xff]).unwrap_or(1))
        }),
        4 => drop(input.drain(range)),
        5 => input.insert(at, rng.u8(..)),
        6 => {
            let copy = input[range].to_vec();
            input.splice(at..at, copy);
        }
        7 => {
            let other = choice(pool, rng);
            let part = self::range(other.len(), rng);
            input.splice(range, other[part].iter().copied());
        }
        _ => {
            let huge = [0xff; 9].into_iter().chain([1]);
            input.splice(at..at, huge);
        }
    }
}

fn set(input: &mut [u8], at: usize, change: impl FnOnce(u8) -> u8) {
    if let Some(byte) = input.get_mut(at) {
        *byte = change(*byte);
    }
}

/// A range inside `length`, short ones more often.
fn range(length: usize, rng: &mut Rng) -> std::ops::Range<usize> {
    let start = rng.usize(..=length);
    let longest = (length - start).min(1 << rng.u32(..9));
    start..start + rng.usize(..=longest)
}
