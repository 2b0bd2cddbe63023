use std::error::Error;
use std::fmt;
use std::iter::successors;

/// Prints an error and then what caused it, outermost first, with `: ` between, each sentence once.
pub struct ErrorChain<'a>(pub &'a dyn Error);

/// The texts of what caused an error, outermost first. A text that stands in one before it is left out: many errors of
/// other libraries print their cause themselves.
pub fn causes_of(error: &dyn Error) -> Vec<String> {
    let mut printed = vec![error.to_string()];
    for cause in successors(error.source(), |cause| (**cause).source()).map(ToString::to_string) {
        if !printed.iter().any(|text| text.contains(&cause)) {
            printed.push(cause);
        }
    }
    printed.split_off(1)
}

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        causes_of(self.0).iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: &'static str,
        source: Option<Box<Link>>,
    }

    fn chain(texts: &[&'static str]) -> String {
        let link = |source, text: &&'static str| Some(Box::new(Link { text, source }));
        let error = texts.iter().rev().fold(None, link).expect("one text or more");
        ErrorChain(&*error).to_string()
    }

    #[test]
    fn each_sentence_of_a_chain_is_printed_once() {
        assert_eq!(chain(&["cannot start"]), "cannot start");
        assert_eq!(
            chain(&["cannot start", "cannot read f", "no such file"]),
            "cannot start: cannot read f: no such file"
        );
        assert_eq!(chain(&["cannot read f: no such file", "no such file"]), "cannot read f: no such file");
        assert_eq!(
            chain(&["failed", "refused: by peer", "by peer", "reset"]),
            "failed: refused: by peer: reset"
        );
    }
}
