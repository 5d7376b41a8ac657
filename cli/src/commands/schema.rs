//! `schema`: the JSON Schema of policy files, for editors. `docs/policy.schema.json` is this output.

use crate::exit::Exit;
use crate::output::Output;

/// Prints it.
pub fn run(out: &mut Output) -> anyhow::Result<Exit> {
    out.object(&tidegate_core::policy::json_schema())?;
    Ok(Exit::Ok)
}
