//! Every random decision of a run. The numbers that a run drew can be played again, and made smaller: zero is the dull choice.

pub(crate) struct Choices {
    /// Played before anything is drawn.
    recorded: Vec<u32>,
    /// None: after what was recorded come zeros.
    state: Option<u64>,
    drawn: usize,
}

impl Choices {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self { recorded: Vec::new(), state: Some(seed), drawn: 0 }
    }

    pub(crate) fn replayed(recorded: Vec<u32>) -> Self {
        Self { recorded, state: None, drawn: 0 }
    }

    /// What was drawn so far.
    pub(crate) fn record(mut self) -> Vec<u32> {
        self.recorded.truncate(self.drawn);
        self.recorded
    }

    /// Less than `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        let at = self.drawn;
        self.drawn += 1;
        if at >= self.recorded.len() {
            let Some(state) = &mut self.state else { return 0 };
            self.recorded.push(split_mix(state));
        }
        self.recorded[at] as usize % n
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) + 1 == n
    }
}

/// SplitMix64, as Vigna published it.
fn split_mix(state: &mut u64) -> u32 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed >> 33) as u32
}

/// A shorter or smaller list of numbers that still makes `fails` true.
pub(crate) fn shrunk(mut numbers: Vec<u32>, fails: impl Fn(&[u32]) -> bool) -> Vec<u32> {
    loop {
        let before = numbers.clone();
        let mut size = numbers.len();
        while size > 0 {
            let mut at = 0;
            while at < numbers.len() {
                let end = (at + size).min(numbers.len());
                let without: Vec<u32> = [&numbers[..at], &numbers[end..]].concat();
                let mut zeroed = numbers.clone();
                zeroed[at..end].fill(0);
                if fails(&without) {
                    numbers = without;
                } else {
                    if zeroed != numbers && fails(&zeroed) {
                        numbers = zeroed;
                    }
                    at = end;
                }
            }
            size /= 2;
        }
        if numbers == before {
            return numbers;
        }
    }
}
