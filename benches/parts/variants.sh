# shellcheck shell=bash
# Images in gzip, in zstd and plain, made once. Needs hack/parts/{root,oci_layout}.sh and unpack_images.sh.
#
# They stay in GROOTFS_IMAGES as NAME.gzip, NAME.zstd and NAME.plain. Layers that have the compression
# already are hard links to those of the image.

images=${GROOTFS_IMAGES:-/var/tmp/grootfs-images}

# compress FILE COMPRESSION TARGET: the layer in that compression, with the name that says so.
compress() {
    local from=none
    case $(head --bytes=4 "$1" | od -An -tx1 | tr -d ' \n') in
    1f8b*) from=gzip ;;
    28b52ffd) from=zstd ;;
    esac
    case $from-$2 in
    none-plain | gzip-gzip | zstd-zstd) ln "$1" "$3$(ending "$2")" ;;
    *) inflated "$from" "$1" | deflated "$2" >"$3$(ending "$2")" ;;
    esac
}

ending() {
    case $1 in
    gzip) printf '.tar.gz' ;;
    zstd) printf '.tar.zst' ;;
    plain) printf '.tar' ;;
    esac
}

inflated() {
    case $1 in
    gzip) gzip --decompress --stdout "$2" ;;
    zstd) zstd --quiet --decompress --stdout "$2" ;;
    none) cat "$2" ;;
    esac
}

deflated() {
    case $1 in
    gzip) gzip -6 --no-name ;;
    zstd) zstd --quiet -T0 ;;
    plain) cat ;;
    esac
}

# variant NAME COMPRESSION LAYOUT [LAYERS]: makes it of (the first layers of) another layout, where it is not there.
variant() {
    local target=$images/$1.$2 making number=0 digest layers=() manifest
    [[ ! -d $target ]] || return 0
    say "making the image $1 in $2" >&2
    making=$(mktemp --directory "$images/making.XXXXXX")
    manifest=$(jq --raw-output '.manifests[0].digest' "$3/index.json")
    while read -r digest; do
        number=$((number + 1))
        compress "$3/blobs/${digest/://}" "$2" "$making/$number"
        layers+=("$making/$number$(ending "$2")")
    done < <(jq --raw-output ".layers[:${4:-null}][].digest" "$3/blobs/${manifest/://}")
    write_layout "$making/layout" latest "${layers[@]}"
    mv "$making/layout" "$target"
    rm -rf "$making"
}

# made NAME FUNCTION ARGUMENT...: an image in gzip that a function of unpack_images.sh makes.
made() {
    local name=$1 room
    shift
    [[ ! -d $images/$name.gzip ]] || return 0
    say "making the image $name" >&2
    room=$(mktemp --directory "$images/making.XXXXXX")
    "$@"
    mv "$room/$name" "$images/$name.gzip"
    rm -rf "$room"
}
