use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use job_server::{Found, JobId, JobInfo, JobState, Snapshot};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params, types::ValueRef};

use crate::Bounds;

/// How long another generation may hold the file while it writes.
const BUSY: Duration = Duration::from_secs(2);

/// The newest jobs that a list has, at most.
const LISTED: u32 = 1000;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS holder (
        number INTEGER PRIMARY KEY,
        identity TEXT NOT NULL UNIQUE
    ) STRICT;
    CREATE TABLE IF NOT EXISTS job (
        id TEXT NOT NULL UNIQUE,
        operation TEXT NOT NULL,
        subject TEXT,
        state TEXT NOT NULL,
        why TEXT,
        last_event_id INTEGER NOT NULL DEFAULT 0,
        created_ms INTEGER NOT NULL,
        ended_ms INTEGER,
        holder INTEGER NOT NULL,
        bytes INTEGER NOT NULL DEFAULT 0,
        request TEXT,
        note TEXT,
        events TEXT
    ) STRICT;
    CREATE INDEX IF NOT EXISTS job_created ON job (created_ms);
    CREATE INDEX IF NOT EXISTS job_ended ON job (ended_ms, bytes);
    CREATE INDEX IF NOT EXISTS job_running ON job (holder, bytes) WHERE state = 'running';
";

/// The file, as this process has it open.
#[derive(Debug)]
pub(crate) struct Store {
    connection: Connection,
    holder: i64,
}

/// One writing to the file; what was written counts when it is committed.
#[derive(Debug)]
pub(crate) struct Writing<'a> {
    transaction: Transaction<'a>,
    holder: i64,
}

/// A job that a process was doing which is no more; it is this one's by now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    pub id: JobId,
    pub operation: String,
    pub created_at: SystemTime,
    /// What was asked for, of one that was accepted to be done in any case.
    pub request: Option<String>,
    /// The last that was noted of how to go on with it.
    pub note: Option<String>,
}

pub(crate) type Result<T> = rusqlite::Result<T>;

impl Store {
    /// Opens the file for `holder`, or makes it, for its owner only.
    pub(crate) fn open(path: &Path, holder: &str) -> Result<Self> {
        let unopened = |error: io::Error| {
            let why = format!("{}: {error}", path.display());
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
            rusqlite::Error::SqliteFailure(code, Some(why))
        };
        // SQLite gives the files that it makes beside this one the same mode.
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        drop(options.open(path).map_err(unopened)?);
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        // Before the first table; a file that has tables keeps what it has.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        // A process that dies loses nothing that was committed, a machine the last moments at most.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        // What is deleted is overwritten: it may be somebody's prompt.
        connection.pragma_update(None, "secure_delete", "ON")?;
        connection.pragma_update(None, "cache_size", -512)?;
        connection.pragma_update(None, "journal_size_limit", 1 << 20)?;
        connection.execute_batch(SCHEMA)?;
        connection
            .execute("DELETE FROM holder WHERE number NOT IN (SELECT holder FROM job)", [])?;
        let insert = "INSERT INTO holder (identity) VALUES (?1) ON CONFLICT DO NOTHING";
        connection.execute(insert, [holder])?;
        let number = "SELECT number FROM holder WHERE identity = ?1";
        let holder = connection.query_one(number, [holder], |row| row.get(0))?;
        Ok(Self { connection, holder })
    }

    pub(crate) fn write(&mut self) -> Result<Writing<'_>> {
        let behavior = rusqlite::TransactionBehavior::Immediate;
        let transaction = self.connection.transaction_with_behavior(behavior)?;
        Ok(Writing { transaction, holder: self.holder })
    }

    /// `is_alive` says of a holder whether it is.
    pub(crate) fn find(&self, id: JobId, is_alive: impl Fn(&str) -> bool) -> Result<Option<Found>> {
        let query = "SELECT job.*, holder.identity FROM job LEFT JOIN holder \
                     ON holder.number = job.holder WHERE id = ?1";
        let mut statement = self.connection.prepare(query)?;
        let found = statement.query_row([id.to_string()], |row| {
            let is_kept = !matches!(row.get_ref("request")?, ValueRef::Null);
            let (events, holder) = (row.get("events")?, row.get("identity")?);
            Ok((info(row)?, is_kept, events, holder))
        });
        let found: Option<(_, bool, Option<String>, Option<String>)> = found.optional()?;
        let Some((Some(job), is_kept, events, holder)) = found else { return Ok(None) };
        if !job.state.is_ended() {
            let lives = holder.is_some_and(|holder| is_alive(&holder));
            return Ok(Some(if lives || !is_kept { Found::Told(job) } else { Found::Left }));
        }
        let events = events.and_then(|text| serde_json::from_str::<Snapshot>(&text).ok());
        Ok(Some(match events {
            Some(events) => Found::Whole { job, events },
            None => Found::Told(job),
        }))
    }

    /// The newest jobs.
    pub(crate) fn list(&self) -> Result<Vec<JobInfo>> {
        let query = "SELECT id, operation, subject, state, why, last_event_id, created_ms \
                     FROM job ORDER BY created_ms DESC LIMIT ?1";
        let mut statement = self.connection.prepare(query)?;
        let jobs = statement.query_map([LISTED], info)?;
        Ok(jobs.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    /// Gives back what deleted rows took, and overwrites the log of what was written.
    pub(crate) fn shrink(&self) -> Result<()> {
        let all = |_: &Row<'_>| Ok(());
        let mut vacuum = self.connection.prepare("PRAGMA incremental_vacuum")?;
        vacuum.query_map([], all)?.for_each(drop);
        // Another generation may be reading; the next one is as good.
        self.connection.query_one("PRAGMA wal_checkpoint(TRUNCATE)", [], all)
    }
}

impl Writing<'_> {
    pub(crate) fn commit(self) -> Result<()> {
        self.transaction.commit()
    }

    fn run(&self, statement: &str, values: impl rusqlite::Params) -> Result<usize> {
        self.transaction.prepare(statement)?.execute(values)
    }

    /// `false` where there is no room for the request.
    pub(crate) fn accept(&self, job: &JobInfo, request: &str, max_bytes: u64) -> Result<bool> {
        let taken = "SELECT coalesce(sum(bytes), 0) FROM job WHERE state = 'running'";
        let taken: i64 = self.transaction.query_one(taken, [], |row| row.get(0))?;
        if u64::try_from(taken).unwrap_or_default() + request.len() as u64 > max_bytes {
            return Ok(false);
        }
        self.runs(job)?;
        let accept = "UPDATE job SET request = ?2, bytes = octet_length(?2) WHERE id = ?1";
        self.run(accept, params![job.id.to_string(), request])?;
        Ok(true)
    }

    pub(crate) fn runs(&self, job: &JobInfo) -> Result<()> {
        let runs = "INSERT INTO job (id, operation, subject, state, created_ms, holder) \
                    VALUES (?1, ?2, ?3, 'running', ?4, ?5) ON CONFLICT (id) DO UPDATE SET \
                    state = 'running', why = NULL, ended_ms = NULL, holder = excluded.holder, \
                    subject = coalesce(excluded.subject, subject)";
        let JobInfo { id, operation, subject, created_at, .. } = job;
        let values = params![id.to_string(), operation, subject, ms(*created_at), self.holder];
        self.run(runs, values).map(drop)
    }

    pub(crate) fn notes(&self, id: JobId, note: &str) -> Result<()> {
        let notes = "UPDATE job SET note = ?3, \
                     bytes = coalesce(octet_length(request), 0) + octet_length(?3) \
                     WHERE id = ?1 AND holder = ?2 AND state = 'running'";
        self.run(notes, params![id.to_string(), self.holder, note]).map(drop)
    }

    /// What was asked for is not kept any longer.
    pub(crate) fn ended(&self, job: &JobInfo, events: Option<&str>) -> Result<()> {
        let ended = "INSERT INTO job (id, operation, subject, state, why, last_event_id, \
                     created_ms, ended_ms, holder, bytes, events) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, coalesce(octet_length(?10), 0), ?10) \
                     ON CONFLICT (id) DO UPDATE SET subject = coalesce(excluded.subject, subject), \
                     state = excluded.state, why = excluded.why, \
                     last_event_id = excluded.last_event_id, ended_ms = excluded.ended_ms, \
                     bytes = excluded.bytes, events = excluded.events, request = NULL, note = NULL \
                     WHERE holder = excluded.holder";
        let JobInfo { id, operation, subject, state, last_event_id, created_at, .. } = job;
        let (state, why) = match state {
            JobState::Completed => ("completed", None),
            JobState::Cancelled => ("cancelled", None),
            JobState::Failed { why } => ("failed", Some(why)),
            // It is where it goes on.
            JobState::Running | JobState::Moved => return Ok(()),
        };
        let (created, now) = (ms(*created_at), ms(SystemTime::now()));
        let id = id.to_string();
        let last_event_id = i64::try_from(*last_event_id).unwrap_or(i64::MAX);
        let values = params![
            id,
            operation,
            subject,
            state,
            why,
            last_event_id,
            created,
            now,
            self.holder,
            events
        ];
        self.run(ended, values).map(drop)
    }

    pub(crate) fn fail(&self, id: JobId, why: &str) -> Result<()> {
        let fail = "UPDATE job SET state = 'failed', why = ?3, ended_ms = ?4, \
                    request = NULL, note = NULL, bytes = 0 \
                    WHERE id = ?1 AND holder = ?2 AND state = 'running'";
        let values = params![id.to_string(), self.holder, why, ms(SystemTime::now())];
        self.run(fail, values).map(drop)
    }

    pub(crate) fn discard(&self, id: JobId) -> Result<()> {
        let discard = "DELETE FROM job WHERE id = ?1 AND holder = ?2";
        self.run(discard, params![id.to_string(), self.holder]).map(drop)
    }

    /// Takes over what holders were doing that are not alive.
    pub(crate) fn claim(&self, is_alive: impl Fn(&str) -> bool) -> Result<Vec<Left>> {
        let holders = "SELECT DISTINCT job.holder, holder.identity FROM job LEFT JOIN holder \
                       ON holder.number = job.holder WHERE state = 'running' AND job.holder <> ?1";
        let mut holders = self.transaction.prepare(holders)?;
        let holders: Vec<(i64, Option<String>)> = holders
            .query_map([self.holder], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_>>()?;
        let mut left = Vec::new();
        for (holder, identity) in holders {
            if identity.is_some_and(|identity| is_alive(&identity)) {
                continue;
            }
            let claim = "UPDATE job SET holder = ?1 WHERE state = 'running' AND holder = ?2 \
                         RETURNING id, operation, created_ms, request, note";
            let mut claim = self.transaction.prepare(claim)?;
            let claimed = claim.query_map([self.holder, holder], |row| {
                let id: String = row.get(0)?;
                let (operation, created_at) = (row.get(1)?, time(row.get(2)?));
                let (request, note) = (row.get(3)?, row.get(4)?);
                let id = id.parse().ok();
                Ok(id.map(|id| Left { id, operation, created_at, request, note }))
            })?;
            left.extend(claimed.collect::<Result<Vec<_>>>()?.into_iter().flatten());
        }
        // Those that were accepted first are begun first.
        left.sort_unstable_by_key(|left| left.id);
        Ok(left)
    }

    /// Deletes what is over the bounds, the jobs that ended first before others; says whether that was
    /// anything.
    pub(crate) fn prune(&self, bounds: Bounds) -> Result<bool> {
        let before = SystemTime::now().checked_sub(bounds.age).unwrap_or(UNIX_EPOCH);
        let old = "DELETE FROM job WHERE ended_ms < ?1";
        let mut deleted = self.run(old, [ms(before)])?;
        let many = "DELETE FROM job WHERE rowid IN (SELECT rowid FROM job \
                    WHERE ended_ms IS NOT NULL ORDER BY ended_ms, id \
                    LIMIT max(0, (SELECT count(*) FROM job) - ?1))";
        deleted += self.run(many, [bounds.rows])?;
        let large = "DELETE FROM job WHERE rowid IN (SELECT rowid FROM (\
                     SELECT rowid, sum(bytes) OVER (ORDER BY ended_ms DESC, rowid DESC) AS so_far \
                     FROM job WHERE ended_ms IS NOT NULL) WHERE so_far + (\
                     SELECT coalesce(sum(bytes), 0) FROM job WHERE state = 'running') > ?1)";
        let bytes = i64::try_from(bounds.bytes).unwrap_or(i64::MAX);
        deleted += self.run(large, [bytes])?;
        Ok(deleted > 0)
    }

    /// Deletes every text; says whether there was one.
    pub(crate) fn forget_texts(&self) -> Result<bool> {
        let forget = "UPDATE job SET request = NULL, note = NULL, events = NULL, bytes = 0 \
                      WHERE bytes > 0";
        Ok(self.run(forget, [])? > 0)
    }
}

/// Deletes the file, those that SQLite has beside it, and one that was put aside.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let [wal, shm] = beside(path);
    [path.to_owned(), wal, shm, aside(path)].iter().try_for_each(|file| remove_file(file))
}

/// Puts a file aside that cannot be read; the one that was put aside before goes.
pub(crate) fn put_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = aside(path);
    fs::rename(path, &aside)?;
    beside(path).iter().try_for_each(|file| remove_file(file))?;
    Ok(aside)
}

fn aside(path: &Path) -> PathBuf {
    path.with_extension("unreadable")
}

/// What SQLite has beside a file: the log of what was written, and its index.
fn beside(path: &Path) -> [PathBuf; 2] {
    ["-wal", "-shm"].map(|end| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        name.into()
    })
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Whether such a file is of no use to anybody, rather than in use.
pub(crate) fn is_unreadable(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt))
}

/// `None` for a row that another version wrote in words of its own.
fn info(row: &Row<'_>) -> Result<Option<JobInfo>> {
    let id: String = row.get("id")?;
    let (state, why): (String, Option<String>) = (row.get("state")?, row.get("why")?);
    let state = match state.as_str() {
        "running" => JobState::Running,
        "completed" => JobState::Completed,
        "cancelled" => JobState::Cancelled,
        "failed" => JobState::Failed { why: why.unwrap_or_default() },
        _ => return Ok(None),
    };
    let Ok(id) = id.parse() else { return Ok(None) };
    Ok(Some(JobInfo {
        id,
        operation: row.get("operation")?,
        subject: row.get("subject")?,
        state,
        cancel_requested: false,
        last_event_id: u64::try_from(row.get::<_, i64>("last_event_id")?).unwrap_or_default(),
        created_at: time(row.get("created_ms")?),
    }))
}

fn ms(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn time(ms: i64) -> SystemTime {
    let since = Duration::from_millis(u64::try_from(ms).unwrap_or_default());
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}
