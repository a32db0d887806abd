//! Tasks that are declared in a library. Whether a program finds them depends on whether it names this
//! crate, which is what the tests beside it show.

/// Shrinks a picture.
#[votive::task(kind = "library.shrink", queue = "pictures")]
pub fn shrink(path: String, width: u32) {
    println!("{path} to {width} pixels");
}

/// Tasks of a module, which is named by nobody.
mod inner {
    /// Forgets what was shrunk.
    #[votive::task(kind = "library.forget")]
    fn forget(path: String) {
        println!("{path}");
    }
}
