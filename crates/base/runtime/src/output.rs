use std::io::{ErrorKind, Write};

use crate::Failure;

/// Prints a command's result to standard output. A reader that has gone away (`| head`) is no failure.
pub fn print_result(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot print the result: {error}")))
        }
        _ => Ok(()),
    }
}
