# shellcheck shell=bash
# Debian and Ubuntu packages by name. Needs root.sh.

# have_package NAME: whether it is installed.
have_package() {
    [[ $(dpkg-query --show --showformat '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# install_packages NAME...: installs what is missing; with nothing missing it asks no server.
install_packages() {
    local name missing=()
    command -v apt-get >/dev/null ||
        fail "knows only apt-get (Debian, Ubuntu). Install by hand what these packages hold: $*"
    for name in "$@"; do
        have_package "$name" || missing+=("$name")
    done
    [[ ${#missing[@]} -eq 0 ]] && return
    say "installing packages: ${missing[*]}"
    # Another apt may be at work on a machine that has just booted: wait for it, up to 5 minutes.
    local apt=(env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
        apt-get --quiet --yes -o DPkg::Lock::Timeout=300)
    "${apt[@]}" update >/dev/null || say "the package lists could not be refreshed; going on with those that are here"
    "${apt[@]}" install --no-install-recommends "${missing[@]}" >/dev/null ||
        fail "apt-get could not install: ${missing[*]}"
    for name in "${missing[@]}"; do
        stop_service "$name"
    done
}

# Packages of servers start them. Tests start their own, on ports of their own.
stop_service() {
    case $1 in
    docker-registry | prometheus | tinyproxy)
        [[ -d /run/systemd/system ]] || return 0
        systemctl disable --quiet --now "$1" || say "the service $1 could not be stopped"
        ;;
    esac
}
