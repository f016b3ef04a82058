//! What documents name of the repository: links, paths, files and modules.

use std::{collections::BTreeSet, path::Path};

use super::source::files;

/// A path that begins with one of these is meant from the repository.
const TOP: &[&str] = &[".ci", "deploy", "docs", "fuzz", "host", "plugins", "tests", "wit", "xtask"];

/// The files and directories of the repository.
pub(crate) struct Tree(BTreeSet<String>);

impl Tree {
    /// Looks at what is there.
    pub(crate) fn read(root: &Path) -> Self {
        Self::of(files(root))
    }

    fn of(files: Vec<String>) -> Self {
        let above = |file: &String| {
            let parts: Vec<&str> = file.split('/').collect();
            (1..=parts.len()).map(|length| parts[..length].join("/")).collect::<Vec<_>>()
        };
        Self(files.iter().flat_map(above).collect())
    }

    fn has(&self, path: &str) -> bool {
        path.is_empty() || self.0.contains(path.trim_end_matches('/'))
    }

    /// Whether a file or directory ends with these parts.
    fn ends(&self, path: &str) -> bool {
        let end = format!("/{}", path.trim_end_matches('/'));
        self.has(path) || self.0.iter().any(|there| there.ends_with(&end))
    }
}

/// What a page names that is not there, each with its line.
pub(crate) fn mistakes(page: &str, text: &str, there: &Tree) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut code = false;
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            code = !code;
        }
        if code {
            continue;
        }
        let missing = links(line).filter(|link| !there.has(&beside(page, link))).chain(named(line, there));
        wrong.extend(
            missing.map(|name| {
                format!("{page}:{}: there is no `{name}`: name what took its place, or leave it out", at + 1)
            }),
        );
    }
    wrong
}

/// Pages of docs/ that the index does not link to. `README.md` is the index itself.
pub(crate) fn not_in_index(index: &str, pages: &[String]) -> Vec<String> {
    let linked: BTreeSet<String> = index.lines().flat_map(links).collect();
    let missing = pages.iter().filter(|page| *page != "README.md" && !linked.contains(*page));
    missing.map(|page| format!("docs/README.md: no link to `{page}`: add a line for it")).collect()
}

/// Where links of a line lead, without those to other places.
fn links(line: &str) -> impl Iterator<Item = String> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    targets.filter(|target| !target.contains(':') && !target.is_empty()).map(str::to_owned)
}

/// A path as seen from a page.
fn beside(page: &str, link: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in link.trim_end_matches('/').split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Names between backticks that should be there and are not.
fn named(line: &str, there: &Tree) -> Vec<String> {
    // In a table, the first cell says where the names of the row are.
    let cells: Vec<&str> = line.strip_prefix('|').map(|row| row.split('|').collect()).unwrap_or_default();
    let place = cells.first().and_then(|cell| spans(cell).find(|name| name.starts_with("host/")));
    let mut wrong = Vec::new();
    for (cell, text) in if cells.is_empty() { vec![line] } else { cells }.into_iter().enumerate() {
        for name in spans(text) {
            let top = name.split('/').next().is_some_and(|first| TOP.contains(&first) && name.contains('/'));
            let found = match place {
                // What is built, and what is elsewhere.
                _ if name.ends_with(".wasm") || name.contains("://") => true,
                _ if top => there.has(name),
                _ if name.contains("::") => is_module(name, there),
                Some(place) if cell == 0 => there.has(&beside(place.trim_end_matches('/'), name)),
                Some(place) if is_word(name) => {
                    there.has(&beside(place, &format!("{name}.rs")))
                        || there.has(&format!("{place}{name}"))
                        || there.has(&format!("{place}{name}.rs"))
                }
                _ if name.ends_with(".rs") || name.ends_with("/") => there.ends(name),
                _ => true,
            };
            if !found {
                wrong.push(name.to_owned());
            }
        }
    }
    wrong
}

/// What stands between backticks, if it is one plain name.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    let plain = |c: char| c.is_alphanumeric() || "_-./:".contains(c);
    text.split('`').skip(1).step_by(2).filter(move |name| name.chars().all(plain) && name.contains(char::is_alphabetic))
}

fn is_word(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

/// Whether the modules of a path are there, if it is one of ours; its last part may be any item.
fn is_module(path: &str, there: &Tree) -> bool {
    let path = path.trim_start_matches("crate::").trim_start_matches("host::");
    let parts: Vec<&str> = path.split("::").collect();
    let is_there = |parts: &[&str]| {
        let path = format!("host/src/{}", parts.join("/"));
        there.has(&path) || there.has(&format!("{path}.rs"))
    };
    !is_there(&parts[..1]) || is_there(&parts[..parts.len() - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_without_a_line_in_the_index_is_found() {
        let pages = ["README.md", "gate.md", "security.md"].map(str::to_owned);
        assert!(not_in_index("- [The gate](gate.md)\n- [Security](security.md#limits): more", &pages).is_empty());
        let found = not_in_index("- [The gate](gate.md), security.md", &pages);
        assert_eq!(found, ["docs/README.md: no link to `security.md`: add a line for it"]);
    }

    #[test]
    fn names_of_what_is_not_there_are_found() {
        let files =
            ["README.md", "docs/gate.md", "docs/a.md", "host/src/web/mod.rs", "host/src/web/api.rs", "host/src/run.rs"];
        let there = Tree::of(files.map(str::to_owned).to_vec());
        let found = |page: &str, text: &str| mistakes(page, text, &there);
        for text in [
            "[the gate](docs/gat.md)",
            "`host/src/state/`",
            "see `page.rs`",
            "see `web/page.rs`",
            "| `host/src/web/`, `board.rs` | the page |",
            "| `host/src/web/` | the page (`page`) |",
            "`web::page::Page`",
            "`crate::run::moment::Moment`",
            "`gone/`",
        ] {
            let found = found("README.md", text);
            assert!(found.len() == 1 && found[0].starts_with("README.md:1: there is no `"), "{text}: {found:?}");
        }
        for text in [
            "[the gate](docs/gate.md#asking) and [more](https://example.com/x.rs)",
            "`host/src/web/`, `web/api.rs`, `run.rs`, `web::api::Api`, `std::fs::read`",
            "| `host/src/web/`, `run.rs` | the page (`api`) |",
            "`plugins/odds.wasm`, `state/host.db`, `host run --once`, `nba_raw.odds`",
            "```\nhost/src/gone.rs `host/src/gone.rs`\n```",
        ] {
            assert_eq!(found("README.md", text), Vec::<String>::new(), "{text}");
        }
        assert!(found("docs/a.md", "[the gate](gate.md), [home](../README.md)").is_empty());
        assert_eq!(found("docs/a.md", "\n[the gate](docs/gate.md)").len(), 1);
    }
}
