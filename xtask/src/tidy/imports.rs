//! What each file of a crate imports, by its syntax tree. Code under `#[cfg(test)]` is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, Item, ItemMod, ItemUse, Lit, LitStr, Macro, Meta, MetaNameValue, UseTree};

/// A path of identifiers: `crate::a::b`, `aya::Ebpf`.
pub type Segments = Vec<String>;

/// Modules by their path from the crate's root, which has the empty path.
pub type Modules = BTreeMap<Segments, Module>;

/// One file.
#[derive(Debug, Default)]
pub struct Module {
    /// Paths as they are written in it.
    pub paths: BTreeSet<Segments>,
    /// Texts of string literals, not of documentation.
    pub texts: BTreeSet<String>,
    /// Of this crate's modules those that its paths lead to.
    pub imports: BTreeSet<Segments>,
}

/// Reads a crate, from its root file on.
pub fn read(root: &Path) -> Result<Modules> {
    let mut modules = Modules::new();
    let folder = root.parent().context("a root has a folder")?;
    read_file(root, folder, &[], &mut modules)?;
    let known: BTreeSet<Segments> = modules.keys().cloned().collect();
    for (at, module) in &mut modules {
        let led = module.paths.iter().filter_map(|path| resolve(path, at, &known));
        module.imports = led.filter(|to| to != at && !to.is_empty()).collect();
    }
    Ok(modules)
}

fn read_file(file: &Path, folder: &Path, at: &[String], modules: &mut Modules) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let syntax = syn::parse_file(&text).with_context(|| format!("cannot parse {}", file.display()))?;
    let mut module = Module::default();
    module.visit_file(&syntax);
    modules.insert(at.to_vec(), module);
    for item in &syntax.items {
        let Item::Mod(child @ ItemMod { content: None, .. }) = item else { continue };
        if is_for_tests(&child.attrs) {
            continue;
        }
        let name = child.ident.to_string();
        let path = [at, std::slice::from_ref(&name)].concat();
        let (flat, nested) = (folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs"));
        let child = match child.attrs.iter().find_map(told_path) {
            Some(told) => file.with_file_name(told),
            None if flat.exists() => flat,
            None => nested,
        };
        read_file(&child, &folder.join(&name), &path, modules)?;
    }
    Ok(())
}

/// `#[path = "file.rs"]`.
fn told_path(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(MetaNameValue { path, value: Expr::Lit(value), .. }) = &attribute.meta else {
        return None;
    };
    match &value.lit {
        Lit::Str(file) if path.is_ident("path") => Some(file.value()),
        _ => None,
    }
}

/// `#[cfg(test)]`.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    let is_test = |attribute: &Attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
    };
    attributes.iter().any(is_test)
}

/// The module that a path leads to, written in the module `at`; `None` if it leads out of the crate.
fn resolve(path: &[String], at: &[String], known: &BTreeSet<Segments>) -> Option<Segments> {
    let (mut base, mut rest) = (at.to_vec(), path);
    match path.first()?.as_str() {
        "crate" => (base, rest) = (Vec::new(), &path[1..]),
        "self" => rest = &path[1..],
        "super" => {
            while rest.first().is_some_and(|word| word == "super") {
                base.pop();
                rest = &rest[1..];
            }
        }
        child if known.contains(&[at, &[child.to_owned()]].concat()) => {}
        _ => return None,
    }
    base.extend_from_slice(rest);
    while !known.contains(&base) {
        base.pop()?;
    }
    Some(base)
}

fn flatten(tree: &UseTree, prefix: &[String], into: &mut BTreeSet<Segments>) {
    let with = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
    match tree {
        UseTree::Path(path) => flatten(&path.tree, &with(&path.ident), into),
        UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, prefix, into)),
        UseTree::Name(name) if name.ident == "self" => _ = into.insert(prefix.to_vec()),
        UseTree::Name(name) => _ = into.insert(with(&name.ident)),
        UseTree::Rename(rename) => _ = into.insert(with(&rename.ident)),
        UseTree::Glob(_) => _ = into.insert(prefix.to_vec()),
    }
}

impl Module {
    /// What stands in a macro's arguments, which has no syntax of its own.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path = Segments::new();
        let mut colons = 0;
        for token in tokens {
            match &token {
                TokenTree::Ident(name) => {
                    if colons != 2 {
                        self.end_path(&mut path);
                    }
                    path.push(name.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                other => {
                    self.end_path(&mut path);
                    colons = 0;
                    match other {
                        TokenTree::Group(group) => self.tokens(group.stream()),
                        TokenTree::Literal(literal) => {
                            let text = syn::parse_str::<LitStr>(&literal.to_string());
                            self.texts.extend(text.map(|text| text.value()));
                        }
                        _ => {}
                    }
                }
            }
        }
        self.end_path(&mut path);
    }

    fn end_path(&mut self, path: &mut Segments) {
        if path.len() > 1 {
            self.paths.insert(std::mem::take(path));
        }
        path.clear();
    }
}

impl<'ast> Visit<'ast> for Module {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes: &[Attribute] = match item {
            Item::Mod(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Const(item) => &item.attrs,
            _ => &[],
        };
        if !is_for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        flatten(&item.tree, &[], &mut self.paths);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            self.paths.insert(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    fn visit_lit_str(&mut self, text: &'ast LitStr) {
        self.texts.insert(text.value());
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.tokens(call.tokens.clone());
    }

    /// Documentation is an attribute.
    fn visit_attribute(&mut self, _: &'ast Attribute) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(text: &str) -> Module {
        let mut module = Module::default();
        module.visit_file(&syn::parse_file(text).expect("it parses"));
        module
    }

    #[test]
    fn uses_paths_and_macros_are_seen_and_tests_are_not() {
        let module = module(
            r#"
            use crate::a::{self, b as c, d::*};
            /// See "/proc/doc" and crate::doc::X.
            fn f() { super::e::g(); let _ = format!("/proc/{}", libc::getpid()); }
            #[cfg(test)]
            mod tests { use crate::only::tests; }
            "#,
        );
        let path = |text: &str| text.split("::").map(str::to_owned).collect::<Segments>();
        let found: Vec<&Segments> = module.paths.iter().collect();
        let wanted = ["crate::a", "crate::a::b", "crate::a::d", "libc::getpid", "super::e::g"].map(path);
        assert_eq!(found, wanted.iter().collect::<Vec<_>>());
        assert_eq!(module.texts, BTreeSet::from(["/proc/{}".to_owned()]));
    }

    #[test]
    fn paths_lead_to_modules() {
        let path = |text: &str| -> Segments {
            text.split("::").filter(|w| !w.is_empty()).map(str::to_owned).collect()
        };
        let known = BTreeSet::from(["", "a", "a::b", "c"].map(path));
        let to = |from: &str, at: &str| resolve(&path(from), &path(at), &known);
        assert_eq!(to("crate::a::b::Type", "c"), Some(path("a::b")));
        assert_eq!(to("super::super::c::f", "a::b"), Some(path("c")));
        assert_eq!(to("super::c::f", "a::b"), Some(path("a")), "c is a name in a");
        assert_eq!(to("b::f", "a"), Some(path("a::b")));
        assert_eq!(to("std::fs", "a"), None);
    }
}
