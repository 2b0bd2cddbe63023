# Starts a node in namespaces of its own and undoes, whatever happens, what it leaves on this machine. Standard input is the
# lifeline: when it ends, because the test closed it or died, so does the node. Standard output is the node's, and ends with it.
# Arguments: the node's directory, which is removed at the end; its cgroup; the folder with its programs.
set -eu
directory=$1
cgroup=$2
exec 3<&0 </dev/null

# The kubelet sets these for the whole machine.
settings="vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes"
saved=
node=

# Where the node's cgroup is: version 1 has one for each controller.
cgroups() {
    if [ -e /sys/fs/cgroup/cgroup.procs ]; then
        echo "/sys/fs/cgroup$cgroup"
        return
    fi
    for root in /sys/fs/cgroup/*; do
        if [ -e "$root/cgroup.procs" ]; then
            echo "$root$cgroup"
        fi
    done
}

undo() {
    set +e
    if [ -n "$node" ]; then
        kill -9 "$node" 2>/dev/null
        wait "$node"
    fi
    for pair in $saved; do
        echo "${pair#*=}" >"/proc/sys/${pair%%=*}"
    done
    # The last processes are still ending, and a cgroup with processes is not removed: ten seconds for them.
    tries=100
    for path in $(cgroups); do
        while [ -d "$path" ] && [ "$tries" -gt 0 ]; do
            find "$path" -depth -type d -exec rmdir {} \; 2>/dev/null || sleep 0.1
            tries=$((tries - 1))
        done
    done
    rm -rf "$directory"
}
trap undo EXIT

# One node at a time: the settings belong to the whole machine, and a node takes 800 MB.
exec 9>/tmp/keystead-node.lock
flock 9
for setting in $settings; do
    saved="$saved $setting=$(cat "/proc/sys/$setting")"
done
for path in $(cgroups); do
    mkdir -p "$path"
done

# `--kill-child`: with unshare dies the init of the namespace, and with that everything in it.
unshare --mount --net --uts --ipc --pid --fork --kill-child sh "$directory/init.sh" "$@" \
    3<&- 9>&- 2>>"$directory/init.log" &
node=$!
exec >/dev/null
read -r _ <&3 || true
