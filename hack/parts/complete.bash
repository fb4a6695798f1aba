#!/bin/bash
# Prints what bash offers at the end of a line: bash --norc hack/parts/complete.bash COMPLETIONS LINE
completions=$1 line=$2

# The shell's own, which works only while somebody presses Tab: remembers whether files may be offered.
files=yes
compopt() {
    [[ $* != *'+o default'* ]] || files=''
}

# shellcheck source=/dev/null
source "$completions"
words=${line//=/ = }
read -ra COMP_WORDS <<<"${words//:/ : }"
[[ $line != *[\ =:] || $line == *[=:] ]] || COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
current=${COMP_WORDS[COMP_CWORD]}
# `complete -o default -F name grootfs`
name=$(complete -p grootfs | sed 's/.* -F \([^ ]*\).*/\1/')
"$name" grootfs "$current" "${COMP_WORDS[COMP_CWORD - 1]}"
if [[ ${#COMPREPLY[@]} -gt 0 ]]; then
    printf '%s\n' "${COMPREPLY[@]}"
elif [[ -n $files ]]; then
    compgen -f -- "$current"
fi
