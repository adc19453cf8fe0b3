//! What the owner of a run folder does with a message that the receiver took: write it once, and say what became of it.

use super::duplicates::Duplicates;
use super::receiver::{Ack, Content, Incoming};
use crate::wire::folder::{FolderError, RunWriter};

/// Writes received messages, each span once.
///
/// Only one owner writes, so a span is known as a duplicate only after it has been stored: two deliveries of the same
/// message at once can never lose it.
#[derive(Debug, Default)]
pub struct Keeper {
    duplicates: Duplicates,
}

impl Keeper {
    /// Writes a message, unless all its spans have been written before. The caller answers through `incoming.ack`:
    /// with what this gives, or with [`Ack::Dropped`] on an error, whose counts include this message.
    pub fn keep(&mut self, writer: &mut RunWriter, incoming: &Incoming) -> Result<Ack, FolderError> {
        let Incoming { encoding, bytes, content, .. } = incoming;
        if let Content::Spans(scan) = content
            && !scan.keys.is_empty()
            && scan.keys.iter().all(|span| self.duplicates.contains(span))
        {
            return Ok(Ack::Stored { duplicates: scan.valid() });
        }
        writer.append_message(content.signal(), *encoding, bytes, content.records())?;
        let duplicates = match content {
            Content::Spans(scan) => self.duplicates.remember(&scan.keys),
            Content::Metrics { .. } | Content::Logs { .. } => 0,
        };
        Ok(Ack::Stored { duplicates })
    }
}
