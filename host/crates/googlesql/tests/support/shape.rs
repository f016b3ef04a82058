//! Compares trees; the fuzz target of the printed SQL includes this file too.

use sqlparser::ast::Query;

/// A tree without what may differ: places, the case of keywords, quotes around names, AS before an alias.
pub(crate) fn shape(query: &Query) -> String {
    let mut text = format!("{query:?}").to_lowercase();
    for (from, to) in [("span: span(location(", "))"), ("quote_style: ", ", "), ("explicit: ", ", ")] {
        let mut shape = String::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once(from) {
            shape += before;
            rest = after.split_once(to).map_or("", |(_, rest)| rest);
        }
        text = shape + rest;
    }
    // @`name` is a value for the parser, and @name an identifier.
    let mut parts = text.split("value(valuewithspan { value: placeholder(");
    let mut shape = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        shape += "identifier(ident { value: ";
        shape += &part.replacen(')', "", 1);
    }
    shape
}
