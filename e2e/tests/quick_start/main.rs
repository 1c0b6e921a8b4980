//! The Rust code of docs/quick-start.md is compiled as it stands on the page, and the page's code is what is compiled here. The
//! other languages are run by `e2e/python`.

#[cfg(test)]
#[rustfmt::skip]
#[expect(dead_code, reason = "it is a reader's program: compiled, not run")]
mod page {
    include!("page.rs");
}

use std::path::Path;

use anyhow::{Result, ensure};

#[test]
fn the_rust_code_of_the_quick_start_is_what_is_compiled_here() -> Result<()> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/quick-start.md"))?;
    let mut code = String::new();
    for rest in page.split("\n```rust ").skip(1) {
        let block = rest.split_once('\n').and_then(|(_, rest)| rest.split_once("```"));
        code.push_str(block.map_or("", |(block, _)| block));
    }
    ensure!(
        code == include_str!("page.rs"),
        "e2e/tests/quick_start/page.rs isn't what docs/quick-start.md shows"
    );
    Ok(())
}
