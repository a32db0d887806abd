//! Folders that are not what they should be, and clocks.
#![cfg(test)]

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::Duration;

use votive::register::{Register, RegisterErrorKind};
use votive::store::file::{FileStore, Options};
use votive::store::{Inspect, Kind};
use votive::time::ManualClock;
use votive_testbed::copy_this_program;

use crate::child::{self, Task};
use crate::fixture::{Client, NOW, Place, place};

/// Changes a byte of the first segment.
fn damage(place: &Place, offset: u64) {
    let segment = place.segments().remove(0);
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(segment)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[!byte[0]], offset).unwrap();
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_left_as_it_was() {
    let place = place();
    drop(place.open().unwrap());
    let segment = place.segments().remove(0);
    let mut content = fs::read(&segment).unwrap();
    content[16] = 99;
    fs::write(&segment, &content).unwrap();
    let kind = place.open().unwrap_err().kind;
    assert_eq!(
        kind,
        Kind::NewerVersion {
            found: 99,
            known: 1
        }
    );
    assert_eq!(fs::read(&segment).unwrap(), content);
}

#[test]
fn a_folder_with_something_else_in_it_is_refused_and_left_as_it_was() {
    let place = place();
    fs::create_dir(&place.path).unwrap();
    fs::write(place.path.join("diary.txt"), "Dear diary").unwrap();
    let kind = place.open().unwrap_err().kind;
    assert!(matches!(kind, Kind::Foreign(why) if why.contains("`diary.txt`")));
    assert_eq!(fs::read_dir(&place.path).unwrap().count(), 1);
}

#[test]
fn a_file_of_another_program_by_the_name_of_a_segment_is_refused() {
    let place = place();
    fs::create_dir(&place.path).unwrap();
    let segment = place.path.join("0000000001.journal");
    fs::write(&segment, "Dear diary, ".repeat(100)).unwrap();
    assert!(matches!(place.open().unwrap_err().kind, Kind::Foreign(_)));
    assert!(
        fs::read_to_string(&segment)
            .unwrap()
            .starts_with("Dear diary")
    );
}

#[test]
fn a_file_is_not_a_store() {
    let place = place();
    fs::write(&place.path, "").unwrap();
    assert!(matches!(place.open().unwrap_err().kind, Kind::Foreign(_)));
}

#[test]
fn a_folder_that_is_not_there_is_not_made_unless_it_may_be() {
    let place = place();
    let opened = FileStore::open(&place.path, Options::default().create(false));
    assert!(matches!(opened.unwrap_err().kind, Kind::NoStore(_)));
    assert!(!place.path.exists());
}

#[test]
fn a_folder_that_was_emptied_while_it_was_open_stays_empty() {
    let place = place();
    let client = Client::open(&place.path);
    fs::remove_dir_all(&place.path).unwrap();
    fs::create_dir(&place.path).unwrap();
    let kind = client.enqueue().unwrap_err().kind;
    assert!(matches!(kind, Kind::NoStore(what) if what.contains("open the store again")));
    let kind = client.store.stats().unwrap_err().kind;
    assert!(matches!(kind, Kind::NoStore(_)));
    assert_eq!(fs::read_dir(&place.path).unwrap().count(), 0);
}

#[test]
fn segments_that_were_moved_away_are_not_appended_to() {
    let (place, elsewhere) = (place(), tempfile::tempdir().unwrap());
    let client = Client::open(&place.path);
    fs::rename(&place.segments()[0], elsewhere.path().join("segment")).unwrap();
    fs::remove_file(place.path.join("lock")).unwrap();
    let kind = client.enqueue().unwrap_err().kind;
    assert!(matches!(kind, Kind::NoStore(_)));
    assert!(!place.path.join("lock").exists());
}

#[test]
fn another_store_in_its_place_is_not_taken_for_the_one_that_was_open() {
    let place = place();
    let client = Client::open(&place.path);
    fs::remove_dir_all(&place.path).unwrap();
    let other = Client::open(&place.path);
    let kind = client.enqueue().unwrap_err().kind;
    assert!(matches!(kind, Kind::NoStore(what) if what.contains("put that back")));
    assert_eq!(other.task_count(), 0);
}

#[test]
fn damage_in_the_middle_is_named_with_its_file_and_offset() {
    let place = place();
    let client = Client::open(&place.path);
    client.enqueue_many(3);
    let before = place.size();
    client.enqueue_many(3);
    drop(client);
    damage(&place, before + 100);
    let kind = place.open().unwrap_err().kind;
    let named = format!("0000000001.journal at offset {before}");
    assert!(matches!(kind, Kind::Corrupt(text) if text.contains(&named)));
}

#[test]
fn damage_that_comes_while_the_store_is_open_is_found_by_its_check() {
    let place = place();
    let client = Client::open(&place.path);
    let before = place.size();
    client.enqueue_many(3);
    damage(&place, before + 500);
    let found = client.store.check().unwrap();
    assert!(
        found[0].contains("0000000001.journal at offset"),
        "{found:?}"
    );
}

#[test]
fn a_task_that_cannot_be_read_holds_up_nobody() {
    let place = place();
    let client = Client::open(&place.path);
    let before = place.size();
    client.enqueue_many(3);
    damage(&place, before + 500);
    assert_eq!(client.claim().len(), 2);
    client.enqueue_many(1);
    assert_eq!(client.claim().len(), 1);
}

#[test]
fn a_torn_end_is_cut_and_nothing_else() {
    let place = place();
    let client = Client::open(&place.path);
    client.enqueue_many(3);
    let segment = place.segments().remove(0);
    let mut content = fs::read(&segment).unwrap();
    content.extend([7, 0, 0, 0, 2, 1, 1]);
    fs::write(&segment, content).unwrap();
    client.enqueue_many(2);
    assert_eq!(Client::open(&place.path).task_count(), 5);
    client.is_healthy();
}

/// Opens a store in a process that owns neither the files nor the folder.
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
fn a_read_only_folder_is_refused() {
    let place = place();
    drop(place.open().unwrap());
    let parent = place.path.parent().unwrap();
    set_mode(parent, 0o755);
    for path in place.segments() {
        set_mode(&path, 0o444);
    }
    set_mode(&place.path, 0o555);
    assert_eq!(opened_by_another(&place), "ReadOnly");
    set_mode(&place.path, 0o755);
}

/// Copies a store as a person would.
fn copy(from: &Place, to: &Place) {
    fs::create_dir(&to.path).unwrap();
    for segment in from.segments() {
        fs::copy(&segment, to.path.join(segment.file_name().unwrap())).unwrap();
    }
}

#[test]
fn a_copy_refuses_to_decide_until_it_is_adopted() {
    let (original, copied) = (place(), place());
    drop(original.open().unwrap());
    copy(&original, &copied);
    let unusable = copied.open().unwrap().incarnations().unwrap_err();
    assert_eq!(unusable.kind, RegisterErrorKind::Unusable);
    FileStore::adopt(&copied.path).unwrap();
    assert_eq!(copied.open().unwrap().incarnations().unwrap(), []);
}

#[test]
fn a_store_never_goes_back_in_time() {
    let place = place();
    let clock = ManualClock::new(NOW);
    let options = || Options::default().clock(clock.clone());
    let client = Client::open_with(&place.path, options());
    client.enqueue().unwrap();
    clock.set(NOW.saturating_sub(Duration::from_secs(3_600)));
    assert_eq!(client.store.now().unwrap(), NOW);
    drop(client);
    let reopened = Client::open_with(&place.path, options());
    assert_eq!(reopened.store.now().unwrap(), NOW);
}
