//! Group commit: one task takes whatever is waiting, writes it in one transaction, and acknowledges after the sync.
//!
//! While a commit waits for the disk the next messages gather, so that the number of syncs falls as the load rises.

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::{Appended, StoreError, Under};
use crate::protocol::PublicKey;

/// The messages that may wait for a commit in one queue: 4096 of 16 KiB are 64 MiB.
const QUEUE: usize = 4096;

/// The most messages in one transaction: enough to share a sync widely, few enough that none waits for long.
const BATCH: usize = 256;

/// A message that waits.
pub(super) struct Append {
    pub(super) key: PublicKey,
    pub(super) data: Vec<u8>,
    /// The API key, on a relay that asks for them.
    pub(super) under: Option<Under>,
}

type Done = oneshot::Sender<Result<Appended, StoreError>>;

/// The way to a writer's queue.
#[derive(Clone)]
pub(super) struct Queue(mpsc::Sender<(Append, Done)>);

impl Queue {
    /// Waits until the message is durable. Dropping the future does not take it back.
    pub(super) async fn append(self, append: Append) -> Result<Appended, StoreError> {
        let (done, result) = oneshot::channel();
        self.0.try_send((append, done)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::QueueFull,
            mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
        })?;
        // The writer ends when the last way to its queue is gone: whoever waits for a result must not hold one.
        drop(self);
        result.await.map_err(|_| StoreError::Closed)?
    }
}

/// Starts a writer; it ends when every [`Queue`] to it is gone and what was queued is written.
///
/// `commit` writes a batch in one transaction and gives the results in its order, once they are durable.
pub(super) fn start<F>(commit: impl Fn(Vec<Append>) -> F + Send + 'static) -> (Queue, JoinHandle<()>)
where
    F: Future<Output = Result<Vec<Appended>, StoreError>> + Send,
{
    let (sender, mut queue) = mpsc::channel::<(Append, Done)>(QUEUE);
    let task = tokio::spawn(async move {
        let mut waiting = Vec::with_capacity(BATCH);
        while queue.recv_many(&mut waiting, BATCH).await > 0 {
            // Boxes are locked in the order of their keys, so that two instances cannot wait for each other.
            // The sort is stable: messages to one box keep their order.
            waiting.sort_by_key(|(append, _)| append.key);
            let (batch, done): (Vec<Append>, Vec<Done>) = waiting.drain(..).unzip();
            match commit(batch).await {
                // A receiver that is gone is a client that went away; its message is stored all the same.
                Ok(results) => {
                    done.into_iter().zip(results).for_each(|(done, result)| drop(done.send(Ok(result))))
                }
                Err(error) => done.into_iter().for_each(|done| drop(done.send(Err(error.clone())))),
            }
        }
    });
    (Queue(sender), task)
}
