//! Rendered statements, executed by drivers that know nothing of votive, put tasks into the application's
//! transaction.
#![cfg(test)]

use std::time::Duration;

use ::postgres::types::{ToSql, Type};
use votive::id::{ConsumerId, Incarnation, TaskId, TxnId};
use votive::store::postgres::{self, PostgresStore};
use votive::store::render::{Rendered, Value};
use votive::store::sqlite::{self, SqliteStore};
use votive::store::{
    Batch, Change, ClaimRequest, Kind, Settlement, Store, StoreExt, Verdict, Want,
};
use votive::task::{Format, OnDuplicate, Options, Payload, Record, State, Unique};
use votive_testbed::{Postgres, or_skip};

/// An application with a database of its own driver, and a store in that database.
trait Application {
    fn store(&self) -> &dyn Store;
    fn render(&self, batch: &Batch) -> Result<Rendered, votive::store::Error>;
    /// Executes statements in a transaction and commits it, unless a number of rows is another than
    /// expected, or `commit` is false. Returns whether it committed.
    fn execute(&self, rendered: &Rendered, commit: bool) -> bool;
}

struct Sqlite {
    folder: tempfile::TempDir,
    store: SqliteStore,
}

impl Sqlite {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path().join("app.db"), sqlite::Options::default());
        let store = store.unwrap();
        Self { folder, store }
    }
}

impl Application for Sqlite {
    fn store(&self) -> &dyn Store {
        &self.store
    }

    fn render(&self, batch: &Batch) -> Result<Rendered, votive::store::Error> {
        self.store.render(batch, self.store().now().unwrap())
    }

    fn execute(&self, rendered: &Rendered, commit: bool) -> bool {
        let mut connection = rusqlite::Connection::open(self.folder.path().join("app.db")).unwrap();
        let immediate = rusqlite::TransactionBehavior::Immediate;
        let transaction = connection.transaction_with_behavior(immediate).unwrap();
        let as_expected = rendered.statements.iter().all(|statement| {
            let mut prepared = transaction.prepare(&statement.sql).unwrap();
            let values = statement.parameters.iter().map(|value| match value {
                Value::Integer(value) => rusqlite::types::Value::from(*value),
                Value::Text(value) => value.clone().into(),
                Value::Bytes(value) => value.clone().into(),
            });
            let values = rusqlite::params_from_iter(values);
            let count = if prepared.column_count() > 0 {
                let rows = prepared.query_map(values, |_| Ok(())).unwrap();
                rows.count() as u64
            } else {
                prepared.execute(values).unwrap() as u64
            };
            statement.expect.is_none_or(|expect| expect == count)
        });
        if as_expected && commit {
            transaction.commit().unwrap();
        }
        as_expected && commit
    }
}

struct Pg {
    server: Postgres,
    store: PostgresStore,
}

impl Pg {
    fn new() -> Option<Self> {
        let server = or_skip(Postgres::start(votive_testbed::postgres::Options::default()))?;
        let store = PostgresStore::open(&server.url(), postgres::Options::default()).unwrap();
        Some(Self { server, store })
    }
}

/// A parameter and its type, as the driver wants them.
fn typed(value: &Value) -> (&(dyn ToSql + Sync), Type) {
    match value {
        Value::Integer(value) => (value, Type::INT8),
        Value::Text(value) => (value, Type::TEXT),
        Value::Bytes(value) => (value, Type::BYTEA),
    }
}

impl Application for Pg {
    fn store(&self) -> &dyn Store {
        &self.store
    }

    fn render(&self, batch: &Batch) -> Result<Rendered, votive::store::Error> {
        self.store.render(batch, self.store().now().unwrap())
    }

    fn execute(&self, rendered: &Rendered, commit: bool) -> bool {
        let mut client = self.server.client().unwrap();
        let mut transaction = client.transaction().unwrap();
        let as_expected = rendered.statements.iter().all(|statement| {
            let values: Vec<_> = statement.parameters.iter().map(typed).collect();
            let rows = transaction.query_typed(&statement.sql, &values).unwrap();
            statement
                .expect
                .is_none_or(|expect| expect == rows.len() as u64)
        });
        if as_expected && commit {
            transaction.commit().unwrap();
        }
        as_expected && commit
    }
}

fn record(application: &dyn Application, options: Options) -> Record {
    let payload = Payload {
        format: Format::Bytes,
        version: 3,
        bytes: b"'; DROP TABLE task; --".to_vec().into(),
    };
    let now = application.store().now().unwrap();
    Record::new(
        TaskId::new(now),
        "it's a \"queue\"; --",
        "kind",
        payload,
        now,
    )
    .with_options(options)
}

fn insert(application: &dyn Application, options: Options) -> (TaskId, Rendered) {
    let record = record(application, options);
    let id = record.id;
    let batch = Batch::new(vec![Change::Insert(Box::new(record))]);
    (id, application.render(&batch).unwrap())
}

fn state(application: &dyn Application, task: TaskId) -> Option<State> {
    let found = application.store().get(task).unwrap();
    found.map(|listed| listed.record.state)
}

fn unique(key: &str, on_duplicate: OnDuplicate) -> Options {
    let key = key.to_owned();
    Options {
        unique: Some(Unique {
            on_duplicate,
            ..Unique::new(key)
        }),
        ..Options::default()
    }
}

fn a_task_is_visible_when_the_application_commits_and_gone_when_it_does_not(app: &dyn Application) {
    let (committed, rendered) = insert(app, Options::default());
    assert!(app.execute(&rendered, true));
    let (rolled_back, rendered) = insert(app, Options::default());
    assert!(!app.execute(&rendered, false));
    assert_eq!(state(app, committed), Some(State::Ready));
    assert_eq!(state(app, rolled_back), None);
    let incarnation = Incarnation::random();
    let _presence = app
        .store()
        .attend(incarnation, Duration::from_secs(60))
        .unwrap();
    let name = "web-1".to_owned();
    let request = ClaimRequest {
        consumer: ConsumerId { incarnation, name },
        wants: vec![Want {
            queue: "it's a \"queue\"; --".to_owned(),
            count: 10,
        }],
        lease: Duration::from_secs(60),
    };
    let claims = app
        .store()
        .claim(&request, app.store().now().unwrap())
        .unwrap();
    let claimed: Vec<_> = claims.iter().map(|claim| claim.record.id).collect();
    assert_eq!(claimed, [committed]);
    assert_eq!(&*claims[0].record.payload.bytes, b"'; DROP TABLE task; --");
}

fn a_task_is_inserted_once(app: &dyn Application) {
    let (_, rendered) = insert(app, Options::default());
    assert!(app.execute(&rendered, true));
    assert!(!app.execute(&rendered, true));
}

fn a_unique_key_merges_or_refuses(app: &dyn Application) {
    let (first, rendered) = insert(app, unique("it's", OnDuplicate::Merge));
    assert!(app.execute(&rendered, true));
    let (merged, rendered) = insert(app, unique("it's", OnDuplicate::Merge));
    assert!(app.execute(&rendered, true));
    let (refused, rendered) = insert(app, unique("it's", OnDuplicate::Refuse));
    assert!(!app.execute(&rendered, true));
    let found = |task| {
        app.store()
            .get(task)
            .unwrap()
            .map(|listed| listed.record.id)
    };
    assert_eq!(
        [first, merged, refused].map(found),
        [Some(first), Some(first), None]
    );
}

/// Has the one task of the application run and be done.
fn finish(app: &dyn Application) {
    let (store, incarnation) = (app.store(), Incarnation::random());
    let now = store.now().unwrap();
    store.enroll(incarnation, now).unwrap();
    let _presence = store.attend(incarnation, Duration::from_secs(60)).unwrap();
    let request = ClaimRequest {
        consumer: ConsumerId {
            incarnation,
            name: "web-1".to_owned(),
        },
        wants: vec![Want {
            queue: "it's a \"queue\"; --".to_owned(),
            count: 1,
        }],
        lease: Duration::from_secs(60),
    };
    let claim = store.claim(&request, now).unwrap().remove(0);
    let done = Change::Settle(Settlement {
        task: claim.record.id,
        token: claim.token,
        verdict: Verdict::Done,
        counts: claim.record.counts,
        account: None,
    });
    let txn = TxnId {
        incarnation,
        sequence: 1,
    };
    store.apply_alone(txn, &Batch::new(vec![done])).unwrap();
}

fn a_key_at_rest_merges_or_refuses(app: &dyn Application) {
    let hourly = |on_duplicate| Options {
        unique: Some(Unique {
            on_duplicate,
            ..Unique::new("it's").for_after_enqueued(Duration::from_secs(3_600))
        }),
        retention: None,
        ..Options::default()
    };
    let (first, rendered) = insert(app, hourly(OnDuplicate::Merge));
    assert!(app.execute(&rendered, true));
    finish(app);
    let (merged, rendered) = insert(app, hourly(OnDuplicate::Merge));
    assert!(app.execute(&rendered, true));
    let (refused, rendered) = insert(app, hourly(OnDuplicate::Refuse));
    assert!(!app.execute(&rendered, true));
    assert_eq!(
        [first, merged, refused].map(|task| state(app, task)),
        [None; 3]
    );
    let kept = Options {
        retention: Some(Duration::from_secs(3_600)),
        unique: Some(Unique::new("kept").for_after_ended(Duration::from_secs(3_600))),
        ..Options::default()
    };
    let (first, rendered) = insert(app, kept.clone());
    assert!(app.execute(&rendered, true));
    finish(app);
    let (alias, rendered) = insert(app, kept);
    assert!(app.execute(&rendered, true));
    let states = [first, alias].map(|task| state(app, task));
    assert_eq!(states, [Some(State::Done); 2]);
}

fn groups_prerequisites_and_objects_are_rendered_too(app: &dyn Application) {
    let group = || Options {
        group: Some("it's".to_owned()),
        about: vec!["invoice/1".to_owned(), "it's".to_owned()],
        ..Options::default()
    };
    let (first, rendered) = insert(app, group());
    assert!(app.execute(&rendered, true));
    let (second, rendered) = insert(app, group());
    assert!(app.execute(&rendered, true));
    let waits_for = vec![first, second];
    let (third, rendered) = insert(
        app,
        Options {
            waits_for,
            ..Options::default()
        },
    );
    assert!(app.execute(&rendered, true));
    let states = [first, second, third].map(|task| state(app, task));
    assert_eq!(
        states,
        [
            Some(State::Ready),
            Some(State::Waiting),
            Some(State::Waiting)
        ]
    );
    let about = votive::store::Filter {
        about: Some("it's".to_owned()),
        ..Default::default()
    };
    assert_eq!(app.store().scan(&about, None, 10).unwrap().tasks.len(), 2);
}

fn a_group_gives_its_places_to_those_of_its_tasks_that_are_first(app: &dyn Application) {
    let placed = |priority| Options {
        group: Some("it's".to_owned()),
        group_limit: Some(2),
        priority,
        ..Options::default()
    };
    let tasks = [10, 9, 0, 11].map(|priority| {
        let (task, rendered) = insert(app, placed(priority));
        assert!(app.execute(&rendered, true));
        task
    });
    let states = tasks.map(|task| state(app, task));
    let [ready, waiting] = [Some(State::Ready), Some(State::Waiting)];
    assert_eq!(states, [waiting, ready, ready, waiting]);
}

fn what_is_no_new_task_is_refused(app: &dyn Application) {
    let key = "key".to_owned();
    let mark = Change::Mark {
        key,
        expect: None,
        value: None,
    };
    let refused = app.render(&Batch::new(vec![mark])).unwrap_err();
    assert_eq!(refused.kind, Kind::Unsupported);
}

/// Makes a test for each store of each claim, and lets the store check itself afterwards.
macro_rules! for_both {
    ($($claim:ident)*) => {
        mod in_sqlite {
            $(#[test]
            fn $claim() {
                let application = super::Sqlite::new();
                super::$claim(&application);
                assert!(super::Application::store(&application).check().unwrap().is_empty());
            })*
        }
        mod in_postgres {
            $(#[test]
            fn $claim() {
                let Some(application) = super::Pg::new() else { return };
                super::$claim(&application);
                assert!(super::Application::store(&application).check().unwrap().is_empty());
            })*
        }
    };
}

for_both! {
    a_task_is_visible_when_the_application_commits_and_gone_when_it_does_not
    a_task_is_inserted_once
    a_unique_key_merges_or_refuses
    a_key_at_rest_merges_or_refuses
    groups_prerequisites_and_objects_are_rendered_too
    a_group_gives_its_places_to_those_of_its_tasks_that_are_first
    what_is_no_new_task_is_refused
}
