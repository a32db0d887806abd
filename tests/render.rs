//! Rendered statements, executed by drivers that know nothing of votive, put tasks into the application's
//! transaction.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use ::postgres::types::{ToSql, Type};
use ::postgres::{Client, Transaction};
use votive::id::{ConsumerId, Incarnation, TaskId, TxnId};
use votive::queue::{EnlistError, Queue, RenderedTask};
use votive::store::memory::MemoryStore;
use votive::store::postgres::{self, PostgresStore};
use votive::store::render::{Refusal, Rendered, Statement, Value};
use votive::store::sqlite::{self, SqliteStore};
use votive::store::{
    Batch, Change, ClaimRequest, Kind, Settlement, Store, StoreExt, Verdict, Want,
};
use votive::task::{Format, OnDuplicate, Options, Payload, Record, State, Unique};
use votive_testbed::{Postgres, or_skip};

/// An application with a database of its own driver, and a store in that database.
trait Application {
    fn store(&self) -> &Arc<dyn Store>;
    /// A store in another database, of which the application's tables know nothing.
    fn stranger(&self) -> Arc<dyn Store>;
    /// Executes statements in a transaction and commits it, unless a number of rows is another than
    /// expected, or `commit` is false. Returns whether it committed, or why it did not.
    fn run(&self, rendered: &Rendered, commit: bool) -> Result<bool, Refusal>;

    fn render(&self, batch: &Batch) -> Result<Rendered, votive::store::Error> {
        self.store().render(batch, self.store().now().unwrap())
    }

    fn execute(&self, rendered: &Rendered, commit: bool) -> bool {
        self.run(rendered, commit).unwrap_or(false)
    }
}

struct Sqlite {
    folder: tempfile::TempDir,
    store: Arc<dyn Store>,
}

impl Sqlite {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path().join("app.db"), sqlite::Options::default());
        let store = Arc::new(store.unwrap());
        Self { folder, store }
    }
}

/// Executes a statement, and judges the number of its rows.
fn judged(connection: &rusqlite::Connection, statement: &Statement) -> Result<(), Refusal> {
    let mut prepared = connection.prepare(&statement.sql).unwrap();
    assert_eq!(prepared.column_count() > 0, statement.is_query);
    let values = statement.parameters.iter().map(|value| match value {
        Value::Integer(value) => rusqlite::types::Value::from(*value),
        Value::Text(value) => value.clone().into(),
        Value::Bytes(value) => value.clone().into(),
    });
    let values = rusqlite::params_from_iter(values);
    let count = if statement.is_query {
        prepared.query_map(values, |_| Ok(())).unwrap().count()
    } else {
        prepared.execute(values).unwrap()
    };
    statement.judge(count as u64)
}

impl Application for Sqlite {
    fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn stranger(&self) -> Arc<dyn Store> {
        let path = self.folder.path().join("other.db");
        Arc::new(SqliteStore::open(path, sqlite::Options::default()).unwrap())
    }

    fn run(&self, rendered: &Rendered, commit: bool) -> Result<bool, Refusal> {
        let mut connection = rusqlite::Connection::open(self.folder.path().join("app.db")).unwrap();
        let immediate = rusqlite::TransactionBehavior::Immediate;
        let transaction = connection.transaction_with_behavior(immediate).unwrap();
        let mut statements = rendered.statements.iter();
        statements.try_for_each(|statement| judged(&transaction, statement))?;
        if commit {
            transaction.commit().unwrap();
        }
        Ok(commit)
    }
}

struct Pg {
    server: Postgres,
    store: Arc<dyn Store>,
}

impl Pg {
    fn new() -> Option<Self> {
        let server = or_skip(Postgres::start(votive_testbed::postgres::Options::default()))?;
        let store = PostgresStore::open(&server.url(), postgres::Options::default()).unwrap();
        let store = Arc::new(store);
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
    fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn stranger(&self) -> Arc<dyn Store> {
        let address = self.server.create_database("other").unwrap();
        Arc::new(PostgresStore::open(&address, postgres::Options::default()).unwrap())
    }

    fn run(&self, rendered: &Rendered, commit: bool) -> Result<bool, Refusal> {
        let mut client = self.server.client().unwrap();
        let transaction = written(&mut client, rendered)?;
        if commit {
            transaction.commit().unwrap();
        }
        Ok(commit)
    }
}

/// Executes statements in a transaction, which stays open.
fn written<'c>(client: &'c mut Client, rendered: &Rendered) -> Result<Transaction<'c>, Refusal> {
    let mut transaction = client.transaction().unwrap();
    for statement in &rendered.statements {
        let values: Vec<_> = statement.parameters.iter().map(typed).collect();
        let rows = transaction.query_typed(&statement.sql, &values).unwrap();
        statement.judge(rows.len() as u64)?;
    }
    Ok(transaction)
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

/// A claim of all tasks of the queue.
fn request(incarnation: Incarnation) -> ClaimRequest {
    ClaimRequest {
        consumer: ConsumerId {
            incarnation,
            name: "web-1".to_owned(),
        },
        wants: vec![Want {
            queue: "it's a \"queue\"; --".to_owned(),
            count: 10,
        }],
        lease: Duration::from_secs(60),
    }
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
    let now = app.store().now().unwrap();
    let claims = app.store().claim(&request(incarnation), now).unwrap();
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
    let (store, incarnation) = (&**app.store(), Incarnation::random());
    let now = store.now().unwrap();
    store.enroll(incarnation, now).unwrap();
    let _presence = store.attend(incarnation, Duration::from_secs(60)).unwrap();
    let claim = store.claim(&request(incarnation), now).unwrap().remove(0);
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

#[derive(serde::Serialize, serde::Deserialize)]
struct Greet(String);

impl votive::Task for Greet {
    const KIND: &'static str = "greet";
}

fn a_queue_renders_a_task_and_the_room_that_it_needs(app: &dyn Application) {
    let queue = Queue::new(Arc::clone(app.store()), "it's").unwrap();
    let manager = votive::TransactionManager::new();
    let settings = queue.change_settings(&manager, |settings| settings.capacity = Some(1));
    settings.unwrap();
    let RenderedTask { task, rendered, .. } = queue.render(&Greet("Ann".into())).unwrap();
    assert!(app.execute(&rendered, true));
    let excess = queue.render(&Greet("Bob".into())).unwrap();
    let full = Refusal::QueueFull {
        queue: "it's".to_owned(),
        pending_max: 1,
    };
    assert_eq!(app.run(&excess.rendered, true), Err(full));
    assert_eq!(state(app, task), Some(State::Ready));
    assert_eq!(state(app, excess.task), None);
}

fn what_another_store_rendered_is_refused(app: &dyn Application) {
    let queue = Queue::new(app.stranger(), "default").unwrap();
    let rendered = queue.render(&Greet("Ann".into())).unwrap().rendered;
    let refused = app.run(&rendered, true);
    assert!(matches!(refused, Err(Refusal::OtherStore { .. })));
}

#[test]
fn a_store_that_is_no_database_renders_nothing() {
    let queue = Queue::new(Arc::new(MemoryStore::new()), "default").unwrap();
    let refused = queue.render(&Greet("Ann".into())).unwrap_err();
    assert!(matches!(refused, EnlistError::Store(error) if error.kind == Kind::Unsupported));
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

#[test]
fn a_task_that_a_rendered_one_merges_into_does_not_become_due_meanwhile() {
    let Some(app) = Pg::new() else { return };
    let minute = Duration::from_secs(60);
    let (holder, rendered) = insert(&app, unique("it's", OnDuplicate::Merge).delay(minute));
    assert!(app.execute(&rendered, true));
    let later = app.store.now().unwrap().saturating_add(2 * minute);
    let (merged, rendered) = insert(&app, unique("it's", OnDuplicate::Merge));
    let mut client = app.server.client().unwrap();
    let transaction = written(&mut client, &rendered).unwrap();
    let incarnation = Incarnation::random();
    let _presence = app.store.attend(incarnation, minute).unwrap();
    let request = request(incarnation);
    let claims = app.store.claim(&request, later).unwrap();
    assert!(claims.is_empty());
    transaction.commit().unwrap();
    let claims = app.store.claim(&request, later).unwrap();
    let ids: Vec<_> = claims.iter().map(|claim| claim.record.id).collect();
    assert_eq!(ids, [holder]);
    let found = app.store.get(merged).unwrap();
    assert_eq!(found.map(|listed| listed.record.id), Some(holder));
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
    a_queue_renders_a_task_and_the_room_that_it_needs
    what_another_store_rendered_is_refused
    what_is_no_new_task_is_refused
}
