//! The run for others who look: a thread that keeps a [`Model`] as the screen does, and gives what it knows as JSON when it
//! is asked. Load and recorder do not wait for it.

use super::model::{Model, Setup, Update};
use super::screen::Feed;
use super::series::KEPT;
use super::snapshot;
use crate::report::look::Category;
use serde_json::Value;
use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

/// Updates that may wait.
const WAITING: usize = 1_024;
/// How soon a question is answered.
const SOON: Duration = Duration::from_millis(20);

/// A moment of the run, and mean milliseconds by category of the requests whose blame was known then.
pub type BlameMoment = (f64, Vec<(Category, f64)>);

/// The way to the thread; it ends when nobody has one.
#[derive(Clone, Debug)]
pub struct Follower {
    updates: SyncSender<Update>,
    asks: Sender<Sender<Value>>,
}

impl Follower {
    /// Begins to follow a run.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(setup: Setup) -> io::Result<Follower> {
        let (updates, told) = sync_channel(WAITING);
        let (asks, asked) = channel();
        let model = Model::new(setup);
        std::thread::Builder::new()
            .name("hotspan-follower".into())
            .spawn(move || follow(model, &told, &asked))?;
        Ok(Follower { updates, asks })
    }

    /// A way to tell it.
    pub fn feed(&self) -> Feed {
        Feed::to(self.updates.clone())
    }

    /// What is known now; nothing when the thread does not answer in time.
    pub fn snapshot(&self, patience: Duration) -> Option<Value> {
        let (answer, answered) = channel();
        self.asks.send(answer).ok()?;
        answered.recv_timeout(patience).ok()
    }
}

fn follow(mut model: Model, told: &Receiver<Update>, asked: &Receiver<Sender<Value>>) {
    let mut blame: VecDeque<BlameMoment> = VecDeque::new();
    loop {
        match told.recv_timeout(SOON) {
            Ok(update) => {
                keep_blame(&mut blame, &update, model.load.at.as_secs_f64());
                model.apply(update);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // Those who wait now, and not those who ask again at once: updates must get their turn.
        let waiting: Vec<Sender<Value>> = asked.try_iter().collect();
        if !waiting.is_empty() {
            let known = snapshot::of(&model, &blame);
            for answer in waiting {
                // Whoever asked may be gone.
                let _ = answer.send(known.clone());
            }
        }
    }
}

/// The model knows blame of the last seconds alone; here it is kept for as long as the other curves.
fn keep_blame(all: &mut VecDeque<BlameMoment>, update: &Update, at: f64) {
    let Update::Blame(steps) = update else { return };
    let exchanges: u64 = steps.iter().map(|step| step.exchanges).sum();
    if exchanges == 0 {
        return;
    }
    let mean = |category| {
        let time: f64 = steps.iter().map(|step| step.categories.get(category).as_millis_f64()).sum();
        (category, time / exchanges as f64)
    };
    all.push_back((at, Category::ALL.into_iter().map(mean).filter(|(_, ms)| *ms > 0.0).collect()));
    while all.len() > KEPT {
        all.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Nanos, StepId};
    use crate::stats::Histogram;
    use crate::ui::model::{LoadLook, StepBlame, StepSum};

    #[test]
    fn what_was_told_is_answered() {
        let setup =
            Setup { name: "shop".into(), steps: vec![("browse".into(), "list".into())], ..Setup::default() };
        let follower = Follower::start(setup).unwrap();
        let feed = follower.feed();
        let mut latency = Histogram::coarse();
        latency.record(Nanos::from_millis(20));
        let mut blame = StepBlame::of(StepId(0));
        (blame.exchanges, blame.joined) = (2, 1);
        blame.categories.add(Category::Database, Nanos::from_millis(30));
        for update in [
            Update::Exchanges(vec![StepSum { step: StepId(0), latency, errors: 1, checks_failed: 0 }]),
            Update::Load(LoadLook {
                at: Nanos::from_millis(1_000),
                done: 1,
                errors: 1,
                ..LoadLook::default()
            }),
            Update::Blame(vec![blame]),
            Update::Note("paused by hand".into()),
        ] {
            assert!(feed.tell(update).is_none());
        }
        // All updates were sent before the question; the thread takes them in order, though it may be asked between two.
        let mut seen = Value::Null;
        for _ in 0..200 {
            seen = follower.snapshot(Duration::from_secs(10)).unwrap();
            if seen["notes"].as_array().is_some_and(|notes| notes.len() == 1) {
                break;
            }
        }
        assert_eq!(seen["name"], "shop");
        assert_eq!(seen["rows"][0]["name"], "list");
        assert_eq!(seen["rows"][0]["errors"], 1);
        assert_eq!(seen["rows"][0]["categories"]["database"], 15.0);
        assert_eq!(seen["blame"][0][1]["database"], 15.0);
        assert_eq!(seen["seconds"].as_array().unwrap().len(), 1);
        assert_eq!(seen["notes"][0], "paused by hand");
    }
}
