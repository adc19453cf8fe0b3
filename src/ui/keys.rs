//! What a key means: a change of the view, or a wish that whoever runs the load grants.

use super::model::Model;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// What the user of the screen wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The load stands, or goes on.
    PauseOrResume,
    /// More load.
    More,
    /// Less load.
    Less,
    /// On to the next stage.
    NextStage,
    /// Nothing new begins; then the report.
    Stop,
    /// What Ctrl-C means: once to drain and report, twice to stop at once.
    Interrupt,
}

/// What the screen shows of the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The chosen row of the steps: 0 for all of them, else a step's number from 1.
    pub row: usize,
    /// Whether the help lies over the rest.
    pub help: bool,
}

impl View {
    /// A key was pressed.
    pub fn key(&mut self, key: KeyEvent, model: &Model) -> Option<Wish> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        let rows = model.setup.steps.len() + 1;
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => return Some(Wish::Interrupt),
            _ if control => {}
            KeyCode::Char('q') => return Some(Wish::Interrupt),
            KeyCode::Char('p' | ' ') => return Some(Wish::PauseOrResume),
            KeyCode::Char('+' | '=') => return Some(Wish::More),
            KeyCode::Char('-' | '_') => return Some(Wish::Less),
            KeyCode::Char('n') => return Some(Wish::NextStage),
            KeyCode::Char('s') => return Some(Wish::Stop),
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.help = !self.help,
            KeyCode::Esc if self.help => self.help = false,
            KeyCode::Esc | KeyCode::Home => self.row = 0,
            KeyCode::End => self.row = rows - 1,
            KeyCode::Tab | KeyCode::Down | KeyCode::Right | KeyCode::Char('j') => {
                self.row = (self.row + 1) % rows;
            }
            KeyCode::BackTab | KeyCode::Up | KeyCode::Left | KeyCode::Char('k') => {
                self.row = (self.row + rows - 1) % rows;
            }
            _ => {}
        }
        None
    }
}
