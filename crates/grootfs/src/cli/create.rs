//! `grootfs create`

use serde_json::{Value, json};

use super::args::{BundleArgs, Create};
use super::bundle::{self, Made};
use super::{Context, clean, namespace, settle, source};
use crate::driver::limit::Scope;
use crate::driver::{Driver, Mount, Told};
use crate::error::Error;
use crate::image::{self, Image, ImageSource};
use crate::observe::log::{Data, data};
use crate::observe::metrics::Timing;
use crate::observe::{Level, Log};
use crate::pull::{Budget, Pulled, Puller};
use crate::rootfs::Shape;
use crate::store::id::ImageId;
use crate::store::images::{self, NewImage};
use crate::store::{self, Store, dependencies};

pub fn run(context: &Context, args: &Create) -> Result<String, Error> {
    let [argument, id, words @ ..] = args.arguments.as_slice() else {
        return args.check().map(|()| String::new());
    };
    let created = create(context, args, argument, id, words);
    if context.config.with_clean && context.compat().cleans_after_create() {
        // After a pull that has failed too: that is when room is missed most.
        clean::start_detached(context)?;
    }
    created.map_err(|error| error.about_image(argument).or_interrupted(&context.interrupt))
}

fn create(
    context: &Context,
    args: &Create,
    argument: &str,
    id: &str,
    words: &[String],
) -> Result<String, Error> {
    let config = &context.config;
    let source = source::open(context, argument, &args.image)?;
    let driver = context.driver();
    let store = context.store()?;
    // Somebody may have given the image's name in place of the id, and a password in it.
    let id = ImageId::new(&image::argument::redacted(id)).map_err(store::Error::from)?;
    images::check_free(&store.layout, &id)?;
    namespace::check_may_unpack(context)?;
    namespace::check_may_mount(context, driver.kind())?;
    bundle::prepare(context, &args.bundle, &store, driver.kind())?;
    if !config.limit.is_none() {
        // Before anything is pulled in vain.
        driver.check_limits()?;
    }
    let creation = Creation {
        context,
        asked: &args.bundle,
        argument,
        id: &id,
        words,
        source: &*source,
        store: &store,
        driver: &*driver,
    };
    context.metrics.timed(Timing::ImageCreation, || creation.run())
}

/// All that is known before the image is looked at.
struct Creation<'a> {
    context: &'a Context,
    asked: &'a BundleArgs,
    argument: &'a str,
    id: &'a ImageId,
    words: &'a [String],
    source: &'a dyn ImageSource,
    store: &'a Store,
    driver: &'a dyn Driver,
}

impl Creation<'_> {
    fn run(&self) -> Result<String, Error> {
        let Self { context, store, driver, .. } = *self;
        if context.config.with_clean && !context.compat().cleans_after_create() {
            clean::clean(context, store, driver)?;
        }
        let log = context.log.session("groot-creating").with("imageID", self.id.as_str());
        let log = log.with_data(|| data([("spec", self.spec())]));
        let _step = log.step();
        let image = {
            let log = log.session("fetching-image-manifest");
            let _step = log.step();
            let image = self.source.image().map_err(Error::ImageInfo)?;
            log.tell(Level::Debug, "fetched-layer-infos", || told_of(&image));
            image
        };
        // `clean` leaves the layers alone until the image has written which ones it uses.
        let (pulled, lock) = {
            let log = log.session("image-pulling");
            let _step = log.step();
            self.puller(&log).pull(&image)?
        };
        let name = image::name(self.argument);
        let mount = {
            let log = log.session("making-image");
            let _step = log.step();
            self.make(&image, name.as_deref(), &pulled, &log)?
        };
        drop(lock);
        if pulled.brought_in {
            settle::start_detached(context);
        }
        let described = self.describe(&image, mount.as_ref())?;
        if let Some(name) = name
            && let Err(error) =
                dependencies::write_base_image(&store.layout, &name, &pulled.volumes)
        {
            // The image is there; only a later `clean` may not know that it was to be left alone.
            context.log.error("remembering-image-failed", &error);
        }
        Ok(described)
    }

    /// What was asked for, as the log tells it.
    fn spec(&self) -> Value {
        let config = &self.context.config;
        json!({
            "ID": self.id.as_str(),
            "BaseImageURL": image::argument::redacted(self.argument),
            "Mount": !config.without_mount,
            "DiskLimit": config.limit.bytes,
            "ExcludeBaseImageFromQuota": config.limit.scope == Scope::excluding_image(true),
            "InodeLimit": config.limit.inodes,
            "CleanOnCreate": config.with_clean,
            "CleanOnCreateThresholdBytes": config.clean_threshold,
        })
    }

    fn puller<'a>(&'a self, log: &'a Log) -> Puller<'a> {
        let config = &self.context.config;
        Puller {
            store: self.store,
            driver: self.driver,
            source: self.source,
            log,
            metrics: &self.context.metrics,
            interrupt: &self.context.interrupt,
            longest_download: config.pull.total_timeout,
            ratio_limit: config.pull.ratio_limit,
            budget: Budget::new(config.limit.with_image()),
        }
    }

    fn make(
        &self,
        image: &Image,
        origin: Option<&str>,
        pulled: &Pulled,
        log: &Log,
    ) -> Result<Option<Mount>, Error> {
        let config = &self.context.config;
        let declared: &[String] =
            if self.shape().declared_volumes { &image.config.volumes } else { &[] };
        let new = NewImage {
            id: self.id,
            origin,
            volumes: &pulled.volumes,
            layers_size: pulled.size,
            mount: !config.without_mount,
            declared_volumes: declared,
            limit: config.limit,
            log,
        };
        let driver = Told::new(self.driver, log);
        images::create(self.store, &driver, &new).map_err(Error::making_image)
    }

    fn shape(&self) -> Shape {
        let compat = self.context.compat();
        Shape {
            null_args: compat.writes_null_args(),
            mount_at_root: compat.mounts_at_root(),
            declared_volumes: compat.binds_declared_volumes(),
        }
    }

    /// What a runtime is told. Without it the root is of no use, and goes again.
    fn describe(&self, image: &Image, mount: Option<&Mount>) -> Result<String, Error> {
        let (words, config) = (self.words, &image.config);
        let made = Made { id: self.id, config, words, mount, shape: self.shape() };
        bundle::describe(self.asked, self.store, &made).inspect_err(|_| {
            // That error is the one to tell; what cannot be removed is there for `delete`.
            let _ = images::delete(self.store, self.driver, self.id);
        })
    }
}

/// The layers of an image, for the log.
pub fn told_of(image: &Image) -> Data {
    let layers = image.layers.iter().map(|layer| layer.blob.as_str());
    data([("layers", layers.collect())])
}
