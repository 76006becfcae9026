//! What must always hold of the simulator: a name, a sentence, and a look that says what is wrong.
//!
//! A broken invariant is a bug of the simulator, so it panics. What the modelled system does wrong is data
//! ([`crate::component::Cx::broken`]), and no guest, socket or known bug may break an invariant.

/// A row of a table of invariants of `S`.
pub struct Invariant<S> {
    /// Names it in a panic and in tests: "time_never_goes_back".
    pub name: &'static str,
    /// What must hold, as a sentence.
    pub says: &'static str,
    /// Looks, and says what is wrong, with the values that show it.
    pub broken: fn(&S) -> Option<String>,
}

/// Checks every row of `table`.
///
/// # Panics
///
/// If one is broken: a bug of the simulator.
pub fn check_all<S>(table: &[Invariant<S>], state: &S) {
    for invariant in table {
        if let Some(what) = (invariant.broken)(state) {
            broken(invariant.name, invariant.says, &what);
        }
    }
}

#[cold]
#[inline(never)]
fn broken(name: &str, says: &str, what: &str) -> ! {
    panic!("the simulator's invariant {name} is broken: {says} But {what}");
}

/// The names and sentences of a table.
pub trait Rows {
    /// Name and sentence of each row.
    fn rows(&self) -> impl Iterator<Item = (&'static str, &'static str)>;
}

impl<S> Rows for [Invariant<S>] {
    fn rows(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.iter().map(|row| (row.name, row.says))
    }
}
