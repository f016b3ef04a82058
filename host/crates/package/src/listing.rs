//! Which files of a directory count: those with the extension, but no hidden files, which editors and copying programs
//! leave (`.#x.wasm`, `._x.wasm`), and no directories.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The extension of plugins' files.
const PLUGIN: &str = "wasm";

/// The plugins' files in a directory, in the order of their names.
pub fn plugins_in(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    files_in(directory, PLUGIN)
}

/// The files with an extension in a directory, in the order of their names. A link to nowhere counts: somebody meant a
/// file.
pub fn files_in(directory: &Path, extension: &str) -> std::io::Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = fs::read_dir(directory)?.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| {
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        !hidden && has_extension(path, extension) && fs::metadata(path).map_or(true, |metadata| metadata.is_file())
    });
    found.sort();
    Ok(found)
}

/// Whether a path is named like a plugin's file.
pub fn is_named_like_a_plugin(path: &Path) -> bool {
    has_extension(path, PLUGIN)
}

fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension().is_some_and(|extension| extension == wanted)
}
