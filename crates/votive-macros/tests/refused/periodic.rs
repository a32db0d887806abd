#[votive::periodic]
fn when() {}

#[votive::periodic("0 5 * *")]
fn four_fields() {}

#[votive::periodic("@daily", catch_up = "sometimes")]
fn now_and_then() {}

#[votive::periodic("@daily")]
fn without_value(days: u32) {
    drop(days);
}

#[votive::periodic("@daily", args(hours = 7))]
fn with_another(days: u32) {
    drop(days);
}

#[votive::periodic("@daily", args(hours = 7))]
fn with_too_many() {}

fn main() {}
