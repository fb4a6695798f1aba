//! `grootfs pull`

use super::args::Pull;
use super::{Context, namespace, source};
use crate::error::Error;
use crate::image;
use crate::pull::{Budget, Puller};
use crate::store::locks;

pub fn run(context: &Context, args: &Pull) -> Result<String, Error> {
    let [argument] = args.arguments.as_slice() else {
        return args.check().map(|()| String::new());
    };
    pull(context, args, argument)
        .map_err(|error| error.about_image(argument).or_interrupted(&context.interrupt))
}

fn pull(context: &Context, args: &Pull, argument: &str) -> Result<String, Error> {
    let source = image::open(argument, &source::options(context, &args.image)?)?;
    let driver = context.driver();
    let store = context.store()?;
    namespace::check_may_unpack(context)?;
    let image = source.image().map_err(Error::ImageInfo)?;
    let log = context.log.session("groot-pulling");
    let puller = Puller {
        store: &store,
        driver: &*driver,
        source: &*source,
        log: &log,
        interrupt: &context.interrupt,
        budget: Budget::default(),
        ratio_limit: context.config.pull.ratio_limit,
    };
    // `clean` leaves the layers below those that are being pulled alone until they are there.
    let _lock = locks::acquire_unless(
        &store.layout,
        locks::GLOBAL,
        locks::Mode::Shared,
        &context.interrupt,
    )?
    .ok_or(Error::Interrupted)?;
    let pulled = puller.pull(&image)?;
    Ok(format!("Pulled {} layers of {} bytes\n", pulled.volumes.len(), pulled.size))
}
