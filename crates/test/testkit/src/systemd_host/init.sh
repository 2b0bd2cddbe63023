# The first process of the host, which becomes systemd. It says its process id outside. Arguments: as of host.sh.
set -eu
directory=$1
shared=$2
# Before the new /proc: there this process has the number 1.
read -r pid _ </proc/self/stat
mount -t proc proc /proc
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs /run
# What it writes there stays its own.
for name in etc var usr/local; do
    mkdir -p "/run/own/$name/upper" "/run/own/$name/work"
    mount -t overlay overlay -o "lowerdir=/$name,upperdir=/run/own/$name/upper,workdir=/run/own/$name/work" "/$name"
done
# Both may be in /tmp, which is hidden below.
mkdir /run/shared
mount --bind "$shared" /run/shared
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -p "$shared"
mount --bind /run/shared "$shared"
mount --make-rshared /

# Only what a test brings, the journal and the bus: other services would set this machine's kernel, devices and file systems.
rm -rf /etc/systemd/system /etc/kubernetes
mkdir /etc/systemd/system
: >/etc/fstab
for unit in /lib/systemd/system/*.target.wants/*; do
    unit=$(basename "$unit")
    case $unit in
    systemd-journald* | dbus*) ;;
    *) ln -sf /dev/null "/etc/systemd/system/$unit" ;;
    esac
done
echo keystead-host >/etc/hostname
echo "pid $pid"
exec env -i container=keystead PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=basic.target --log-target=journal --show-status=no </dev/null >"/dev/null" 2>&1
