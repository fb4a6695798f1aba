# shellcheck shell=bash
# What is installed, and where and how. Needs root.sh and cargo.sh.

# The product, and the set-uid helpers.
programs=(grootfs drax tardis)

# Where packages go.
# shellcheck disable=SC2034 # used by the scripts that source this file
packages=${CARGO_TARGET_DIR:-$checkout/target}/packages

release_version() {
    sed -n 's/^version = "\(.*\)"/\1/p' "$checkout/Cargo.toml" | head -n 1
}

# last_commit FORMAT: what git says of it; nothing outside a repository.
last_commit() {
    git -c safe.directory="$checkout" -C "$checkout" log -1 --format="$1" 2>/dev/null || true
}

# The same commit makes the same packages: all files in them are as old as it.
# https://reproducible-builds.org/specs/source-date-epoch/
set_date() {
    SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(last_commit %ct)}
    export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(stat --format %Y "$checkout/Cargo.toml")}
}

# build_programs [ARGUMENT...]: what we ship, by itself: with the whole workspace in one build, features that
# only developers' tools ask for would be in it.
build_programs() {
    local name chosen=()
    for name in "${programs[@]}"; do
        chosen+=(--package "$name")
    done
    (cd "$checkout" && cargo build --release --locked "${chosen[@]}" "$@")
}

# build_for TARGET: the same for a package, with no path of this machine in the binaries. They are in $built.
build_for() {
    local cargo_home=${CARGO_HOME:-$HOME/.cargo}
    say "building the release binaries for $1"
    RUSTFLAGS="${RUSTFLAGS:+$RUSTFLAGS }--remap-path-prefix=$checkout=/usr/src/grootfs --remap-path-prefix=$cargo_home=/usr/src/cargo" \
        CFLAGS="${CFLAGS:+$CFLAGS }-ffile-prefix-map=$cargo_home=/usr/src/cargo" build_programs --target "$1"
    # shellcheck disable=SC2034 # used by the scripts that source this file
    built=${CARGO_TARGET_DIR:-$checkout/target}/$1/release
}

# install_program FILE TARGET: the helpers are for users other than root, and do what they do as root.
install_program() {
    install -D --mode="$([[ ${1##*/} == grootfs ]] && echo 755 || echo 4755)" "$1" "$2"
}

# install_documents SHARE ZSH: man pages, completions (those of zsh have no place of their own), the example
# configuration.
install_documents() {
    local share=$1 page section
    for page in "$checkout"/packaging/man/*; do
        section=$share/man/man${page##*.}
        install -D --mode=644 --target-directory="$section" "$page"
        gzip --best --no-name "$section/${page##*/}"
    done
    install -D --mode=644 "$checkout/packaging/completions/grootfs.bash" "$share/bash-completion/completions/grootfs"
    install -D --mode=644 "$checkout/packaging/completions/_grootfs" "$share/zsh/$2/_grootfs"
    install -D --mode=644 "$checkout/packaging/completions/grootfs.fish" "$share/fish/vendor_completions.d/grootfs.fish"
    install -D --mode=644 "$checkout/packaging/grootfs.yml" "$share/doc/grootfs/examples/grootfs.yml"
}

# licences TARGET: those of all crates that the programs link, each text once, with the names of its crates.
licences() {
    local name crate directory file texts crates
    crates=$(linked_crates "$1")
    texts=$(mktemp --directory)
    printf '%s\n' 'Parts of these programs are the work of others, under the licences below, and of the Rust standard' \
        'library (MIT or Apache-2.0; copyright the Rust Project Developers). Static ones also hold parts of' \
        'musl (MIT; copyright 2005-2020 Rich Felker and others).'
    while IFS=$'\t' read -r crate directory; do
        for file in "$directory"/{LICEN[CS]E*,COPYING*,NOTICE*,UNLICENSE*}; do
            [[ -f $file ]] || continue
            name=$(sha256sum <"$file" | cut --delimiter=' ' --fields=1)
            [[ -e $texts/$name ]] || cp "$file" "$texts/$name"
            printf '%s\n' "$crate" >>"$texts/$name.crates"
        done
    done <<<"$crates"
    for file in "$texts"/*.crates; do
        printf '\n%s\n%s\n%s\n\n' "$(printf '=%.0s' {1..78})" "$(sort --unique "$file" | paste --serial --delimiters=, | sed 's/,/, /g' | fold --spaces --width=78)" \
            "$(printf -- '-%.0s' {1..78})"
        cat "${file%.crates}"
    done
    rm -rf "$texts"
}

# linked_crates TARGET: name and version of each crate of others, and where cargo has put its source.
linked_crates() {
    local name chosen=() crate version source
    for name in "${programs[@]}"; do
        chosen+=(--package "$name")
    done
    (cd "$checkout" && cargo tree --locked --target "$1" --edges normal --prefix none --format '{p}' "${chosen[@]}") |
        # Ours have a path behind the version.
        sed --quiet 's/ ([*a-z-]*)$//; /(/d; s/ v/ /p' | sort --unique |
        while read -r crate version; do
            for source in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"$crate-$version"; do
                [[ -d $source ]] || fail "the source of $crate $version is not at $source, and so its licence is not known"
                printf '%s %s\t%s\n' "$crate" "$version" "$source"
                break
            done
        done
}
