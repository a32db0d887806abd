#[votive::task]
fn send((to, subject): (String, String), _: u32) {
    drop((to, subject));
}

fn main() {}
