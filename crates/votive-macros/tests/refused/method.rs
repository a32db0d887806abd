struct Mailer;

impl Mailer {
    #[votive::task]
    fn send(&self, to: String) {
        drop(to);
    }
}

fn main() {}
