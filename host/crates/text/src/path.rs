//! The directories of paths as people write them.

use std::path::Path;

/// The directory, or `.` for the empty path, which is what [`Path::parent`] gives of a bare file name.
pub fn or_here(directory: &Path) -> &Path {
    if directory.as_os_str().is_empty() { Path::new(".") } else { directory }
}

/// The directory that a file is in.
pub fn directory_of(file: &Path) -> &Path {
    or_here(file.parent().unwrap_or(Path::new("")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_in_the_current_directory() {
        for (file, directory) in
            [("a.wasm", "."), ("plugins/a.wasm", "plugins"), ("/a.wasm", "/"), ("../a", ".."), ("", ".")]
        {
            assert_eq!(directory_of(Path::new(file)), Path::new(directory));
        }
    }
}
