//! Files with settings: what they may say, and how they are refused.
#![cfg(test)]

use votive::consume::Settings;

use crate::said::{banners, file, refusal, settings};

fn configured(text: &str, more: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let config = file(folder.path(), text);
    banners(&[&[&*config[0], &*config[1]], more].concat(), &[])
}

fn refused(text: &str, more: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let config = file(folder.path(), text);
    let said = refusal(&[&[&*config[0], &*config[1]], more].concat(), &[]);
    said.replace(&format!("{}/", folder.path().display()), "")
}

fn read(text: &str) -> Settings {
    let folder = tempfile::tempdir().unwrap();
    let config = file(folder.path(), text);
    settings(&[&config[0], &config[1]], &[]).unwrap()
}

const TWO: &str = r#"
[queues.default]
[queues.mailhost]
concurrent_limit = 6

[[consumer]]
name = "web-1"
queue = ["default=2", "mailhost"]

[[consumer]]
name = "web-2"
queue = "mailhost"
concurrent_limit = 3
"#;

#[test]
fn a_file_has_several_queues_and_several_consumers() {
    let banners = configured(TWO, &[]);
    assert_eq!(banners.len(), 2);
    assert!(
        banners[0].contains("default, 2 at once") && banners[0].contains("mailhost, 6 at once")
    );
    assert!(banners[1].contains("mailhost, 3 at once") && !banners[1].contains("default"));
}

#[test]
fn one_consumer_of_a_file_is_chosen_by_its_name() {
    let banners = configured(TWO, &["--consumer", "web-2"]);
    assert!(banners.len() == 1 && banners[0].contains("web-2"));
    let said = refused(TWO, &["--consumer", "web-3"]);
    assert!(
        said.contains("there is no consumer `web-3`: did you mean"),
        "{said}"
    );
}

#[test]
fn what_is_of_one_consumer_is_refused_for_two() {
    let said = refused(TWO, &["--queue", "default"]);
    let expected =
        "--queue: `queue` is of one consumer, but there are 2: choose one by `--consumer`";
    assert_eq!(said, expected);
    assert_eq!(configured(TWO, &["--threads", "9"]).len(), 2);
}

#[test]
fn an_unknown_key_is_refused_with_file_line_and_suggestion() {
    let said = refused("threads = 2\n\ntreads = 3\n", &[]);
    assert!(
        said.starts_with(
            "votive.toml:3: there is no setting `treads` here: did you mean `threads`?"
        ),
        "{said}"
    );
    let said = refused("[[consumer]]\nname = \"a\"\nqueues = \"b\"\n", &[]);
    assert!(
        said.starts_with("votive.toml:3: there is no setting `queues` here: did you mean `queue`?"),
        "{said}"
    );
    let said = refused("[queues.mail]\nlimit = 3\n", &[]);
    assert!(
        said.starts_with("votive.toml:2: there is no setting `limit` here"),
        "{said}"
    );
    assert!(refused("[[consumer]]\nurl = \"memory://\"\n", &[]).starts_with("votive.toml:2: "));
}

#[test]
fn a_wrong_value_is_refused_with_its_line() {
    let said = refused("\nthreads = 0\n", &[]);
    assert_eq!(
        said,
        "votive.toml:2: `threads` cannot be `0`: it must be a number from 1"
    );
    assert!(refused("threads = [1]\n", &[]).starts_with("votive.toml:1: `threads` cannot be"));
    assert!(refused("consumer = 3\n", &[]).starts_with("votive.toml:1: a table is expected"));
    assert!(refused("threads = \n", &[]).starts_with("votive.toml:1: "));
}

#[test]
fn a_queue_that_is_not_declared_is_refused_or_taken_for_the_first_one() {
    let text = "[queues.archive]\n[queues.mail]\n[[consumer]]\nqueue = \"mial\"\n";
    let said = refused(text, &[]);
    assert!(
        said.starts_with("votive.toml:4: there is no queue `mial`: did you mean `mail`?"),
        "{said}"
    );
    let lenient = format!("unknown_queue = \"first\"\n{text}");
    assert!(configured(&lenient, &[])[0].contains("archive, 1 at once"));
    assert!(read(&lenient).warnings()[0].contains("there is no queue `mial`; taken for `archive`"));
    let opened = read(&format!("url = \"memory://\"\n{lenient}"))
        .open()
        .unwrap();
    assert_eq!(opened.queue(Some("nobody")).unwrap().name(), "archive");
}

#[test]
fn a_producer_without_a_queue_takes_the_first_one() {
    let opened = read("url = \"memory://\"\n[queues.b]\n[queues.a]\n[[consumer]]\nqueue = \"a\"\n");
    let opened = opened.open().unwrap();
    assert_eq!(opened.queue(None).unwrap().name(), "a");
    assert!(opened.queue(Some("c")).is_err());
    let plain = settings(&["--url", "memory://"], &[])
        .unwrap()
        .open()
        .unwrap();
    assert_eq!(plain.queue(None).unwrap().name(), "default");
}

#[test]
fn queues_of_several_stores_need_several_consumers() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("other.db");
    let queues = format!(
        "url = \"memory://\"\n[queues.a]\n[queues.b]\nurl = \"sqlite://{}\"\n",
        file.display()
    );
    let apart = format!("{queues}[[consumer]]\nqueue = \"a\"\n[[consumer]]\nqueue = \"b\"\n");
    let opened = read(&apart).open().unwrap();
    let consumers = opened
        .start(votive::Registry::new(), |builder| builder)
        .unwrap();
    let lines = consumers.running().iter().map(|it| it.banner().line());
    assert_eq!(
        lines.collect::<Vec<_>>()[1],
        "consumer serves b (1) of sqlite"
    );
    consumers.stop();
    let together = format!("{queues}[[consumer]]\nqueue = [\"a\", \"b\"]\n");
    let started = read(&together)
        .open()
        .unwrap()
        .start(votive::Registry::new(), |it| it);
    assert!(
        started
            .unwrap_err()
            .to_string()
            .contains("queues of several stores")
    );
}
