//! The terminal while the screen has it: a thread that draws and reads keys. Whatever way the program ends (an error, a
//! panic, a signal), the terminal is given back as it was.

use super::canvas::Look;
use super::draw::draw;
use super::keys::{View, Wish};
use super::model::{Model, Setup, Update};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::terminal::{self, BeginSynchronizedUpdate, EndSynchronizedUpdate};
use ratatui::crossterm::{cursor, execute, queue};
use std::io::{self, BufWriter, Stderr, Write};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, channel, sync_channel};
use std::sync::{Arc, Once};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Updates that may wait for the screen; one that finds no place comes back to its sender.
const WAITING: usize = 256;
/// Time between two frames: five a second are as many as anybody can read.
const FRAME: Duration = Duration::from_millis(200);
/// How soon a key is seen, or the end.
const KEY: Duration = Duration::from_millis(50);
/// How long a terminal that takes nothing is waited for at the end.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether the terminal is ours at the moment: for the panic hook.
static TAKEN: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

/// A way to tell the screen, and others who look. Sending never waits.
#[derive(Clone, Debug)]
pub struct Feed {
    screen: SyncSender<Update>,
    also: Option<SyncSender<Update>>,
}

impl Feed {
    /// A way to one that looks.
    pub(super) fn to(screen: SyncSender<Update>) -> Feed {
        Feed { screen, also: None }
    }

    /// This one, and another beside it.
    #[must_use]
    pub fn and(self, other: &Feed) -> Feed {
        Feed { also: Some(other.screen.clone()), ..self }
    }

    /// Tells the screen, or gives the update back where it has no place for it; nothing comes back from a closed screen.
    /// Others hear what the screen took, once.
    pub fn tell(&self, update: Update) -> Option<Update> {
        let also = self.also.as_ref().map(|also| (also, update.clone()));
        if let Err(TrySendError::Full(update)) = self.screen.try_send(update) {
            return Some(update);
        }
        if let Some((also, update)) = also {
            // They show the last seconds alone; what found no place is told again soon enough.
            let _ = also.try_send(update);
        }
        None
    }
}

/// The screen while it is shown, on standard error. Dropping it gives the terminal back.
#[derive(Debug)]
pub struct Screen {
    feed: Feed,
    wishes: Receiver<Wish>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Screen {
    /// Takes the terminal and begins to draw.
    ///
    /// # Errors
    /// When the terminal cannot be taken, or the system gives no thread; the terminal is as it was then.
    pub fn open(setup: Setup, look: Look) -> io::Result<Screen> {
        let (sender, updates) = sync_channel(WAITING);
        let (wish, wishes) = channel();
        let over = Arc::new(AtomicBool::new(false));
        let mut shown = Shown::take(look)?;
        let told = Arc::clone(&over);
        let thread = std::thread::Builder::new().name("hotspan-screen".into()).spawn(move || {
            let mut model = Model::new(setup);
            // A terminal that is gone shows nothing; the run goes on without it.
            let _ = shown.show(&mut model, &updates, &told, |made| {
                let _ = wish.send(made);
            });
        })?;
        Ok(Screen { feed: Feed::to(sender), wishes, over, thread: Some(thread) })
    }

    /// A way to tell it.
    pub fn feed(&self) -> Feed {
        self.feed.clone()
    }

    /// What its user wants, if anything.
    pub fn wish(&self) -> Option<Wish> {
        self.wishes.try_recv().ok()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
        let Some(thread) = self.thread.take() else { return };
        let asked = Instant::now();
        while !thread.is_finished() && asked.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(2));
        }
        // A thread that is stuck in a terminal that takes nothing has not given it back.
        give_back();
    }
}

/// Gives the terminal back, once.
fn give_back() {
    if TAKEN.swap(false, SeqCst) {
        let mut err = io::stderr();
        let _ = execute!(err, EndSynchronizedUpdate, terminal::LeaveAlternateScreen, cursor::Show);
        let _ = terminal::disable_raw_mode();
    }
}

struct Shown {
    terminal: Terminal<CrosstermBackend<BufWriter<Stderr>>>,
    look: Look,
    view: View,
}

impl Shown {
    fn take(look: Look) -> io::Result<Shown> {
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                give_back();
                before(panic);
            }));
        });
        terminal::enable_raw_mode()?;
        TAKEN.store(true, SeqCst);
        let entered = execute!(io::stderr(), terminal::EnterAlternateScreen, cursor::Hide)
            .and_then(|()| Terminal::new(CrosstermBackend::new(BufWriter::new(io::stderr()))));
        match entered {
            Ok(terminal) => Ok(Shown { terminal, look, view: View::default() }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }

    fn show(
        &mut self,
        model: &mut Model,
        updates: &Receiver<Update>,
        over: &AtomicBool,
        wish: impl Fn(Wish),
    ) -> io::Result<()> {
        let mut drawn: Option<Instant> = None;
        // A panic anywhere has given the terminal back: what it says must stay in sight.
        while !over.load(SeqCst) && TAKEN.load(SeqCst) {
            let mut hurry = drawn.is_none();
            if event::poll(KEY)? {
                match event::read()? {
                    Event::Key(key) => {
                        hurry = true;
                        if let Some(made) = self.view.key(key, model) {
                            wish(made);
                        }
                    }
                    Event::Resize(..) => hurry = true,
                    _ => {}
                }
            }
            loop {
                match updates.try_recv() {
                    Ok(update) => model.apply(update),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ok(()),
                }
            }
            if hurry || drawn.is_none_or(|at| at.elapsed() >= FRAME) {
                self.frame(model)?;
                drawn = Some(Instant::now());
            }
        }
        Ok(())
    }

    fn frame(&mut self, model: &Model) -> io::Result<()> {
        let (view, look) = (self.view, self.look);
        queue!(self.terminal.backend_mut(), BeginSynchronizedUpdate)?;
        self.terminal.draw(|frame| draw(model, view, look, frame.buffer_mut()))?;
        queue!(self.terminal.backend_mut(), EndSynchronizedUpdate)?;
        Write::flush(self.terminal.backend_mut())
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        give_back();
    }
}
