//! Signatures by OpenSSH: every host that someone administers has `ssh-keygen`, so a release is verified offline with nothing to
//! install, and the releaser's key may be in an agent or on a hardware token.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;

/// What the signature is for: one made for something else with the same key does not pass for a release.
pub const NAMESPACE: &str = "keystead-release";

/// Signs `file` with `key`; the signature is beside it, with `.sig` at the end of its name.
pub fn sign(file: &Path, key: &Path) -> Result<()> {
    println!("signing {}", file.display());
    process::run(Command::new("ssh-keygen").args(["-Y", "sign", "-n", NAMESPACE, "-f"]).arg(key).arg(file))
        .context("no signature; ssh-keygen 8.2 or later is in the package openssh-client")
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    fn verified(folder: &Path, key: &str) -> bool {
        let public = fs::read_to_string(folder.join(format!("{key}.pub"))).expect("a public key");
        fs::write(folder.join("signers"), format!("releases namespaces=\"{NAMESPACE}\" {public}"))
            .expect("written");
        Command::new("ssh-keygen")
            .args(["-Y", "verify", "-I", "releases", "-n", NAMESPACE, "-f"])
            .arg(folder.join("signers"))
            .arg("-s")
            .arg(folder.join("SHA256SUMS.sig"))
            .stdin(File::open(folder.join("SHA256SUMS")).expect("signed"))
            .output()
            .expect("ssh-keygen")
            .status
            .success()
    }

    #[test]
    #[ignore = "needs ssh-keygen"]
    fn a_signature_holds_for_this_key_and_these_bytes_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        for key in ["ours", "theirs"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(folder.join(key))
                .status()
                .expect("ssh-keygen");
            assert!(made.success());
        }
        let sums = folder.join("SHA256SUMS");
        fs::write(&sums, "0123  file\n").expect("written");
        sign(&sums, &folder.join("ours")).expect("signed");
        assert!(verified(folder, "ours"));
        assert!(!verified(folder, "theirs"));
        fs::write(&sums, "0124  file\n").expect("written");
        assert!(!verified(folder, "ours"));
    }
}
