//! `plugfest clean`: takes away what runs have left that have ended, and nothing else.

use crate::cli::CleanArguments;
use crate::output::{Stop, print, tell};
use real::testbed::run_dir::{self, Leftover};

/// Something stays.
const EXIT_STAYS: u8 = 1;

/// Takes away what is left, and says what that was.
pub fn run(arguments: &CleanArguments) -> Result<u8, Stop> {
    let wanted = |left: &Leftover| match (&arguments.rpc_socket, &left.undo) {
        (None, _) => true,
        (Some(socket), undo) => undo.as_ref().is_some_and(|undo| undo.rpc_socket == *socket),
    };
    let mut exit = 0;
    let mut any = false;
    for left in run_dir::leftovers().iter().filter(|left| wanted(left)) {
        any = true;
        match left.remove() {
            Ok(()) => print(&format!("taken away: {left}\n"))?,
            Err(error) => {
                exit = EXIT_STAYS;
                tell(&format!("plugfest: {}: {error}\n", left.dir.display()));
            }
        }
    }
    if !any {
        print("nothing is left\n")?;
    }
    Ok(exit)
}
