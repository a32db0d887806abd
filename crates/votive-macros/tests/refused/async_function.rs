#[votive::task]
async fn send(to: String) {
    drop(to);
}

fn main() {}
