//! An application with a driver of its own, as the tests see it: databases to be in, and what it does in a
//! transaction.

mod diesel;
mod home;
mod seaorm;
mod sqlx;
mod step;

pub use diesel::Diesel;
pub use home::{Home, Place, Postgres, Sqlite};
pub use seaorm::SeaOrm;
pub use sqlx::{SqlxPostgres, SqlxSqlite};
pub use step::{
    Application, Does, Droppable, End, Losing, Ping, Result, Step, Unguarded, dropped_after, ready,
};
