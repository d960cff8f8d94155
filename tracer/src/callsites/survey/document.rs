//! The survey as docs/coverage.md and the README have it.

use super::{ALL, Entry, Extent, Shows, Status, entries};

const COVERAGE: (&str, &str) = ("docs/coverage.md", "| what | copied by | in | module | kernels | counted |");
const README: (&str, &str) = ("README.md", "| not counted | where | how much | what is shown of it |");

fn code(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn as_line(entry: &Entry) -> String {
    let Entry { what, functions, by, module, kernels, .. } = entry;
    let code_or_not = |name: &&str| if name.is_empty() { String::new() } else { code(&[*name]) };
    let kernels = if *kernels == ALL { "all".to_owned() } else { kernels.join(", ") };
    let counted = match entry.status {
        Status::Rows(rows) => code(rows),
        Status::Sites => "call sites".to_owned(),
        Status::Open(shows, extent) => {
            let refused = if entry.signs().is_empty() { "" } else { "; refuses `complete` while in use" };
            format!("**no**: {}; {}{refused}", how_much(extent), shown(shows))
        }
    };
    format!(
        "| {what} | {} | {} | {} | {kernels} | {counted} |",
        code_or_not(by),
        code(functions),
        code_or_not(module)
    )
}

fn how_much(extent: Extent) -> &'static str {
    match extent {
        Extent::Every(_) => "every byte",
        Extent::Part(bound) => bound,
        Extent::Remade => "encrypted or compressed",
    }
}

fn shown(shows: Shows) -> &'static str {
    match shows {
        Shows::Nothing => "nothing",
        Shows::Unexplained => "`unexplained_bytes` where it is payload",
        Shows::ZeroCopied => "`zero_copied_bytes`",
    }
}

fn as_exception(entry: &Entry) -> Option<String> {
    let Status::Open(shows, extent) = entry.status else { return None };
    let place = if entry.place().is_empty() { String::new() } else { code(&[entry.place()]) };
    Some(format!("| {} | {place} | {} | {} |", entry.what, how_much(extent), shown(shows)))
}

/// A document's text, and where the lines of its table are in it.
fn table_of((path, head): (&str, &str)) -> (String, std::ops::Range<usize>) {
    let path = std::path::Path::new(&std::env::var("CARGO_MANIFEST_DIR").expect("cargo tells it"))
        .join("..")
        .join(path);
    let text = std::fs::read_to_string(path).expect("a document");
    let begin = text.find(head).unwrap_or_else(|| panic!("no table {head}"));
    // Behind the head and the line under it.
    let rows = begin + text[begin..].split_inclusive('\n').take(2).map(str::len).sum::<usize>();
    let lines = text[rows..].split_inclusive('\n').take_while(|line| line.starts_with('|'));
    let end = rows + lines.map(str::len).sum::<usize>();
    (text, rows..end)
}

fn wanted() -> [((&'static str, &'static str), String); 2] {
    let all = entries().map(|entry| as_line(entry) + "\n").collect();
    let exceptions = entries().filter_map(as_exception).map(|line| line + "\n").collect();
    [(COVERAGE, all), (README, exceptions)]
}

/// After a change of the survey: `cargo test -p tracer --lib survey::document::write -- --ignored`.
#[test]
#[ignore = "writes the documents"]
fn write() {
    for (document, wanted) in wanted() {
        let (mut text, table) = table_of(document);
        text.replace_range(table, &wanted);
        let path = std::path::Path::new(&std::env::var("CARGO_MANIFEST_DIR").expect("cargo tells it"))
            .join("..")
            .join(document.0);
        std::fs::write(path, text).expect("a document");
    }
}

#[test]
fn the_documents_have_these_entries() {
    for (document, wanted) in wanted() {
        let (text, table) = table_of(document);
        assert_eq!(
            text[table], wanted,
            "{}: `cargo test -p tracer --lib survey::document::write -- --ignored`",
            document.0
        );
    }
}
