# Boots systemd in namespaces of its own and undoes, whatever happens, what that leaves on this machine. Standard input is the lifeline: when
# it ends, because the test closed it or died, so does systemd. Standard output is that of init.sh. It runs in a mount namespace.
# Arguments: the directory of the host, which is removed at the end; a directory that both sides see.
set -eu
directory=$1
exec 3<&0 </dev/null
mount --make-rprivate /

# systemd wants the root of a tree of cgroups. On a machine with those of version 1, the tree of version 2 is there all the same.
cgroups=/sys/fs/cgroup
if [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ]; then
    cgroups=$directory/cgroups
    mkdir "$cgroups"
    mount -t cgroup2 cgroup2 "$cgroups"
fi
cgroup=$cgroups/$(basename "$directory")
host=

undo() {
    set +e
    if [ -n "$host" ]; then
        kill -9 "$host" 2>/dev/null
        wait "$host"
    fi
    # The last processes are still ending, and a cgroup with processes is not removed: ten seconds for them.
    tries=100
    while [ -d "$cgroup" ] && [ "$tries" -gt 0 ]; do
        find "$cgroup" -depth -type d -exec rmdir {} \; 2>/dev/null || sleep 0.1
        tries=$((tries - 1))
    done
    [ "$cgroups" = /sys/fs/cgroup ] || umount "$cgroups"
    rm -rf --one-file-system "$directory"
}
trap undo EXIT
mkdir "$cgroup"

# `--kill-child`: with unshare dies the first process of the namespace, and with that everything in it.
sh -c 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"' sh "$cgroup" \
    unshare --mount --uts --ipc --pid --cgroup --fork --kill-child sh "$directory/init.sh" "$@" 3<&- &
host=$!
exec >/dev/null
read -r _ <&3 || true
