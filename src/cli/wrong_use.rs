//! Arguments that make no command: what is said of them, and how the process ends.
//!
//! The nouns that Muster shares with pachctl say it in pachctl's words and end with 1, as every failure
//! of theirs does; Muster's own end with 2.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

use super::output::{self, Exit};

/// The nouns whose every failure ends with 1, because pachctl's do.
const OF_PACHCTL: [&str; 6] = ["auth", "config", "connect", "enterprise", "license", "version"];

/// Says what is wrong with `words`, the arguments behind the program's name.
pub(super) fn end(error: &clap::Error, mut program: Command, words: &[String]) -> ExitCode {
    let is_help = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if is_help {
        // On standard output also where a command was left out, as pachctl does it. Printing can only fail when
        // nobody reads.
        drop(output::data(&error.render().to_string()));
        return ExitCode::SUCCESS;
    }
    program.build();
    let asked = Asked::read(&program, words);
    match asked.in_words_of_pachctl(error) {
        Some(text) => output::note_raw(&text),
        None => drop(error.print()),
    }
    ExitCode::from(if asked.is_of_pachctl() { Exit::Failed } else { Exit::Usage } as u8)
}

/// What the words ask for, as far as they make sense.
struct Asked<'a> {
    noun: Option<&'a str>,
    /// The last command that was named; the program itself if none was.
    command: &'a Command,
    /// Words behind it that are neither flags nor values of flags.
    operands: usize,
}

impl<'a> Asked<'a> {
    fn read(program: &'a Command, words: &[String]) -> Asked<'a> {
        let mut asked = Asked { noun: None, command: program, operands: 0 };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--" {
                asked.operands += words.len();
                break;
            }
            if word.len() > 1 && word.starts_with('-') {
                if takes_the_next_word(asked.command, word) {
                    words.next();
                }
            } else if let Some(next) = asked.command.find_subcommand(word) {
                asked.noun = asked.noun.or(Some(next.get_name()));
                asked.command = next;
            } else {
                asked.operands += 1;
            }
        }
        asked
    }

    fn is_of_pachctl(&self) -> bool {
        self.noun.is_some_and(|noun| OF_PACHCTL.contains(&noun))
    }

    /// What pachctl would say; none where it has no words of its own.
    fn in_words_of_pachctl(&self, error: &clap::Error) -> Option<String> {
        if !self.is_of_pachctl() {
            return None;
        }
        let usage = self.command.clone().render_usage();
        if error.kind() == ErrorKind::UnknownArgument
            && let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg)
            && word.starts_with('-')
        {
            let what = format!("unknown flag: {word}");
            return Some(format!("Error: {what}\n{usage}\n\n{what}\n"));
        }
        let is_number =
            matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::MissingRequiredArgument);
        let least = self.command.get_positionals().filter(|it| it.is_required_set()).count();
        let most = self.command.get_positionals().count();
        let is_right = (least..=most).contains(&self.operands);
        if !is_number || is_right || self.command.has_subcommands() {
            return None;
        }
        let expected = if least == most { least.to_string() } else { format!("{least} to {most}") };
        Some(format!("expected {expected} arguments, got {}\n\n{usage}\n", self.operands))
    }
}

/// Whether the value of this flag is the word behind it.
fn takes_the_next_word(command: &Command, flag: &str) -> bool {
    let is_it = |arg: &&Arg| match flag.strip_prefix("--") {
        Some(long) => arg.get_long() == Some(long),
        None => flag.chars().nth(1) == arg.get_short() && flag.chars().count() == 2,
    };
    command.get_arguments().find(is_it).is_some_and(|arg| arg.get_action().takes_values())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use expect_test::{Expect, expect};

    use super::*;
    use crate::cli::Cli;

    #[expect(clippy::needless_pass_by_value, reason = "as every test of this kind writes it")]
    fn check(line: &str, said: Expect) {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let mut program = Cli::command();
        let arguments = std::iter::once("muster").chain(line.split(' '));
        let error = program.try_get_matches_from_mut(arguments).unwrap_err();
        program.build();
        let asked = Asked::read(&program, &words);
        said.assert_eq(&asked.in_words_of_pachctl(&error).unwrap_or_default());
    }

    #[test]
    fn wrong_numbers_of_arguments_are_counted() {
        check(
            "license list-clusters x y",
            expect![[r#"
            expected 0 arguments, got 2

            Usage: muster license list-clusters [OPTIONS]
        "#]],
        );
        check(
            "config set active-context",
            expect![[r#"
            expected 1 arguments, got 0

            Usage: muster config set active-context [OPTIONS] <NAME>
        "#]],
        );
        check(
            "--rpc-timeout 5s auth get-robot-token",
            expect![[r#"
            expected 1 arguments, got 0

            Usage: muster auth get-robot-token [OPTIONS] <ROBOT>
        "#]],
        );
        check(
            "config update context a b",
            expect![[r#"
            expected 0 to 1 arguments, got 2

            Usage: muster config update context [OPTIONS] [NAME]
        "#]],
        );
    }

    #[test]
    fn unknown_flags_are_named_twice() {
        check(
            "license activate --bogus",
            expect![[r#"
            Error: unknown flag: --bogus
            Usage: muster license activate [OPTIONS]

            unknown flag: --bogus
        "#]],
        );
    }

    #[test]
    fn other_nouns_and_other_mistakes_keep_their_words() {
        check("serve --wings", expect![[r#""#]]);
        check("license fly", expect![[r#""#]]);
        check("--rpc-timeout soon license get-state", expect![[r#""#]]);
    }

    #[test]
    fn the_noun_is_found_behind_flags_with_values() {
        let mut program = Cli::command();
        program.build();
        let noun = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            Asked::read(&program, &words).is_of_pachctl()
        };
        assert!(noun("--rpc-timeout 5s license x"));
        assert!(noun("-v --staleness=5s version x"));
        assert!(!noun("--rpc-timeout 5s replica x"));
        assert!(!noun("--rpc-timeout license replica x"));
    }
}
