//! Named files under `inputs`, which fuzzing starts from too: good ones are read, bad ones are refused at the place that the name of the
//! file tells, `bad-WHAT-LINE-COLUMN`.

use anyhow::{Context, Result};
use keystead_cluster::encryption_configuration::{ApiServer, EncryptionConfiguration};

#[test]
fn named_files_are_read_or_refused_at_their_place() -> Result<()> {
    let mut seen = (0, 0);
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/inputs"))? {
        let path = file?.path();
        let name = path.file_stem().and_then(|it| it.to_str()).context("a name")?.to_owned();
        let read = EncryptionConfiguration::read(&std::fs::read(&path)?);
        if name.starts_with("good-") {
            read.map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
            seen.0 += 1;
        } else {
            let Err(error) = read else { anyhow::bail!("{name} was read") };
            let mut parts = name.rsplit('-');
            let place = (parts.next().context("column")?.parse()?, parts.next().context("line")?.parse()?);
            assert_eq!((error.position.column, error.position.line), place, "{name}: {error}");
            seen.1 += 1;
        }
    }
    assert!(seen.0 > 3 && seen.1 > 10, "{seen:?}");
    Ok(())
}

#[test]
fn a_large_file_is_read() {
    let names: String = (0..4_000).map(|number| format!("r{number}, ")).collect();
    let text = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n#{}\nresources:\n- resources: [{names}]\n  providers:\n  - identity: {{}}\n",
        "x".repeat(900_000),
    );
    let configuration = EncryptionConfiguration::read(text.as_bytes()).expect("good");
    assert_eq!(configuration.check(&ApiServer::new(37)), []);
}
