//! What can go wrong with a run folder, in sentences that say what to do.

use crate::wire::otlp::Signal;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Records that could not be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Exchanges.
    pub exchanges: u64,
    /// Spans.
    pub spans: u64,
    /// Data points of metrics.
    pub points: u64,
    /// Log records.
    pub logs: u64,
}

impl Lost {
    /// Adds all of `other`.
    pub fn add(&mut self, other: Lost) {
        self.exchanges += other.exchanges;
        self.spans += other.spans;
        self.points += other.points;
        self.logs += other.logs;
    }

    /// What a received message would lose.
    pub fn message(signal: Signal, records: u64) -> Lost {
        match signal {
            Signal::Traces => Lost { spans: records, ..Lost::default() },
            Signal::Metrics => Lost { points: records, ..Lost::default() },
            Signal::Logs => Lost { logs: records, ..Lost::default() },
        }
    }

    /// Whether nothing was lost.
    pub fn is_empty(&self) -> bool {
        *self == Lost::default()
    }
}

/// Why a run folder could not be made, written or read.
#[derive(Debug)]
pub enum FolderError {
    /// There is no such folder.
    Absent {
        /// What was named.
        path: PathBuf,
    },
    /// The folder has no readable `run.json`.
    NotARun {
        /// What was named.
        path: PathBuf,
        /// What is missing or wrong.
        reason: String,
    },
    /// A later version wrote it.
    Newer {
        /// What was named.
        path: PathBuf,
        /// The format that it names.
        format: String,
    },
    /// A new run was to be put where something is already.
    Occupied {
        /// What was named.
        path: PathBuf,
    },
    /// One message is too large for a record.
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// What was lost with it.
        lost: Lost,
    },
    /// The system refused to write. What is on disk is still valid.
    Write {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
        /// What was lost.
        lost: Lost,
    },
    /// The system refused to read.
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl FolderError {
    /// What was lost with this error.
    pub fn lost(&self) -> Lost {
        match self {
            FolderError::Write { lost, .. } | FolderError::TooLarge { lost, .. } => *lost,
            _ => Lost::default(),
        }
    }

    /// Whether the disk (or a quota) is full.
    pub fn is_disk_full(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        matches!(self, FolderError::Write { source, .. }
            if matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge))
    }
}

impl fmt::Display for FolderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FolderError::Absent { path } => {
                write!(f, "there is no folder {}; name a run folder, e.g. one below runs/", path.display())
            }
            FolderError::NotARun { path, reason } => {
                write!(
                    f,
                    "{} is not a run folder: {reason}; name a folder that `hotspan run` made",
                    path.display()
                )
            }
            FolderError::Newer { path, format } => write!(
                f,
                "{} was written by a newer hotspan (format {format}); read it with that version",
                path.display()
            ),
            FolderError::Occupied { path } => write!(
                f,
                "{} is there already and not empty; name another folder with --out, nothing is overwritten",
                path.display()
            ),
            FolderError::TooLarge { size, .. } => {
                write!(f, "a message of {size} bytes is too large for the run folder and was left out")
            }
            FolderError::Write { path, source, lost } => {
                write!(f, "cannot write {}: {source}", path.display())?;
                if !lost.is_empty() {
                    write!(f, "; lost: {} exchanges, {} spans", lost.exchanges, lost.spans)?;
                    if lost.points + lost.logs > 0 {
                        write!(f, ", {} data points, {} log records", lost.points, lost.logs)?;
                    }
                }
                if self.is_disk_full() {
                    f.write_str("; free some space or name a folder on another disk with --out")?;
                } else if source.kind() == io::ErrorKind::PermissionDenied {
                    f.write_str("; name a folder that you may write to with --out")?;
                }
                Ok(())
            }
            FolderError::Read { path, source } => write!(f, "cannot read {}: {source}", path.display()),
        }
    }
}

// Without a source: its words are in the message already, and a chain would say them twice.
impl std::error::Error for FolderError {}
