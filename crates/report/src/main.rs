//! Makes `docs/performance.md` and its plots from the reports in `docs/performance/`.

use std::path::Path;
use std::process::ExitCode;

use votive_report::{Error, FOLDER, Report, make};

fn main() -> ExitCode {
    match write(Path::new(".")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            eprintln!("{error}: {}", source.unwrap_or_default());
            ExitCode::FAILURE
        }
    }
}

fn write(root: &Path) -> Result<(), Error> {
    let folder = root.join(FOLDER);
    let own = Report::read(&folder.join("votive.json"))?;
    let peers = Report::read(&folder.join("peers.json"))?;
    let made = make(&own, &peers)?;
    let put = |path: &Path, text: &str| {
        std::fs::write(path, text).map_err(|error| Error::File(path.into(), error))
    };
    for (name, picture) in &made.plots {
        put(&folder.join(name), picture)?;
    }
    put(&folder.with_extension("md"), &made.document)
}
