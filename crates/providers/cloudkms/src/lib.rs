//! KEK in a service that speaks Google Cloud KMS v1: ours, or Google's own.
