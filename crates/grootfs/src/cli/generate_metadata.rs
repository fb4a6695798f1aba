//! `grootfs generate-volume-size-metadata`

use super::Context;
use crate::error::Error;
use crate::store::volumes;

pub fn run(context: &Context) -> Result<String, Error> {
    volumes::generate_metadata(&context.layout)?;
    Ok(String::new())
}
