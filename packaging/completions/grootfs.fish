# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_grootfs_global_optspecs
    string join \n config= store= driver= log-level= log-file= log-timestamp-format= tardis-bin= drax-bin= btrfs-progs-path= newuidmap-bin= newgidmap-bin= log-format= metrics-textfile= metron-endpoint= compat= progress= quiet v/version h/help
end

function __fish_grootfs_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_grootfs_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_grootfs_using_subcommand
    set -l cmd (__fish_grootfs_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c grootfs -n "__fish_grootfs_needs_command" -l config -d 'Configuration file (YAML); flags win over it' -r -F
complete -c grootfs -n "__fish_grootfs_needs_command" -l store -d 'Directory of the store [default: /var/lib/grootfs]' -r -f -a "(__fish_complete_directories)"
complete -c grootfs -n "__fish_grootfs_needs_command" -l driver -d 'btrfs or overlay-xfs [default: what the store was made with; init-store: overlay-xfs]' -r -f -a "btrfs\t''
overlay-xfs\t''"
complete -c grootfs -n "__fish_grootfs_needs_command" -l log-level -d 'debug, info, error or fatal [default: fatal]' -r -f -a "debug\t''
info\t''
error\t''
fatal\t''"
complete -c grootfs -n "__fish_grootfs_needs_command" -l log-file -d 'File that log lines are appended to; the level is then at least info' -r -F
complete -c grootfs -n "__fish_grootfs_needs_command" -l log-timestamp-format -d 'unix-epoch or rfc3339' -r -f -a "unix-epoch\t''
rfc3339\t''"
complete -c grootfs -n "__fish_grootfs_needs_command" -l tardis-bin -d 'Helper that sets XFS quotas for users other than root [default: tardis]' -r -F
complete -c grootfs -n "__fish_grootfs_needs_command" -l drax-bin -d 'Helper that sets btrfs quotas for users other than root [default: drax]' -r -F
complete -c grootfs -n "__fish_grootfs_needs_command" -l btrfs-progs-path -d 'Directory of btrfs and mkfs.btrfs [default: look in PATH]' -r -f -a "(__fish_complete_directories)"
complete -c grootfs -n "__fish_grootfs_needs_command" -l newuidmap-bin -d 'Tool that maps user ids for users other than root [default: newuidmap]' -r -F
complete -c grootfs -n "__fish_grootfs_needs_command" -l newgidmap-bin -d 'Tool that maps group ids for users other than root [default: newgidmap]' -r -F
complete -c grootfs -n "__fish_grootfs_needs_command" -l log-format -d 'json, or text for people [default: json]' -r -f -a "json\t''
text\t''"
complete -c grootfs -n "__fish_grootfs_needs_command" -l metrics-textfile -d 'File that metrics for Prometheus are added to' -r -F
complete -c grootfs -n "__fish_grootfs_needs_command" -l metron-endpoint -d 'host:port that metrics are sent to, as dropsonde envelopes by UDP' -r -f
complete -c grootfs -n "__fish_grootfs_needs_command" -l compat -d 'Which original is followed where they differ: v0.30 or garden [default: v0.30]' -r -f -a "v0.30\t''
garden\t''"
complete -c grootfs -n "__fish_grootfs_needs_command" -l progress -d 'auto: one line of a terminal on standard error; plain: a line every few seconds; none' -r -f
complete -c grootfs -n "__fish_grootfs_needs_command" -l quiet -d 'No progress and no warnings; what is asked for is printed all the same'
complete -c grootfs -n "__fish_grootfs_needs_command" -s v -l version -d 'Print the version'
complete -c grootfs -n "__fish_grootfs_needs_command" -s h -l help -d 'Print help'
complete -c grootfs -n "__fish_grootfs_needs_command" -f -a "init-store" -d 'Makes a store'
complete -c grootfs -n "__fish_grootfs_needs_command" -f -a "delete-store" -d 'Takes a store away with all that is in it'
complete -c grootfs -n "__fish_grootfs_needs_command" -f -a "create" -d 'Makes a root file system from an image'
complete -c grootfs -n "__fish_grootfs_needs_command" -f -a "pull" -d 'Fetches the layers of an image into the store'
complete -c grootfs -n "__fish_grootfs_needs_command" -f -a "delete" -d 'Deletes a root file system'
complete -c grootfs -n "__fish_grootfs_needs_command" -f -a "stats" -d 'Says how much a root file system holds'
complete -c grootfs -n "__fish_grootfs_needs_command" -f -a "limit" -d 'Changes the limit of a root file system, also of one that is in use'
complete -c grootfs -n "__fish_grootfs_needs_command" -f -a "df" -d 'Tells where the disk went, what is promised, and what a clean would give back'
complete -c grootfs -n "__fish_grootfs_needs_command" -f -a "clean" -d 'Removes layers that no root file system uses'
complete -c grootfs -n "__fish_grootfs_needs_command" -f -a "check" -d 'Looks for whatever is wrong with a store, and mends it'
complete -c grootfs -n "__fish_grootfs_needs_command" -f -a "list" -d 'Lists the root file systems'
complete -c grootfs -n "__fish_grootfs_needs_command" -f -a "doctor" -d 'Looks for what keeps this machine and this store from working'
complete -c grootfs -n "__fish_grootfs_needs_command" -f -a "capacity" -d 'Says how large the store was configured to be'
complete -c grootfs -n "__fish_grootfs_needs_command" -f -a "config" -d 'Prints the configuration that is in effect, and where each value comes from'
complete -c grootfs -n "__fish_grootfs_needs_command" -f -a "help" -d 'Print the help of a command'
complete -c grootfs -n "__fish_grootfs_using_subcommand init-store" -l uid-mapping -d '<namespace id>:<host id>:<size>, may be given several times' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand init-store" -l gid-mapping -d '<namespace id>:<host id>:<size>, may be given several times' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand init-store" -l rootless -d '<user>:<group> whose ranges in /etc/subuid and /etc/subgid become the mappings' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand init-store" -l store-size-bytes -d 'Makes a file system of this size in <store>.backing-store and mounts it' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand init-store" -l config -d 'Configuration file (YAML); flags win over it' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand init-store" -l store -d 'Directory of the store [default: /var/lib/grootfs]' -r -f -a "(__fish_complete_directories)"
complete -c grootfs -n "__fish_grootfs_using_subcommand init-store" -l driver -d 'btrfs or overlay-xfs [default: what the store was made with; init-store: overlay-xfs]' -r -f -a "btrfs\t''
overlay-xfs\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand init-store" -l log-level -d 'debug, info, error or fatal [default: fatal]' -r -f -a "debug\t''
info\t''
error\t''
fatal\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand init-store" -l log-file -d 'File that log lines are appended to; the level is then at least info' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand init-store" -l log-timestamp-format -d 'unix-epoch or rfc3339' -r -f -a "unix-epoch\t''
rfc3339\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand init-store" -l tardis-bin -d 'Helper that sets XFS quotas for users other than root [default: tardis]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand init-store" -l drax-bin -d 'Helper that sets btrfs quotas for users other than root [default: drax]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand init-store" -l btrfs-progs-path -d 'Directory of btrfs and mkfs.btrfs [default: look in PATH]' -r -f -a "(__fish_complete_directories)"
complete -c grootfs -n "__fish_grootfs_using_subcommand init-store" -l newuidmap-bin -d 'Tool that maps user ids for users other than root [default: newuidmap]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand init-store" -l newgidmap-bin -d 'Tool that maps group ids for users other than root [default: newgidmap]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand init-store" -l log-format -d 'json, or text for people [default: json]' -r -f -a "json\t''
text\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand init-store" -l metrics-textfile -d 'File that metrics for Prometheus are added to' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand init-store" -l metron-endpoint -d 'host:port that metrics are sent to, as dropsonde envelopes by UDP' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand init-store" -l compat -d 'Which original is followed where they differ: v0.30 or garden [default: v0.30]' -r -f -a "v0.30\t''
garden\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand init-store" -l progress -d 'auto: one line of a terminal on standard error; plain: a line every few seconds; none' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand init-store" -l with-direct-io -d 'Lets that file system go round the page cache of the one below'
complete -c grootfs -n "__fish_grootfs_using_subcommand init-store" -l with-simple-quotas -d 'Lets that file system count with the simple quotas of btrfs: a create does not slow down with many roots (Linux 6.7)'
complete -c grootfs -n "__fish_grootfs_using_subcommand init-store" -l quiet -d 'No progress and no warnings; what is asked for is printed all the same'
complete -c grootfs -n "__fish_grootfs_using_subcommand init-store" -s h -l help -d 'Print help'
complete -c grootfs -n "__fish_grootfs_using_subcommand delete-store" -l config -d 'Configuration file (YAML); flags win over it' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand delete-store" -l store -d 'Directory of the store [default: /var/lib/grootfs]' -r -f -a "(__fish_complete_directories)"
complete -c grootfs -n "__fish_grootfs_using_subcommand delete-store" -l driver -d 'btrfs or overlay-xfs [default: what the store was made with; init-store: overlay-xfs]' -r -f -a "btrfs\t''
overlay-xfs\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand delete-store" -l log-level -d 'debug, info, error or fatal [default: fatal]' -r -f -a "debug\t''
info\t''
error\t''
fatal\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand delete-store" -l log-file -d 'File that log lines are appended to; the level is then at least info' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand delete-store" -l log-timestamp-format -d 'unix-epoch or rfc3339' -r -f -a "unix-epoch\t''
rfc3339\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand delete-store" -l tardis-bin -d 'Helper that sets XFS quotas for users other than root [default: tardis]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand delete-store" -l drax-bin -d 'Helper that sets btrfs quotas for users other than root [default: drax]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand delete-store" -l btrfs-progs-path -d 'Directory of btrfs and mkfs.btrfs [default: look in PATH]' -r -f -a "(__fish_complete_directories)"
complete -c grootfs -n "__fish_grootfs_using_subcommand delete-store" -l newuidmap-bin -d 'Tool that maps user ids for users other than root [default: newuidmap]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand delete-store" -l newgidmap-bin -d 'Tool that maps group ids for users other than root [default: newgidmap]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand delete-store" -l log-format -d 'json, or text for people [default: json]' -r -f -a "json\t''
text\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand delete-store" -l metrics-textfile -d 'File that metrics for Prometheus are added to' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand delete-store" -l metron-endpoint -d 'host:port that metrics are sent to, as dropsonde envelopes by UDP' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand delete-store" -l compat -d 'Which original is followed where they differ: v0.30 or garden [default: v0.30]' -r -f -a "v0.30\t''
garden\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand delete-store" -l progress -d 'auto: one line of a terminal on standard error; plain: a line every few seconds; none' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand delete-store" -l with-backing-file -d 'Removes the file of the store\'s own file system too'
complete -c grootfs -n "__fish_grootfs_using_subcommand delete-store" -l quiet -d 'No progress and no warnings; what is asked for is printed all the same'
complete -c grootfs -n "__fish_grootfs_using_subcommand delete-store" -s h -l help -d 'Print help'
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l disk-limit-size-bytes -d 'Hard limit of the root file system in bytes; 0 for none' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l inode-limit -d 'Most files, directories and links that may be made in it, 0 for any number (overlay-xfs only)' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l threshold-bytes -d 'Bytes of layers from which on a clean begins' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l clean-log-file -d 'File that a clean after the create logs to' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l bundle -d 'Makes an OCI bundle for `runc run -b DIR`: config.json in DIR. Words behind the id replace the image\'s default arguments' -r -f -a "(__fish_complete_directories)"
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l insecure-registry -d 'host or host:port of a registry without a valid certificate or without TLS, may be repeated' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l username -d 'User name at the registry [default: $GROOTFS_USERNAME, or what docker or podman login saved]' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l password -d 'Password at the registry; others see it in the process list, so prefer the next one' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l password-file -d 'File whose first line is the password [default: $GROOTFS_PASSWORD]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l platform -d 'os/arch[/variant] to choose from images for several [default: this machine]' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l config -d 'Configuration file (YAML); flags win over it' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l store -d 'Directory of the store [default: /var/lib/grootfs]' -r -f -a "(__fish_complete_directories)"
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l driver -d 'btrfs or overlay-xfs [default: what the store was made with; init-store: overlay-xfs]' -r -f -a "btrfs\t''
overlay-xfs\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l log-level -d 'debug, info, error or fatal [default: fatal]' -r -f -a "debug\t''
info\t''
error\t''
fatal\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l log-file -d 'File that log lines are appended to; the level is then at least info' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l log-timestamp-format -d 'unix-epoch or rfc3339' -r -f -a "unix-epoch\t''
rfc3339\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l tardis-bin -d 'Helper that sets XFS quotas for users other than root [default: tardis]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l drax-bin -d 'Helper that sets btrfs quotas for users other than root [default: drax]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l btrfs-progs-path -d 'Directory of btrfs and mkfs.btrfs [default: look in PATH]' -r -f -a "(__fish_complete_directories)"
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l newuidmap-bin -d 'Tool that maps user ids for users other than root [default: newuidmap]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l newgidmap-bin -d 'Tool that maps group ids for users other than root [default: newgidmap]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l log-format -d 'json, or text for people [default: json]' -r -f -a "json\t''
text\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l metrics-textfile -d 'File that metrics for Prometheus are added to' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l metron-endpoint -d 'host:port that metrics are sent to, as dropsonde envelopes by UDP' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l compat -d 'Which original is followed where they differ: v0.30 or garden [default: v0.30]' -r -f -a "v0.30\t''
garden\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l progress -d 'auto: one line of a terminal on standard error; plain: a line every few seconds; none' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l exclude-image-from-quota -d 'Lets the limit count only what is written, not the image'
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l with-clean -d 'Cleans unused layers too'
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l without-clean -d 'Does not clean'
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l with-mount -d 'Mounts the root file system'
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l without-mount -d 'Leaves mounting to the runtime'
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l config-json -d 'Prints that config.json, in place of the usual line'
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l force -d 'Lets --bundle replace a config.json that is there'
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l skip-layer-validation -d 'Takes layers with other digests and sizes than the image names (oci: images only)'
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -l quiet -d 'No progress and no warnings; what is asked for is printed all the same'
complete -c grootfs -n "__fish_grootfs_using_subcommand create" -s h -l help -d 'Print help'
complete -c grootfs -n "__fish_grootfs_using_subcommand pull" -l insecure-registry -d 'host or host:port of a registry without a valid certificate or without TLS, may be repeated' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand pull" -l username -d 'User name at the registry [default: $GROOTFS_USERNAME, or what docker or podman login saved]' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand pull" -l password -d 'Password at the registry; others see it in the process list, so prefer the next one' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand pull" -l password-file -d 'File whose first line is the password [default: $GROOTFS_PASSWORD]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand pull" -l platform -d 'os/arch[/variant] to choose from images for several [default: this machine]' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand pull" -l config -d 'Configuration file (YAML); flags win over it' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand pull" -l store -d 'Directory of the store [default: /var/lib/grootfs]' -r -f -a "(__fish_complete_directories)"
complete -c grootfs -n "__fish_grootfs_using_subcommand pull" -l driver -d 'btrfs or overlay-xfs [default: what the store was made with; init-store: overlay-xfs]' -r -f -a "btrfs\t''
overlay-xfs\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand pull" -l log-level -d 'debug, info, error or fatal [default: fatal]' -r -f -a "debug\t''
info\t''
error\t''
fatal\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand pull" -l log-file -d 'File that log lines are appended to; the level is then at least info' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand pull" -l log-timestamp-format -d 'unix-epoch or rfc3339' -r -f -a "unix-epoch\t''
rfc3339\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand pull" -l tardis-bin -d 'Helper that sets XFS quotas for users other than root [default: tardis]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand pull" -l drax-bin -d 'Helper that sets btrfs quotas for users other than root [default: drax]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand pull" -l btrfs-progs-path -d 'Directory of btrfs and mkfs.btrfs [default: look in PATH]' -r -f -a "(__fish_complete_directories)"
complete -c grootfs -n "__fish_grootfs_using_subcommand pull" -l newuidmap-bin -d 'Tool that maps user ids for users other than root [default: newuidmap]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand pull" -l newgidmap-bin -d 'Tool that maps group ids for users other than root [default: newgidmap]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand pull" -l log-format -d 'json, or text for people [default: json]' -r -f -a "json\t''
text\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand pull" -l metrics-textfile -d 'File that metrics for Prometheus are added to' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand pull" -l metron-endpoint -d 'host:port that metrics are sent to, as dropsonde envelopes by UDP' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand pull" -l compat -d 'Which original is followed where they differ: v0.30 or garden [default: v0.30]' -r -f -a "v0.30\t''
garden\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand pull" -l progress -d 'auto: one line of a terminal on standard error; plain: a line every few seconds; none' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand pull" -l skip-layer-validation -d 'Takes layers with other digests and sizes than the image names (oci: images only)'
complete -c grootfs -n "__fish_grootfs_using_subcommand pull" -l quiet -d 'No progress and no warnings; what is asked for is printed all the same'
complete -c grootfs -n "__fish_grootfs_using_subcommand pull" -s h -l help -d 'Print help'
complete -c grootfs -n "__fish_grootfs_using_subcommand delete" -l config -d 'Configuration file (YAML); flags win over it' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand delete" -l store -d 'Directory of the store [default: /var/lib/grootfs]' -r -f -a "(__fish_complete_directories)"
complete -c grootfs -n "__fish_grootfs_using_subcommand delete" -l driver -d 'btrfs or overlay-xfs [default: what the store was made with; init-store: overlay-xfs]' -r -f -a "btrfs\t''
overlay-xfs\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand delete" -l log-level -d 'debug, info, error or fatal [default: fatal]' -r -f -a "debug\t''
info\t''
error\t''
fatal\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand delete" -l log-file -d 'File that log lines are appended to; the level is then at least info' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand delete" -l log-timestamp-format -d 'unix-epoch or rfc3339' -r -f -a "unix-epoch\t''
rfc3339\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand delete" -l tardis-bin -d 'Helper that sets XFS quotas for users other than root [default: tardis]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand delete" -l drax-bin -d 'Helper that sets btrfs quotas for users other than root [default: drax]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand delete" -l btrfs-progs-path -d 'Directory of btrfs and mkfs.btrfs [default: look in PATH]' -r -f -a "(__fish_complete_directories)"
complete -c grootfs -n "__fish_grootfs_using_subcommand delete" -l newuidmap-bin -d 'Tool that maps user ids for users other than root [default: newuidmap]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand delete" -l newgidmap-bin -d 'Tool that maps group ids for users other than root [default: newgidmap]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand delete" -l log-format -d 'json, or text for people [default: json]' -r -f -a "json\t''
text\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand delete" -l metrics-textfile -d 'File that metrics for Prometheus are added to' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand delete" -l metron-endpoint -d 'host:port that metrics are sent to, as dropsonde envelopes by UDP' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand delete" -l compat -d 'Which original is followed where they differ: v0.30 or garden [default: v0.30]' -r -f -a "v0.30\t''
garden\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand delete" -l progress -d 'auto: one line of a terminal on standard error; plain: a line every few seconds; none' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand delete" -l quiet -d 'No progress and no warnings; what is asked for is printed all the same'
complete -c grootfs -n "__fish_grootfs_using_subcommand delete" -s h -l help -d 'Print help'
complete -c grootfs -n "__fish_grootfs_using_subcommand stats" -l config -d 'Configuration file (YAML); flags win over it' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand stats" -l store -d 'Directory of the store [default: /var/lib/grootfs]' -r -f -a "(__fish_complete_directories)"
complete -c grootfs -n "__fish_grootfs_using_subcommand stats" -l driver -d 'btrfs or overlay-xfs [default: what the store was made with; init-store: overlay-xfs]' -r -f -a "btrfs\t''
overlay-xfs\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand stats" -l log-level -d 'debug, info, error or fatal [default: fatal]' -r -f -a "debug\t''
info\t''
error\t''
fatal\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand stats" -l log-file -d 'File that log lines are appended to; the level is then at least info' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand stats" -l log-timestamp-format -d 'unix-epoch or rfc3339' -r -f -a "unix-epoch\t''
rfc3339\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand stats" -l tardis-bin -d 'Helper that sets XFS quotas for users other than root [default: tardis]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand stats" -l drax-bin -d 'Helper that sets btrfs quotas for users other than root [default: drax]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand stats" -l btrfs-progs-path -d 'Directory of btrfs and mkfs.btrfs [default: look in PATH]' -r -f -a "(__fish_complete_directories)"
complete -c grootfs -n "__fish_grootfs_using_subcommand stats" -l newuidmap-bin -d 'Tool that maps user ids for users other than root [default: newuidmap]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand stats" -l newgidmap-bin -d 'Tool that maps group ids for users other than root [default: newgidmap]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand stats" -l log-format -d 'json, or text for people [default: json]' -r -f -a "json\t''
text\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand stats" -l metrics-textfile -d 'File that metrics for Prometheus are added to' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand stats" -l metron-endpoint -d 'host:port that metrics are sent to, as dropsonde envelopes by UDP' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand stats" -l compat -d 'Which original is followed where they differ: v0.30 or garden [default: v0.30]' -r -f -a "v0.30\t''
garden\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand stats" -l progress -d 'auto: one line of a terminal on standard error; plain: a line every few seconds; none' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand stats" -l all -d 'Tells of all root file systems, a line each'
complete -c grootfs -n "__fish_grootfs_using_subcommand stats" -l quiet -d 'No progress and no warnings; what is asked for is printed all the same'
complete -c grootfs -n "__fish_grootfs_using_subcommand stats" -s h -l help -d 'Print help'
complete -c grootfs -n "__fish_grootfs_using_subcommand limit" -l disk-limit-size-bytes -d 'New limit in bytes, 0 for none; the root file system keeps what it holds' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand limit" -l inode-limit -d 'New limit of files, directories and links, 0 for none (overlay-xfs only)' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand limit" -l config -d 'Configuration file (YAML); flags win over it' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand limit" -l store -d 'Directory of the store [default: /var/lib/grootfs]' -r -f -a "(__fish_complete_directories)"
complete -c grootfs -n "__fish_grootfs_using_subcommand limit" -l driver -d 'btrfs or overlay-xfs [default: what the store was made with; init-store: overlay-xfs]' -r -f -a "btrfs\t''
overlay-xfs\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand limit" -l log-level -d 'debug, info, error or fatal [default: fatal]' -r -f -a "debug\t''
info\t''
error\t''
fatal\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand limit" -l log-file -d 'File that log lines are appended to; the level is then at least info' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand limit" -l log-timestamp-format -d 'unix-epoch or rfc3339' -r -f -a "unix-epoch\t''
rfc3339\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand limit" -l tardis-bin -d 'Helper that sets XFS quotas for users other than root [default: tardis]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand limit" -l drax-bin -d 'Helper that sets btrfs quotas for users other than root [default: drax]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand limit" -l btrfs-progs-path -d 'Directory of btrfs and mkfs.btrfs [default: look in PATH]' -r -f -a "(__fish_complete_directories)"
complete -c grootfs -n "__fish_grootfs_using_subcommand limit" -l newuidmap-bin -d 'Tool that maps user ids for users other than root [default: newuidmap]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand limit" -l newgidmap-bin -d 'Tool that maps group ids for users other than root [default: newgidmap]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand limit" -l log-format -d 'json, or text for people [default: json]' -r -f -a "json\t''
text\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand limit" -l metrics-textfile -d 'File that metrics for Prometheus are added to' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand limit" -l metron-endpoint -d 'host:port that metrics are sent to, as dropsonde envelopes by UDP' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand limit" -l compat -d 'Which original is followed where they differ: v0.30 or garden [default: v0.30]' -r -f -a "v0.30\t''
garden\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand limit" -l progress -d 'auto: one line of a terminal on standard error; plain: a line every few seconds; none' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand limit" -l exclude-image-from-quota -d 'Lets the limit count only what is written, not the image'
complete -c grootfs -n "__fish_grootfs_using_subcommand limit" -l quiet -d 'No progress and no warnings; what is asked for is printed all the same'
complete -c grootfs -n "__fish_grootfs_using_subcommand limit" -s h -l help -d 'Print help'
complete -c grootfs -n "__fish_grootfs_using_subcommand df" -l config -d 'Configuration file (YAML); flags win over it' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand df" -l store -d 'Directory of the store [default: /var/lib/grootfs]' -r -f -a "(__fish_complete_directories)"
complete -c grootfs -n "__fish_grootfs_using_subcommand df" -l driver -d 'btrfs or overlay-xfs [default: what the store was made with; init-store: overlay-xfs]' -r -f -a "btrfs\t''
overlay-xfs\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand df" -l log-level -d 'debug, info, error or fatal [default: fatal]' -r -f -a "debug\t''
info\t''
error\t''
fatal\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand df" -l log-file -d 'File that log lines are appended to; the level is then at least info' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand df" -l log-timestamp-format -d 'unix-epoch or rfc3339' -r -f -a "unix-epoch\t''
rfc3339\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand df" -l tardis-bin -d 'Helper that sets XFS quotas for users other than root [default: tardis]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand df" -l drax-bin -d 'Helper that sets btrfs quotas for users other than root [default: drax]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand df" -l btrfs-progs-path -d 'Directory of btrfs and mkfs.btrfs [default: look in PATH]' -r -f -a "(__fish_complete_directories)"
complete -c grootfs -n "__fish_grootfs_using_subcommand df" -l newuidmap-bin -d 'Tool that maps user ids for users other than root [default: newuidmap]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand df" -l newgidmap-bin -d 'Tool that maps group ids for users other than root [default: newgidmap]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand df" -l log-format -d 'json, or text for people [default: json]' -r -f -a "json\t''
text\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand df" -l metrics-textfile -d 'File that metrics for Prometheus are added to' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand df" -l metron-endpoint -d 'host:port that metrics are sent to, as dropsonde envelopes by UDP' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand df" -l compat -d 'Which original is followed where they differ: v0.30 or garden [default: v0.30]' -r -f -a "v0.30\t''
garden\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand df" -l progress -d 'auto: one line of a terminal on standard error; plain: a line every few seconds; none' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand df" -l json -d 'One JSON object, for programs'
complete -c grootfs -n "__fish_grootfs_using_subcommand df" -l quiet -d 'No progress and no warnings; what is asked for is printed all the same'
complete -c grootfs -n "__fish_grootfs_using_subcommand df" -s h -l help -d 'Print help'
complete -c grootfs -n "__fish_grootfs_using_subcommand clean" -l threshold-bytes -d 'Bytes of layers below which nothing is removed' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand clean" -l config -d 'Configuration file (YAML); flags win over it' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand clean" -l store -d 'Directory of the store [default: /var/lib/grootfs]' -r -f -a "(__fish_complete_directories)"
complete -c grootfs -n "__fish_grootfs_using_subcommand clean" -l driver -d 'btrfs or overlay-xfs [default: what the store was made with; init-store: overlay-xfs]' -r -f -a "btrfs\t''
overlay-xfs\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand clean" -l log-level -d 'debug, info, error or fatal [default: fatal]' -r -f -a "debug\t''
info\t''
error\t''
fatal\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand clean" -l log-file -d 'File that log lines are appended to; the level is then at least info' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand clean" -l log-timestamp-format -d 'unix-epoch or rfc3339' -r -f -a "unix-epoch\t''
rfc3339\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand clean" -l tardis-bin -d 'Helper that sets XFS quotas for users other than root [default: tardis]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand clean" -l drax-bin -d 'Helper that sets btrfs quotas for users other than root [default: drax]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand clean" -l btrfs-progs-path -d 'Directory of btrfs and mkfs.btrfs [default: look in PATH]' -r -f -a "(__fish_complete_directories)"
complete -c grootfs -n "__fish_grootfs_using_subcommand clean" -l newuidmap-bin -d 'Tool that maps user ids for users other than root [default: newuidmap]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand clean" -l newgidmap-bin -d 'Tool that maps group ids for users other than root [default: newgidmap]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand clean" -l log-format -d 'json, or text for people [default: json]' -r -f -a "json\t''
text\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand clean" -l metrics-textfile -d 'File that metrics for Prometheus are added to' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand clean" -l metron-endpoint -d 'host:port that metrics are sent to, as dropsonde envelopes by UDP' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand clean" -l compat -d 'Which original is followed where they differ: v0.30 or garden [default: v0.30]' -r -f -a "v0.30\t''
garden\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand clean" -l progress -d 'auto: one line of a terminal on standard error; plain: a line every few seconds; none' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand clean" -l keep-recent -d 'Removes only as much as the threshold asks for, least recently used layers first'
complete -c grootfs -n "__fish_grootfs_using_subcommand clean" -l dry-run -d 'Says what would go and what would stay, and why; removes nothing'
complete -c grootfs -n "__fish_grootfs_using_subcommand clean" -l quiet -d 'No progress and no warnings; what is asked for is printed all the same'
complete -c grootfs -n "__fish_grootfs_using_subcommand clean" -s h -l help -d 'Print help'
complete -c grootfs -n "__fish_grootfs_using_subcommand check" -l config -d 'Configuration file (YAML); flags win over it' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand check" -l store -d 'Directory of the store [default: /var/lib/grootfs]' -r -f -a "(__fish_complete_directories)"
complete -c grootfs -n "__fish_grootfs_using_subcommand check" -l driver -d 'btrfs or overlay-xfs [default: what the store was made with; init-store: overlay-xfs]' -r -f -a "btrfs\t''
overlay-xfs\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand check" -l log-level -d 'debug, info, error or fatal [default: fatal]' -r -f -a "debug\t''
info\t''
error\t''
fatal\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand check" -l log-file -d 'File that log lines are appended to; the level is then at least info' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand check" -l log-timestamp-format -d 'unix-epoch or rfc3339' -r -f -a "unix-epoch\t''
rfc3339\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand check" -l tardis-bin -d 'Helper that sets XFS quotas for users other than root [default: tardis]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand check" -l drax-bin -d 'Helper that sets btrfs quotas for users other than root [default: drax]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand check" -l btrfs-progs-path -d 'Directory of btrfs and mkfs.btrfs [default: look in PATH]' -r -f -a "(__fish_complete_directories)"
complete -c grootfs -n "__fish_grootfs_using_subcommand check" -l newuidmap-bin -d 'Tool that maps user ids for users other than root [default: newuidmap]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand check" -l newgidmap-bin -d 'Tool that maps group ids for users other than root [default: newgidmap]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand check" -l log-format -d 'json, or text for people [default: json]' -r -f -a "json\t''
text\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand check" -l metrics-textfile -d 'File that metrics for Prometheus are added to' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand check" -l metron-endpoint -d 'host:port that metrics are sent to, as dropsonde envelopes by UDP' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand check" -l compat -d 'Which original is followed where they differ: v0.30 or garden [default: v0.30]' -r -f -a "v0.30\t''
garden\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand check" -l progress -d 'auto: one line of a terminal on standard error; plain: a line every few seconds; none' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand check" -l repair -d 'Mends what can be mended'
complete -c grootfs -n "__fish_grootfs_using_subcommand check" -l verify -d 'Looks at the files of layers too, not only at what is written about them'
complete -c grootfs -n "__fish_grootfs_using_subcommand check" -l json -d 'One JSON object, for programs'
complete -c grootfs -n "__fish_grootfs_using_subcommand check" -l quiet -d 'No progress and no warnings; what is asked for is printed all the same'
complete -c grootfs -n "__fish_grootfs_using_subcommand check" -s h -l help -d 'Print help'
complete -c grootfs -n "__fish_grootfs_using_subcommand list" -l config -d 'Configuration file (YAML); flags win over it' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand list" -l store -d 'Directory of the store [default: /var/lib/grootfs]' -r -f -a "(__fish_complete_directories)"
complete -c grootfs -n "__fish_grootfs_using_subcommand list" -l driver -d 'btrfs or overlay-xfs [default: what the store was made with; init-store: overlay-xfs]' -r -f -a "btrfs\t''
overlay-xfs\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand list" -l log-level -d 'debug, info, error or fatal [default: fatal]' -r -f -a "debug\t''
info\t''
error\t''
fatal\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand list" -l log-file -d 'File that log lines are appended to; the level is then at least info' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand list" -l log-timestamp-format -d 'unix-epoch or rfc3339' -r -f -a "unix-epoch\t''
rfc3339\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand list" -l tardis-bin -d 'Helper that sets XFS quotas for users other than root [default: tardis]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand list" -l drax-bin -d 'Helper that sets btrfs quotas for users other than root [default: drax]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand list" -l btrfs-progs-path -d 'Directory of btrfs and mkfs.btrfs [default: look in PATH]' -r -f -a "(__fish_complete_directories)"
complete -c grootfs -n "__fish_grootfs_using_subcommand list" -l newuidmap-bin -d 'Tool that maps user ids for users other than root [default: newuidmap]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand list" -l newgidmap-bin -d 'Tool that maps group ids for users other than root [default: newgidmap]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand list" -l log-format -d 'json, or text for people [default: json]' -r -f -a "json\t''
text\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand list" -l metrics-textfile -d 'File that metrics for Prometheus are added to' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand list" -l metron-endpoint -d 'host:port that metrics are sent to, as dropsonde envelopes by UDP' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand list" -l compat -d 'Which original is followed where they differ: v0.30 or garden [default: v0.30]' -r -f -a "v0.30\t''
garden\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand list" -l progress -d 'auto: one line of a terminal on standard error; plain: a line every few seconds; none' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand list" -l long -d 'A table: image, time, layers, limit, what was written'
complete -c grootfs -n "__fish_grootfs_using_subcommand list" -l json -d 'A JSON object a line, for programs'
complete -c grootfs -n "__fish_grootfs_using_subcommand list" -l quiet -d 'No progress and no warnings; what is asked for is printed all the same'
complete -c grootfs -n "__fish_grootfs_using_subcommand list" -s h -l help -d 'Print help'
complete -c grootfs -n "__fish_grootfs_using_subcommand doctor" -l config -d 'Configuration file (YAML); flags win over it' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand doctor" -l store -d 'Directory of the store [default: /var/lib/grootfs]' -r -f -a "(__fish_complete_directories)"
complete -c grootfs -n "__fish_grootfs_using_subcommand doctor" -l driver -d 'btrfs or overlay-xfs [default: what the store was made with; init-store: overlay-xfs]' -r -f -a "btrfs\t''
overlay-xfs\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand doctor" -l log-level -d 'debug, info, error or fatal [default: fatal]' -r -f -a "debug\t''
info\t''
error\t''
fatal\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand doctor" -l log-file -d 'File that log lines are appended to; the level is then at least info' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand doctor" -l log-timestamp-format -d 'unix-epoch or rfc3339' -r -f -a "unix-epoch\t''
rfc3339\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand doctor" -l tardis-bin -d 'Helper that sets XFS quotas for users other than root [default: tardis]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand doctor" -l drax-bin -d 'Helper that sets btrfs quotas for users other than root [default: drax]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand doctor" -l btrfs-progs-path -d 'Directory of btrfs and mkfs.btrfs [default: look in PATH]' -r -f -a "(__fish_complete_directories)"
complete -c grootfs -n "__fish_grootfs_using_subcommand doctor" -l newuidmap-bin -d 'Tool that maps user ids for users other than root [default: newuidmap]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand doctor" -l newgidmap-bin -d 'Tool that maps group ids for users other than root [default: newgidmap]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand doctor" -l log-format -d 'json, or text for people [default: json]' -r -f -a "json\t''
text\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand doctor" -l metrics-textfile -d 'File that metrics for Prometheus are added to' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand doctor" -l metron-endpoint -d 'host:port that metrics are sent to, as dropsonde envelopes by UDP' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand doctor" -l compat -d 'Which original is followed where they differ: v0.30 or garden [default: v0.30]' -r -f -a "v0.30\t''
garden\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand doctor" -l progress -d 'auto: one line of a terminal on standard error; plain: a line every few seconds; none' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand doctor" -l json -d 'A JSON object a line, for programs'
complete -c grootfs -n "__fish_grootfs_using_subcommand doctor" -l quiet -d 'No progress and no warnings; what is asked for is printed all the same'
complete -c grootfs -n "__fish_grootfs_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c grootfs -n "__fish_grootfs_using_subcommand capacity" -l config -d 'Configuration file (YAML); flags win over it' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand capacity" -l store -d 'Directory of the store [default: /var/lib/grootfs]' -r -f -a "(__fish_complete_directories)"
complete -c grootfs -n "__fish_grootfs_using_subcommand capacity" -l driver -d 'btrfs or overlay-xfs [default: what the store was made with; init-store: overlay-xfs]' -r -f -a "btrfs\t''
overlay-xfs\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand capacity" -l log-level -d 'debug, info, error or fatal [default: fatal]' -r -f -a "debug\t''
info\t''
error\t''
fatal\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand capacity" -l log-file -d 'File that log lines are appended to; the level is then at least info' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand capacity" -l log-timestamp-format -d 'unix-epoch or rfc3339' -r -f -a "unix-epoch\t''
rfc3339\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand capacity" -l tardis-bin -d 'Helper that sets XFS quotas for users other than root [default: tardis]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand capacity" -l drax-bin -d 'Helper that sets btrfs quotas for users other than root [default: drax]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand capacity" -l btrfs-progs-path -d 'Directory of btrfs and mkfs.btrfs [default: look in PATH]' -r -f -a "(__fish_complete_directories)"
complete -c grootfs -n "__fish_grootfs_using_subcommand capacity" -l newuidmap-bin -d 'Tool that maps user ids for users other than root [default: newuidmap]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand capacity" -l newgidmap-bin -d 'Tool that maps group ids for users other than root [default: newgidmap]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand capacity" -l log-format -d 'json, or text for people [default: json]' -r -f -a "json\t''
text\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand capacity" -l metrics-textfile -d 'File that metrics for Prometheus are added to' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand capacity" -l metron-endpoint -d 'host:port that metrics are sent to, as dropsonde envelopes by UDP' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand capacity" -l compat -d 'Which original is followed where they differ: v0.30 or garden [default: v0.30]' -r -f -a "v0.30\t''
garden\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand capacity" -l progress -d 'auto: one line of a terminal on standard error; plain: a line every few seconds; none' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand capacity" -l quiet -d 'No progress and no warnings; what is asked for is printed all the same'
complete -c grootfs -n "__fish_grootfs_using_subcommand capacity" -s h -l help -d 'Print help'
complete -c grootfs -n "__fish_grootfs_using_subcommand config" -l config -d 'Configuration file (YAML); flags win over it' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand config" -l store -d 'Directory of the store [default: /var/lib/grootfs]' -r -f -a "(__fish_complete_directories)"
complete -c grootfs -n "__fish_grootfs_using_subcommand config" -l driver -d 'btrfs or overlay-xfs [default: what the store was made with; init-store: overlay-xfs]' -r -f -a "btrfs\t''
overlay-xfs\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand config" -l log-level -d 'debug, info, error or fatal [default: fatal]' -r -f -a "debug\t''
info\t''
error\t''
fatal\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand config" -l log-file -d 'File that log lines are appended to; the level is then at least info' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand config" -l log-timestamp-format -d 'unix-epoch or rfc3339' -r -f -a "unix-epoch\t''
rfc3339\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand config" -l tardis-bin -d 'Helper that sets XFS quotas for users other than root [default: tardis]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand config" -l drax-bin -d 'Helper that sets btrfs quotas for users other than root [default: drax]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand config" -l btrfs-progs-path -d 'Directory of btrfs and mkfs.btrfs [default: look in PATH]' -r -f -a "(__fish_complete_directories)"
complete -c grootfs -n "__fish_grootfs_using_subcommand config" -l newuidmap-bin -d 'Tool that maps user ids for users other than root [default: newuidmap]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand config" -l newgidmap-bin -d 'Tool that maps group ids for users other than root [default: newgidmap]' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand config" -l log-format -d 'json, or text for people [default: json]' -r -f -a "json\t''
text\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand config" -l metrics-textfile -d 'File that metrics for Prometheus are added to' -r -F
complete -c grootfs -n "__fish_grootfs_using_subcommand config" -l metron-endpoint -d 'host:port that metrics are sent to, as dropsonde envelopes by UDP' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand config" -l compat -d 'Which original is followed where they differ: v0.30 or garden [default: v0.30]' -r -f -a "v0.30\t''
garden\t''"
complete -c grootfs -n "__fish_grootfs_using_subcommand config" -l progress -d 'auto: one line of a terminal on standard error; plain: a line every few seconds; none' -r -f
complete -c grootfs -n "__fish_grootfs_using_subcommand config" -l quiet -d 'No progress and no warnings; what is asked for is printed all the same'
complete -c grootfs -n "__fish_grootfs_using_subcommand config" -s h -l help -d 'Print help'

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

complete -c grootfs -l driver -x -a "btrfs overlay-xfs"
complete -c grootfs -l log-level -x -a "debug info error fatal"
complete -c grootfs -l log-format -x -a "json text"
complete -c grootfs -l log-timestamp-format -x -a "unix-epoch rfc3339"
complete -c grootfs -l compat -x -a "v0.30 garden"
complete -c grootfs -n "__fish_grootfs_using_subcommand help" -f -a "init-store delete-store create pull delete stats limit df clean check list doctor capacity config help"
complete -c grootfs -n "__fish_grootfs_using_subcommand create pull" -f -a "(__fish_grootfs_images)"
complete -c grootfs -n "__fish_grootfs_using_subcommand delete stats limit" -f -a "(__fish_grootfs_ids)"
