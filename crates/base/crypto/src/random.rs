//! Randomness as an argument.

use std::cell::RefCell;

use zeroize::Zeroize;

use crate::CryptoFailed;

/// A source of bytes that nobody can predict. Tests pass their own.
pub trait Random: Send + Sync {
    /// Fills the whole slice.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), CryptoFailed>;
}

/// AWS-LC's generator, seeded by the operating system, a block at a time.
#[derive(Clone, Copy, Debug)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), CryptoFailed> {
        if bytes.len() > BLOCK_LEN {
            return aws_lc_rs::rand::fill(bytes).map_err(|_| CryptoFailed);
        }
        BLOCK.with_borrow_mut(|block| block.take(bytes))
    }
}

/// Asking AWS-LC costs half a microsecond however little is asked for, which is a twentieth of a whole Encrypt.
const BLOCK_LEN: usize = 512;

thread_local! {
    static BLOCK: RefCell<Block> = const { RefCell::new(Block { bytes: [0; BLOCK_LEN], left: 0 }) };
}

/// Random bytes that nobody has seen. What was given away is wiped.
struct Block {
    bytes: [u8; BLOCK_LEN],
    /// At the start of `bytes`.
    left: usize,
}

impl Block {
    fn take(&mut self, out: &mut [u8]) -> Result<(), CryptoFailed> {
        if self.left < out.len() {
            aws_lc_rs::rand::fill(&mut self.bytes).map_err(|_| CryptoFailed)?;
            self.left = BLOCK_LEN;
        }
        let rest = self.left - out.len();
        let taken = self.bytes.get_mut(rest..self.left).ok_or(CryptoFailed)?;
        out.copy_from_slice(taken);
        taken.zeroize();
        self.left = rest;
        Ok(())
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_bytes_are_given_twice() {
        let mut seen = HashSet::new();
        for _ in 0..10_000 {
            let mut bytes = [0; 16];
            SystemRandom.fill(&mut bytes).expect("random");
            assert!(seen.insert(bytes));
        }
    }

    #[test]
    fn what_was_given_away_is_wiped_and_the_rest_is_kept() {
        let mut block = Block { bytes: [7; BLOCK_LEN], left: BLOCK_LEN };
        let mut out = [0; 32];
        block.take(&mut out).expect("random");
        assert_eq!(out, [7; 32]);
        assert_eq!(block.bytes[BLOCK_LEN - 32..], [0; 32]);
        assert_eq!(block.bytes[..BLOCK_LEN - 32], [7; BLOCK_LEN - 32]);
    }

    #[test]
    fn any_length_is_filled() {
        for len in [0, 1, 16, 511, 512, 513, 5_000] {
            let mut bytes = vec![0; len];
            SystemRandom.fill(&mut bytes).expect("random");
            assert!(len < 16 || bytes.iter().any(|byte| *byte != 0), "{len} bytes");
        }
    }
}
