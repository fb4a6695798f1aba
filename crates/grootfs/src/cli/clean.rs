//! `grootfs clean`

use super::Context;
use crate::error::Error;
use crate::store::gc::{self, Outcome};

pub fn run(context: &Context) -> Result<String, Error> {
    if !context.layout.root().exists() {
        return Ok(format!("no store found at {}\n", context.layout.root().display()));
    }
    let store = context.store()?;
    if !context.config.ignore_images.is_empty() {
        // Without it the clean would take away what it was told to keep.
        return Err(Error::NotYet("clean.ignore_images"));
    }
    let outcome =
        gc::clean(&store, &*context.driver(), context.config.clean_threshold, &context.log)?;
    Ok(match outcome {
        Outcome::Cleaned => "clean completed\n".to_owned(),
        Outcome::BelowThreshold => "threshold not reached: skipping clean\n".to_owned(),
    })
}
