use std::borrow::Cow;

#[votive::task]
fn send(to: &str, parts: Vec<&'static [u8]>, subject: Cow<'_, str>) {
    drop((to, parts, subject));
}

fn main() {}
