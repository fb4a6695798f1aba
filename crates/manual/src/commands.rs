//! What the pages of single commands say beyond the help texts. A command that is not here has a page too.

/// A command's description, and lines that a user could type.
#[derive(Debug)]
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// Paragraphs, as [`crate::page::Page::paragraphs`] takes them.
    pub text: &'static str,
    /// Commands.
    pub examples: &'static [&'static str],
}

/// In the order of the alphabet.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "capacity",
        text: "Prints `init.store_size_bytes` of the configuration, 0 if there is none, as JSON. It does not \
               look at the store.",
        examples: &["grootfs --config /etc/grootfs.yml capacity"],
    },
    Command {
        name: "check",
        text: "Prints a line for each finding: on what, what is wrong, what it means, and what `--repair` does \
               or a person has to do. The exit status is 0 when nothing is wrong (any more), otherwise 1. Without \
               `--repair` nothing is changed, and nobody has to wait. It needs root.\n\n\
               `--verify` compares the tree of each layer with what it was when it was pulled: names, types, modes, \
               owners, sizes. Contents are not read. With `--repair`, a layer that has changed is taken out of \
               the way, and the next create pulls that layer and no other.",
        examples: &[
            "grootfs --store /srv/groot check",
            "grootfs --store /srv/groot check --repair",
        ],
    },
    Command {
        name: "clean",
        text: "Removes layers that no root file system uses, and what killed processes left behind, if all layers \
               together hold at least the threshold. Creates and pulls may run at the same time. Images that \
               `clean.ignore_images` of `grootfs.yml`(5) names keep their layers.",
        examples: &[
            "grootfs --store /srv/groot clean --dry-run",
            "grootfs --store /srv/groot clean --threshold-bytes 10737418240 --keep-recent",
        ],
    },
    Command {
        name: "config",
        text: "Prints the configuration in effect, as a file that could be used, with the source of each value: a \
               flag, the environment, the file, or the default. User names and passwords in URLs are hidden.",
        examples: &["grootfs --config /etc/grootfs.yml --driver btrfs config"],
    },
    Command {
        name: "create",
        text: "Pulls the layers of the image that the store does not have, makes a root file system of them, and \
               prints what an OCI runtime has to know about it as one line of JSON. The id names the root from now \
               on: any text without `/` and control characters, up to 244 bytes, not `.` or `..`.\n\n\
               The image is one of: `oci:///dir:name` or `oci:dir:name` (an OCI image layout), \
               `docker://host/repository:tag` or `docker://host/repository@digest` (a registry; without a host, \
               Docker Hub), `oci-archive:file:name`, `docker-archive:file:name`, or the path of a tar, plain or \
               compressed by gzip or zstd, that is the only layer.\n\n\
               Passwords come best from `--password-file` or `GROOTFS_PASSWORD`: every process of the machine can \
               read arguments. Ctrl-C takes away what was begun.",
        examples: &[
            "grootfs --store /srv/groot create oci:///images/app:1.0 web-1",
            "grootfs --store /srv/groot create --disk-limit-size-bytes 268435456 docker:///busybox:latest web-2",
        ],
    },
    Command {
        name: "delete",
        text: "Takes the id or the path of a root file system, unmounts and removes it. One that does not exist is \
               a success, so that a delete may be repeated. Its layers stay until a `clean`.",
        examples: &["grootfs --store /srv/groot delete web-1"],
    },
    Command {
        name: "delete-store",
        text: "Deletes all root file systems, all layers and the directory, and unmounts a file system of the \
               store's own. `There is no question first.` The backing file stays unless `--with-backing-file` \
               is given.",
        examples: &["grootfs --store /srv/groot delete-store"],
    },
    Command {
        name: "df",
        text: "Shows the layers (used, unused, half built), what each root file system holds and may hold, how \
               limits compare with the size of the file system, and what a clean would give back. It waits for \
               nobody and changes nothing.",
        examples: &["grootfs --store /srv/groot df", "grootfs --store /srv/groot df --json"],
    },
    Command {
        name: "init-store",
        text: "Makes a store on XFS (driver `overlay-xfs`, mounted with `pquota` for limits) or btrfs (driver \
               `btrfs`, mounted with `user_subvol_rm_allowed` and with quotas on), or in a file system of its own \
               in a file next to it. It may be run again: it only adds what is missing. `After a reboot run it \
               again` for a store with a file system of its own; it mounts the file and keeps what is in it.",
        examples: &[
            "grootfs --store /mnt/xfs/store init-store",
            "grootfs --store /srv/groot --driver btrfs init-store --store-size-bytes 10737418240",
            "grootfs --store /srv/alice --driver btrfs init-store --store-size-bytes 10737418240 --rootless alice:alice",
        ],
    },
    Command {
        name: "limit",
        text: "Sets a new limit while the root file system may be in use. A limit below what it holds is fine: \
               nothing is taken away, and nothing new can be written. What is not given stays as it is.",
        examples: &["grootfs --store /srv/groot limit web-1 --disk-limit-size-bytes 536870912"],
    },
    Command {
        name: "list",
        text: "Prints the path of each root file system, or `Store empty`.",
        examples: &["grootfs --store /srv/groot list"],
    },
    Command {
        name: "pull",
        text: "Brings the layers of an image into the store without making a root file system. `clean` removes \
               them like all layers that no root uses. The image is written as for `create`.",
        examples: &["grootfs --store /srv/groot pull docker://registry.example/team/app:1.0"],
    },
    Command {
        name: "stats",
        text: "Prints as one line of JSON how many bytes a root file system holds with its image \
               (`total_bytes_used`) and without (`exclusive_bytes_used`), its limit as the kernel has it \
               (`quota_size_bytes`), and how much it may come to hold (`committed_space_bytes`).",
        examples: &[
            "grootfs --store /srv/groot stats web-1",
            "grootfs --store /srv/groot stats --all",
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_takes_what_pages_show() {
        for command in COMMANDS {
            for example in command.examples {
                let matches = grootfs::cli::command().try_get_matches_from(example.split(' '));
                let matches = matches.unwrap_or_else(|error| panic!("{example}: {error}"));
                assert_eq!(matches.subcommand_name(), Some(command.name), "{example}");
            }
            assert!(!command.examples.is_empty(), "{} has no example", command.name);
        }
        assert!(COMMANDS.is_sorted_by_key(|command| command.name));
    }

    #[test]
    fn flags_in_texts_are_flags() {
        let mut program = grootfs::cli::command();
        program.build();
        for command in COMMANDS {
            let known = program.find_subcommand(command.name).expect(command.name);
            for flag in command.text.split('`').filter_map(|word| word.strip_prefix("--")) {
                let is_known = known.get_arguments().any(|arg| arg.get_long() == Some(flag));
                assert!(is_known, "{} has no --{flag}", command.name);
            }
        }
    }
}
