//! `grootfs init-store`

use std::path::Path;

use super::Context;
use super::args::InitStore;
use crate::driver::{QuotaMode, Told};
use crate::error::Error;
use crate::idmap::rootless::{self, Files};
use crate::idmap::{IdMapping, IdMappings, list};
use crate::observe::Log;
use crate::store::init::{self, Init};

pub fn run(context: &Context, args: &InitStore) -> Result<String, Error> {
    let config = &context.config;
    let wanted = wanted(args)?;
    init::require_root(&context.layout)?;
    let mappings = match wanted {
        Wanted::These(mappings) => mappings,
        Wanted::Of { user, group } => look_up(user, group, &context.log)?,
    };
    let init = Init {
        mappings: &mappings,
        size: (config.store_size > 0).then_some(config.store_size),
        direct_io: config.with_direct_io,
        simple_quotas: config.with_simple_quotas,
        btrfs_tools: config.btrfs_progs_path.as_deref(),
    };
    // What is there does not choose the driver of a store that is to be made.
    let driver = context.driver();
    {
        let log = context.log.session("store-manager-init-store");
        let _step = log.detail();
        init::init(&context.layout, &Told::new(&*driver, &log), &init, &log)?;
    }
    if let Err(error) = driver.check_limits() {
        // The store works; only a create that asks for a limit will fail.
        context.warn("limits-not-available", &error);
    }
    if config.with_simple_quotas && driver.quotas() != Some(QuotaMode::Simple) {
        let text = "the file system keeps the quotas that it has: only one that init-store makes gets simple ones";
        context.warn("simple-quotas-ignored", &Error::Message(text.to_owned()));
    }
    super::clean::warn_of_threshold(context);
    Ok(String::new())
}

/// Which mappings the flags ask for.
#[derive(Debug)]
enum Wanted<'a> {
    These(IdMappings),
    Of { user: &'a str, group: &'a str },
}

/// All that can be said from the flags alone.
fn wanted(args: &InitStore) -> Result<Wanted<'_>, Error> {
    let (uids, gids) = (&args.uid_mapping, &args.gid_mapping);
    let refused = |text: &str| Err(Error::Message(text.to_owned()));
    if let Some(parameter) = &args.rootless {
        if !uids.is_empty() || !gids.is_empty() {
            return refused("cannot specify --rootless and --uid-mapping/--gid-mapping");
        }
        return match parameter.split_once(':') {
            Some((user, group))
                if !user.is_empty() && !group.is_empty() && !group.contains(':') =>
            {
                Ok(Wanted::Of { user, group })
            }
            _ => Err(Error::Message(format!(
                "invalid --rootless parameter, format must be <user>:<group> (given: `{parameter}`)"
            ))),
        };
    }
    if uids.is_empty() != gids.is_empty() {
        return refused(
            "--uid-mapping and --gid-mapping must be given together: a user namespace needs both",
        );
    }
    Ok(Wanted::These(IdMappings { uids: parse("uid", uids)?, gids: parse("gid", gids)? }))
}

fn parse(kind: &str, texts: &[String]) -> Result<Vec<IdMapping>, Error> {
    list::parse(texts).map_err(|error| Error::Message(format!("parsing {kind}-mapping: {error}")))
}

fn look_up(user: &str, group: &str, log: &Log) -> Result<IdMappings, Error> {
    let files = Files::read(Path::new("/etc"))?;
    let found = rootless::mappings(&files, user, group)
        .map_err(|error| Error::Message(error.to_string()))?;
    for note in &found.notes {
        log.info("rootless-mappings", note);
    }
    Ok(found.mappings)
}
