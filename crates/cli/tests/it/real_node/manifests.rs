//! Pods, as a person would write them.

use keystead_testkit::node::SHELL_IMAGE;

/// The plugin with a key file of the host.
pub(super) fn plugin() -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata:
  name: keystead-kms-plugin
  namespace: kube-system
spec:
  containers:
  - name: keystead-kms-plugin
    image: keystead.io/keystead-plugin:{version}
    imagePullPolicy: Never
    args:
    - --socket=/tmp/keystead/kms.sock
    - --provider=local
    - --key-file=/etc/keystead/key
    - --admin=127.0.0.1:8099
    readinessProbe:
      httpGet:
        host: 127.0.0.1
        port: 8099
        path: /readyz
      periodSeconds: 1
    volumeMounts:
    - mountPath: /tmp/keystead
      name: kms-plugin-socket
    - mountPath: /etc/keystead
      name: key
      readOnly: true
  hostNetwork: true
  priorityClassName: system-node-critical
  volumes:
  - hostPath:
      path: /tmp/keystead
      type: DirectoryOrCreate
    name: kms-plugin-socket
  - hostPath:
      path: /etc/keystead
      type: Directory
    name: key
",
        version = env!("CARGO_PKG_VERSION")
    )
}

/// One that takes the key `key` of a Secret as an environment variable, and logs it.
pub(super) fn reader(secret: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata:
  name: reader
spec:
  containers:
  - name: reader
    image: {SHELL_IMAGE}
    imagePullPolicy: Never
    command: [sh, -c, 'echo \"$VALUE\"; exec sleep 86400']
    env:
    - name: VALUE
      valueFrom:
        secretKeyRef:
          name: {secret}
          key: key
  terminationGracePeriodSeconds: 0
"
    )
}
