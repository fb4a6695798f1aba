# `just` comes from your distribution, from crates.io, or from PyPI (`pip install rust-just`).
# Nothing needs it: each line here can be typed by hand.

# What there is.
default:
    @just --list

# What CI runs; needs root.
check:
    .ci/run

# The release binaries.
build:
    cargo build --release --locked

# The tests that need no root; `sudo hack/test` runs all.
test:
    cargo nextest run --workspace --locked -E 'not test(privileged_)'

# Format and lints, without running anything.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- --deny warnings

# Renews the man pages and completions in packaging/ after a change of the command line.
man:
    cargo run --quiet --package manual --locked

# The Debian package, in target/packages.
deb:
    hack/deb

# The static binaries for any Linux of this architecture, in target/packages.
tarball:
    hack/tarball

# Speed and memory of a release build; needs root.
bench:
    benches/cached-create
    benches/limits
    benches/mapped-create
    benches/peers
    benches/snapshots
    benches/scale
    benches/unpack-memory
    benches/unpack
    benches/fidelity
    benches/static
    benches/pull-over-a-link

# The manual as a book in target/book.
book:
    mdbook build

# Kills, races, power cuts and errors of the kernel, for so many seconds at random; needs root.
soak seconds="600" seed="":
    hack/soak {{seconds}} {{seed}}

# Licences, advisories, duplicates and sources of the crates that we link.
deny:
    hack/deny

# Installs what `just fuzz` needs, once.
install-fuzz:
    cargo install cargo-fuzz --locked

# Fuzzes one target of fuzz/ for so many seconds; `layer` needs root. The stable compiler does: what
# is looked for are panics and broken promises, and sanitizers would look for unsafe code.
fuzz target seconds="120":
    mkdir -p fuzz/corpus/{{target}}
    cargo fuzz run --sanitizer none {{target}} fuzz/corpus/{{target}} fuzz/seeds/{{target}} -- \
        -max_total_time={{seconds}} -timeout=10 -rss_limit_mb=2048 -max_len=16384
