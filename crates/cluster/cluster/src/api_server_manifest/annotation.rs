//! Annotations of the pod.

use super::{ApiServerManifest, ManifestError};
use crate::yaml::{Step, Value};

const METADATA: Step<'static> = Step::Key("metadata");
const ANNOTATIONS: &str = "annotations";

impl ApiServerManifest {
    /// The value of an annotation.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.document.root().get("metadata")?.get(ANNOTATIONS)?.get(name)?.as_str()
    }

    /// The manifest with an annotation. To the kubelet a pod with another annotation is another pod: it ends the one and starts the other.
    pub fn with_annotation(&self, name: &str, value: &str) -> Result<Self, ManifestError> {
        let value = Value::string(value);
        let root = self.document.root();
        let metadata = root.get("metadata").filter(|it| !it.entries().is_empty());
        let annotations = metadata.and_then(|it| it.get(ANNOTATIONS)).filter(|it| !it.entries().is_empty());
        let document = match (metadata, annotations) {
            (_, Some(_)) => self.document.set(&[METADATA, Step::Key(ANNOTATIONS)], name, &value)?,
            (Some(_), None) => self.document.set(&[METADATA], ANNOTATIONS, &Value::map([(name, value)]))?,
            (None, None) => {
                let annotations = Value::map([(name, value)]);
                self.document.set(&[], "metadata", &Value::map([(ANNOTATIONS, annotations)]))?
            }
        };
        Self::of(document)
    }
}
