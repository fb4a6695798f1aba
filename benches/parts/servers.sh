# shellcheck shell=bash
# A registry and a containerd of a benchmark's own. Needs hack/parts/root.sh and a room; who sources this
# calls `stop_servers` in its trap.

servers=()

# wait_for_line TEXT FILE PID: until a program has written it.
wait_for_line() {
    # The program is started, but may not have opened it yet.
    : >>"$2"
    timeout 30 grep --quiet --max-count=1 "$1" <(tail --follow --lines=+1 --pid="$3" "$2") ||
        fail "waited in vain for '$1': $(tail -n 1 "$2")"
}

# become NAMESPACE COMMAND...: for the background: the job is the program itself, with that network
# (without a name, with this one).
become() {
    if [[ -n $1 ]]; then
        exec nsenter --net="/run/netns/$1" -- "${@:2}"
    else
        exec "${@:2}"
    fi
}

# shellcheck disable=SC2154 # room is set by the script that sources this file
# start_registry NAMESPACE ADDRESS: sets `registry`.
start_registry() {
    local log=$room/registry-$2.log
    cat >"$room/registry-$2.yml" <<END
version: 0.1
storage: {filesystem: {rootdirectory: $room/registry}}
http: {addr: "$2:0"}
END
    become "$1" docker-registry serve "$room/registry-$2.yml" >"$log" 2>&1 &
    servers+=($!)
    wait_for_line 'listening on' "$log" $!
    registry=$(sed -n 's/.*listening on \([0-9.]*:[0-9]*\).*/\1/p' "$log")
}

# start_containerd NAMESPACE [ROOT [BTRFS_ROOT]]: with nothing of a service's that runs here; sets
# `containerd` to its process.
start_containerd() {
    cat >"$room/containerd.toml" <<END
version = 2
root = "${2:-$room/containerd}"
state = "$room/containerd-state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
address = "$room/containerd.sock"
END
    [[ -z ${3:-} ]] || cat >>"$room/containerd.toml" <<END
[plugins."io.containerd.snapshotter.v1.btrfs"]
root_path = "$3"
END
    become "$1" containerd --config "$room/containerd.toml" >"$room/containerd.log" 2>&1 &
    containerd=$!
    servers+=("$containerd")
    wait_for_line 'containerd successfully booted' "$room/containerd.log" "$containerd"
}

stop_containerd() {
    kill "$containerd"
    wait "$containerd" 2>/dev/null || true
    rm -f "$room/containerd.log"
}

stop_servers() {
    local pid
    for pid in "${servers[@]}"; do
        kill "$pid" 2>/dev/null || continue
        wait "$pid" 2>/dev/null || true
    done
}
