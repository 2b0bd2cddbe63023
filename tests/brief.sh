#!/bin/sh
# The commands of "Encrypt Secrets at the application layer" in their order, as the document has them, against clusters that a server runs
# itself. After each step the values in the cluster's etcd are looked at, byte by byte, by other programs than those that wrote them.
#
# The environment points gcloud and keystead at the server (`keystead env`). Besides:
#   CLI              gcloud, or keystead in its place
#   KEY_PROJECT, CLUSTER_PROJECT, LOCATION
#   LOCAL_CLUSTERS   the directory of the server's clusters
#   LABELS           options of `create`, such as --labels=keystead-local=3
set -eu
: "${CLI:?}" "${KEY_PROJECT:?}" "${CLUSTER_PROJECT:?}" "${LOCATION:?}" "${LOCAL_CLUSTERS:?}"
LABELS=${LABELS:-}
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

# What the Secrets of namespace `brief` are stored as in a cluster's etcd, a line for each way: `plain`, or the key id.
stored() {
    at=$(directory_of "$1")
    port=$(sed -n 's/.*"etcd":\([0-9]*\).*/\1/p' "$at/ports.json")
    from=$(printf /registry/secrets/brief/ | base64) to=$(printf /registry/secrets/brief0 | base64)
    curl --silent --show-error --fail --noproxy '*' --cacert "$at/pki/etcd-authority.pem" --cert "$at/pki/etcd-client.pem" \
        --key "$at/pki/etcd-client.key" "https://127.0.0.1:$port/v3/kv/range" -d "{\"key\":\"$from\",\"range_end\":\"$to\"}" |
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

connect() {
    $CLI container clusters get-credentials "$1" --region "$LOCATION" --project "$CLUSTER_PROJECT"
}

create_secrets() {
    kubectl create namespace brief
    for name in s1 s2 s3; do kubectl create secret generic "$name" --namespace brief --from-literal "value=$secret"; done
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
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
# shellcheck disable=SC2086
$CLI container clusters create encrypted --cluster-version=latest --region "$LOCATION" --database-encryption-key "$one" \
    --project "$CLUSTER_PROJECT" $LABELS
assert_described encrypted "keyName=$one;state=ENCRYPTED"
connect encrypted
create_secrets
assert_under encrypted "$one"
assert_readable
$CLI container clusters delete encrypted --region "$LOCATION" --project "$CLUSTER_PROJECT" --quiet

say "a cluster in plain"
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

say "C8: encryption is switched off"
$CLI container clusters update prod --region "$LOCATION" --disable-database-encryption --project "$CLUSTER_PROJECT"
assert_described prod "state=DECRYPTED"
assert_plain prod
assert_readable
$CLI container clusters delete prod --region "$LOCATION" --project "$CLUSTER_PROJECT" --quiet
say "done"
