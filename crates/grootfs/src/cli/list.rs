//! `grootfs list`

use super::Context;
use crate::error::Error;
use crate::store::images;

pub fn run(context: &Context) -> Result<String, Error> {
    let root = context.layout.root();
    if !root.exists() {
        return Err(Error::Message(format!("no store found at {}", root.display())));
    }
    let mut out = String::new();
    for path in images::list(&context.layout)? {
        out.push_str(&path.to_string_lossy());
        out.push('\n');
    }
    Ok(if out.is_empty() { "Store empty\n".to_owned() } else { out })
}
