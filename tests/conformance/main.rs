//! Judges that nobody here wrote. They need files from outside the project and fail without them; they never skip.

mod jose;
mod llhttp;

use std::path::PathBuf;

/// A folder of `VECTORS`.
#[expect(
    clippy::disallowed_methods,
    reason = "the vectors are not the project's: only who runs this knows where they are"
)]
fn vectors(folder: &str) -> PathBuf {
    let root =
        std::env::var_os("VECTORS").unwrap_or_else(|| panic!("VECTORS must name the folder that holds `{folder}`"));
    let path = PathBuf::from(root).join(folder);
    assert!(path.is_dir(), "there is no folder {}", path.display());
    path
}
