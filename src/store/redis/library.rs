//! What scripts share. The server makes every function of a script anew whenever it performs it, so a script
//! is given only what it needs of the library.

use std::collections::{BTreeMap, HashSet};

/// A function of the library, or the value of a name: what a script has as a whole or not at all.
struct Unit<'l> {
    text: &'l str,
    /// The names by which others mention it.
    names: Vec<&'l str>,
    /// Its name in a table of functions, which is looked up by what data say.
    entry: Option<&'l str>,
}

impl<'l> Unit<'l> {
    fn new(text: &'l str) -> Self {
        let head = text.split(['(', '=']).next().unwrap_or_default();
        let mut names: Vec<_> = words(head).collect();
        names.retain(|word| !["local", "function"].contains(word));
        let is_listed = text.starts_with("function ");
        Self {
            text,
            entry: names.pop_if(|_| is_listed),
            names,
        }
    }

    fn is_needed(&self, mentioned: &HashSet<&str>, entries: &[&str]) -> bool {
        let is_wanted = |entry| entries.is_empty() || entries.contains(&entry);
        self.entry.is_none_or(is_wanted) && self.names.iter().any(|name| mentioned.contains(name))
    }
}

/// Returns the code of a script whose own parts are `own`, each after what it needs of `parts`, in their order, and
/// what those before it have not. So one that returns early spares the server what only the next need.
/// Of the functions in tables it has those in `entries`, or all if none are named.
pub(super) fn assemble(parts: &[&str], entries: &[&str], own: &[&str]) -> String {
    let mut left: Vec<_> = parts.iter().copied().flat_map(units).enumerate().collect();
    let mut code = String::new();
    for own in own {
        let (needed, rest) = needed_by(own, entries, left);
        code.extend(needed.into_values());
        code.push_str(own);
        left = rest;
    }
    code
}

/// The names that a part of a script defines, beside those of the library, of which none may be among them: what the
/// next part needs of the library would take it for its own.
#[cfg(test)]
pub(super) fn names_defined(own: &str) -> Vec<String> {
    let units = units(own).into_iter();
    units
        .flat_map(|unit| unit.names)
        .map(str::to_owned)
        .collect()
}

/// The units of a library, each with its place in it.
type Units<'l> = Vec<(usize, Unit<'l>)>;

/// Tells what a script needs of the library from what it does not.
fn needed_by<'l>(
    own: &'l str,
    entries: &[&str],
    mut left: Units<'l>,
) -> (BTreeMap<usize, &'l str>, Units<'l>) {
    let mut mentioned: HashSet<_> = words(own).collect();
    let mut needed = BTreeMap::new();
    loop {
        let is_needed = |(_, unit): &(usize, Unit<'_>)| unit.is_needed(&mentioned, entries);
        let (found, rest): (Units<'_>, Units<'_>) = left.into_iter().partition(is_needed);
        if found.is_empty() {
            return (needed, rest);
        }
        for (place, unit) in found {
            mentioned.extend(words(unit.text));
            needed.insert(place, unit.text);
        }
        left = rest;
    }
}

/// Takes a file of the library apart. What is defined in it begins at the start of a line.
fn units(file: &str) -> Vec<Unit<'_>> {
    let mut starts = Vec::new();
    let mut at = 0;
    for line in file.split_inclusive('\n') {
        if line.starts_with("local ") || line.starts_with("function ") {
            starts.push(at);
        }
        at += line.len();
    }
    let ends = starts.iter().skip(1).copied().chain([at]);
    let texts = starts.iter().zip(ends);
    texts
        .filter_map(|(start, end)| file.get(*start..end))
        .map(Unit::new)
        .collect()
}

/// The words of a text outside of its comments and its strings, which are in single quotation marks.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let code = text.lines().filter_map(|line| line.split("--").next());
    let code = code.flat_map(|line| line.split('\'').step_by(2));
    let words = code.flat_map(|code| code.split(|c: char| !c.is_alphanumeric() && c != '_'));
    words.filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "-- A file.\n\
        local limit, other = 1, 2\n\
        local function inner() return limit end\n\
        -- Mentions unused().\n\
        local function outer()\n  return inner()\nend\n\
        local function unused() return limit end\n\
        local table = {}\n\
        function table.one() return outer() end\n\
        function table.two() return unused() end\n";

    #[test]
    fn a_script_has_what_it_mentions_and_what_that_mentions() {
        let code = assemble(&[FILE], &[], &["return outer()\n"]);
        for needed in ["local limit, other", "function inner()", "function outer()"] {
            assert!(code.contains(needed), "{code}");
        }
        assert!(!code.contains("function unused()"), "{code}");
        assert!(!code.contains("local table"), "{code}");
        assert!(code.ends_with("return outer()\n"), "{code}");
    }

    #[test]
    fn what_only_the_second_part_needs_comes_after_the_first() {
        let own = ["if inner() then return 1 end\n", "return unused(inner())\n"];
        let code = assemble(&[FILE], &[], &own);
        let at = |text: &str| code.find(text).unwrap();
        assert!(
            at("function inner()") < at("return 1") && at("return 1") < at("function unused()")
        );
        assert_eq!(code.matches("function inner()").count(), 1, "{code}");
    }

    #[test]
    fn what_is_in_strings_and_comments_is_not_mentioned() {
        let own = "return 'unused', outer() -- not inner, but unused\n";
        assert!(!assemble(&[FILE], &[], &[own]).contains("function unused()"));
    }

    #[test]
    fn a_table_has_the_functions_that_are_named() {
        let code = assemble(&[FILE], &["one"], &["return table[ARGV[1]]()\n"]);
        assert!(code.contains("table.one"), "{code}");
        assert!(code.contains("function outer()"), "{code}");
        assert!(!code.contains("unused() return"), "{code}");
    }

    #[test]
    fn a_table_has_all_its_functions_if_none_is_named() {
        let code = assemble(&[FILE], &[], &["return table[ARGV[1]]()\n"]);
        assert!(
            code.contains("table.one") && code.contains("table.two"),
            "{code}"
        );
    }

    #[test]
    fn nothing_of_a_file_but_its_comment_is_outside_of_its_units() {
        let texts: String = units(FILE).iter().map(|unit| unit.text).collect();
        assert_eq!(FILE.strip_prefix("-- A file.\n"), Some(&texts[..]));
    }
}
