#!/bin/sh
# Process 1 of the guest. `settings` is written beside this file by the host and sets:
#   exchange  host directory that is shared with this guest and gone after it
#   scratch   size of the scratch directory
#   port0 port1  serial lines that the host reads as standard output and standard error

PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
umask 022
exchange='' scratch='' port0='' port1=''
# shellcheck source=/dev/null
. "${0%/*}/settings"
shared=/run/exchange

power_off() {
    sync
    # stty waits until a line has sent all it holds: a process that was left behind may keep the
    # line open, and then no close has waited for that.
    stty -F "$port0" -echo
    stty -F "$port1" -echo
    mount -o remount,ro "$shared"
    echo o >/proc/sysrq-trigger
    # The kernel powers off from a thread of its own; process 1 must not end before it has.
    while :; do sleep 60; done
}

step() {
    "$@" && return
    echo "$*" >"$shared/failed"
    power_off
}

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 run /run
mkdir "$shared" /run/scratch
# The root is read-only; this directory is the only one of the host that a guest can change.
mount -t hostfs -o "$exchange" exchange "$shared"

step mkdir /dev/pts /dev/shm
step mount -t devpts -o ptmxmode=666 devpts /dev/pts
step mount -t tmpfs -o mode=1777 shm /dev/shm
step ln -s /proc/self/fd /dev/fd
step ln -s fd/0 /dev/stdin
step ln -s fd/1 /dev/stdout
step ln -s fd/2 /dev/stderr
step mount -t cgroup2 cgroup2 /sys/fs/cgroup
modules=/usr/lib/uml/modules/$(uname -r)/kernel
step insmod "$modules/drivers/block/loop.ko"
step insmod "$modules/fs/overlayfs/overlay.ko"
# ext4 in memory, because tmpfs has no `user.` attributes before Linux 6.6. Not all of the memory:
# who fills the scratch directory shall see ENOSPC, not the OOM killer.
step mkdir /run/memory
step mount -t tmpfs -o mode=700,size=80% memory /run/memory
step truncate -s "$scratch" /run/memory/scratch
step mkfs.ext4 -q -b 4096 -m 0 -E nodiscard -O ^has_journal /run/memory/scratch
step mount -o loop,discard /run/memory/scratch /run/scratch
step rmdir /run/scratch/lost+found
step chmod 1777 /run/scratch
step ip link set lo up
step stty -F "$port0" raw -echo
step stty -F "$port1" raw -echo

sh "$shared/command" </dev/null >"$port0" 2>"$port1"
echo $? >"$shared/status"
power_off
