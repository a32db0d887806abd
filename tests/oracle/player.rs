//! Plays a scenario: each of its operations is a call of ours, or one that we do not have.
#![cfg(test)]

use std::collections::{BTreeMap, VecDeque};
use std::error::Error as StdError;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde_json::{Value, json};
use votive::id::ResourceId;
use votive::txn::{
    BoxError, CommitError, JoinError, Panicked, RunError, Savepoint, SavepointError,
    SynchronizerId, Transaction, TransactionManager, Work,
};

use crate::cast::{Listener, Member, Script, hook, raise};

/// A value as it stands in a trace.
pub(crate) fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

pub(crate) fn play(scenario: &Value) -> Vec<String> {
    let mut player = Player {
        script: Script::new(scenario),
        manager: TransactionManager::new(),
        ops: scenario["ops"].as_array().unwrap().clone().into(),
        synchronizers: BTreeMap::new(),
        current: None,
        others: Vec::new(),
        savepoints: Vec::new(),
    };
    player.play();
    let trace = player.script.trace();
    assert!(trace.len() < 1_000, "a scenario is short");
    trace
}

fn name(op: &Value) -> &str {
    op[0].as_str().unwrap()
}

fn argument(op: &Value) -> &str {
    op[1].as_str().unwrap_or_default()
}

/// The operation as it stands in a trace: its name and what it is done to.
fn label(op: &Value) -> String {
    match op[1].as_str() {
        Some(argument) => format!("{} {argument}", name(op)),
        None => name(op).to_owned(),
    }
}

fn done(script: &Script, op: &Value) {
    script.add(format!("op {}", label(op)));
}

fn gives(script: &Script, op: &Value, value: &Value) {
    script.add(format!("op {} = {}", label(op), text(value)));
}

fn raises(script: &Script, op: &Value, exception: &str) {
    script.add(format!("raise {} {exception}", label(op)));
}

/// The reference's exception for an error of ours.
fn exception(error: &(dyn StdError + 'static)) -> String {
    if let Some(known) = known(error) {
        return known.to_owned();
    }
    match (error.source(), error.downcast_ref::<Panicked>()) {
        (Some(source), _) => exception(source),
        (None, Some(panicked)) => panicked.message.clone(),
        (None, None) => error.to_string(),
    }
}

fn known(error: &(dyn StdError + 'static)) -> Option<&'static str> {
    let of_commit = match error.downcast_ref() {
        Some(CommitError::Doomed) => Some("DoomedTransaction"),
        Some(CommitError::Failed(_)) => Some("TransactionFailedError"),
        _ => None,
    };
    let of_join = match error.downcast_ref() {
        Some(JoinError::Failed) => Some("TransactionFailedError"),
        Some(JoinError::Committing) => Some("ValueError"),
        _ => None,
    };
    let of_savepoint = match error.downcast_ref() {
        Some(SavepointError::NotActive) => Some("TransactionFailedError"),
        Some(SavepointError::Unsupported { .. }) => Some("TypeError"),
        _ => None,
    };
    let of_run = match error.downcast_ref() {
        Some(RunError::NoAttempts) => Some("ValueError"),
        _ => None,
    };
    of_commit.or(of_join).or(of_savepoint).or(of_run)
}

fn ended(script: &Script, op: &Value, result: Result<(), BoxError>) {
    match result {
        Ok(()) => done(script, op),
        Err(error) => raises(script, op, &exception(&*error)),
    }
}

/// Values of a transaction's data, one per type.
struct DataA(Value);
struct DataB(Value);

fn data(work: &Work, of: &str) -> Option<Value> {
    match of {
        "a" => work.data::<DataA>().map(|data| data.0.clone()),
        _ => work.data::<DataB>().map(|data| data.0.clone()),
    }
}

fn set_data(work: &mut Work, of: &str, value: Value) {
    match of {
        "a" => work.set_data(DataA(value)),
        _ => work.set_data(DataB(value)),
    }
}

fn status(work: &mut Work) -> &'static str {
    let is_doomed = work.is_doomed();
    let probe = work.join_with::<Member>(ResourceId::random(), |_| Err("only asking".into()));
    match probe {
        Err(JoinError::Failed) => "Commit failed",
        _ if is_doomed => "Doomed",
        _ => "Active",
    }
}

/// Does what can be done with the work alone; returns whether it could.
pub(crate) fn act(script: &Arc<Script>, work: &mut Work, op: &Value) -> bool {
    let argument = argument(op);
    match name(op) {
        "join" => ended(script, op, Member::join(script, work, argument)),
        "hook" => {
            hook(script, work, argument, op[2].as_str().unwrap());
            done(script, op);
        }
        "doom" => {
            work.doom();
            done(script, op);
        }
        "set_data" => {
            set_data(work, argument, op[2].clone());
            done(script, op);
        }
        "data" => match data(work, argument) {
            Some(value) => gives(script, op, &value),
            None => raises(script, op, "KeyError"),
        },
        "isDoomed" => gives(script, op, &json!(work.is_doomed())),
        "status" | "tstatus" => gives(script, op, &json!(status(work))),
        "resources" => {
            let names: Vec<&str> = work.joined::<Member>().map(|m| m.name.as_str()).collect();
            gives(script, op, &json!(names));
        }
        _ => return note(script, work, op),
    }
    true
}

/// Does what describes the work.
fn note(script: &Script, work: &mut Work, op: &Value) -> bool {
    match name(op) {
        "description" => gives(script, op, &json!(work.description())),
        "user" => gives(script, op, &json!(work.user())),
        "extension" => gives(script, op, &json!(work.extension())),
        // What is not there cannot be set: the types say so.
        "setuser" => raises(script, op, "ValueError"),
        "note" | "setdesc" | "setUser" | "ext" => {
            match (name(op), op[1].as_str()) {
                ("note", Some(text)) => work.note(text),
                ("setUser", Some(user)) => work.set_user(op[2].as_str().unwrap_or("/"), user),
                ("ext", Some(key)) => work.set_extension(key, text(&op[2])),
                _ => {}
            }
            done(script, op);
        }
        _ => return false,
    }
    true
}

/// What needs more than the work: the transaction, or a savepoint.
const AROUND: [&str; 9] = [
    "register",
    "unregister",
    "begin",
    "commit",
    "abort",
    "run",
    "attempts",
    "rollback",
    "drop_sp",
];

struct Player {
    script: Arc<Script>,
    manager: TransactionManager,
    ops: VecDeque<Value>,
    synchronizers: BTreeMap<String, SynchronizerId>,
    current: Option<Transaction>,
    /// Those that the reference would have ended when another began; kept, so that nothing is called.
    others: Vec<Transaction>,
    /// The names of the savepoints that can be gone back to, innermost last.
    savepoints: Vec<String>,
}

impl Player {
    fn play(&mut self) {
        while let Some(op) = self.ops.pop_front() {
            match name(&op) {
                "register" => self.register(&op),
                "unregister" => self.unregister(&op),
                "begin" => self.begin(&op),
                "commit" | "abort" => self.end(&op),
                "run" | "attempts" => self.run(&op),
                _ => self.use_current(op),
            }
        }
        // What is left is dropped after the trace was taken.
        self.others.extend(self.current.take());
    }

    fn register(&mut self, op: &Value) {
        let listener = Listener {
            name: argument(op).to_owned(),
            script: Arc::clone(&self.script),
        };
        let id = self.manager.add_synchronizer(Arc::new(listener));
        self.synchronizers.insert(argument(op).to_owned(), id);
        done(&self.script, op);
    }

    fn unregister(&mut self, op: &Value) {
        self.manager
            .remove_synchronizer(self.synchronizers[argument(op)]);
        done(&self.script, op);
    }

    fn begin(&mut self, op: &Value) {
        self.others.extend(self.current.take());
        match self.manager.begin() {
            Ok(txn) => {
                self.current = Some(txn);
                done(&self.script, op);
            }
            Err(error) => raises(&self.script, op, &exception(&error)),
        }
    }

    fn end(&mut self, op: &Value) {
        let Some(txn) = self.current.take() else {
            return self.impossible(op);
        };
        let result = match name(op) {
            "commit" => txn.commit().map(|_| ()).map_err(BoxError::from),
            _ => txn.abort().map_err(BoxError::from),
        };
        ended(&self.script, op, result);
    }

    /// An operation that we do not have, or one on a transaction that is no more.
    fn impossible(&self, op: &Value) {
        self.script.add(format!("impossible {}", label(op)));
    }

    fn use_current(&mut self, op: Value) {
        match self.current.take() {
            Some(mut txn) => {
                self.ops.push_front(op);
                self.inside(&mut txn);
                self.current = Some(txn);
            }
            None if self.tells_of_savepoint(&op) => {}
            None => self.impossible(&op),
        }
    }

    /// Does operations on the work until one needs what is around it.
    fn inside(&mut self, work: &mut Work) {
        while let Some(op) = self.ops.pop_front() {
            if name(&op) == "savepoint" {
                self.savepoint(work, &op);
                continue;
            }
            let is_done = self.tells_of_savepoint(&op) || act(&self.script, work, &op);
            if !is_done && AROUND.contains(&name(&op)) {
                self.ops.push_front(op);
                return;
            }
            if !is_done {
                self.impossible(&op);
            }
        }
    }

    /// Tells whether a savepoint is there, or that one is not to be gone back to; returns whether it did.
    fn tells_of_savepoint(&self, op: &Value) -> bool {
        let present = self.savepoints.iter().any(|name| name == argument(op));
        match name(op) {
            "valid" => gives(&self.script, op, &json!(present)),
            "rollback" if !present => raises(&self.script, op, "InvalidSavepointRollbackError"),
            _ => return false,
        }
        true
    }

    fn savepoint(&mut self, work: &mut Work, op: &Value) {
        let made = match op[2].as_bool() {
            Some(true) => work.savepoint_optimistic(),
            _ => work.savepoint(),
        };
        match made {
            Ok(mut point) => {
                done(&self.script, op);
                self.savepoints.push(argument(op).to_owned());
                self.inside_savepoint(&mut point, argument(op));
                self.savepoints.pop();
            }
            Err(error) => raises(&self.script, op, &exception(&error)),
        }
    }

    fn inside_savepoint(&mut self, point: &mut Savepoint<'_>, called: &str) {
        loop {
            self.inside(point);
            let is_ours = |op: &Value| argument(op) == called;
            if !self.ops.front().is_some_and(is_ours) {
                return;
            }
            let Some(op) = self.ops.pop_front() else {
                return;
            };
            match name(&op) {
                "rollback" => {
                    let result = point.rollback().map_err(BoxError::from);
                    ended(&self.script, &op, result);
                }
                _ => return done(&self.script, &op),
            }
        }
    }

    fn run(&mut self, op: &Value) {
        let attempts = u32::try_from(op[1].as_u64().unwrap()).unwrap();
        let (script, manager) = (Arc::clone(&self.script), self.manager.clone());
        let word = if name(op) == "run" { "try" } else { "attempt" };
        let mut count = 0;
        let result = catch_unwind(AssertUnwindSafe(|| {
            manager.run(attempts, |txn| {
                count += 1;
                script.add(format!("{word} {count}"));
                self.attempt(txn, &op[2])
            })
        }));
        if name(op) == "run" {
            script.add(format!("tries {count}"));
        }
        match result {
            Ok(Ok(_)) if name(op) == "run" => gives(&script, op, &json!("ok")),
            Ok(Ok(_)) => gives(&script, op, &json!(count)),
            Ok(Err(error)) => raises(&script, op, &exception(&error)),
            Err(_) => raises(&script, op, "Base"),
        }
    }

    fn attempt(&mut self, txn: &mut Transaction, body: &Value) -> Result<(), BoxError> {
        for op in body.as_array().unwrap() {
            match name(op) {
                "raise" => {
                    let kind = argument(op);
                    let name = kind[..1].to_uppercase() + &kind[1..];
                    raises(&self.script, op, &name);
                    raise(kind)?;
                }
                "begin" => self.begin(op),
                _ if act(&self.script, txn, op) => {}
                _ => self.impossible(op),
            }
        }
        Ok(())
    }
}
