# shellcheck shell=bash
# Writes OCI image layouts with nothing but coreutils, gzip and zstd.
# https://github.com/opencontainers/image-spec/blob/main/image-layout.md

sha256_of() {
    sha256sum -- "${1:--}" | cut -d' ' -f1
}

# plain FILE: the bytes of a layer without its compression.
plain() {
    case $1 in
    *.gz) gzip --decompress --stdout -- "$1" ;;
    *.zst) zstd --quiet --decompress --stdout -- "$1" ;;
    *) cat -- "$1" ;;
    esac
}

media_type_suffix() {
    case $1 in
    *.gz) printf '+gzip' ;;
    *.zst) printf '+zstd' ;;
    esac
}

# This machine in the image specification's words.
architecture() {
    case $(dpkg --print-architecture) in
    armhf | armel) printf 'arm' ;;
    i386) printf '386' ;;
    ppc64el) printf 'ppc64le' ;;
    *) dpkg --print-architecture | tr -d '\n' ;;
    esac
}

# descriptor MEDIA_TYPE FILE: the JSON object that points at a blob.
descriptor() {
    printf '{"mediaType":"%s","digest":"sha256:%s","size":%s}' \
        "$1" "$(sha256_of "$2")" "$(stat --format %s -- "$2")"
}

# write_layout DIR REF LAYER...: makes DIR, which must not be there, from tar files (plain, .gz or
# .zst), base first. The same layers give the same bytes. The layer files are moved.
write_layout() {
    local dir=$1 ref=$2 layer layers='' diff_ids='' architecture
    shift 2
    architecture=$(architecture)
    mkdir -p "$dir/blobs/sha256"
    for layer in "$@"; do
        layers+=${layers:+,}$(descriptor \
            "application/vnd.oci.image.layer.v1.tar$(media_type_suffix "$layer")" "$layer")
        diff_ids+=${diff_ids:+,}\"sha256:$(plain "$layer" | sha256_of)\"
        mv -- "$layer" "$dir/blobs/sha256/$(sha256_of "$layer")"
    done

    printf '{"created":"1970-01-01T00:00:00Z","architecture":"%s","os":"linux","config":{"Env":["PATH=/bin"],"Cmd":["/bin/sh"]},"rootfs":{"type":"layers","diff_ids":[%s]}}' \
        "$architecture" "$diff_ids" >"$dir/config"
    local config
    config=$(descriptor application/vnd.oci.image.config.v1+json "$dir/config")
    mv "$dir/config" "$dir/blobs/sha256/$(sha256_of "$dir/config")"

    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s]}' \
        "$config" "$layers" >"$dir/manifest"
    local manifest
    manifest=$(descriptor application/vnd.oci.image.manifest.v1+json "$dir/manifest")
    mv "$dir/manifest" "$dir/blobs/sha256/$(sha256_of "$dir/manifest")"

    printf '{"schemaVersion":2,"manifests":[%s,"annotations":{"org.opencontainers.image.ref.name":"%s"}}]}' \
        "${manifest%\}}" "$ref" >"$dir/index.json"
    printf '{"imageLayoutVersion":"1.0.0"}' >"$dir/oci-layout"
}

# pack DIR: the tree as a tar on standard output; the same tree gives the same bytes.
pack() {
    tar --create --directory "$1" --sort=name --format=ustar --mtime=@0 \
        --owner=0 --group=0 --numeric-owner .
}
