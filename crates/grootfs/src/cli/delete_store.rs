//! `grootfs delete-store`

use super::Context;
use crate::error::Error;
use crate::store::init;

pub fn run(context: &Context) -> Result<String, Error> {
    init::delete_store(&context.layout, &*context.driver())?;
    Ok(String::new())
}
