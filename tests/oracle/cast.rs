//! Who plays: participants, synchronizers and hooks that do and fail as the scenario says.
#![cfg(test)]

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use votive::id::{ResourceId, TxnId};
use votive::txn::{
    Answer, BoxError, DataManager, Mark, NoSavepoints, Outcome, PrepareInfo, Prepared, Retryable,
    Role, Synchronizer, Vote, Work,
};

use crate::player::{act, text};

/// The scenario, and what has happened in it.
pub(crate) struct Script {
    pub(crate) scenario: Value,
    trace: Mutex<Vec<String>>,
    failures: Mutex<BTreeMap<String, i64>>,
}

impl Script {
    pub(crate) fn new(scenario: &Value) -> Arc<Self> {
        Arc::new(Self {
            scenario: scenario.clone(),
            trace: Mutex::default(),
            failures: Mutex::default(),
        })
    }

    pub(crate) fn add(&self, event: impl Into<String>) {
        self.trace.lock().push(event.into());
    }

    pub(crate) fn trace(&self) -> Vec<String> {
        self.trace.lock().clone()
    }

    /// Whether this call is one of the `times` that fail; -1 is always.
    fn fails(&self, call: String, times: &Value) -> bool {
        let times = times.as_i64().unwrap_or(0);
        let mut failures = self.failures.lock();
        let count = failures.entry(call).or_default();
        *count += 1;
        times == -1 || *count <= times
    }
}

/// An error of the kind that the scenario names; the kind `base` is a panic.
pub(crate) fn raise(kind: &str) -> Result<(), BoxError> {
    match kind {
        "transient" => Err(Retryable("Transient".into()).into()),
        "base" => panic!("Base"),
        _ => Err("Plain".into()),
    }
}

/// The kind of error of one of the cast; plain if the scenario does not say.
fn kind(spec: &Value) -> &str {
    spec["err"].as_str().unwrap_or("plain")
}

/// A participant.
pub(crate) struct Member {
    pub(crate) name: String,
    script: Arc<Script>,
}

impl Member {
    pub(crate) fn join(script: &Arc<Script>, work: &mut Work, name: &str) -> Result<(), BoxError> {
        let mut key = [0; 16];
        key[..name.len()].copy_from_slice(name.as_bytes());
        let member = Self {
            name: name.to_owned(),
            script: Arc::clone(script),
        };
        work.join_with(ResourceId::from_bytes(key), |_| Ok(member))?;
        Ok(())
    }

    fn spec(&self) -> &Value {
        &self.script.scenario["dms"][&self.name]
    }

    /// Fails if the scenario has one of `methods`, the reference's names for it, fail now.
    fn fails(&self, methods: &[&str]) -> bool {
        methods.iter().any(|method| {
            let times = &self.spec()["fail"][method];
            self.script.fails(format!("{}.{method}", self.name), times)
        })
    }

    fn called(&self, ours: &str, theirs: &[&str]) -> Result<(), BoxError> {
        let event = format!("dm {} {ours}", self.name);
        if !self.fails(theirs) {
            self.script.add(event);
            return Ok(());
        }
        self.script.add(event + " !");
        raise(kind(self.spec()))
    }
}

impl DataManager for Member {
    fn role(&self) -> Role {
        Role::Volatile
    }

    fn sort_key(&self) -> Result<String, BoxError> {
        if self.fails(&["sortKey"]) {
            self.script.add(format!("dm {} sortKey !", self.name));
            raise(kind(self.spec()))?;
        }
        match self.spec().get("key") {
            Some(Value::Null) => Err("TypeError".into()),
            Some(key) => Ok(text(key)),
            None => Ok(self.name.clone()),
        }
    }

    fn prepare(&mut self, _info: &mut PrepareInfo<'_>) -> Result<Prepared, BoxError> {
        self.called("prepare", &["tpc_begin", "commit"])
            .map(|()| Prepared::Work)
    }

    fn vote(&mut self, _vote: Vote<'_>) -> Answer {
        match self.called("vote", &["tpc_vote"]) {
            Ok(()) => Answer::Ok,
            Err(error) => Answer::Refused(error),
        }
    }

    fn finish(&mut self) -> Result<(), BoxError> {
        self.called("finish", &["tpc_finish"])
    }

    fn abort(&mut self) -> Result<(), BoxError> {
        self.called("abort", &["tpc_abort", "abort"])
    }

    fn savepoint(&mut self) -> Result<Mark, BoxError> {
        if self.spec()["savepoint"] != true {
            return Err(NoSavepoints.into());
        }
        self.called("savepoint", &["savepoint"]).map(|()| Mark(0))
    }

    fn rollback(&mut self, _mark: Mark) -> Result<(), BoxError> {
        self.called("sp_rollback", &["sp_rollback"])
    }

    fn is_retryable(&self, error: &(dyn StdError + 'static)) -> bool {
        let Some(retries) = self.spec()["should_retry"].as_bool() else {
            return false;
        };
        self.script
            .add(format!("dm {} should_retry {error}", self.name));
        retries
    }
}

/// A synchronizer.
pub(crate) struct Listener {
    pub(crate) name: String,
    pub(crate) script: Arc<Script>,
}

impl Listener {
    fn called(&self, method: &str, work: Option<&mut Work>) -> Result<(), BoxError> {
        let spec = &self.script.scenario["synchs"][&self.name];
        let event = format!("synch {} {method}", self.name);
        if self
            .script
            .fails(format!("{}.{method}", self.name), &spec["fail"][method])
        {
            self.script.add(event + " !");
            return raise(kind(spec));
        }
        self.script.add(event);
        if let (Some(work), Some(op)) = (work, spec["do"].get(method)) {
            act(&self.script, work, op);
        }
        Ok(())
    }
}

impl Synchronizer for Listener {
    fn new_transaction(&self, work: &mut Work) -> Result<(), BoxError> {
        self.called("newTransaction", Some(work))
    }

    fn before_completion(&self, work: &mut Work) -> Result<(), BoxError> {
        self.called("beforeCompletion", Some(work))
    }

    fn after_completion(&self, _txn: TxnId, _outcome: Option<Outcome>) -> Result<(), BoxError> {
        self.called("afterCompletion", None)
    }
}

/// Adds a hook to the list `bc`, `ac`, `ba` or `aa`.
pub(crate) fn hook(script: &Arc<Script>, work: &mut Work, list: &str, name: &str) {
    let (script, name) = (Arc::clone(script), name.to_owned());
    match list {
        "bc" => work.before_commit(move |work| run_hook(&script, &name, "", Some(work))),
        "ba" => work.before_abort(move |work| run_hook(&script, &name, "", Some(work))),
        "aa" => work.after_abort(move || run_hook(&script, &name, "", None)),
        _ => work.after_commit(move |outcome| {
            let committed = format!(" {}", outcome == Outcome::Committed);
            run_hook(&script, &name, &committed, None)
        }),
    }
}

fn run_hook(
    script: &Arc<Script>,
    name: &str,
    told: &str,
    work: Option<&mut Work>,
) -> Result<(), BoxError> {
    script.add(format!("hook {name}{told}"));
    let spec = &script.scenario["hooks"][name];
    if let (Some(work), Some(ops)) = (work, spec["do"].as_array()) {
        for op in ops {
            act(script, work, op);
        }
    }
    if script.fails(format!("hook {name}"), &spec["fail"]) {
        return raise(kind(spec));
    }
    Ok(())
}
