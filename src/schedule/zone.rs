//! Time zones by name. The machine's own rules win; those that are built in are for machines that have none.

use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::ScheduleError;

/// How much a name has to be like another to be proposed in its place, from 0 to 1.
const LIKENESS_MIN: f64 = 0.8;

/// Finds a time zone by its name in the IANA database, in whatever case.
pub(super) fn find(name: &str) -> Result<TimeZone, ScheduleError> {
    let built_in = || TimeZoneDatabase::bundled().get(name);
    TimeZone::get(name)
        .or_else(|_| built_in())
        .map_err(|_| ScheduleError::Zone {
            name: name.to_owned(),
            advice: advice(name),
        })
}

/// Returns the name of a zone that [`find`] found.
pub(super) fn name(zone: &TimeZone) -> &str {
    zone.iana_name().unwrap_or("UTC")
}

fn advice(name: &str) -> String {
    let bundled = TimeZoneDatabase::bundled();
    let like = |known: &str| {
        let city = known.rsplit('/').next().unwrap_or(known);
        strsim::jaro_winkler(name, known).max(strsim::jaro_winkler(name, city))
    };
    let known = bundled
        .available()
        .map(|known| (like(known.as_str()), known));
    let best = known.max_by(|(one, _), (other, _)| one.total_cmp(other));
    match best.filter(|(likeness, _)| *likeness >= LIKENESS_MIN) {
        Some((_, known)) => format!("did you mean `{known}`?"),
        None => "write one such as `Europe/Rome` or `UTC`".to_owned(),
    }
}
