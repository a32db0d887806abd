#[votive::task]
fn send(to: String, context: &mut votive::Context<'_>) {
    drop((to, context.attempt().number));
}

fn main() {}
