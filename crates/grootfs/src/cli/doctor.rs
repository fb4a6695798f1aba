//! `grootfs doctor`

use std::fmt::Write;

use super::args::Doctor;
use super::table::plain;
use super::{Context, source};
use crate::doctor::{self, Finding, Level};
use crate::error::Error;

pub fn run(context: &Context, args: &Doctor) -> Result<String, Error> {
    let given = source::in_environment();
    let findings = doctor::examine(&context.config, &context.layout, &given, &context.interrupt);
    let mut out = String::new();
    for finding in &findings {
        if args.json {
            let line = serde_json::to_string(finding).map_err(|e| Error::Message(e.to_string()))?;
            out.push_str(&line);
            out.push('\n');
        } else {
            out.push_str(&line(finding));
        }
    }
    let errors: Vec<&str> = findings
        .iter()
        .filter(|finding| finding.level == Level::Error)
        .map(|finding| finding.topic.as_str())
        .collect();
    if errors.is_empty() {
        return Ok(out);
    }
    let summary = format!("roots cannot be made: {}", errors.join(", "));
    Err(Error::Findings { report: out.trim_end().to_owned(), summary })
}

fn line(finding: &Finding) -> String {
    let level = match finding.level {
        Level::Ok => "ok",
        Level::Warning => "warning",
        Level::Error => "error",
    };
    let mut out = format!("{level:<8} {}: {}\n", plain(&finding.topic), plain(&finding.text));
    if let Some(fix) = &finding.fix {
        // Writing to a string does not fail.
        let _ = writeln!(out, "         mend: {}", plain(fix));
    }
    out
}
