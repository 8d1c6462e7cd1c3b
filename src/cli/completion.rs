//! `muster completion SHELL`.

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::Shell;

use super::output::{self, Failure};

/// Which shell to complete in.
#[derive(Debug, Args)]
pub(super) struct Completion {
    /// The shell that will read the script.
    shell: ShellName,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ShellName {
    /// `source <(muster completion bash)`
    Bash,
    /// `muster completion zsh > "${fpath[1]}/_muster"`
    Zsh,
    /// `muster completion fish > ~/.config/fish/completions/muster.fish`
    Fish,
}

pub(super) fn run(command: &Completion) -> Result<(), Failure> {
    output::data(&script(command.shell))
}

fn script(shell: ShellName) -> String {
    let shell = match shell {
        ShellName::Bash => Shell::Bash,
        ShellName::Zsh => Shell::Zsh,
        ShellName::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut super::Cli::command(), "muster", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_learns_the_nouns() {
        for shell in [ShellName::Bash, ShellName::Zsh, ShellName::Fish] {
            assert!(script(shell).contains("import-kube"), "{shell:?}");
        }
    }

    #[test]
    fn the_commands_agree_with_themselves() {
        super::super::Cli::command().debug_assert();
    }
}
