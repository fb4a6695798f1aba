# shellcheck shell=bash
# Cargo, also where `sudo` has taken it out of PATH. Needs root.sh and packages.sh.

# The user whose cargo this is, when it is not root's.
cargo_user=

# find_cargo: puts cargo into PATH, and a C compiler beside it (the zstd and ring crates need one).
find_cargo() {
    local user home
    if ! command -v cargo >/dev/null; then
        for user in "${SUDO_USER:-}" "$(stat --format %U "$checkout")" root; do
            [[ -n $user && $user != UNKNOWN ]] || continue
            home=$(getent passwd "$user" | cut -d: -f6)
            [[ -x $home/.cargo/bin/cargo ]] || continue
            PATH=$home/.cargo/bin:$PATH
            export CARGO_HOME=${CARGO_HOME:-$home/.cargo} RUSTUP_HOME=${RUSTUP_HOME:-$home/.rustup}
            [[ $user == root ]] || cargo_user=$user
            break
        done
    fi
    command -v cargo >/dev/null ||
        fail "found no cargo: not in PATH, not in ~/.cargo/bin of root${SUDO_USER:+ or $SUDO_USER}. Install Rust $(least_rust) or newer (rustup), then run this again"
    command -v cc >/dev/null || install_packages gcc libc6-dev
}

least_rust() {
    sed -n 's/^rust-version = "\(.*\)"/\1/p' "$checkout/Cargo.toml"
}

# give_back: what root built with a user's cargo stays that user's. For a trap on EXIT.
give_back() {
    [[ -n $cargo_user ]] || return 0
    local place
    for place in "$checkout/target" "$CARGO_HOME"; do
        [[ ! -d $place ]] || chown --recursive --no-dereference --from=root "$cargo_user": "$place"
    done
}
