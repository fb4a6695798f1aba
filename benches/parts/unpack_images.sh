# shellcheck shell=bash
# The images of benches/unpack. Needs hack/parts/oci_layout.sh and a room.
#
# Each function makes the layout $room/NAME, its layers as $room/NAME.tars/*.{tar,gz}, the number
# of its entries and a title. Contents are source-like texts and bytes that hardly compress, from
# awk's own generator: the same on every machine.

# write_files DIR FIRST LAST FILES_A_DIRECTORY LEAST MOST: files of random sizes between the two.
write_files() {
    mkdir -p "$1"
    # xargs would start a process a file: python is not needed, awk writes them all.
    awk -v dir="$1" -v first="$2" -v last="$3" -v each="$4" -v least="$5" -v most="$6" 'BEGIN {
        srand(first + last)
        for (word = 0; word < 4096; word++) {
            text = ""
            length_of = 2 + int(rand() * 9)
            for (at = 0; at < length_of; at++) text = text sprintf("%c", 97 + int(rand() * 26))
            words[word] = text
        }
        # Larger pieces are put together from lines that are made once.
        for (line = 0; line < 8192; line++) {
            text = ""
            while (length(text) < 100) text = text words[int(rand() * rand() * 4096)] " "
            lines[line] = text "\n"
        }
        for (number = first; number <= last; number++) {
            sub_dir = dir "/" int(number / each)
            if (!(sub_dir in made)) { system("mkdir -p " sub_dir); made[sub_dir] }
            name = sub_dir "/file-" number ".js"
            size = least + int(rand() * (most - least))
            while (size > 0) {
                line = lines[int(rand() * 8192)]
                printf "%s", line > name
                size -= length(line)
            }
            close(name)
        }
    }'
}

# add_layer IMAGE NUMBER: the tree in $room/tree becomes a layer.
add_layer() {
    local tar
    mkdir -p "$room/$1.tars"
    tar=$room/$1.tars/$(printf '%03d' "$2").tar
    pack "$room/tree" >"$tar"
    gzip -6 --no-name --stdout "$tar" >"${tar%.tar}.gz"
    rm -rf "$room/tree"
}

# complete IMAGE ENTRIES TITLE: the layout out of the layers.
complete() {
    local copies=() blob
    for blob in "$room/$1.tars"/*.gz; do
        cp "$blob" "$blob.layer.gz"
        copies+=("$blob.layer.gz")
    done
    write_layout "$room/$1" latest "${copies[@]}"
    printf '%s' "$2" >"$room/$1.files"
    printf '%s: %s MB, %s MB stored' "$3" "$(($(cat "$room/$1.tars"/*.tar | wc -c) / 1000000))" \
        "$(($(cat "$room/$1.tars"/*.gz | wc -c) / 1000000))" >"$room/$1.title"
}

image_small() {
    write_files "$room/tree/app" 1 40000 20 100 7000
    add_layer small 1
    complete small 40000 '40,000 small files in one layer'
}

# Every third file is bytes that hardly compress, as in real images: archives, pictures, code.
image_big() {
    local number
    write_files "$room/tree/opt" 1 300 30 2000000 4700000
    for ((number = 3; number <= 300; number += 3)); do
        openssl enc -aes-128-ctr -nosalt -pass "pass:$number" -pbkdf2 -in /dev/zero 2>/dev/null |
            head --bytes=3333333 >"$room/tree/opt/$((number / 30))/file-$number.js" || true
    done
    add_layer big 1
    complete big 300 '300 big files in one layer'
}

image_layers() {
    many_layers layers 60
}

# many_layers NAME COUNT
many_layers() {
    local number
    for ((number = 1; number <= $2; number++)); do
        write_files "$room/tree/app/$number" "$((number * 100))" "$((number * 100 + 99))" 20 100 7000
        add_layer "$1" "$number"
    done
    complete "$1" "$(($2 * 100))" "$2 layers with 100 small files each"
}

# one_of_many NAME NUMBER: 2,000 small files, others for each number.
one_of_many() {
    write_files "$room/tree/app" "$(($2 * 10000))" "$(($2 * 10000 + 1999))" 20 100 7000
    add_layer "$1" 1
    complete "$1" 2000 '2,000 small files'
}
