//! `grootfs pull`

use super::args::Pull;
use super::create::told_of;
use super::{Context, namespace, settle, source};
use crate::error::Error;
use crate::observe::Level;
use crate::pull::{Budget, Puller};

pub fn run(context: &Context, args: &Pull) -> Result<String, Error> {
    let [argument] = args.arguments.as_slice() else {
        return args.check().map(|()| String::new());
    };
    pull(context, args, argument)
        .map_err(|error| error.about_image(argument).or_interrupted(&context.interrupt))
}

fn pull(context: &Context, args: &Pull, argument: &str) -> Result<String, Error> {
    let source = source::open(context, argument, &args.image)?;
    let driver = context.driver();
    let store = context.store()?;
    namespace::check_may_unpack(context)?;
    let log = context.log.session("groot-pulling");
    let _step = log.step();
    let image = {
        let log = log.session("fetching-image-manifest");
        let _step = log.step();
        let image = source.image().map_err(Error::ImageInfo)?;
        log.tell(Level::Debug, "fetched-layer-infos", || told_of(&image));
        image
    };
    let puller = Puller {
        store: &store,
        driver: &*driver,
        source: &*source,
        log: &log,
        metrics: &context.metrics,
        interrupt: &context.interrupt,
        budget: Budget::default(),
        longest_download: context.config.pull.total_timeout,
        ratio_limit: context.config.pull.ratio_limit,
    };
    let (pulled, lock) = puller.pull(&image)?;
    drop(lock);
    if pulled.brought_in {
        settle::start_detached(context);
    }
    Ok(format!("Pulled {} layers of {} bytes\n", pulled.volumes.len(), pulled.size))
}
