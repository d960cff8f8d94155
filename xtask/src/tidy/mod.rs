//! `cargo xtask tidy`: holds what is written down of the tree. Each check says what it found, a line each.

mod doors;
mod files;
mod imports;
mod rooms;
mod subjects;

use anyhow::Result;

use crate::{paths, sh};

/// Prints what is wrong, and fails if anything is.
pub fn main() -> Result<u8> {
    let found = problems()?;
    found.iter().for_each(|problem| println!("{problem}"));
    sh::progress(&format!("tidy: {} problems", found.len()));
    Ok(u8::from(!found.is_empty()))
}

fn problems() -> Result<Vec<String>> {
    let repo = paths::repo();
    let crate_root = repo.join("tracer/src/lib.rs");
    let modules = imports::read(&crate_root)?;
    let map = rooms::Map::read(&crate_root)?;
    let mut found = map.violations(&modules);
    found.extend(rooms::circles(&modules));
    found.extend(doors::violations(&modules));
    let tracked = files::tracked(&repo)?;
    found.extend(files::too_long(&repo, &tracked)?);
    found.extend(files::named_and_missing(&repo, &tracked)?);
    found.extend(subjects::too_long(&repo)?);
    Ok(found)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tree_is_tidy() {
        let found = super::problems().expect("the tree can be read");
        assert!(found.is_empty(), "`cargo xtask tidy`:\n{}", found.join("\n"));
    }
}
