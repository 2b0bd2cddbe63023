//! The two facts about a program that decide whether it runs in an empty image.

/// `e_machine` of the ELF header.
pub const X86_64: u16 = 62;
pub const AARCH64: u16 = 183;

/// `p_type` of a segment that names a dynamic linker.
const PT_INTERP: u32 = 3;

#[derive(PartialEq, Eq, Debug)]
pub struct Facts {
    pub machine: u16,
    /// A dynamic linker must be there to start it.
    pub interpreted: bool,
}

/// Reads the header and the program headers of a little-endian ELF file of 64 bits; `None` for anything else.
pub fn facts(file: &[u8]) -> Option<Facts> {
    // Magic number, class 64 bits, little-endian.
    if file.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let start = usize::try_from(u64::from_le_bytes(bytes(file, 32)?)).ok()?;
    let size = usize::from(u16::from_le_bytes(bytes(file, 54)?));
    let count = usize::from(u16::from_le_bytes(bytes(file, 56)?));
    let mut interpreted = false;
    for index in 0..count {
        let at = start.checked_add(index.checked_mul(size)?)?;
        interpreted |= u32::from_le_bytes(bytes(file, at)?) == PT_INTERP;
    }
    Some(Facts { machine: u16::from_le_bytes(bytes(file, 18)?), interpreted })
}

fn bytes<const N: usize>(file: &[u8], at: usize) -> Option<[u8; N]> {
    file.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_has_an_interpreter_and_the_machine_of_its_build() {
        let program = std::fs::read(std::env::current_exe().expect("a path")).expect("readable");
        let machine = if cfg!(target_arch = "aarch64") { AARCH64 } else { X86_64 };
        let interpreted = cfg!(target_env = "gnu");
        assert_eq!(facts(&program), Some(Facts { machine, interpreted }));
    }

    #[test]
    fn what_is_cut_off_or_something_else_is_not_judged() {
        let program = std::fs::read(std::env::current_exe().expect("a path")).expect("readable");
        assert_eq!(facts(&program[..70]), None);
        assert_eq!(facts(b"#!/bin/sh\n"), None);
        assert_eq!(facts(b""), None);
    }
}
