//! Texts that follow from the description of the command line: completions and manual pages.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Outcome;
use crate::cli::Cli;

/// For `eval`, or for a file in the place where the shell looks.
pub fn completions(shell: Shell) -> Outcome {
    super::print(&script(shell))?;
    Ok(ExitCode::SUCCESS)
}

fn script(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut visible(), "tracer", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// One page per command: `tracer.1`, `tracer-run.1`, `tracer-policy-init.1`, ...
pub fn manual(directory: &Path) -> Outcome {
    let wanted = || format!("cannot write manual pages into {}; is it a directory?", directory.display());
    clap_mangen::generate_to(Cli::command(), directory).with_context(wanted)?;
    Ok(ExitCode::SUCCESS)
}

/// The command line without tracer's own commands, which the generators would complete.
fn visible() -> clap::Command {
    let all = Cli::command();
    let shown = all.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let shown: Vec<_> = shown.collect();
    let mut bare = clap::Command::new("tracer").version(env!("CARGO_PKG_VERSION"));
    bare = bare.args(all.get_arguments().cloned());
    bare.subcommands(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_completes_commands_and_options() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = script(shell);
            for word in ["serve", "web.config.file", "init", "duration"] {
                assert!(text.contains(word), "{shell}: no {word}");
            }
            assert!(
                !text.contains("__keep") && !text.contains("__man"),
                "{shell} offers tracer's own commands"
            );
        }
    }

    #[test]
    fn every_command_has_a_page() {
        let dir = std::env::temp_dir().join(format!("tracer-manual-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        manual(&dir).expect("written");
        let read = |page: &str| std::fs::read_to_string(dir.join(page)).expect(page);
        assert!(read("tracer.1").contains("tracer\\-serve(1)"));
        assert!(read("tracer-serve.1").contains("max\\-series"));
        assert!(read("tracer-policy-init.1").contains(".TH"));
        let pages = std::fs::read_dir(&dir).expect("listed").flatten();
        let own = pages.filter(|page| page.file_name().to_string_lossy().contains("__")).count();
        assert_eq!(own, 0, "pages of tracer's own commands");
        std::fs::remove_dir_all(dir).expect("removed");
    }
}
