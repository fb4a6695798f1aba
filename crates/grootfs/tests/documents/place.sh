#!/bin/bash
# Makes of a directory a place of its own, and runs a session in it: place.sh ROOT PROGRAMS
# It is process 1 of namespaces for mounts, processes and the network, and all ends with it.
set -euo pipefail
root=$1 programs=$2

mount --make-rprivate /
mount --bind "$root" "$root"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
# Control groups of both versions side by side are not for crun.
! mountpoint --quiet "$root/sys/fs/cgroup/unified" || umount "$root/sys/fs/cgroup/unified"
mount -t proc proc "$root/proc"
mount --bind /usr "$root/usr"
mount -o remount,bind,ro "$root/usr"
mount -t tmpfs tmpfs "$root/usr/local"
mkdir -p "$root/usr/local/bin"
mount --bind "$programs" "$root/opt/grootfs/bin"
mount --bind /var/lib/dpkg "$root/var/lib/dpkg"
mount -o remount,bind,ro "$root/var/lib/dpkg"
ip link set lo up

cd "$root"
mkdir -p old
pivot_root . old
umount --lazy /old
cd /src/grootfs
unset TMPDIR XDG_RUNTIME_DIR
export HOME=/root LC_ALL=C
export PATH=/usr/local/bin:/opt/place/bin:/opt/grootfs/bin:/usr/sbin:/usr/bin:/sbin:/bin
# Programs come and go in it.
exec bash +h /session
