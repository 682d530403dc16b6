//! Writes the JSON schema of the report to standard output:
//! `cargo run -p virtscope-analyzer --example schema > docs/report.schema.json`

fn main() -> Result<(), serde_json::Error> {
    let schema = serde_json::to_string_pretty(&virtscope_analyzer::Report::schema())?;
    println!("{schema}");
    Ok(())
}
