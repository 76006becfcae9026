//! The targets that have names, SPDK head and the intended one, and what differs from them, in words.

use sim::Bugs;

/// A target that is wrong in these ways, by the nearest one that has a name: "SPDK head with early_finish and without
/// log_loop".
#[must_use]
pub fn target_words(all: Bugs) -> String {
    let head = Bugs::head();
    let names = |some: Bugs, without: Bugs| {
        let rest = some.iter().filter(|one| !without.has(*one));
        rest.map(|one| one.name()).collect::<Vec<_>>()
    };
    let (more, less) = (names(all, head), names(head, all));
    let wrong = names(all, Bugs::INTENDED);
    if wrong.is_empty() {
        return "an intended target".to_owned();
    }
    if wrong.len() <= more.len() + less.len() {
        return format!("a target with {}", wrong.join(", "));
    }
    let mut differs = Vec::new();
    if !more.is_empty() {
        differs.push(format!(" with {}", more.join(", ")));
    }
    if !less.is_empty() {
        differs.push(format!(" without {}", less.join(", ")));
    }
    format!("SPDK head{}", differs.join(" and"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sim::Bug::{EarlyFinish, LogLoop, SharedCursor, StaleFinish};

    #[test]
    fn only_what_differs_from_a_preset_is_named() {
        let head = Bugs::head();
        for (all, words) in [
            (Bugs::INTENDED, "an intended target"),
            (
                Bugs::INTENDED.with(LogLoop).with(EarlyFinish),
                "a target with early_finish, log_loop",
            ),
            (head, "SPDK head"),
            (
                head.with(SharedCursor).with(StaleFinish),
                "SPDK head with stale_finish, shared_cursor",
            ),
            (head.without(LogLoop), "SPDK head without log_loop"),
            (
                head.with(SharedCursor).without(LogLoop),
                "SPDK head with shared_cursor and without log_loop",
            ),
        ] {
            assert_eq!(target_words(all), words);
        }
    }
}
