//! Lists the built-in texts: each `texts/TAG.ftl` is one language, so that a new one is a new file and nothing else.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=texts");
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("texts");
    let mut files: Vec<_> = fs::read_dir(&folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "ftl"));
    files.sort();
    let mut list = String::from("[\n");
    for file in &files {
        let tag = file
            .file_stem()
            .and_then(|stem| stem.to_str())
            .ok_or("a file’s name is no language tag")?;
        let path = file.to_str().ok_or("the path isn’t UTF-8")?;
        writeln!(list, "({tag:?}, include_str!({path:?})),")?;
    }
    list.push(']');
    fs::write(Path::new(&env::var("OUT_DIR")?).join("texts.rs"), list)?;
    Ok(())
}
