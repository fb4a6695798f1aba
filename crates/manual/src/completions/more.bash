
# The generated function knows neither commands behind global options, nor flags with one dash, nor images and ids.
_grootfs_more() {
    local valued=' @VALUED@ ' commands=' @COMMANDS@ '
    local at=1 arguments=0 joined='' command='' word name current=$2
    local options=()
    [[ $current != [=:] ]] || current=''
    # Shells cut words at `=` and `:`.
    while ((at < COMP_CWORD)); do
        word=${COMP_WORDS[at++]}
        if [[ $word == -* ]]; then
            name=${word#-}
            name=${name#-}
            [[ $valued == *" $name "* ]] || continue
            [[ ${COMP_WORDS[at]} != '=' ]] || ((at++))
            if ((at >= COMP_CWORD)); then
                _grootfs "$1" "$current" "--$name"
                return
            fi
            word=${COMP_WORDS[at++]}
            case $name in
            store | config | driver) options+=("--$name=${word/#\~/$HOME}") ;;
            esac
        elif [[ -z $command ]]; then
            command=$word
        elif [[ $word == :* ]]; then
            joined=yes
            ((arguments--))
        else
            joined=''
            ((arguments++))
        fi
    done
    if [[ ${COMP_WORDS[COMP_CWORD]} == :* ]]; then
        joined=yes
        ((arguments--))
    fi
    if [[ $current == -* ]]; then
        _grootfs "$@"
        return
    fi
    case $command:$arguments in
    :* | help:0) mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$current") ;;
    @IMAGES@)
        [[ -n $joined ]] || mapfile -t COMPREPLY < <(compgen -W 'oci: oci-archive: docker: docker-archive:' -- "$current")
        # Without an answer of ours, the shell offers files.
        if [[ ${#COMPREPLY[@]} -gt 0 ]]; then
            compopt -o filenames -o nospace
            mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$current")
        fi
        ;;
    @IDS@)
        compopt +o default +o bashdefault -o filenames
        mapfile -t COMPREPLY < <(
            "${1/#\~/$HOME}" "${options[@]}" list 2>/dev/null |
                while read -r word; do
                    name=${word##*/images/}
                    [[ $name == "$word" || $name != "$current"* ]] || printf '%s\n' "$name"
                done
        )
        ;;
    *:*) compopt +o default +o bashdefault ;;
    esac
}

complete -F _grootfs_more -o bashdefault -o default grootfs
