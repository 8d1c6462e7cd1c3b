//! What must not happen by a slip of the hand: a person types what is given up, a script says so by a
//! flag.

use std::io::{self, BufRead, IsTerminal};

use super::output::{self, Exit, Failure};

/// Goes on only if the person at the terminal types exactly `wanted`. Without a terminal it refuses:
/// `flag` says what a script has to give.
pub(super) fn typed(question: &str, wanted: &str, flag: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new("this needs a confirmation, and nobody is at a terminal")
            .cause(question)
            .hint(flag)
            .exit(Exit::Usage));
    }
    output::note(question);
    output::note_raw(&format!("Type {wanted:?} to go on: "));
    let mut line = String::new();
    io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| Failure::new("cannot read the confirmation").because(&error))?;
    if line.trim() == wanted {
        Ok(())
    } else {
        Err(Failure::new("not confirmed, nothing was done").exit(Exit::Usage))
    }
}
