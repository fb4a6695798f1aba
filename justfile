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

# Speed and memory of a release build; needs root.
bench:
    benches/cached-create
    benches/unpack-memory

# Licences, advisories, duplicates and sources of the crates that we link.
deny:
    hack/deny
