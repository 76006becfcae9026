//! The invariants of the simulator, all in one list: those of the world, of what is on the wire, and of both models.

use std::collections::BTreeSet;

use sim::ModelWorld;

#[test]
fn each_has_a_name_of_its_own_and_a_sentence() {
    let mut names = BTreeSet::new();
    for (name, says) in ModelWorld::invariants() {
        assert!(names.insert(name), "{name} is there twice");
        assert!(says.ends_with('.') && says.contains(' '), "{name}: {says}");
    }
    // Both models bring theirs to the world's own.
    for name in [
        "time_never_goes_back",
        "tasks_are_counted",
        "requests_are_in_one_place",
    ] {
        assert!(names.contains(name), "{name} is not looked at");
    }
    assert!(names.len() >= 85, "{} are too few", names.len());
}
