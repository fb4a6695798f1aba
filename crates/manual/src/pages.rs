//! Which man pages there are, and of what they consist.

use crate::commands::COMMANDS;
use crate::configuration;
use crate::page::Page;

/// File names and texts.
pub fn all() -> Vec<(String, String)> {
    let program = grootfs::cli::command();
    let mut pages = vec![
        ("grootfs.1".to_owned(), program_page(&program)),
        ("grootfs.yml.5".to_owned(), configuration::page()),
        (
            "tardis.8".to_owned(),
            helper_page("tardis", "XFS", include_str!("../../tardis/src/help.txt")),
        ),
        (
            "drax.8".to_owned(),
            helper_page("drax", "btrfs", include_str!("../../drax/src/help.txt")),
        ),
    ];
    pages.extend(
        shown(&program)
            .map(|command| (format!("grootfs-{}.1", command.get_name()), command_page(command))),
    );
    pages
}

/// The commands that are for people.
pub fn shown(program: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    program.get_subcommands().filter(|command| !command.is_hide_set())
}

fn program_page(program: &clap::Command) -> String {
    let mut page = Page::of(&program.clone().bin_name("grootfs"));
    page.paragraphs(
        "An image comes from a registry, an OCI image layout or a tar. Each of its layers is kept once in a \
         store, and a private, writable root file system is made from them in a few milliseconds, for any \
         runtime that reads an OCI runtime spec. There is no daemon: many processes may work on one store at the \
         same time, and any of them may be killed at any moment.\n\n\
         Options are written `--flag value`, `--flag=value` or with one dash, before or after the arguments. \
         Sizes are in bytes. What a person or a program reads goes to standard output, errors too; standard \
         error carries nothing but logs.",
    );
    page.heading("COMMANDS");
    for command in shown(program) {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        page.term(command.get_name(), &format!("{about}; see `grootfs-{}`(1)", command.get_name()));
    }
    // Without the commands, `help` among them, whose list stands above.
    page.options(program);
    page.heading("EXIT STATUS");
    for (code, meaning) in [
        ("0", "Success."),
        ("1", "A failure; standard output says what failed, on what, why, and what to do."),
        ("3", "There is no such command."),
        ("130", "Ctrl-C or SIGTERM ended the command. What it had begun is taken away."),
    ] {
        page.term(code, meaning);
    }
    page.heading("ENVIRONMENT");
    for (name, meaning) in [
        ("GROOTFS_COMPAT", "As `--compat`, which wins over it."),
        ("GROOTFS_USERNAME, GROOTFS_PASSWORD", "For registries, where no flag says more."),
        ("HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY", "Through which registries are asked."),
        (
            "PATH",
            "Where `tardis`, `drax`, `newuidmap`, `newgidmap` and `mkfs.xfs` or `mkfs.btrfs` are looked for.",
        ),
    ] {
        page.term(name, meaning);
    }
    page.heading("FILES");
    for (name, meaning) in [
        ("/var/lib/grootfs", "The store where no other is named."),
        ("/etc/subuid, /etc/subgid", "The ids that users other than root may have in a store."),
        ("/etc/docker/certs.d, /etc/containerd/certs.d", "Certificates and mirrors of registries."),
        (
            "/etc/grootfs/cloudfoundry",
            "If it is there, only root and the largest mapped user may call the helpers.",
        ),
    ] {
        page.term(name, meaning);
    }
    see_also(&mut page, &["grootfs.yml(5)", "tardis(8)", "drax(8)", "runc(8)", "subuid(5)"]);
    page.finish()
}

fn command_page(command: &clap::Command) -> String {
    let name = format!("grootfs-{}", command.get_name());
    let more = COMMANDS.iter().find(|more| more.name == command.get_name());
    let command = command.clone().name(name.clone()).display_name(name).bin_name("grootfs");
    let mut page = Page::of(&command);
    page.paragraphs(more.map_or("", |more| more.text));
    page.options(&command);
    page.paragraphs("Options of all commands, `--store` among them, are in `grootfs`(1).");
    if let Some(more) = more {
        page.heading("EXAMPLES");
        page.verbatim(&more.examples.join("\n"));
    }
    see_also(&mut page, &["grootfs(1)", "grootfs.yml(5)"]);
    page.finish()
}

/// The page of a set-uid program: its own help says what it takes.
fn helper_page(name: &str, kind: &str, help: &str) -> String {
    let (title, usage) = help.split_once('\n').unwrap_or((help, ""));
    let usage = usage.trim_start();
    let (synopsis, rest) = usage.split_once('\n').unwrap_or((usage, ""));
    let mut page = Page::new(name, "8");
    page.heading("NAME");
    page.paragraphs(title);
    page.heading("SYNOPSIS");
    page.paragraphs(synopsis.trim_start_matches("usage: "));
    page.heading("DESCRIPTION");
    page.paragraphs(&format!(
        "`grootfs`(1) starts it for users other than root, in stores on {kind}; nobody has to call it by hand. It \
         belongs to root and has the set-uid bit.\n\n\
         It trusts nobody: it takes paths of roots and layers in stores that the caller owns, follows no links on \
         the way, looks at no variable of the environment, and starts no program. Without it users \
         other than root have no limits; root does not need it.\n\n\
         If the file `/etc/grootfs/cloudfoundry` is there, only root and the largest mapped user may call it."
    ));
    page.heading("COMMANDS");
    page.verbatim(rest.trim_matches('\n'));
    see_also(&mut page, &["grootfs(1)"]);
    page.finish()
}

fn see_also(page: &mut Page, names: &[&str]) {
    page.heading("SEE ALSO");
    let names = names.iter().map(|name| {
        let (name, section) = name.split_once('(').unwrap_or((name, ")"));
        format!("`{name}`({section}")
    });
    page.paragraphs(&names.collect::<Vec<_>>().join(", "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_for_people_have_pages() {
        let names: Vec<String> = all().into_iter().map(|(name, _)| name).collect();
        for name in ["grootfs.1", "grootfs-create.1", "grootfs.yml.5", "drax.8", "tardis.8"] {
            assert!(names.iter().any(|page| page == name), "{name} is not in {names:?}");
        }
        for name in
            ["grootfs-settle.1", "grootfs-generate-volume-size-metadata.1", "grootfs-help.1"]
        {
            assert!(!names.iter().any(|page| page == name), "{name} is in {names:?}");
        }
    }
}
