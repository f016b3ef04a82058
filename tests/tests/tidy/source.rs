//! Rust as far as tidiness needs it: which file is which module, and which other modules it names.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// A path as a name for a module: `["alert", "decide"]`.
pub(crate) type Module = Vec<String>;

/// The modules that each file names, and where it first does.
pub(crate) type Edges = BTreeMap<Module, BTreeMap<Module, (String, usize)>>;

/// A crate's files and what they name.
pub(crate) struct Crate {
    /// The file of each module.
    files: BTreeMap<Module, String>,
    /// Every path that begins with `crate`, `super` or `self`, seen from the crate's root.
    pub(crate) uses: Vec<Used>,
    /// What `use` brings into a module: it can be named there too.
    brought: BTreeMap<(Module, String), Module>,
}

/// A path that a file names.
#[derive(Debug)]
pub(crate) struct Used {
    /// The file, from the repository.
    pub(crate) file: String,
    pub(crate) line: usize,
    /// The file's module.
    pub(crate) by: Module,
    /// Seen from the crate's root.
    pub(crate) path: Module,
}

impl Crate {
    /// Reads a crate's sources.
    pub(crate) fn read(root: &Path, place: &str) -> Self {
        Self::of(place, sources(root).into_iter().filter(|(path, _)| path.starts_with(&format!("{place}/"))))
    }

    /// Of files below `place`.
    pub(crate) fn of(place: &str, files: impl Iterator<Item = (String, String)>) -> Self {
        let texts: Vec<(Module, String, String)> = files
            .filter(|(path, _)| !path.ends_with("/main.rs"))
            .map(|(path, text)| (module(path.strip_prefix(place).unwrap_or(&path)), path, text))
            .collect();
        let files = texts.iter().map(|(module, path, _)| (module.clone(), path.clone())).collect();
        let mut all = Self { files, uses: Vec::new(), brought: BTreeMap::new() };
        for (module, path, text) in &texts {
            all.add(module, path, &tokens(text));
        }
        all
    }

    /// The rooms, each with the file that begins it.
    pub(crate) fn rooms(&self) -> BTreeMap<String, &str> {
        let rooms = self.files.iter().filter_map(|(module, file)| match module.as_slice() {
            [room] => Some((room.clone(), file.as_str())),
            _ => None,
        });
        rooms.collect()
    }

    fn add(&mut self, module: &[String], file: &str, tokens: &[(usize, String)]) {
        let word = |at: usize| tokens.get(at).map_or("", |(_, token)| token.as_str());
        // Modules that are written inside the file, with the depth of braces that they are at.
        let (mut inside, mut depth): (Vec<(usize, &str)>, usize) = (Vec::new(), 0);
        let mut at = 0;
        while at < tokens.len() {
            let before = if at == 0 { "" } else { word(at - 1) };
            match word(at) {
                "{" => depth += 1,
                "}" => {
                    depth = depth.saturating_sub(1);
                    inside.retain(|(opened, _)| *opened <= depth);
                }
                "mod" if word(at + 2) == "{" => inside.push((depth + 1, word(at + 1))),
                "use" => {
                    let here: Module =
                        module.iter().cloned().chain(inside.iter().map(|(_, name)| (*name).to_owned())).collect();
                    let mut leaves = Vec::new();
                    at = tree(tokens, at + 1, &[], &mut leaves);
                    for (line, path, name) in leaves {
                        self.name(module, &here, file, line, &path, Some(name));
                    }
                    continue;
                }
                "crate" | "super" | "self" if word(at + 1) == "::" && !["::", "$", "in"].contains(&before) => {
                    let here: Module =
                        module.iter().cloned().chain(inside.iter().map(|(_, name)| (*name).to_owned())).collect();
                    let mut leaves = Vec::new();
                    at = tree(tokens, at, &[], &mut leaves);
                    for (line, path, _) in leaves {
                        self.name(module, &here, file, line, &path, None);
                    }
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
    }

    /// Notes a path, written in the module `here` of a file; with the name that it has there, when it is brought in.
    fn name(&mut self, by: &[String], here: &[String], file: &str, line: usize, path: &[String], name: Option<String>) {
        let mut base: Module = here.to_vec();
        let mut rest = path;
        match path {
            [first, after @ ..] if first == "crate" => (base, rest) = (Vec::new(), after),
            [first, after @ ..] if first == "self" => rest = after,
            [first, ..] if first == "super" => {
                while let [first, after @ ..] = rest
                    && first == "super"
                {
                    base.pop();
                    rest = after;
                }
            }
            // Of another crate, or of this file's own modules, which it may name.
            [first, ..] if !self.files.contains_key(&[here, std::slice::from_ref(first)].concat()) => return,
            _ => {}
        }
        let path = [base.as_slice(), rest].concat();
        if let Some(name) = name.filter(|_| by == here) {
            self.brought.insert((by.to_vec(), name), path.clone());
        }
        self.uses.push(Used { file: file.to_owned(), line, by: by.to_vec(), path });
    }

    /// Which files name which others. A file and what is below it are one thing.
    pub(crate) fn edges(&self) -> Edges {
        let mut edges = Edges::new();
        for used in &self.uses {
            let Some(to) = self.home(&used.path, 8) else { continue };
            if !to.starts_with(&used.by) && !used.by.starts_with(&to) {
                let first = edges.entry(used.by.clone()).or_default().entry(to);
                first.or_insert_with(|| (used.file.clone(), used.line));
            }
        }
        edges
    }

    /// The file that a path ends in: where the thing is written that other modules may hand on.
    fn home(&self, path: &[String], steps: usize) -> Option<Module> {
        let length = (0..=path.len()).rev().find(|length| self.files.contains_key(&path[..*length]))?;
        let (module, rest) = path.split_at(length);
        let Some((first, rest)) = rest.split_first() else { return Some(module.to_vec()) };
        match self.brought.get(&(module.to_vec(), first.clone())) {
            Some(further) if steps > 0 => self.home(&[further.as_slice(), rest].concat(), steps - 1),
            _ => Some(module.to_vec()),
        }
    }
}

/// `/alert/mod.rs` is the module `alert`, `/alert/decide.rs` is `alert::decide`, `/lib.rs` the root.
fn module(path: &str) -> Module {
    let path = path.trim_start_matches('/').trim_end_matches(".rs");
    let mut module: Module = path.split('/').map(str::to_owned).collect();
    module.pop_if(|last| last == "mod" || last == "lib");
    module
}

/// Reads what stands behind `use`, or an inline path: each path in it with its line and the name that it is given. Gives
/// where it ends.
fn tree(
    tokens: &[(usize, String)],
    mut at: usize,
    prefix: &[String],
    leaves: &mut Vec<(usize, Module, String)>,
) -> usize {
    let word = |at: usize| tokens.get(at).map_or("", |(_, token)| token.as_str());
    let mut path = prefix.to_vec();
    loop {
        let line = tokens.get(at).map_or(0, |(line, _)| *line);
        match word(at) {
            "{" => {
                at += 1;
                while !matches!(word(at), "}" | "") {
                    at = tree(tokens, at, &path, leaves);
                    at += usize::from(word(at) == ",");
                }
                return at + 1;
            }
            "*" => {
                leaves.push((line, path, "*".to_owned()));
                return at + 1;
            }
            "self" if !path.is_empty() && word(at + 1) != "::" => {}
            name if name.starts_with(|first: char| first.is_alphabetic() || first == '_') => path.push(name.to_owned()),
            // A turbofish, or nothing of ours.
            _ => {
                leaves.push((line, path.clone(), path.last().cloned().unwrap_or_default()));
                return at.max(1);
            }
        }
        at += 1;
        if word(at) == "::" {
            at += 1;
            continue;
        }
        let mut name = path.last().cloned().unwrap_or_default();
        if word(at) == "as" && prefix_of_use(word(at + 1)) {
            name = word(at + 1).to_owned();
            at += 2;
        }
        leaves.push((line, path, name));
        return at;
    }
}

fn prefix_of_use(word: &str) -> bool {
    word.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Words and signs with their lines; comments and texts are left out.
fn tokens(text: &str) -> Vec<(usize, String)> {
    let chars: Vec<char> = text.chars().collect();
    let get = |at: usize| chars.get(at).copied().unwrap_or('\0');
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let (mut found, mut line, mut at) = (Vec::new(), 1, 0);
    while at < chars.len() {
        let start = at;
        match (get(at), get(at + 1)) {
            ('/', '/') => at += chars.iter().skip(at).take_while(|c| **c != '\n').count(),
            ('/', '*') => {
                let mut depth = 0;
                loop {
                    match (get(at), get(at + 1)) {
                        ('/', '*') => (depth, at) = (depth + 1, at + 2),
                        ('*', '/') => (depth, at) = (depth - 1, at + 2),
                        _ => at += 1,
                    }
                    if depth == 0 || at >= chars.len() {
                        break;
                    }
                }
            }
            ('"', _) => at = text_end(&chars, at + 1, '"'),
            ('\'', '\\') => at = text_end(&chars, at + 1, '\''),
            // A lifetime has no second one.
            ('\'', _) => at += if get(at + 2) == '\'' { 3 } else { 1 },
            (':', ':') => {
                found.push((line, "::".to_owned()));
                at += 2;
            }
            (c, _) if is_word(c) => {
                let word: String = chars.iter().skip(at).take_while(|c| is_word(**c)).collect();
                at += word.chars().count();
                let marks = chars.iter().skip(at).take_while(|c| **c == '#').count();
                if matches!(word.as_str(), "r" | "br" | "cr") && get(at + marks) == '"' {
                    let end: String = std::iter::once('"').chain("#".repeat(marks).chars()).collect();
                    let inner: String = chars.iter().skip(at + marks + 1).collect();
                    let length = inner.find(&end).map_or(inner.len(), |found| found + end.len());
                    at += marks + 1 + inner.get(..length).unwrap_or_default().chars().count();
                } else {
                    found.push((line, word));
                }
            }
            (c, _) => {
                if !c.is_whitespace() {
                    found.push((line, c.to_string()));
                }
                at += 1;
            }
        }
        line += chars.get(start..at.min(chars.len())).unwrap_or_default().iter().filter(|c| **c == '\n').count();
    }
    found
}

/// Behind the sign that ends a text which began before `at`.
fn text_end(chars: &[char], mut at: usize, sign: char) -> usize {
    while let Some(c) = chars.get(at) {
        match *c {
            '\\' => at += 2,
            c if c == sign => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// The lines of a manifest that name a crate of ours under `[dependencies]`, each with the crate's short name.
pub(crate) fn dependencies_of_ours(manifest: &str) -> Vec<(usize, String)> {
    let mut heading = "";
    let mut found = Vec::new();
    for (at, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            heading = line.trim();
        }
        let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
        if heading == "[dependencies]" && (name == "host" || name.starts_with("host_")) {
            found.push((at + 1, name.trim_start_matches("host_").to_owned()));
        }
    }
    found
}

/// Every source file of the repository, with its path from there.
pub(crate) fn sources(root: &Path) -> Vec<(String, String)> {
    let of_rust = files(root).into_iter().filter(|path| path.ends_with(".rs"));
    of_rust.map(|path| (path.clone(), fs::read_to_string(root.join(&path)).expect("a text"))).collect()
}

/// Every file of the repository, but for what is built.
pub(crate) fn files(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(root.join(&directory)).expect("a directory").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = directory.join(&name);
            match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                true if [".git", "target", "node_modules"].contains(&name.as_str()) || path == Path::new("demo") => {}
                true => directories.push(path),
                false => found.push(path.to_string_lossy().into_owned()),
            }
        }
    }
    found.sort();
    found
}
