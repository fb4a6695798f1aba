# Images: a kind and a path behind it, or a path.
_grootfs_images() {
    local expl
    local -a kinds=(oci: oci-archive: docker: docker-archive:)
    if [[ $PREFIX == docker:* ]]; then
        return 1
    fi
    if [[ $PREFIX == (oci|oci-archive|docker-archive):* ]]; then
        compset -P '[a-z-]#:'
        compset -P '//'
    else
        _wanted kinds expl 'kind of image' compadd -S '' -a kinds
    fi
    _files
}

# Ids of the store that the line names.
_grootfs_ids() {
    local expl at
    local -a words_given=("${(@Q)${(z)BUFFER}}") options ids
    for ((at = 2; at < $#words_given; at++)); do
        if [[ $words_given[at] == -(|-)(store|config|driver)=* ]]; then
            options+=("$words_given[at]")
        elif [[ $words_given[at] == -(|-)(store|config|driver) ]]; then
            options+=("$words_given[at]" "${words_given[at + 1]/#\~/$HOME}")
        fi
    done
    ids=("${(@f)$(command grootfs "${options[@]}" list 2>/dev/null)}")
    ids=("${(@)${(M@)ids:#*/images/*}##*/images/}")
    _wanted ids expl id compadd -a ids
}
