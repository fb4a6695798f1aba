//! `grootfs init-store`

use super::Context;
use super::args::InitStore;
use crate::error::Error;
use crate::idmap::{IdMapping, IdMappings};
use crate::store::init::{self, Init};

pub fn run(context: &Context, args: &InitStore) -> Result<String, Error> {
    let config = &context.config;
    if args.rootless.is_some() {
        let mapped = !args.uid_mapping.is_empty() || !args.gid_mapping.is_empty();
        return Err(if mapped {
            let text = "cannot specify --rootless and --uid-mapping/--gid-mapping";
            Error::Message(text.to_owned())
        } else {
            Error::NotYet("--rootless")
        });
    }
    let mappings = IdMappings {
        uids: parse("uid", &args.uid_mapping)?,
        gids: parse("gid", &args.gid_mapping)?,
    };
    let init = Init {
        mappings: &mappings,
        size: (config.store_size > 0).then_some(config.store_size),
        direct_io: config.with_direct_io,
        btrfs_tools: config.btrfs_progs_path.as_deref(),
    };
    // What is there does not choose the driver of a store that is to be made.
    let driver = context.driver();
    init::init(&context.layout, &*driver, &init, &context.log)?;
    if let Err(error) = driver.check_limits() {
        // The store works; only a create that asks for a limit will fail.
        context.warn("limits-not-available", &error);
    }
    Ok(String::new())
}

fn parse(kind: &str, texts: &[String]) -> Result<Vec<IdMapping>, Error> {
    texts
        .iter()
        .map(|text| text.parse())
        .collect::<Result<_, _>>()
        .map_err(|error| Error::Message(format!("parsing {kind}-mapping: {error}")))
}
