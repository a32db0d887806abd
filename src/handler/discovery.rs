//! Autodiscovery: every `#[votive::task]` that is linked into the program is known to it.
//!
//! A linker leaves out a library that nobody names. A crate whose tasks are to be found has to be used,
//! if only by `use the_crate as _;`.

use crate::handler::{Declaration, DuplicateKind, Registry};

inventory::collect!(Declaration);

/// Returns every task that is declared in the program by `#[votive::task]`, in the order of their files
/// and lines.
#[must_use]
pub fn declarations() -> Vec<Declaration> {
    let mut found: Vec<Declaration> = inventory::iter::<Declaration>
        .into_iter()
        .copied()
        .collect();
    found.sort_by_key(|declaration| declaration.origin);
    found
}

/// Returns a registry of every task that is declared in the program: `votive::registry()?.kinds()` lists them.
///
/// # Errors
/// As [`Registry::discovered`], which is the same.
pub fn registry() -> Result<Registry, DuplicateKind> {
    Registry::discovered()
}

impl Registry {
    /// Creates a registry of every task that is declared in the program by `#[votive::task]`. More may
    /// be registered in it.
    ///
    /// A crate that nothing else names is not part of the program; `use the_crate as _;` makes its tasks
    /// part of it.
    ///
    /// # Errors
    /// Two functions are declared with the same kind; the error names both.
    ///
    /// # Examples
    /// ```standalone_crate
    /// use votive::Registry;
    ///
    /// #[votive::task]
    /// fn greet(name: String) {
    ///     println!("hello {name}");
    /// }
    ///
    /// assert!(Registry::discovered()?.handles("greet"));
    /// # Ok::<(), votive::handler::DuplicateKind>(())
    /// ```
    #[doc(alias = "autodiscover")]
    pub fn discovered() -> Result<Self, DuplicateKind> {
        let mut registry = Self::new();
        for declaration in declarations() {
            declaration.register(&mut registry)?;
        }
        Ok(registry)
    }
}
