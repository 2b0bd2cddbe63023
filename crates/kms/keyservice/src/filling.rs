//! Many records at once, for a benchmark: the same that operations write, of their own making, in large commits and without the
//! audit records of calls.

use keystead_iam::{ResourceKind, validate};
use keystead_model::{Binding, CryptoKey, KeyRingName, Policy, ProjectId, VersionNumber, to_microseconds};
use keystead_store::Batch;

use crate::operations::{CreateCryptoKey, with_key, with_project};
use crate::records::project::Project;
use crate::records::{encode, record_name};
use crate::service::after;
use crate::{KeyService, KmsError};

/// Writes of one commit, more or less.
const TOGETHER: u32 = 1000;
/// Prime, so that every key has its turn: pages are split as by keys that come in no order.
const STRIDE: u64 = 7919;
/// The first project number.
const FIRST_NUMBER: u64 = 200_000_000_000;

/// What to add to a server that has a ring, and a project around it.
#[derive(Clone, Debug)]
pub struct Filling {
    /// Where keys are made: `growth-0000000` and so on.
    pub ring: KeyRingName,
    /// How many.
    pub keys: u32,
    /// Versions of each, the first of which is primary.
    pub versions: u32,
    /// Versions of the first key.
    pub versions_of_first: u32,
    /// How many projects `growth-0000000` and so on.
    pub projects: u32,
    /// Members of the policies of the ring, its project, the first key, and of every project `large_every`.
    pub members: u32,
    /// Every how many projects one has so many members.
    pub large_every: u32,
}

impl KeyService {
    /// Adds all of that. Fails where something of it is there already.
    pub async fn fill(&self, filling: &Filling) -> Result<(), KmsError> {
        self.fill_projects(filling).await?;
        let mut batch = Batch::default();
        let mut writes = 0;
        for turn in 0..u64::from(filling.keys) {
            let number = turn * STRIDE % u64::from(filling.keys);
            let versions = if number == 0 { filling.versions_of_first } else { filling.versions };
            let mut key = self.growing_key(&filling.ring, number)?;
            let mut more = Vec::new();
            let mut version = VersionNumber::FIRST;
            for made in 1..=versions {
                if made > 1 {
                    version = key.next_version;
                    key = CryptoKey { next_version: after(&key)?, ..key };
                }
                more.push(self.new_version(&key, version, self.clock.now()).await?);
            }
            batch = with_key(batch, &key)?;
            for new in more {
                batch = new.add_to(batch)?;
                writes += 2;
                if writes >= TOGETHER {
                    self.write(std::mem::take(&mut batch)).await?;
                    writes = 0;
                }
            }
        }
        self.write(batch).await?;
        let first = self.growing_key(&filling.ring, 0)?.name;
        let large = [
            (format!("projects/{}", filling.ring.location.project), ResourceKind::Project),
            (filling.ring.to_string(), ResourceKind::KeyRing),
            (first.to_string(), ResourceKind::CryptoKey),
        ];
        for (holder, kind) in large {
            let mut policy = self.policy(&holder).await?.policy.clone();
            add_viewers(&mut policy, filling.members);
            let value = encode(&validate(&policy, kind)?)?;
            self.write(Batch::default().put(record_name::policy(&holder), value)).await?;
        }
        Ok(())
    }

    async fn fill_projects(&self, filling: &Filling) -> Result<(), KmsError> {
        let create_time = to_microseconds(self.clock.now());
        for first in (0..filling.projects).step_by(100) {
            let mut batch = Batch::default();
            for number in first..filling.projects.min(first + 100) {
                let id: ProjectId = format!("growth-{number:07}").parse()?;
                let display_name = id.to_string();
                let labels = Default::default();
                let number_of = FIRST_NUMBER + u64::from(number);
                let project = Project { id, number: number_of, display_name, create_time, labels };
                let owner = Binding {
                    role: "roles/owner".to_owned(),
                    members: vec!["user:owner@example.com".to_owned()],
                    condition: None,
                };
                let mut policy = Policy { version: 1, bindings: vec![owner] };
                if number.is_multiple_of(filling.large_every) {
                    add_viewers(&mut policy, filling.members);
                }
                batch = with_project(batch, &project, &validate(&policy, ResourceKind::Project)?)?;
            }
            self.write(batch).await?;
        }
        Ok(())
    }

    fn growing_key(&self, ring: &KeyRingName, number: u64) -> Result<CryptoKey, KmsError> {
        let command = CreateCryptoKey {
            name: format!("{ring}/cryptoKeys/growth-{number:07}").parse()?,
            labels: [("tenth".to_owned(), (number % 10).to_string())].into(),
            rotation_period_s: None,
            next_rotation_time: None,
            destroy_scheduled_duration_s: None,
            skip_initial_version: false,
        };
        self.planned_key(&command, self.clock.now())
    }

    async fn write(&self, batch: Batch) -> Result<(), KmsError> {
        if batch.writes.is_empty() {
            return Ok(());
        }
        let committed = self.ledger.commit(batch, None).await.map_err(|failed| failed.error)?;
        committed.complete().map(drop)
    }
}

/// Binds a role to as many as it takes to have so many members in all.
fn add_viewers(policy: &mut Policy, members: u32) {
    let there: usize = policy.bindings.iter().map(|binding| binding.members.len()).sum();
    let more = usize::try_from(members).unwrap_or_default().saturating_sub(there);
    policy.bindings.push(Binding {
        role: "roles/cloudkms.viewer".to_owned(),
        members: (0..more).map(|number| format!("user:somebody-{number}@example.com")).collect(),
        condition: None,
    });
}
