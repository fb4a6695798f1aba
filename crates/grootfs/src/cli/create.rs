//! `grootfs create`

use super::args::Create;
use super::{Context, clean, namespace, settle, source};
use crate::error::Error;
use crate::image;
use crate::pull::{Budget, Puller};
use crate::rootfs::{self, Shape};
use crate::store::id::ImageId;
use crate::store::images::{self, NewImage};
use crate::store::{self, dependencies};

pub fn run(context: &Context, args: &Create) -> Result<String, Error> {
    let [argument, id] = args.arguments.as_slice() else {
        return args.check().map(|()| String::new());
    };
    let created = create(context, args, argument, id);
    if context.config.with_clean && context.compat().cleans_after_create() {
        // After a pull that has failed too: that is when room is missed most.
        clean::start_detached(context)?;
    }
    created.map_err(|error| error.about_image(argument).or_interrupted(&context.interrupt))
}

fn create(context: &Context, args: &Create, argument: &str, id: &str) -> Result<String, Error> {
    let config = &context.config;
    let source = image::open(argument, &source::options(context, &args.image)?)?;
    let driver = context.driver();
    let store = context.store()?;
    let id = ImageId::new(id).map_err(store::Error::from)?;
    images::check_free(&store.layout, &id)?;
    available(context)?;
    namespace::check_may_mount(context, driver.kind())?;
    if !config.limit.is_none() {
        // Before anything is pulled in vain.
        driver.check_limits()?;
    }
    if config.with_clean && !context.compat().cleans_after_create() {
        clean::clean(context, &store, &*driver)?;
    }
    let image = source.image().map_err(Error::ImageInfo)?;
    let log = context.log.session("groot-creating");
    let puller = Puller {
        store: &store,
        driver: &*driver,
        source: &*source,
        log: &log,
        interrupt: &context.interrupt,
        longest_download: config.pull.total_timeout,
        ratio_limit: config.pull.ratio_limit,
        budget: Budget::new(config.limit.with_image()),
    };
    // `clean` leaves the layers alone until the image has written which ones it uses.
    let (pulled, lock) = puller.pull(&image)?;
    let shape = Shape {
        null_args: context.compat().writes_null_args(),
        mount_at_root: context.compat().mounts_at_root(),
        declared_volumes: context.compat().binds_declared_volumes(),
    };
    let declared: &[String] = if shape.declared_volumes { &image.config.volumes } else { &[] };
    let new = NewImage {
        id: &id,
        volumes: &pulled.volumes,
        layers_size: pulled.size,
        mount: !config.without_mount,
        declared_volumes: declared,
        limit: config.limit,
        log: &log,
    };
    let mount = images::create(&store, &*driver, &new).map_err(Error::making_image)?;
    drop(lock);
    if pulled.brought_in {
        settle::start_detached(context);
    }
    if let Some(name) = image::name(argument)
        && let Err(error) = dependencies::write_base_image(&store.layout, &name, &pulled.volumes)
    {
        // The image is there; only a later `clean` may not know that it was to be left alone.
        context.log.error("remembering-image-failed", &error);
    }
    let spec = rootfs::spec(&store.layout.image(&id), &image.config, mount.as_ref(), shape)
        .map_err(|error| Error::Message(error.to_string()))?;
    Ok(spec + "\n")
}

/// Refuses what this version does not do, before anything is pulled.
fn available(context: &Context) -> Result<(), Error> {
    namespace::check_may_unpack(context)
}
