//! Every layout that is tried, and a test for each.
#![cfg(test)]

use crate::campaign;
use crate::layout::{Backend, Layout, Load, Place};
use Backend::{File, Postgres, Redis, Sqlite};

/// Takes the list of layouts once: makes of it the matrix, and a test of each.
macro_rules! layouts {
    (@ $tasks:expr, $notes:expr, $effects:expr) => {
        layouts!(@ $tasks, $notes, $effects, Load::Answers)
    };
    (@ $tasks:expr, $notes:expr, $effects:expr, $load:expr) => {
        Layout { tasks: $tasks, notes: $notes, effects: $effects, load: $load }
    };
    ($($test:ident: tasks $tasks:expr, notes $notes:expr, effects $effects:expr $(, load $load:expr)?;)*) => {
        pub(crate) const MATRIX: &[Layout] = &[
            $(layouts!(@ $tasks, $notes, $effects $(, $load)?)),*
        ];

        $(
            #[test]
            fn $test() {
                campaign::survives(layouts!(@ $tasks, $notes, $effects $(, $load)?));
            }
        )*
    };
}

layouts! {
    sqlite_enlisted_ours_survives_every_crash:
        tasks Sqlite, notes Place::Ours, effects Place::Ours;
    sqlite_enlisted_ours_with_effects_in_another_file_survives_every_crash:
        tasks Sqlite, notes Place::Ours, effects Place::Sqlite;
    sqlite_enlisted_yours_survives_every_crash:
        tasks Sqlite, notes Place::Yours, effects Place::Ours;
    sqlite_enlisted_yours_with_effects_in_another_file_survives_every_crash:
        tasks Sqlite, notes Place::Yours, effects Place::Sqlite;
    sqlite_prepared_survives_every_crash:
        tasks Sqlite, notes Place::Sqlite, effects Place::Ours;
    sqlite_prepared_with_effects_in_a_third_file_survives_every_crash:
        tasks Sqlite, notes Place::Sqlite, effects Place::Sqlite;
    sqlite_with_an_application_in_postgres_survives_every_crash:
        tasks Sqlite, notes Place::Postgres, effects Place::Postgres;
    sqlite_deciding_for_postgres_survives_every_crash:
        tasks Sqlite, notes Place::Preparing, effects Place::Preparing;

    postgres_enlisted_ours_survives_every_crash:
        tasks Postgres, notes Place::Ours, effects Place::Ours;
    postgres_enlisted_ours_with_effects_in_another_database_survives_every_crash:
        tasks Postgres, notes Place::Ours, effects Place::Postgres;
    postgres_enlisted_yours_survives_every_crash:
        tasks Postgres, notes Place::Yours, effects Place::Ours;
    postgres_enlisted_yours_with_effects_in_another_database_survives_every_crash:
        tasks Postgres, notes Place::Yours, effects Place::Postgres;
    postgres_prepared_survives_every_crash:
        tasks Postgres, notes Place::Postgres, effects Place::Ours;
    postgres_prepared_with_effects_in_a_third_database_survives_every_crash:
        tasks Postgres, notes Place::Postgres, effects Place::Postgres;
    postgres_with_an_application_in_sqlite_survives_every_crash:
        tasks Postgres, notes Place::Sqlite, effects Place::Sqlite;
    postgres_deciding_for_postgres_survives_every_crash:
        tasks Postgres, notes Place::Preparing, effects Place::Preparing;

    redis_with_an_application_in_sqlite_survives_every_crash:
        tasks Redis, notes Place::Sqlite, effects Place::Sqlite;
    redis_with_an_application_in_postgres_survives_every_crash:
        tasks Redis, notes Place::Postgres, effects Place::Postgres;
    redis_deciding_for_postgres_survives_every_crash:
        tasks Redis, notes Place::Preparing, effects Place::Preparing;

    file_with_an_application_in_sqlite_survives_every_crash:
        tasks File, notes Place::Sqlite, effects Place::Sqlite;
    file_with_an_application_in_postgres_survives_every_crash:
        tasks File, notes Place::Postgres, effects Place::Postgres;
    file_deciding_for_postgres_survives_every_crash:
        tasks File, notes Place::Preparing, effects Place::Preparing;

    queues_in_two_sqlite_files_survive_every_crash:
        tasks Sqlite, notes Place::Queue(Sqlite), effects Place::Queue(Sqlite);
    queues_in_sqlite_and_a_file_survive_every_crash:
        tasks Sqlite, notes Place::Queue(File), effects Place::Queue(File);
    queues_in_sqlite_and_redis_survive_every_crash:
        tasks Sqlite, notes Place::Queue(Redis), effects Place::Queue(Redis);
    queues_in_postgres_and_sqlite_survive_every_crash:
        tasks Postgres, notes Place::Queue(Sqlite), effects Place::Queue(Sqlite);
    queues_in_redis_and_a_file_survive_every_crash:
        tasks Redis, notes Place::Queue(File), effects Place::Queue(File);
    queues_in_redis_and_postgres_survive_every_crash:
        tasks Redis, notes Place::Queue(Postgres), effects Place::Queue(Postgres);
    queues_in_a_file_and_postgres_survive_every_crash:
        tasks File, notes Place::Queue(Postgres), effects Place::Queue(Postgres);

    chunks_chords_and_a_timetable_in_sqlite_survive_every_crash:
        tasks Sqlite, notes Place::Sqlite, effects Place::Ours, load Load::Errands;
    chunks_chords_and_a_timetable_in_postgres_survive_every_crash:
        tasks Postgres, notes Place::Postgres, effects Place::Ours, load Load::Errands;
    chunks_chords_and_a_timetable_in_redis_survive_every_crash:
        tasks Redis, notes Place::Sqlite, effects Place::Sqlite, load Load::Errands;
    chunks_chords_and_a_timetable_in_a_file_survive_every_crash:
        tasks File, notes Place::Sqlite, effects Place::Sqlite, load Load::Errands;
}
