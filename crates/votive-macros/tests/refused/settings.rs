#[votive::task(prioritty = 5)]
fn misspelt() {}

#[votive::task(priority = 256)]
fn too_large() {}

#[votive::task(attempts = 0)]
fn never() {}

#[votive::task(timeout = "soon")]
fn vague() {}

#[votive::task(timeout = 30)]
fn without_unit() {}

#[votive::task(queue = "")]
fn nowhere() {}

#[votive::task(queue = "a", queue = "b")]
fn twice() {}

#[votive::task(unique = "key")]
fn keyed() {}

#[votive::task(unique(perhaps))]
fn undecided() {}

#[votive::task(unique(merge, refuse))]
fn torn() {}

#[votive::task(unique(until_ended = true))]
fn wordy() {}

#[votive::task(unique(after_ended = "a while"))]
fn vaguely() {}

#[votive::task(upgrade = "older")]
fn quoted() {}

fn main() {}
