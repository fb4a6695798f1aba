# shellcheck shell=bash
# Where the checkout is, how the scripts speak, and that they run as root.

# shellcheck disable=SC2034 # used by the scripts that source this file
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)

say() {
    printf '==> %s\n' "$*"
}

fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# need_root WHY: ends the script with the command to use when it does not run as root.
need_root() {
    [[ $EUID -eq 0 ]] && return
    local again
    again=$(realpath "$0")
    if command -v sudo >/dev/null; then
        fail "needs root, because it $1. Run: sudo $again"
    fi
    fail "needs root, because it $1. There is no sudo here; run: su -c $again"
}
