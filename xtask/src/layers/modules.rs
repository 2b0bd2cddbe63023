//! Which module of a crate may import which: read from the sources, because `cargo metadata` says nothing of modules.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::paths::{Content, Source, read};

/// One module that imports another, neither of them inside the other.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Import {
    from: Vec<String>,
    to: Vec<String>,
    /// File and line.
    place: String,
}

/// One sentence for each import of `sources`, the files of one crate, that runs upwards or in a circle. `order` names the modules of
/// the crate from the ground up, and in one text those that must not know each other; within a folder modules may import each other,
/// but not in a circle. `src` is the folder of the files.
pub(super) fn check(order: &[&str], src: &Path, sources: &[Source]) -> Vec<String> {
    let modules: BTreeMap<Vec<String>, _> = sources.iter().map(|it| (it.module(), read(&it.text))).collect();
    let is_test = |module: &[String]| {
        (1..=module.len()).any(|len| {
            let (above, name) = (&module[..len - 1], &module[len - 1]);
            modules.get(above).is_some_and(|above| above.tests.contains(name))
        })
    };
    let mut problems = unlisted(order, modules.keys().filter(|it| !is_test(it)));
    let mut circles: BTreeMap<Vec<String>, Vec<Import>> = BTreeMap::new();
    for source in sources {
        let from = source.module();
        let Some(content) = modules.get(&from).filter(|_| !is_test(&from)) else { continue };
        if content.exports.contains_key("*") {
            let file = src.join(&source.path);
            problems.push(format!(
                "{}: it exports everything of another module; name what, so that imports can be followed",
                file.display()
            ));
        }
        for (path, line) in &content.paths {
            let to = resolve(&modules, &from, path);
            if is_test(&to) || to.starts_with(&from) || from.starts_with(&to) {
                continue;
            }
            let place = format!("{}:{line}", src.join(&source.path).display());
            let shared = from.iter().zip(&to).take_while(|(from, to)| from == to).count();
            let import = Import { from: from[shared..].to_vec(), to: to[shared..].to_vec(), place };
            if shared > 0 {
                circles.entry(from[..shared].to_vec()).or_default().push(import);
                continue;
            }
            let level = |module: &[String]| {
                order.iter().position(|it| it.split(' ').any(|it| module.first().is_some_and(|m| m == it)))
            };
            if level(&import.to) >= level(&import.from) {
                let (from, to) = (import.from.join("::"), import.to.join("::"));
                problems.push(format!("{}: {from} imports {to}, which is not below it", import.place));
            }
        }
    }
    // `use super::top::{A, B}` are two imports of one module.
    problems.dedup();
    for (folder, imports) in circles {
        problems.extend(circle(&imports).map(|it| format!("a circle in {}: {it}", folder.join("::"))));
    }
    problems
}

/// Modules that the table lacks, and names in the table that are no modules.
fn unlisted<'a>(order: &[&str], modules: impl Iterator<Item = &'a Vec<String>>) -> Vec<String> {
    let top: BTreeSet<&str> = modules.filter_map(|it| it.first()).map(String::as_str).collect();
    let listed: BTreeSet<&str> = order.iter().flat_map(|it| it.split(' ')).collect();
    let lacks = top.difference(&listed).map(|it| format!("module {it} is not in the table of its crate"));
    let stale = listed.difference(&top).map(|it| format!("the table names module {it}, which is not there"));
    lacks.chain(stale).collect()
}

/// The module in which the item of a path stands, through re-exports.
fn resolve(modules: &BTreeMap<Vec<String>, Content>, from: &[String], path: &[String]) -> Vec<String> {
    let mut at: Vec<String> = Vec::new();
    let mut rest = path;
    while let [first, others @ ..] = rest {
        match first.as_str() {
            "crate" => at.clear(),
            "self" => at = from.to_vec(),
            "super" => {
                if at.is_empty() {
                    at = from.to_vec();
                }
                at.pop();
            }
            name => {
                let below = [&at[..], &[name.to_owned()]].concat();
                if modules.contains_key(&below) {
                    at = below;
                } else {
                    let export = modules.get(&at).and_then(|it| it.exports.get(name));
                    // One of another crate stands where it is exported.
                    let ours = |it: &&Vec<String>| {
                        it[0] != "self" || modules.contains_key(&[&at[..], &it[1..2]].concat())
                    };
                    return match export.filter(ours) {
                        Some(target) => resolve(modules, &at, &[target, others].concat()),
                        None => at,
                    };
                }
            }
        }
        rest = others;
    }
    at
}

/// One circle of imports among the modules of a folder, if there is one: each step with its place.
fn circle(imports: &[Import]) -> Option<String> {
    let mut edges: BTreeMap<&str, Vec<(&str, &Import)>> = BTreeMap::new();
    for import in imports {
        let (from, to) = (import.from.first()?, import.to.first()?);
        edges.entry(from).or_default().push((to, import));
    }
    let mut done = BTreeSet::new();
    for start in edges.keys() {
        let mut way: Vec<&Import> = Vec::new();
        if let Some(found) = walk(start, &edges, &mut way, &mut done) {
            return Some(found);
        }
    }
    None
}

fn walk<'a>(
    at: &'a str,
    edges: &BTreeMap<&'a str, Vec<(&'a str, &'a Import)>>,
    way: &mut Vec<&'a Import>,
    done: &mut BTreeSet<&'a str>,
) -> Option<String> {
    if let Some(begin) = way.iter().position(|it| it.from[0] == at) {
        let step = |it: &&Import| format!("{} imports {} ({})", it.from[0], it.to[0], it.place);
        return Some(way[begin..].iter().map(step).collect::<Vec<_>>().join(", "));
    }
    if done.contains(at) {
        return None;
    }
    for (to, import) in edges.get(at).into_iter().flatten() {
        way.push(import);
        if let Some(found) = walk(to, edges, way, done) {
            return Some(found);
        }
        way.pop();
    }
    done.insert(at);
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: &[&str] = &["ground", "middle", "top"];

    fn crate_of(files: &[(&str, &str)]) -> Vec<Source> {
        let mut sources: Vec<Source> = [("lib.rs", ""), ("ground.rs", ""), ("middle.rs", ""), ("top.rs", "")]
            .into_iter()
            .filter(|(path, _)| files.iter().all(|(other, _)| other != path))
            .chain(files.iter().copied())
            .map(|(path, text)| Source { path: path.into(), text: text.to_owned() })
            .collect();
        sources.sort_by(|a, b| a.path.cmp(&b.path));
        sources
    }

    fn problems(files: &[(&str, &str)]) -> Vec<String> {
        check(ORDER, Path::new(""), &crate_of(files))
    }

    #[test]
    fn an_import_upwards_is_named_with_file_and_line() {
        for text in [
            "\nuse crate::top::Thing;",
            "\nuse crate::{ground, top};",
            "\nuse super::top::{self, Thing};",
            "\nfn f() -> crate::top::Thing { todo!() }",
            "\npub(crate) use crate::top::Thing as Other;",
        ] {
            let found = problems(&[("middle.rs", text)]);
            assert_eq!(found, ["middle.rs:2: middle imports top, which is not below it"], "{text}");
        }
        let found = problems(&[("middle/part.rs", "use super::super::top::x;"), ("middle.rs", "mod part;")]);
        assert_eq!(found, ["middle/part.rs:1: middle::part imports top, which is not below it"]);
    }

    #[test]
    fn those_in_one_text_do_not_know_each_other() {
        let files = crate_of(&[("middle.rs", "use crate::top::x;"), ("top.rs", "use crate::ground::x;")]);
        let found = check(&["ground", "middle top"], Path::new(""), &files);
        assert_eq!(found, ["middle.rs:1: middle imports top, which is not below it"]);
    }

    #[test]
    fn an_item_counts_where_it_stands_and_not_where_it_is_exported() {
        let lib = "pub use top::{Thing, part::Other as Renamed};";
        for name in ["Thing", "Renamed", "Renamed::new"] {
            let text = format!("use crate::{name};");
            let found = problems(&[("lib.rs", lib), ("middle.rs", &text), ("top/part.rs", "")]);
            assert_eq!(found.len(), 1, "{name}: {found:?}");
        }
        let middle = [("lib.rs", "pub use ground::Thing;"), ("middle.rs", "use crate::Thing;")];
        assert_eq!(problems(&middle), [""; 0]);
    }

    #[test]
    fn an_export_of_everything_is_refused() {
        let found = problems(&[("middle.rs", "mod part;\npub use part::*;"), ("middle/part.rs", "")]);
        assert_eq!(
            found,
            [
                "middle.rs: it exports everything of another module; name what, so that imports can be followed"
            ]
        );
    }

    #[test]
    fn an_import_downwards_a_comment_a_text_and_a_test_are_let_through() {
        let text = "use crate::ground::x;\n/// See [`crate::top::Thing`].\n/* crate::top::y */\nconst A: &str = \"crate::top\";\n\
                    const B: char = '\"';\nconst C: &str = r#\"crate::top::z\"#;\n#[cfg(test)]\nmod bed;\n#[cfg(test)]\n\
                    mod tests {\n    use crate::top::Thing;\n}\n";
        let found = problems(&[("middle.rs", text), ("middle/bed.rs", "use crate::top::Thing;")]);
        assert_eq!(found, [""; 0]);
    }

    #[test]
    fn what_stands_behind_a_test_is_read() {
        let text = "#[cfg(test)]\nfn only() { if true {} }\nuse crate::top::Thing;";
        assert_eq!(
            problems(&[("middle.rs", text)]),
            ["middle.rs:3: middle imports top, which is not below it"]
        );
    }

    #[test]
    fn a_circle_in_a_folder_is_named_with_each_of_its_steps() {
        let found = problems(&[
            ("top.rs", "mod a;\nmod b;\nmod c;\npub(crate) use b::B;"),
            ("top/a.rs", "use super::B;"),
            ("top/b.rs", "use super::c::C;"),
            ("top/c.rs", "\nuse crate::top::a;"),
        ]);
        let steps = "a imports b (top/a.rs:1), b imports c (top/b.rs:1), c imports a (top/c.rs:2)";
        assert_eq!(found, [format!("a circle in top: {steps}")]);
    }

    #[test]
    fn a_folder_may_use_its_root_and_one_part_another() {
        let found = problems(&[
            ("top.rs", "mod a;\nmod b;\nuse a::A;\npub struct Top;"),
            ("top/a.rs", "use super::Top;\nuse super::b::B;"),
            ("top/b.rs", "use super::Top;"),
        ]);
        assert_eq!(found, [""; 0]);
    }

    #[test]
    fn the_table_names_every_module_and_nothing_else() {
        let found = problems(&[("attic.rs", "")]);
        assert_eq!(found, ["module attic is not in the table of its crate"]);
        let found = check(&["ground", "middle", "top", "gone"], Path::new(""), &crate_of(&[]));
        assert_eq!(found, ["the table names module gone, which is not there"]);
    }
}
