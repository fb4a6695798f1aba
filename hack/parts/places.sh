# shellcheck shell=bash
# What quick-setup makes and cleanup takes away.

# shellcheck disable=SC2034 # used by the scripts that source this file
{
    # One file system a driver: $base/btrfs and $base/xfs, on $base/btrfs.img and $base/xfs.img.
    base=/var/lib/grootfs
    # Sparse: takes only what is written to it. XFS refuses less than 300 MiB.
    filesystem_size=${GROOTFS_FILESYSTEM_SIZE:-8G}
    # The sample image, an OCI layout.
    image=$base/busybox-image
    # The root file system in each store.
    root_id=quick-setup
    # Where the binaries go.
    bin=/usr/local/bin
    # What was installed outside $base, one path a line.
    record=$base/quick-setup.installed
}

is_mounted() {
    mountpoint --quiet "$1"
}
