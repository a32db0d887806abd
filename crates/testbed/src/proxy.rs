//! A proxy between a client and its server that fails as it is told.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::error::{Error, Result};

const CHUNK_MAX: usize = 65_536;

/// A pattern that is longer is not found where two chunks share it.
const PATTERN_MAX: usize = 1_024;

/// What happens to one connection, once; a pattern is looked for in what clients send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// So many more bytes of requests, of all connections together, reach the server; then the one that
    /// sends more is cut.
    CutAfter(usize),
    /// The connection is cut, and what it sent together with the pattern never reaches the server.
    CutBefore(Vec<u8>),
    /// The request with the pattern reaches the server; its answer never reaches the client, whose
    /// connection is cut when the server has answered.
    CutAnswer(Vec<u8>),
    /// The answer to the request with the pattern is held for so long.
    DelayAnswer(Vec<u8>, Duration),
}

/// A port that leads to a server. Connections are passed on until something else is said.
///
/// When this is dropped, all connections are cut and nobody listens any more.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    plan: Mutex<Plan>,
    changed: Condvar,
    triggered: AtomicUsize,
}

#[derive(Default)]
struct Plan {
    fault: Option<Fault>,
    is_refusing: bool,
    is_closed: bool,
    links: Vec<Arc<Link>>,
}

/// A connection and the one to the server that belongs to it.
struct Link {
    client: TcpStream,
    server: TcpStream,
    fate: Mutex<Fate>,
}

/// What is to be done with the next answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Pass,
    Cut,
    Delay(Duration),
}

/// How much of a chunk reaches the server, and what follows.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    PassThenCut(usize),
    PassAnd(Fate),
}

impl Proxy {
    /// Listens on a free port, and connects whoever comes to `server`.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn start(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listener = listener.map_err(Error::system("listen on a port"))?;
        let address = listener
            .local_addr()
            .map_err(Error::system("ask for a port"))?;
        let shared = Arc::new(Shared {
            server,
            plan: Mutex::default(),
            changed: Condvar::new(),
            triggered: AtomicUsize::new(0),
        });
        let accepting = Arc::clone(&shared);
        spawn(move || accepting.accept(&listener)).map_err(Error::system("start a thread"))?;
        Ok(Self { address, shared })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has a fault happen to the first connection that it fits; it replaces one that has not happened.
    pub fn arm(&self, fault: Fault) {
        self.shared.plan.lock().fault = Some(fault);
    }

    /// How many faults have happened.
    #[must_use]
    pub fn triggered(&self) -> usize {
        self.shared.triggered.load(Ordering::SeqCst)
    }

    /// Cuts every connection there is.
    pub fn cut(&self) {
        self.shared.cut(&mut self.shared.plan.lock());
    }

    /// Cuts every connection, and whoever connects from now on.
    pub fn refuse(&self) {
        let mut plan = self.shared.plan.lock();
        plan.is_refusing = true;
        self.shared.cut(&mut plan);
    }

    /// Ends all faults: nothing is armed, answers that are held go on, and whoever connects is welcome.
    pub fn pass(&self) {
        let mut plan = self.shared.plan.lock();
        plan.fault = None;
        plan.is_refusing = false;
        plan.links
            .iter()
            .for_each(|link| *link.fate.lock() = Fate::Pass);
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut plan = self.shared.plan.lock();
        plan.is_closed = true;
        self.shared.cut(&mut plan);
        drop(plan);
        // Wakes the thread that accepts, which then sees that it is over.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            if self.plan.lock().is_closed {
                return;
            }
            // A client that cannot be served is cut by dropping its connection.
            drop(client.and_then(|client| self.link(client)));
        }
    }

    fn link(self: &Arc<Self>, client: TcpStream) -> io::Result<()> {
        let server = TcpStream::connect(self.server)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let link = Arc::new(Link {
            client,
            server,
            fate: Mutex::new(Fate::Pass),
        });
        let mut plan = self.plan.lock();
        if plan.is_refusing || plan.is_closed {
            return Ok(());
        }
        plan.links.push(Arc::clone(&link));
        drop(plan);
        let (shared, requests) = (Arc::clone(self), Arc::clone(&link));
        spawn(move || shared.finish(&requests, shared.pass_requests(&requests)))?;
        let shared = Arc::clone(self);
        spawn(move || shared.finish(&link, shared.pass_answers(&link)))
    }

    /// A connection whose one direction has ended, well or not, has ended.
    fn finish(&self, link: &Arc<Link>, _ended: io::Result<()>) {
        link.cut();
        self.plan
            .lock()
            .links
            .retain(|other| !Arc::ptr_eq(other, link));
    }

    fn pass_requests(&self, link: &Link) -> io::Result<()> {
        let (mut buffer, mut before) = (vec![0; CHUNK_MAX], Vec::new());
        loop {
            let length = (&link.client).read(&mut buffer)?;
            let Some(chunk) = buffer.get(..length).filter(|chunk| !chunk.is_empty()) else {
                return Ok(());
            };
            match self.judge(&before, chunk) {
                Verdict::Pass => {}
                Verdict::PassAnd(fate) => *link.fate.lock() = fate,
                Verdict::PassThenCut(length) => {
                    return (&link.server).write_all(chunk.get(..length).unwrap_or(chunk));
                }
            }
            (&link.server).write_all(chunk)?;
            before.extend_from_slice(chunk);
            before.drain(..before.len().saturating_sub(PATTERN_MAX));
        }
    }

    fn pass_answers(&self, link: &Link) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK_MAX];
        loop {
            let length = (&link.server).read(&mut buffer)?;
            let Some(chunk) = buffer.get(..length).filter(|chunk| !chunk.is_empty()) else {
                return Ok(());
            };
            let fate = *link.fate.lock();
            match fate {
                Fate::Pass => {}
                Fate::Cut => return Ok(()),
                Fate::Delay(delay) => self.hold(link, delay),
            }
            (&link.client).write_all(chunk)?;
        }
    }

    /// Holds an answer until it is time, or all faults were ended.
    fn hold(&self, link: &Link, delay: Duration) {
        let mut plan = self.plan.lock();
        let is_held = |plan: &mut Plan| !plan.is_closed && *link.fate.lock() != Fate::Pass;
        self.changed.wait_while_for(&mut plan, is_held, delay);
        *link.fate.lock() = Fate::Pass;
    }

    /// What is to become of `chunk`, which follows `before` on the same connection.
    fn judge(&self, before: &[u8], chunk: &[u8]) -> Verdict {
        let mut plan = self.plan.lock();
        let verdict = match &mut plan.fault {
            Some(Fault::CutAfter(left)) if *left >= chunk.len() => {
                *left -= chunk.len();
                return Verdict::Pass;
            }
            Some(Fault::CutAfter(left)) => Verdict::PassThenCut(*left),
            Some(Fault::CutBefore(pattern)) if ends_in(before, chunk, pattern) => {
                Verdict::PassThenCut(0)
            }
            Some(Fault::CutAnswer(pattern)) if ends_in(before, chunk, pattern) => {
                Verdict::PassAnd(Fate::Cut)
            }
            Some(Fault::DelayAnswer(pattern, delay)) if ends_in(before, chunk, pattern) => {
                Verdict::PassAnd(Fate::Delay(*delay))
            }
            _ => return Verdict::Pass,
        };
        plan.fault = None;
        self.triggered.fetch_add(1, Ordering::SeqCst);
        verdict
    }

    fn cut(&self, plan: &mut Plan) {
        plan.links.drain(..).for_each(|link| link.cut());
        self.changed.notify_all();
    }
}

impl Link {
    fn cut(&self) {
        *self.fate.lock() = Fate::Pass;
        for end in [&self.client, &self.server] {
            // One that is cut already cannot be cut again.
            drop(end.shutdown(Shutdown::Both));
        }
    }
}

/// Whether the last byte of a `pattern` is in `chunk`, which follows `before`.
fn ends_in(before: &[u8], chunk: &[u8], pattern: &[u8]) -> bool {
    let kept = before.len().min(pattern.len().saturating_sub(1));
    let seen = [before.get(before.len() - kept..).unwrap_or_default(), chunk].concat();
    !pattern.is_empty() && seen.windows(pattern.len()).any(|window| window == pattern)
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new()
        .name("proxy".into())
        .spawn(work)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_two_chunks_share_is_found() {
        assert!(ends_in(b"xCOM", b"MIT", b"COMMIT"));
        assert!(!ends_in(b"COMMIT", b"x", b"COMMIT"));
        assert!(!ends_in(b"", b"", b""));
    }
}
