#[votive::task]
fn send<T: ToString>(to: T) {
    drop(to.to_string());
}

#[votive::task]
fn send_with_lifetime<'a>(to: std::borrow::Cow<'a, str>) {
    drop(to);
}

#[votive::task]
fn send_any(to: impl ToString) {
    drop(to.to_string());
}

fn main() {}
