//! The schema's steps, compiled in. A step that was released is never changed: a new one is added to both lists.
//! It only adds, for the previous release serves beside it: "Migrations" in docs/design.md.

use std::borrow::Cow;

use sqlx::{
    SqlSafeStr as _,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};

use super::OpenError;

/// A step: its number, its name, its statements.
type Step = (i64, &'static str, &'static str);

const SQLITE: &[Step] = &[
    (1, "boxes and messages", include_str!("../../migrations/sqlite/0001_boxes_and_messages.sql")),
    (2, "senders", include_str!("../../migrations/sqlite/0002_senders.sql")),
    (3, "api keys", include_str!("../../migrations/sqlite/0003_api_keys.sql")),
    (4, "owner", include_str!("../../migrations/sqlite/0004_owner.sql")),
];

const POSTGRES: &[Step] = &[
    (1, "boxes and messages", include_str!("../../migrations/postgres/0001_boxes_and_messages.sql")),
    (2, "senders", include_str!("../../migrations/postgres/0002_senders.sql")),
    (3, "api keys", include_str!("../../migrations/postgres/0003_api_keys.sql")),
    (4, "owner", include_str!("../../migrations/postgres/0004_owner.sql")),
];

pub(super) fn sqlite() -> Migrator {
    migrator(SQLITE)
}

pub(super) fn postgres() -> Migrator {
    migrator(POSTGRES)
}

// Not sqlx's macro: it costs more build time than the rest of sqlx.
fn migrator(steps: &'static [Step]) -> Migrator {
    let migration = |&(version, name, sql): &Step| {
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(steps.iter().map(migration).collect())
}

impl From<MigrateError> for OpenError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::VersionMissing(version) | MigrateError::VersionTooNew(version, _) => {
                Self::NewerSchema(version)
            }
            other => Self::Migration(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_databases_take_the_same_steps() {
        let names =
            |steps: &[Step]| steps.iter().map(|&(version, name, _)| (version, name)).collect::<Vec<_>>();
        assert_eq!(names(SQLITE), names(POSTGRES));
    }
}
