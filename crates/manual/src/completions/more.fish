
# Images: a kind and a path behind it, or a path.
function __fish_grootfs_images
    set -l word (commandline -ct)
    if set -l parts (string match -r '^((?:oci|oci-archive|docker-archive):(?://)?)(.*)$' -- $word)
        __fish_complete_path $parts[3] | while read -l path
            printf '%s%s\n' $parts[2] $path
        end
    else if not string match -q 'docker:*' -- $word
        printf '%s\tkind of image\n' oci: oci-archive: docker: docker-archive:
        __fish_complete_path $word
    end
end

# Ids of the store that the line names.
function __fish_grootfs_ids
    set -l options
    set -l words (commandline -opc)
    for at in (seq 2 (count $words))
        if string match -qr -- '^--?(store|config|driver)=' $words[$at]
            set -a options $words[$at]
        else if string match -qr -- '^--?(store|config|driver)$' $words[$at]
            set -a options $words[$at..(math $at + 1)]
        end
    end
    command grootfs $options list 2>/dev/null | string replace -rf '^/.*/images/' ''
end

