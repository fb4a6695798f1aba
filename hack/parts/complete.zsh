# Prints what zsh offers at the end of a line, with a terminal of its own: zsh -f hack/parts/complete.zsh LINE
zmodload zsh/zpty || exit
offered=$(mktemp)
setup=$(mktemp)

# Whatever completion functions offer goes through `compadd`; with -O, -A and -D they only ask.
cat >$setup <<'END'
autoload -Uz compinit
compinit -u -D
compadd() {
    if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then
        builtin compadd "$@"
        return
    fi
    local -a hits
    builtin compadd -A hits "$@"
    print -rl -- $hits >>$OFFERED
    builtin compadd "$@"
}
finish() { print ALL-OFFERED; exit }
zle -N finish
bindkey '^X' finish '^I' complete-word
PS1=
END
export OFFERED=$offered
zpty terminal zsh -f -i
zpty -w terminal "source $setup; print READ''Y"
zpty -r terminal text '*READY*'
zpty -w -n terminal "$1"$'\t\x18'
zpty -r terminal text '*ALL-OFFERED*'
sort --unique $offered | sed '/^$/d'
rm -f $offered $setup
