//! The operator's folder of texts: `FOLDER/TAG.ftl` for all channels, `FOLDER/CHANNEL/TAG.ftl` for one of them. What doesn't end
//! in `.ftl` and what is hidden (a name that begins with a dot) is passed over.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use countersign_core::{LegName, Locale};

use super::{Source, TextsError};

/// The longest file, in bytes: all of ours are shorter than 8 KiB.
const MAX_FILE_BYTES: u64 = 64 * 1024;
/// The most files in one folder.
const MAX_FILES: usize = 200;
/// The most names that are looked at in one folder.
const MAX_NAMES: usize = 2_000;

/// What an operator set of texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnTexts {
    /// Where their files are; `None`: there are none.
    pub folder: Option<PathBuf>,
    /// Spoken where nothing else is known or written.
    pub default_language: Locale,
}

/// None of their own, and English.
impl Default for OwnTexts {
    fn default() -> Self {
        Self {
            folder: None,
            default_language: Locale::from(Locale::ENGLISH),
        }
    }
}

/// The files of a folder.
#[derive(Default)]
pub(super) struct Found {
    pub(super) for_all: Vec<Source>,
    pub(super) of_channels: BTreeMap<LegName, Vec<Source>>,
}

/// Reads all files of a folder. A folder in it must bear a channel's name.
pub(super) fn read(folder: &Path, channels: &[LegName]) -> Result<Found, TextsError> {
    let (for_all, folders) = read_one(folder)?;
    let mut of_channels = BTreeMap::new();
    for inner in folders {
        let name = inner.file_name().and_then(|name| name.to_str());
        let channel = channels.iter().find(|channel| Some(channel.as_str()) == name);
        let Some(channel) = channel else {
            let known: Vec<_> = channels.iter().map(LegName::as_str).collect();
            let problem = format!(
                "no channel has that name, so its texts would never be used; there are: {}",
                known.join(", ")
            );
            return Err(TextsError::new(inner.display(), problem));
        };
        let (sources, deeper) = read_one(&inner)?;
        if let Some(deeper) = deeper.first() {
            return Err(TextsError::new(deeper.display(), "a channel’s folder has files alone"));
        }
        of_channels.insert(channel.clone(), sources);
    }
    Ok(Found { for_all, of_channels })
}

/// The texts and the folders in a folder, by name.
fn read_one(folder: &Path) -> Result<(Vec<Source>, Vec<PathBuf>), TextsError> {
    let unreadable = |error: std::io::Error| {
        let problem = format!("can’t be read: {error}. Mend it, or set another texts.folder");
        TextsError::new(folder.display(), problem)
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        if paths.len() == MAX_NAMES {
            let problem = format!("has more than {MAX_NAMES} names: texts need a folder of their own");
            return Err(TextsError::new(folder.display(), problem));
        }
        paths.push(entry.map_err(unreadable)?.path());
    }
    paths.sort();
    let mut sources: Vec<Source> = Vec::new();
    let mut folders = Vec::new();
    for path in paths {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        if name.is_none_or(|name| name.starts_with('.')) {
            continue;
        }
        if path.is_dir() {
            folders.push(path);
        } else if path.extension().is_some_and(|extension| extension == "ftl") {
            let source = read_file(&path)?;
            if let Some(other) = sources.iter().find(|other| other.tag == source.tag) {
                let problem = format!("is of the same language as {}: make one file of them", other.place);
                return Err(TextsError::new(path.display(), problem));
            }
            sources.push(source);
        }
    }
    if sources.len() > MAX_FILES {
        let problem = format!("has more than {MAX_FILES} files of texts");
        return Err(TextsError::new(folder.display(), problem));
    }
    Ok((sources, folders))
}

fn read_file(path: &Path) -> Result<Source, TextsError> {
    let error = |problem: String| TextsError::new(path.display(), problem);
    let tag = path.file_stem().and_then(|stem| stem.to_str()).and_then(Locale::parse);
    let tag = tag.ok_or_else(|| error("its name is no language tag, such as it.ftl or pt-PT.ftl".to_owned()))?;
    let mut text = String::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text))
        .map_err(|problem| error(format!("can’t be read: {problem}")))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(error(format!("is longer than {} KiB", MAX_FILE_BYTES / 1024)));
    }
    Ok(Source {
        place: path.display().to_string(),
        tag: tag.tag().clone(),
        // Some editors mark files of UTF-8 at their beginning.
        text: text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text),
    })
}
