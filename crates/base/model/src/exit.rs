/// How a command ends that did not do what was asked. The numbers are in `keystead --help` and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It failed or was refused.
    Failed = 1,
    /// Wrong usage or configuration text.
    Usage = 2,
    /// The other side cannot be reached or did not answer in time.
    Unreachable = 4,
    /// The caller is not known or may not.
    Denied = 5,
    /// A verification found a problem.
    Problem = 6,
    /// A fault of ours.
    Bug = 70,
}
