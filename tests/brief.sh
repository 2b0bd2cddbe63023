#!/bin/sh
# The commands of "Encrypt Secrets at the application layer" in their order, as the document has them, against clusters that a server runs
# itself, or against the cluster of this host. After each step the values in the cluster's etcd are looked at, byte by byte, by other programs
# than those that wrote them.
#
# The environment points gcloud and keystead at the server (`keystead env`). Besides:
#   CLI              gcloud, or keystead in its place
#   KEY_PROJECT, CLUSTER_PROJECT, LOCATION
#   LOCAL_CLUSTERS   the directory of the server's clusters. Without it this is the control-plane host of a cluster of kubeadm, which one
#                    cluster after the other stands for: it joins each, and has to be in plain again before it leaves
#   AGENT_POD        a manifest that runs the agent of this host; without it, it is a process
#   LABELS           options of `create`, such as --labels=keystead-local=3
set -eu
: "${CLI:?}" "${KEY_PROJECT:?}" "${CLUSTER_PROJECT:?}" "${LOCATION:?}"
LABELS=${LABELS:-}
LOCAL_CLUSTERS=${LOCAL_CLUSTERS:-}
AGENT_POD=${AGENT_POD:-}
manifest=/etc/kubernetes/manifests/keystead-agent-pod.yaml
RING=brief
one=projects/$KEY_PROJECT/locations/$LOCATION/keyRings/$RING/cryptoKeys/key-1
two=projects/$KEY_PROJECT/locations/$LOCATION/keyRings/$RING/cryptoKeys/key-2

say() { printf '%s\n' "--- $*" >&2; }
fail() { printf '%s\n' "brief.sh: $*" >&2; exit 1; }

# The directory of a cluster.
directory_of() {
    for found in "$LOCAL_CLUSTERS"/*; do
        if grep -qs "/clusters/$1\"" "$found/cluster.json"; then echo "$found"; return; fi
    done
    fail "no directory of cluster $1"
}

# Asks a cluster's etcd, at a path and with more of curl's options.
ask_etcd() {
    if [ -n "$LOCAL_CLUSTERS" ]; then
        at=$(directory_of "$1") || exit
        port=$(sed -n 's/.*"etcd":\([0-9]*\).*/\1/p' "$at/ports.json")
        authority=$at/pki/etcd-authority.pem client=$at/pki/etcd-client.pem key=$at/pki/etcd-client.key
    else
        at=/etc/kubernetes/pki port=2379
        authority=$at/etcd/ca.crt client=$at/apiserver-etcd-client.crt key=$at/apiserver-etcd-client.key
    fi
    path=$2
    shift 2
    curl --silent --show-error --fail --noproxy '*' --cacert "$authority" --cert "$client" --key "$key" "https://127.0.0.1:$port$path" "$@"
}

# What the Secrets of namespace `brief` are stored as in a cluster's etcd, a line for each way: `plain`, or the key id.
stored() {
    from=$(printf /registry/secrets/brief/ | base64) to=$(printf /registry/secrets/brief0 | base64)
    ask_etcd "$1" /v3/kv/range -d "{\"key\":\"$from\",\"range_end\":\"$to\"}" |
        tr ',{' '\n\n' | sed -n 's/^"value":"\([^"]*\)".*/\1/p' | while read -r value; do
            printf %s "$value" | base64 -d >"$work/value"
            if head -c 3 "$work/value" | grep -q '^k8s' && head -c 15 "$work/value" | grep -aq 'enc:kms:v2:'; then
                grep -aq "$secret" "$work/value" && fail "a value is encrypted and holds its own plaintext"
                grep -ao 'cloudkms-v[0-9]*-a[0-9]*-[0-9a-f]\{16\}' "$work/value" | tail -1
            else
                grep -aq "$secret" "$work/value" || fail "a value is neither encrypted nor the Secret's"
                echo plain
            fi
        done >"$work/ways"
    [ "$(wc -l <"$work/ways")" -eq 3 ] || fail "etcd has $(wc -l <"$work/ways") values of 3"
    sort -u "$work/ways"
}

# The end of the key ids of a key.
digest_of() { printf 'cloudkms\000%s' "$1" | sha256sum | cut -c 1-16; }

# All of them are stored under this key.
assert_under() {
    got=$(stored "$1")
    case $got in
    cloudkms-v*-"$(digest_of "$2")") ;;
    *) fail "Secrets of $1 should be under $2, and are stored as: $got" ;;
    esac
    case $got in *"
"*) fail "Secrets of $1 are stored in more than one way: $got" ;; esac
    say "etcd of $1: $got"
}

assert_plain() {
    got=$(stored "$1")
    [ "$got" = plain ] || fail "Secrets of $1 should be plain, and are stored as: $got"
    say "etcd of $1: plain"
}

# C9 prints exactly this.
assert_described() {
    got=$($CLI container clusters describe "$1" --region "$LOCATION" --format 'value(databaseEncryption)' --project "$CLUSTER_PROJECT")
    [ "$got" = "$2" ] || fail "describe should print $2, and prints $got"
    say "describe: $got"
}

# What a client of the cluster reads.
assert_readable() {
    for name in s1 s2 s3; do
        got=$(kubectl get secret "$name" --namespace brief -o 'jsonpath={.data.value}' | base64 -d)
        [ "$got" = "$secret" ] || fail "kubectl reads $got"
    done
}

# What the administrator of this host does while `create` waits for it. A server that runs its clusters itself has hosts.
join() {
    [ -z "$LOCAL_CLUSTERS" ] || return 0
    token=$work/join-token
    rm -f "$token"
    until keystead container clusters hosts invite "$(uname -n)" --cluster "$1" --location "$LOCATION" --project "$CLUSTER_PROJECT" \
        --output-file "$token" 2>"$work/invite"; do
        sleep 1
    done
    # Not what kubectl goes by here.
    unset KUBECONFIG
    keystead agent join --server "$KEYSTEAD_ENDPOINT" --token-file "$token" --ca-file "$KEYSTEAD_CA_FILE"
    [ -z "$AGENT_POD" ] || exec cp "$AGENT_POD" "$manifest"
    exec keystead agent run
}

# Points kubectl at it.
connect() {
    if [ -n "$LOCAL_CLUSTERS" ]; then
        $CLI container clusters get-credentials "$1" --region "$LOCATION" --project "$CLUSTER_PROJECT"
    else
        cp /etc/kubernetes/admin.conf "$KUBECONFIG"
    fi
}

# A cluster that the server runs goes as it is, and whoever has another one switches encryption off first.
delete() {
    if [ -z "$LOCAL_CLUSTERS" ]; then
        $CLI container clusters update "$1" --region "$LOCATION" --disable-database-encryption --project "$CLUSTER_PROJECT"
        assert_plain "$1"
        kubectl delete namespace brief
    fi
    $CLI container clusters delete "$1" --region "$LOCATION" --project "$CLUSTER_PROJECT" --quiet
    if [ -n "$agent" ]; then
        if [ -n "$AGENT_POD" ]; then rm "$manifest"; else kill "$agent"; fi
        wait "$agent" || true
        agent=
        # Only one that has ended leaves its lock.
        until flock --nonblock /var/lib/keystead/agent/lock true; do sleep 1; done
        rm -r /var/lib/keystead/agent
    fi
}

create_secrets() {
    kubectl create namespace brief
    for name in s1 s2 s3; do kubectl create secret generic "$name" --namespace brief --from-literal "value=$secret"; done
}

work=$(mktemp -d) agent=
trap 'rm -rf "$work"; [ -z "$agent" ] || kill "$agent" 2>/dev/null || true' EXIT
export KUBECONFIG="$work/kubeconfig"
secret=plaintext-of-the-brief

say "C2, C3: a key ring and two keys"
$CLI kms keyrings create "$RING" --location "$LOCATION" --project "$KEY_PROJECT"
for key in key-1 key-2; do
    $CLI kms keys create "$key" --location "$LOCATION" --keyring "$RING" --purpose encryption --project "$KEY_PROJECT"
done

say "C4, C5: the clusters of the project may use them"
number=$($CLI projects describe "$CLUSTER_PROJECT" --format="value(projectNumber)")
for key in key-1 key-2; do
    $CLI kms keys add-iam-policy-binding "$key" --location "$LOCATION" --keyring "$RING" \
        --member "serviceAccount:service-$number@container-engine-robot.iam.gserviceaccount.com" \
        --role roles/cloudkms.cryptoKeyEncrypterDecrypter --project "$KEY_PROJECT" >/dev/null
done

say "C6: a new cluster, encrypted"
join encrypted &
[ -n "$LOCAL_CLUSTERS" ] || agent=$!
# shellcheck disable=SC2086
$CLI container clusters create encrypted --cluster-version=latest --region "$LOCATION" --database-encryption-key "$one" \
    --project "$CLUSTER_PROJECT" $LABELS
assert_described encrypted "keyName=$one;state=ENCRYPTED"
connect encrypted
create_secrets
assert_under encrypted "$one"
assert_readable
delete encrypted

say "a cluster in plain"
join prod &
[ -n "$LOCAL_CLUSTERS" ] || agent=$!
# shellcheck disable=SC2086
$CLI container clusters create prod --cluster-version=latest --region "$LOCATION" --project "$CLUSTER_PROJECT" $LABELS
connect prod
create_secrets
assert_plain prod

say "C7: encryption is switched on"
$CLI container clusters update prod --region "$LOCATION" --database-encryption-key "$one" --project "$CLUSTER_PROJECT"
assert_described prod "keyName=$one;state=ENCRYPTED"
assert_under prod "$one"
assert_readable

say "C7: another key"
$CLI container clusters update prod --region "$LOCATION" --database-encryption-key "$two" --project "$CLUSTER_PROJECT"
assert_described prod "keyName=$two;state=ENCRYPTED"
assert_under prod "$two"
assert_readable
before=$(stored prod)

say "C10: a new version"
$CLI kms keys versions create --location "$LOCATION" --keyring "$RING" --key key-2 --primary --project "$KEY_PROJECT"
[ "$(stored prod)" = "$before" ] || fail "nobody re-encrypts unasked, and now it is: $(stored prod)"

say "C11: everything anew, by hand, until every API server uses the new version"
tries=0
while [ "$(stored prod)" = "$before" ] || [ "$(stored prod | wc -l)" -ne 1 ]; do
    tries=$((tries + 1))
    [ "$tries" -le 60 ] || fail "still under the old version: $(stored prod)"
    kubectl get secrets --all-namespaces -o json | kubectl annotate --overwrite -f - encryption-key-rotation-time="try $tries" >/dev/null
    sleep 2
done
assert_under prod "$two"
assert_readable

say "another version, and an update with the key that the cluster has"
before=$(stored prod)
$CLI kms keys versions create --location "$LOCATION" --keyring "$RING" --key key-2 --primary --project "$KEY_PROJECT"
$CLI container clusters update prod --region "$LOCATION" --database-encryption-key "$two" --project "$CLUSTER_PROJECT"
assert_under prod "$two"
[ "$(stored prod)" != "$before" ] || fail "an update with the same key should have written everything under the new version"
assert_readable

say "C8: encryption is switched off"
$CLI container clusters update prod --region "$LOCATION" --disable-database-encryption --project "$CLUSTER_PROJECT"
assert_described prod "state=DECRYPTED"
assert_plain prod
assert_readable
delete prod
say "done"
