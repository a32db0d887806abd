//! Files that are not what they should be, and clocks, and disks.
#![cfg(test)]

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::Duration;

use votive::register::{Register, RegisterErrorKind};
use votive::resource::rusqlite::Database;
use votive::store::sqlite::{Options, SqliteStore};
use votive::store::{Inspect, Kind};
use votive::time::ManualClock;
use votive_testbed::copy_this_program;

use crate::child::{self, Task};
use crate::fixture::{Client, NOW, Place, place};

/// Opens what is at `place`, which must fail and change nothing.
fn refused(place: &Place) -> Kind {
    let before = fs::read(&place.path).unwrap();
    let kind = place.open().unwrap_err().kind;
    assert_eq!(fs::read(&place.path).unwrap(), before);
    kind
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_left_as_it_was() {
    let place = place();
    drop(place.open().unwrap());
    let newer = "UPDATE votive_schema SET version = 99";
    place.connection().execute_batch(newer).unwrap();
    let kind = refused(&place);
    assert_eq!(
        kind,
        Kind::NewerVersion {
            found: 99,
            known: 1
        }
    );
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_as_it_was() {
    let place = place();
    fs::write(&place.path, "Dear diary, ".repeat(1_000)).unwrap();
    assert!(matches!(refused(&place), Kind::Foreign(_)));
}

#[test]
fn a_folder_is_not_a_store() {
    let place = place();
    fs::create_dir(&place.path).unwrap();
    assert!(matches!(place.open().unwrap_err().kind, Kind::Foreign(_)));
}

#[test]
fn a_database_that_says_it_is_anothers_is_refused_and_left_as_it_was() {
    let place = place();
    let other = "PRAGMA application_id = 0x1234; CREATE TABLE t (x)";
    place.connection().execute_batch(other).unwrap();
    let kind = refused(&place);
    assert!(matches!(kind, Kind::Foreign(why) if why.contains("0x00001234")));
}

#[test]
fn a_database_of_huey_is_refused_and_left_as_it_was() {
    let place = place();
    let huey = "CREATE TABLE kv (x); CREATE TABLE schedule (x); CREATE TABLE task (x)";
    place.connection().execute_batch(huey).unwrap();
    let kind = refused(&place);
    assert!(matches!(kind, Kind::Foreign(why) if why.contains("Huey")));
}

#[test]
fn an_application_keeps_its_tables_and_its_header_beside_the_store() {
    let place = place();
    let app = "PRAGMA user_version = 7; CREATE TABLE document (x); INSERT INTO document VALUES (1)";
    place.connection().execute_batch(app).unwrap();
    drop(Client::open(&place.path));
    let connection = place.connection();
    let number = |sql| {
        connection
            .query_row(sql, [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    assert_eq!(number("PRAGMA user_version"), 7);
    assert_eq!(number("PRAGMA application_id"), 0);
    assert_eq!(number("SELECT x FROM document"), 1);
}

#[test]
fn a_damaged_file_is_found_by_its_check() {
    let place = place();
    let client = Client::open(&place.path);
    client.enqueue_many(100);
    drop(client);
    let file = fs::File::options().write(true).open(&place.path).unwrap();
    let page = file.metadata().unwrap().len() / 4_096 - 5;
    file.write_all_at(&[0xff; 4_096], page * 4_096).unwrap();
    let checked = place.open().unwrap().check();
    let found = match checked {
        Ok(complaints) => !complaints.is_empty(),
        Err(error) => matches!(error.kind, Kind::Corrupt(_)),
    };
    assert!(found);
}

#[test]
fn a_file_that_is_not_there_is_not_made_unless_it_may_be() {
    let place = place();
    let opened = SqliteStore::open(&place.path, Options::default().create(false));
    assert!(matches!(opened.unwrap_err().kind, Kind::NoStore(_)));
    assert!(!place.path.exists());
}

/// Opens a store in a process that owns neither the file nor the folder.
fn opened_by_another(place: &Place) -> String {
    let program = place.path.with_file_name("program");
    copy_this_program(&program).unwrap();
    let mut command = child::command(&program, Task::Open, &place.path);
    let is_root = fs::metadata(&program).unwrap().uid() == 0;
    if is_root {
        // Nothing is read-only for root, so the child is nobody.
        command.uid(65_534).gid(65_534);
    }
    command.current_dir("/");
    let mut child = command.args(child::ARGUMENTS).spawn().unwrap();
    let said = child::said(&mut child);
    child::end(child);
    said
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_store_is_not_made_in_a_read_only_folder() {
    let place = place();
    let folder = place.path.parent().unwrap();
    copy_this_program(&folder.join("program")).unwrap();
    set_mode(folder, 0o555);
    assert_eq!(opened_by_another(&place), "ReadOnly");
    set_mode(folder, 0o755);
}

#[test]
fn a_read_only_file_is_refused() {
    let place = place();
    drop(place.open().unwrap());
    set_mode(place.path.parent().unwrap(), 0o777);
    set_mode(&place.path, 0o444);
    assert_eq!(opened_by_another(&place), "ReadOnly");
}

#[test]
fn a_file_that_may_not_be_read_either_is_refused_in_the_same_way() {
    let place = place();
    drop(place.open().unwrap());
    set_mode(place.path.parent().unwrap(), 0o777);
    set_mode(&place.path, 0o000);
    assert_eq!(opened_by_another(&place), "ReadOnly");
}

#[test]
fn a_full_store_refuses_what_is_new_and_keeps_what_it_has() {
    let place = place();
    let client = Client::open_with(&place.path, Options::default().max_page_count(100));
    let refused = std::iter::repeat_with(|| client.enqueue()).find_map(Result::err);
    assert_eq!(refused.unwrap().kind, Kind::Full);
    let count = client.task_count();
    drop(client);
    let client = Client::open(&place.path);
    assert!(count > 10);
    assert_eq!(client.task_count(), count);
    client.enqueue().unwrap();
    assert_eq!(client.store.check().unwrap(), Vec::<String>::new());
}

#[test]
fn a_limit_on_the_size_of_files_loses_nothing() {
    let place = place();
    drop(place.open().unwrap());
    let limited = "trap '' XFSZ; ulimit -f 1000; exec \"$0\" \"$@\"";
    let mut command = child::command(Path::new("sh"), Task::Fill, &place.path);
    command
        .args(["-c", limited])
        .arg(std::env::current_exe().unwrap());
    let mut child = command.args(child::ARGUMENTS).spawn().unwrap();
    let said = child::said(&mut child);
    child::end(child);
    let (count, kind) = said.split_once(' ').unwrap();
    let count: usize = count.parse().unwrap();
    assert!(["Full", "Unknown"].contains(&kind), "{kind}");
    let found = Client::open(&place.path).task_count();
    assert!(
        found == count || (found == count + 1 && kind == "Unknown"),
        "{found}, not {count}"
    );
}

#[test]
fn a_copy_refuses_to_decide_until_it_is_adopted() {
    let (original, copy) = (place(), place());
    drop(original.open().unwrap());
    fs::copy(&original.path, &copy.path).unwrap();
    let unusable = copy.open().unwrap().incarnations().unwrap_err();
    assert_eq!(unusable.kind, RegisterErrorKind::Unusable);
    Database::adopt(&copy.path).unwrap();
    assert_eq!(copy.open().unwrap().incarnations().unwrap(), []);
}

#[test]
fn a_store_never_goes_back_in_time() {
    let place = place();
    let clock = ManualClock::new(NOW);
    let options = || Options::default().clock(clock.clone());
    let client = Client::open_with(&place.path, options());
    assert_eq!(client.store.now().unwrap(), NOW);
    client.enqueue().unwrap();
    clock.set(NOW.saturating_sub(Duration::from_secs(3_600)));
    assert_eq!(client.store.now().unwrap(), NOW);
    drop(client);
    let reopened = Client::open_with(&place.path, options());
    assert_eq!(reopened.store.now().unwrap(), NOW);
}
