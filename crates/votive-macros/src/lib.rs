//! The attributes of `votive`, which re-exports them. A function that bears one stays the function that
//! it is; beside it comes a type of the same name, the task, with the arguments as its fields.
//!
//! | file | what it does |
//! | --- | --- |
//! | `settings` | reads what stands in the attribute |
//! | `uniqueness` | reads what `unique` says there |
//! | `timing` | reads what stands in that of a periodic task |
//! | `function` | reads the function, and refuses what cannot be a task |
//! | `expand` | writes the task |

mod expand;
mod function;
mod settings;
mod timing;
mod uniqueness;

use proc_macro::TokenStream;
use syn::{ItemFn, parse_macro_input};

use function::Function;
use settings::Settings;
use timing::Timing;

/// Declares a task by its function.
///
/// The function stays as it is, and calling it runs it. Beside it comes a type of the same name with
/// the arguments as its fields: the task. Its function `task` drafts one, `enqueue` enqueues one, and `KIND`
/// is its kind. Autodiscovery finds it.
///
/// ```
/// use std::time::Duration;
///
/// use votive::{Context, Queues, Registry, TransactionManager};
///
/// #[votive::task(queue = "mail", priority = 5, attempts = 3, timeout = "30s", unique)]
/// fn send_mail(context: &mut Context<'_>, to: String, subject: String) -> Result<(), std::io::Error> {
///     println!("attempt {}: {subject} to {to}", context.attempt().number);
///     Ok(())
/// }
///
/// let queues = Queues::new(votive::open("memory://")?);
/// let mut txn = TransactionManager::new().begin()?;
/// send_mail::enqueue(&queues, &mut txn, "ann@example.org", "hello")?;
/// send_mail::task("ben@example.org", "good night")
///     .delay(Duration::from_secs(3_600))
///     .enqueue(&queues, &mut txn)?;
/// txn.commit()?;
/// assert!(Registry::discovered()?.handles(send_mail::KIND));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # The function
/// - A first argument `&mut Context<'_>` or `&Context<'_>` is the context of the run, and no part of the
///   task. It may be left out.
/// - All others are the task's. They are owned, and `serde` can write and read them. Attributes
///   `#[serde(…)]` on them go to the fields.
/// - It returns nothing, which is success, or a `Result`, whose value is the task's result.
/// - It is neither generic, `async`, `unsafe` nor a method.
///
/// # Settings
/// | setting | what it sets | default |
/// | --- | --- | --- |
/// | `kind = "mail.send"` | the kind | the function's name |
/// | `queue = "mail"` | the queue among the `Queues` of a store | `default` |
/// | `priority = 5` | lower goes first | 10 |
/// | `attempts = 3` | attempts in all, the first included | 10 |
/// | `backoff_min = "1s"`, `backoff_max = "1h"` | the first and the longest delay after a failure | 1 s, 1 h |
/// | `timeout = "30s"` | how long one attempt may take | as long as it likes |
/// | `delay = "5m"` | how long it waits after the commit | not at all |
/// | `unique`, `unique(refuse)` | of equal tasks only one waits; a second merges into it, or is refused | no |
/// | `unique(until_ended)` | the first keeps the others out while it runs, too | only while it waits |
/// | `unique(after_enqueued = "1h")`, `unique(after_ended = "10m")` | and for so long after it was enqueued, or has ended | no |
/// | `group = "…"` | tasks of a group never run at the same time | none |
/// | `group_limit = 4` | no, but at most so many of them do | 1 |
/// | `retention = "1h"` | how long it stays when it is done | it leaves |
/// | `version = 1` | the version of the arguments | 0 |
/// | `upgrade = path` | a function that reads arguments of other versions: `fn(&Payload) -> Result<Self, PayloadError>` | decodes them as they are |
///
/// The kind is the function's name alone, so that it stays the same when the function moves to another
/// module. Who renames a function whose tasks may still be queued keeps its `kind`. Two functions of one
/// kind are an error when they are registered.
#[proc_macro_attribute]
pub fn task(settings: TokenStream, item: TokenStream) -> TokenStream {
    let settings = parse_macro_input!(settings as Settings);
    let item = parse_macro_input!(item as ItemFn);
    match Function::read(item.clone()) {
        Ok(function) => expand::task(&settings, &function).into(),
        Err(error) => expand::refused(&item, &error).into(),
    }
}

/// Declares a task by its function, as [`macro@task`] does, and when it comes again and again.
///
/// First stands the schedule: a crontab pattern, a name such as `@daily`, or `every 1h 30m`. A consumer enqueues
/// the task at each of its times, once per store, if it was built with `periodic_discovered`; and the task
/// may be enqueued by hand like any other.
///
/// ```
/// use votive::{Consumer, Registry};
///
/// #[votive::periodic("0 5 * * *", tz = "Europe/Rome", catch_up = "once", queue = "nightly")]
/// fn clean_up() {
///     println!("cleaning");
/// }
///
/// #[votive::periodic("every 1h", args(days = 7, whom = "office@example.org"))]
/// fn report(days: u32, whom: String) {
///     println!("the last {days} days, for {whom}");
/// }
///
/// let running = Consumer::builder(votive::open("memory://")?, Registry::discovered()?)
///     .queue("nightly")
///     .queue("default")
///     .periodic_discovered()?
///     .start()?;
/// running.stop();
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// # Settings
/// Those of [`macro@task`], and
///
/// | setting | what it sets | default |
/// | --- | --- | --- |
/// | `tz = "Europe/Rome"` | the time zone of a pattern | UTC |
/// | `args(days = 7)` | the value of each argument | for functions without any |
/// | `catch_up = "skip"`, `"once"`, `"all"`, `"bounded 24"` | what becomes of times that nobody saw | `once` |
/// | `expires_after = "10m"` | how long after its time it may start | as late as it likes |
/// | `name = "…"` | the name of the entry in the store's timetable | the kind |
///
/// A pattern with a wrong number of fields does not compile; what else may be wrong with a schedule or a
/// time zone is told by `periodic_discovered`, with the function's file and line.
#[proc_macro_attribute]
pub fn periodic(timing: TokenStream, item: TokenStream) -> TokenStream {
    let timing = parse_macro_input!(timing as Timing);
    let item = parse_macro_input!(item as ItemFn);
    let function = Function::read(item.clone());
    let expanded = function.and_then(|function| expand::periodic(&timing, &function));
    expanded.map_or_else(|error| expand::refused(&item, &error).into(), Into::into)
}
