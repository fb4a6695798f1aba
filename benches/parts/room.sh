# shellcheck shell=bash
# A directory for one benchmark with a store for each driver. Needs hack/parts/{root,cargo}.sh.

# The temporary directory, and the program that is measured.
room=
grootfs=

build_release() {
    find_cargo
    say "building the release binary" >&2
    (cd "$checkout" && cargo build --release --locked --quiet)
    grootfs=$checkout/target/release/grootfs
}

# make_room SIZE [DRIVER...]: the directory, with a file system of SIZE on a sparse file and a store on it
# for each driver (both). BENCH_DIR says on which disk; it needs room for what the benchmark writes.
make_room() {
    local size=$1 driver kind
    shift
    [[ $# -gt 0 ]] || set -- btrfs overlay-xfs
    room=$(mktemp --directory "${BENCH_DIR:-/var/tmp}/grootfs-bench.XXXXXX")
    trap leave_room EXIT
    for driver in "$@"; do
        kind=${driver#overlay-}
        mkdir "$room/$kind"
        truncate --size="$size" "$room/$kind.img"
        "mkfs.$kind" "$room/$kind.img" >/dev/null
        "mount_$kind"
        "$grootfs" --store "$(store_of "$driver")" --driver "$driver" init-store
    done
}

mount_btrfs() {
    mount -o loop,user_subvol_rm_allowed,noatime "$room/btrfs.img" "$room/btrfs"
    btrfs quota enable "$room/btrfs"
}

mount_xfs() {
    mount -o loop,pquota,noatime "$room/xfs.img" "$room/xfs" 2>/dev/null ||
        mount -o loop,noatime "$room/xfs.img" "$room/xfs"
}

# store_of DRIVER: where its store is.
store_of() {
    printf '%s/%s/store' "$room" "${1#overlay-}"
}

# Also after a failure: mounts, loop devices (they go with the mounts) and files.
leave_room() {
    local kind
    for kind in btrfs xfs; do
        ! mountpoint --quiet "$room/$kind" || umount --recursive "$room/$kind"
    done
    rm -rf "$room"
    give_back
}

# What the figures depend on.
describe_machine() {
    printf '%s, %s cores, load %s, kernel %s, grootfs at %s' \
        "$(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" "$(cut -d' ' -f1 /proc/loadavg)" \
        "$(uname --kernel-release)" \
        "$(git -C "$checkout" describe --always --dirty 2>/dev/null || echo 'an unknown commit')"
}
