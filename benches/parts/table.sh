# shellcheck shell=bash
# Tables of milliseconds: many short commands, one after the other, in rounds. Needs room.sh, hyperfine and
# jq; `$runs` is the number of rounds.

# shellcheck disable=SC2154 # runs and room are set by the script that sources this file
# table TITLE [NAME COMMAND]...: a row of milliseconds for each command: median, least, most. `{number}` is the
# number of the round.
table() {
    local title=$1 names=() commands=() row median least most
    shift
    while [[ $# -gt 0 ]]; do
        names+=("$1")
        commands+=("$2")
        shift 2
    done
    # With a run for each number hyperfine starts all commands with the first number, then with the next.
    hyperfine --shell=none --runs=1 --style=none --export-json "$room/figures.json" \
        --parameter-scan number 1 "$runs" "${commands[@]}" >/dev/null 2>"$room/errors" ||
        fail "failed: $(tail -n 3 "$room/errors")"
    printf '\n%-52s %8s %8s %8s\n' "$title" median min max
    for row in "${!names[@]}"; do
        read -r median least most < <(
            jq --raw-output --argjson row "$row" --argjson of "${#names[@]}" \
                '[.results | to_entries[] | select(.key % $of == $row).value.times[0] * 1000] | sort
                | [(.[(length / 2 | floor)]), first, last] | @tsv' "$room/figures.json"
        )
        printf '%-52s %8.2f %8.2f %8.2f\n' "${names[row]}" "$median" "$least" "$most"
    done
}
