//! Files that a command writes for its user: complete or not at all, and none replaced unasked.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// Refuses a file that is there already, unless it may be replaced.
pub(crate) fn require_free(file: &Path, force: bool) -> anyhow::Result<()> {
    if !force && fs::symlink_metadata(file).is_ok() {
        bail!(
            "{} is there already: name another file, or replace it with --force",
            file.display()
        );
    }
    Ok(())
}

/// Writes a file in one go.
pub(crate) fn write(file: &Path, content: &[u8], force: bool) -> anyhow::Result<()> {
    let mut growing = Growing::begin(file, force)?;
    growing.add(content)?;
    growing.finish()
}

/// A file that appears under its name once it is complete. Whatever is left behind half written goes away.
pub(crate) struct Growing {
    file: PathBuf,
    /// Beside the file, so that it can be renamed.
    partial: PathBuf,
    /// `None` once it is finished.
    open: Option<File>,
    force: bool,
}

impl Growing {
    /// Begins a file.
    pub(crate) fn begin(file: &Path, force: bool) -> anyhow::Result<Self> {
        require_free(file, force)?;
        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.partial", std::process::id()));
        let partial = file.with_file_name(name);
        let open = File::create_new(&partial).with_context(|| format!("can't write {}", partial.display()))?;
        Ok(Self {
            file: file.to_owned(),
            partial,
            open: Some(open),
            force,
        })
    }

    /// Adds to it.
    pub(crate) fn add(&mut self, content: &[u8]) -> anyhow::Result<()> {
        let Some(open) = &mut self.open else {
            bail!("{} is finished already", self.file.display());
        };
        open.write_all(content)
            .with_context(|| format!("can't write {}", self.partial.display()))
    }

    /// Gives it its name.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        if let Some(open) = &self.open {
            open.sync_all()
                .with_context(|| format!("can't write {}", self.partial.display()))?;
        }
        // Another may have come meanwhile.
        require_free(&self.file, self.force)?;
        fs::rename(&self.partial, &self.file).with_context(|| format!("can't write {}", self.file.display()))?;
        self.open = None;
        Ok(())
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        if self.open.take().is_some() {
            // It is of no use to anybody; what can't be removed is told by its name.
            let _ = fs::remove_file(&self.partial);
        }
    }
}
