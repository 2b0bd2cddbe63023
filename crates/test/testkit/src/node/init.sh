# The first process of a node: mounts, network, containerd, images, kubeadm, kubelet. It says `pid N` with its process id outside, and
# `ready` when kubeadm is done. Arguments: the node's directory, its cgroup, the folder with its programs.
set -eu
directory=$1
programs=$3
# Before the new /proc: there this process has the number 1.
read -r pid _ </proc/self/stat
echo "pid $pid"

mount --make-rprivate /
mount -t proc proc /proc
for name in etc var opt; do
    mkdir -p "$directory/$name/upper" "$directory/$name/work"
    mount -t overlay overlay -o "lowerdir=/$name,upperdir=$directory/$name/upper,workdir=$directory/$name/work" "/$name"
done
mount -t tmpfs -o mode=755 tmpfs /run
# Both may be in /tmp, which is hidden below.
mkdir /run/node /run/programs
mount --bind "$directory" /run/node
mount --bind "$programs" /run/programs
# The overlay is no file system for an overlay, and slow for etcd.
for name in containerd kubelet etcd; do
    mkdir -p "/run/node/data/$name" "/var/lib/$name"
    mount --bind "/run/node/data/$name" "/var/lib/$name"
done
mkdir -p /etc/cni /etc/kubernetes
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount --make-rshared /

hostname node
ip link set lo up
# The other end stays here too: nothing leaves the node, but there has to be a default route.
ip link add eth0 type veth peer name outside
ip address add 10.99.0.2/24 dev eth0
ip link set eth0 up
ip link set outside up
ip route add default via 10.99.0.1
printf '127.0.0.1 localhost\n10.99.0.2 node\n' >/etc/hosts
: >/etc/resolv.conf

rm -rf /etc/cni/net.d
mkdir /etc/cni/net.d
cp /run/node/cni.conflist /etc/cni/net.d/10-node.conflist
start_containerd() {
    containerd --config /run/node/containerd.toml >>/run/node/containerd.log 2>&1 &
    until ctr version >/dev/null 2>&1; do
        sleep 0.1
    done
}

start_kubelet() {
    (
        # kubeadm writes them and then waits for the kubelet.
        until [ -e /var/lib/kubelet/config.yaml ] && [ -e /etc/kubernetes/kubelet.conf ]; do
            sleep 0.1
        done
        while :; do
            # shellcheck disable=SC2046 # One word for each flag.
            kubelet --config=/var/lib/kubelet/config.yaml --kubeconfig=/etc/kubernetes/kubelet.conf \
                $(sed -n 's/^KUBELET_KUBEADM_ARGS="\(.*\)"$/\1/p' /var/lib/kubelet/kubeadm-flags.env 2>/dev/null) || true
            sleep 1
        done
    ) >>/run/node/kubelet.log 2>&1 &
}

# A power cut and a boot: no process lives on, and of files only what is on disks.
reboot() {
    kill -s KILL -- -1
    while read -r _ _ _ _ path _; do
        case $path in
        /var/lib/kubelet/* | /var/lib/containerd/* | /run/containerd/* | /run/netns/*) echo "$path" ;;
        esac
    done </proc/self/mountinfo | sort -r | while read -r path; do
        umount -l "$path"
    done
    # What is mounted there stands for a disk.
    find /run -mindepth 1 -maxdepth 1 ! -exec mountpoint -q {} \; -exec rm -rf --one-file-system {} +
    umount -l /tmp
    mount -t tmpfs -o mode=1777 tmpfs /tmp
    ip link delete cni0 2>/dev/null || true
    systemd-tmpfiles --create --prefix=/tmp
    start_containerd
    start_kubelet
    echo rebooted >>/run/node/boots
}
start_containerd
for image in /run/node/images/*.tar; do
    ctr --namespace k8s.io images import "$image" >>/run/node/images.log 2>&1
    rm "$image"
done
start_kubelet
kubeadm init --config /run/node/kubeadm.yaml >>/run/node/kubeadm.log 2>&1
trap reboot HUP
echo ready
# Whoever waits reads to the end, and this is not the end yet: standard output stays open.
while :; do
    # A reboot ends both.
    wait || true
    sleep 1 || true
done
