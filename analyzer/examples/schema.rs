//! Writes the JSON schema of the report to standard output, or with `diff` that of
//! a diff:
//! `cargo run -p virtscope-analyzer --example schema > docs/report.schema.json`
//! `cargo run -p virtscope-analyzer --example schema diff > docs/diff.schema.json`

fn main() -> Result<(), serde_json::Error> {
    let schema = match std::env::args().nth(1).as_deref() {
        Some("diff") => virtscope_analyzer::DiffReport::schema(),
        _ => virtscope_analyzer::Report::schema(),
    };
    let schema = serde_json::to_string_pretty(&schema)?;
    println!("{schema}");
    Ok(())
}
