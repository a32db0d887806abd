//! Private servers for tests and benches, and connections that fail on purpose.
//!
//! A server is started on a free port with its data in a temporary folder, and both are gone when its
//! handle is dropped or when the process ends, however that ends: a handle may live in a static. A test
//! that needs a program which is not installed is skipped, and says so; where `VOTIVE_REQUIRE_SERVERS` is
//! `1` it fails instead.
//!
//! ```
//! use votive_testbed::{Redis, or_skip, redis};
//!
//! let Some(server) = or_skip(Redis::start(redis::Options::default())) else {
//!     return;
//! };
//! assert!(server.url().starts_with("redis://127.0.0.1:"));
//! server.kill().unwrap();
//! server.restart().unwrap();
//! ```

pub mod disk;
mod error;
pub mod pgbouncer;
mod port;
pub mod postgres;
mod program;
pub mod proxy;
pub mod redis;
mod server;
pub mod tls;
mod watchdog;

pub use error::{Error, Result, or_skip, skip};
pub use pgbouncer::PgBouncer;
pub use postgres::Postgres;
pub use program::copy_this_program;
pub use proxy::{Fault, Proxy};
pub use redis::Redis;
