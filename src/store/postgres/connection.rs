//! Connections: statements that are sent together, and answers that are waited for no longer than a
//! time-out.
//!
//! Whoever waits for an answer drives the connection meanwhile, so that there is no thread in between. A
//! connection that was lost, or whose answer is overdue, is never used again: nobody knows what is still
//! to come on it.

use std::collections::{BTreeSet, HashMap};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::{Builder, Handle, Runtime, RuntimeFlavor};
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, Error, Row, Statement};

use super::error::{Fault, NoAnswer, Result};
use super::options::{Options, Pooler, TlsMode};
use super::schema::Schema;
use super::tls;
use super::value::Value;
use crate::store::Kind;

/// What a transaction needs at least so that planning never falls for an empty table: the server keeps
/// a plan for as long as the connection, and tables of queues are empty when it is made. Where sorting looks
/// cheap, because nothing seems to be there to be sorted, each claim would sort the whole line.
const SETTINGS: [(&str, &str); 6] = [
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("enable_sort", "off"),
    ("jit", "off"),
    ("plan_cache_mode", "force_generic_plan"),
];

/// One statement on its way.
pub(super) struct Call {
    pub(super) text: Text,
    pub(super) values: Vec<Value>,
    pub(super) wants: Wants,
}

/// What is executed.
#[derive(Debug, Clone)]
pub(super) enum Text {
    /// A statement with parameters.
    Statement(&'static str),
    /// Commands without any, separated by semicolons.
    Commands(String),
}

/// What its caller wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    Rows,
    Count,
}

/// What a statement answered.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) rows: Vec<Row>,
    pub(super) count: u64,
}

/// Where and how connections are made.
pub(super) struct Connector {
    config: Config,
    options: Options,
    schema: Arc<Schema>,
}

/// A connection to the server.
pub(super) struct Link {
    runtime: Runtime,
    client: Arc<Client>,
    traffic: Box<dyn Traffic>,
    /// Calls for whose answers nobody waits.
    owed: Vec<Executing<'static>>,
    statements: HashMap<&'static str, Statement>,
    schema: Arc<Schema>,
    pooler: Pooler,
    answer_timeout: Duration,
    /// What notifications say of themselves that have come since the last look at them.
    notified: BTreeSet<String>,
    broken: bool,
}

/// What comes in on a connection, whatever it is made of.
trait Traffic: Send {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Came>>;
}

type Came = std::result::Result<AsyncMessage, Error>;

impl<S, T> Traffic for Connection<S, T>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Came>> {
        self.poll_message(context)
    }
}

impl Connector {
    pub(super) fn new(mut config: Config, options: Options, schema: Arc<Schema>) -> Self {
        config
            .connect_timeout(options.connect_timeout)
            .keepalives_idle(Duration::from_secs(30))
            .ssl_mode(match options.tls {
                TlsMode::Disable => tokio_postgres::config::SslMode::Disable,
                TlsMode::Prefer => tokio_postgres::config::SslMode::Prefer,
                TlsMode::Require | TlsMode::VerifyFull => tokio_postgres::config::SslMode::Require,
            });
        if config.get_application_name().is_none() {
            config.application_name("votive");
        }
        if options.pooler == Pooler::Session {
            config.options(session_settings(&options));
        }
        Self {
            config,
            options,
            schema,
        }
    }

    /// What connections are made from.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    pub(super) fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Opens a connection.
    pub(super) fn connect(&self) -> Result<Link> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Fault::lost)?;
        let connector = tls::connector(&self.options)?;
        let limit = self.options.connect_timeout;
        let connecting = self.config.connect(connector);
        let connected = runtime.block_on(async { tokio::time::timeout(limit, connecting).await });
        let (client, connection) = connected.map_err(|_| Fault::lost(NoAnswer(limit)))??;
        Ok(Link {
            runtime,
            client: Arc::new(client),
            traffic: Box::new(connection),
            owed: Vec::new(),
            statements: HashMap::new(),
            schema: Arc::clone(&self.schema),
            pooler: self.options.pooler,
            answer_timeout: self.options.answer_timeout,
            notified: BTreeSet::new(),
            broken: false,
        })
    }

    /// The commands that begin a transaction. That it is deferrable means nothing for one that writes: it is the mark
    /// of one that has begun.
    pub(super) fn begin(&self) -> String {
        let begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE DEFERRABLE";
        let mut commands = begin.to_owned();
        if self.options.pooler == Pooler::Transaction {
            let lock_timeout = self.options.lock_timeout.as_millis();
            let settings = SETTINGS.map(|(name, value)| format!("; SET LOCAL {name} = {value}"));
            commands.extend(settings);
            commands.extend([format!("; SET LOCAL lock_timeout = {lock_timeout}")]);
        }
        commands
    }
}

/// The settings of a session, which a pooler that keeps none would refuse. A statement by itself is a transaction
/// like those that are begun, whatever the role or the database would have it be.
fn session_settings(options: &Options) -> String {
    let lock_timeout = options.lock_timeout.as_millis();
    let idle_timeout = options.answer_timeout.as_millis().saturating_mul(2);
    let mut settings = format!(
        "-c lock_timeout={lock_timeout} -c idle_in_transaction_session_timeout={idle_timeout} \
         -c default_transaction_isolation=read\\ committed -c default_transaction_read_only=off \
         -c default_transaction_deferrable=off -c statement_timeout=0"
    );
    settings.extend(SETTINGS.map(|(name, value)| format!(" -c {name}={value}")));
    settings
}

impl Link {
    /// Whether it must not be used again.
    pub(super) fn is_broken(&self) -> bool {
        self.broken || self.client.is_closed()
    }

    /// Has it not be used again: nobody knows what state its session is in.
    pub(super) fn give_up(&mut self) {
        self.broken = true;
    }

    /// Has it wait for an answer up to `limit` from now on. Returns how long that was before.
    pub(super) fn waits_up_to(&mut self, limit: Duration) -> Duration {
        std::mem::replace(&mut self.answer_timeout, limit)
    }

    /// Whether the server has hung up while nobody used it: what is sent on it would be lost, and nobody
    /// could tell how much of it was heard.
    pub(super) fn has_ended(&mut self) -> bool {
        let (traffic, notified) = (&mut *self.traffic, &mut self.notified);
        let look = async {
            // What has come is only known after the runtime has looked for it.
            tokio::task::yield_now().await;
            poll_fn(|context| Poll::Ready(take_in(traffic, notified, context))).await
        };
        self.broken |= self.runtime.block_on(look).is_ready();
        self.broken
    }

    /// Sends all calls at once and returns their answers.
    ///
    /// The first that failed is reported. Those behind it were sent too: in a transaction they failed with
    /// it.
    pub(super) fn call(&mut self, calls: &[Call]) -> Result<Vec<Answer>> {
        let statements = self.prepare(calls)?;
        let mut progress = Progress::new(calls.len());
        let Self {
            client,
            schema,
            traffic,
            notified,
            owed,
            ..
        } = self;
        let (client, schema) = (&**client, &**schema);
        let futures = calls.iter().zip(&statements);
        let futures =
            futures.map(|(call, statement)| execute(client, schema, call, statement.as_ref()));
        let mut futures: Vec<_> = futures.map(Some).collect();
        let driven = drive(
            &self.runtime,
            &mut **traffic,
            notified,
            self.answer_timeout,
            poll_fn(|context| {
                let answered = progress.poll(&mut futures, context);
                take_owed(owed, context);
                answered
            }),
        );
        drop(futures);
        let outcome = driven.and_then(|()| progress.outcome());
        self.broken |= outcome.as_ref().is_err_and(Fault::is_fatal);
        outcome
    }

    /// Has a call sent behind those of the next [`call`](Self::call), which does not wait for its answer: that is
    /// taken in with those of the one after it, or never if the connection ends before. That one waits for it, too,
    /// within its own time-out: the server answers in order.
    pub(super) fn call_behind(&mut self, call: Call) -> Result<()> {
        let statement = self.prepare(std::slice::from_ref(&call))?.pop().flatten();
        let (client, schema) = (Arc::clone(&self.client), Arc::clone(&self.schema));
        self.owed.push(Box::pin(async move {
            execute(&client, &schema, &call, statement.as_ref()).await
        }));
        Ok(())
    }

    /// Prepares those statements that are not yet, all at once; `None` where nothing may be prepared.
    fn prepare(&mut self, calls: &[Call]) -> Result<Vec<Option<Statement>>> {
        let mut statements = Vec::with_capacity(calls.len());
        for call in calls {
            let statement = match (&call.text, self.pooler) {
                (Text::Statement(sql), Pooler::Session) => Some(self.prepared(sql, &call.values)?),
                _ => None,
            };
            statements.push(statement);
        }
        Ok(statements)
    }

    fn prepared(&mut self, sql: &'static str, values: &[Value]) -> Result<Statement> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let types: Vec<_> = values.iter().map(Value::sql_type).collect();
        let text = self.schema.text(sql);
        let prepared = drive(
            &self.runtime,
            &mut *self.traffic,
            &mut self.notified,
            self.answer_timeout,
            async { Ok(self.client.prepare_typed(&text, &types).await?) },
        );
        self.broken |= prepared.as_ref().is_err_and(Fault::is_fatal);
        let statement = prepared?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }

    /// Waits until the server notifies, until `until` comes, or for `timeout`. Returns what the notifications since the
    /// last call say, each text once.
    pub(super) fn listen(
        &mut self,
        until: impl Future<Output = ()>,
        timeout: Duration,
    ) -> Result<BTreeSet<String>> {
        let (traffic, notified) = (&mut *self.traffic, &mut self.notified);
        let mut until = pin!(until);
        let came = poll_fn(|context| {
            if let Poll::Ready(lost) = take_in(traffic, notified, context) {
                return Poll::Ready(lost);
            }
            if !notified.is_empty() {
                return Poll::Ready(Ok(()));
            }
            until.as_mut().poll(context).map(Ok)
        });
        let limited = async { tokio::time::timeout(timeout, came).await };
        let heard = self.runtime.block_on(limited).unwrap_or(Ok(()));
        self.broken |= heard.is_err();
        heard?;
        Ok(std::mem::take(&mut self.notified))
    }
}

type Executing<'c> = Pin<Box<dyn Future<Output = std::result::Result<Answer, Error>> + Send + 'c>>;

fn execute<'c>(
    client: &'c Client,
    schema: &'c Schema,
    call: &'c Call,
    statement: Option<&'c Statement>,
) -> Executing<'c> {
    Box::pin(async move {
        let sql = match &call.text {
            Text::Commands(commands) => {
                client.batch_execute(commands).await?;
                return Ok(Answer::default());
            }
            Text::Statement(sql) => sql,
        };
        let plain = |value| value as &(dyn ToSql + Sync);
        let typed = |value| (plain(value), Value::sql_type(value));
        let mut answer = Answer::default();
        match (statement, call.wants) {
            (Some(statement), Wants::Rows) => {
                let values: Vec<_> = call.values.iter().map(plain).collect();
                answer.rows = client.query(statement, &values).await?;
            }
            (Some(statement), Wants::Count) => {
                let values: Vec<_> = call.values.iter().map(plain).collect();
                answer.count = client.execute(statement, &values).await?;
            }
            (None, Wants::Rows) => {
                let values: Vec<_> = call.values.iter().map(typed).collect();
                answer.rows = client.query_typed(&schema.text(sql), &values).await?;
            }
            (None, Wants::Count) => {
                let values: Vec<_> = call.values.iter().map(typed).collect();
                answer.count = client.execute_typed(&schema.text(sql), &values).await?;
            }
        }
        Ok(answer)
    })
}

/// Has calls go on for which nobody waits. One that fails is remarked upon: what it was for is done, but for being
/// told.
fn take_owed(owed: &mut Vec<Executing<'static>>, context: &mut Context<'_>) {
    owed.retain_mut(|executing| match executing.as_mut().poll(context) {
        Poll::Pending => true,
        Poll::Ready(answer) => {
            if let Err(error) = answer {
                tracing::warn!(%error, "those who wait could not be told of a commit");
            }
            false
        }
    });
}

/// How far several calls are.
struct Progress(Vec<Option<std::result::Result<Answer, Error>>>);

impl Progress {
    fn new(count: usize) -> Self {
        Self((0..count).map(|_| None).collect())
    }

    /// Has the calls go on in their order, so that they are sent in it.
    fn poll(
        &mut self,
        futures: &mut [Option<Executing<'_>>],
        context: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        for (future, answer) in futures.iter_mut().zip(&mut self.0) {
            let Some(executing) = future else { continue };
            if let Poll::Ready(ready) = executing.as_mut().poll(context) {
                *answer = Some(ready);
                *future = None;
            }
        }
        if self.0.iter().all(Option::is_some) {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }

    fn outcome(self) -> Result<Vec<Answer>> {
        let answers = self.0.into_iter().flatten();
        answers.map(|answer| Ok(answer?)).collect()
    }
}

/// Drives a connection until `future` is ready, for at most `limit`.
fn drive<T>(
    runtime: &Runtime,
    traffic: &mut dyn Traffic,
    notified: &mut BTreeSet<String>,
    limit: Duration,
    future: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut future = pin!(future);
    let driven = poll_fn(|context| {
        let lost = take_in(traffic, notified, context);
        match (future.as_mut().poll(context), lost) {
            (Poll::Ready(Ok(done)), _) => Poll::Ready(Ok(done)),
            // What the server said when it hung up tells more than that it did.
            (_, Poll::Ready(Err(lost))) => Poll::Ready(Err(lost)),
            (ready, _) => ready,
        }
    });
    let limited = runtime.block_on(async { tokio::time::timeout(limit, driven).await });
    limited.map_err(|_| Fault::lost(NoAnswer(limit)))?
}

/// Takes in what has come; ready when the connection has ended.
fn take_in(
    traffic: &mut dyn Traffic,
    notified: &mut BTreeSet<String>,
    context: &mut Context<'_>,
) -> Poll<Result<()>> {
    loop {
        match traffic.poll(context) {
            Poll::Ready(Some(Ok(AsyncMessage::Notification(notification)))) => {
                notified.insert(notification.payload().to_owned());
            }
            Poll::Ready(Some(Ok(AsyncMessage::Notice(notice)))) => {
                tracing::debug!(message = notice.message(), "the server remarks");
            }
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(Some(Err(error))) => {
                return Poll::Ready(Err(Fault::from(error).fatal()));
            }
            Poll::Ready(None) => {
                let ended = std::io::Error::from(std::io::ErrorKind::ConnectionAborted);
                return Poll::Ready(Err(Fault::lost(ended)));
            }
            Poll::Pending => return Poll::Pending,
        }
    }
}

/// Runs what waits for the server, wherever it is called from.
///
/// On a worker of a runtime of many threads the others go on meanwhile. A runtime of one thread would
/// stand still, and with it perhaps whoever is to release what is waited for.
///
/// # Errors
/// [`Kind::Invalid`] on the thread of a runtime that has only one. Nothing was done.
pub(crate) fn blocking<T>(wait: impl FnOnce() -> Result<T>) -> Result<T> {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Err(_) => wait(),
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(wait),
        Ok(_) => {
            let what = "this store blocks, and must not be called on the thread of a runtime that has \
                        only one: call it from a thread of its own, or use a runtime of many threads";
            Err(Kind::Invalid(what.to_owned()).into())
        }
    }
}
