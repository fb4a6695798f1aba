//! `grootfs capacity`

use super::Context;

pub fn run(context: &Context) -> String {
    format!("{{\"capacity\":{}}}\n", context.config.store_size)
}
