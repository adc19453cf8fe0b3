//! Steps that are more than a request over HTTP: calls of gRPC, conversations over a WebSocket, streams of events.

use super::template::Template;
use super::types::{Extract, JsonCheck, Pattern};
use crate::record::{Nanos, StepKind};
use prost_reflect::MethodDescriptor;
use std::sync::Arc;

/// What a step says to the service.
#[derive(Clone, Debug, Default)]
pub enum Call {
    /// One request over HTTP; its answer is read to the end.
    #[default]
    Http,
    /// A call of gRPC.
    Grpc(Box<RpcCall>),
    /// A conversation over a WebSocket.
    WebSocket(Box<Conversation>),
    /// A request over HTTP whose answer is a stream of server-sent events.
    Events(Box<Until>),
}

impl Call {
    /// The kind of step, as records name it.
    pub fn kind(&self) -> StepKind {
        match self {
            Call::Http | Call::Events(_) => StepKind::Http,
            Call::Grpc(_) => StepKind::Grpc,
            Call::WebSocket(_) => StepKind::WebSocket,
        }
    }
}

/// A call of gRPC.
#[derive(Clone, Debug)]
pub struct RpcCall {
    /// Full name of the service, `shop.v1.Catalog`.
    pub service: String,
    /// Name of the method, `GetProduct`.
    pub method: String,
    /// What its messages look like; absent until the service itself was asked.
    pub types: Option<MethodDescriptor>,
    /// What is sent, as JSON; one message unless the client streams.
    pub messages: Vec<Template>,
    /// When messages after the first are sent.
    pub sending: Sending,
    /// When the client has heard enough of a stream.
    pub until: Until,
}

impl RpcCall {
    /// `shop.v1.Catalog/GetProduct`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.service, self.method)
    }
}

/// When the messages of a streaming client are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sending {
    /// All at once.
    #[default]
    Together,
    /// That long after the one before.
    Every(Nanos),
    /// When an answer to the one before has come.
    InTurn,
}

/// When a stream has been listened to for long enough: at the first of these, or at its end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Until {
    /// So many messages or events have come.
    pub count: Option<u32>,
    /// One has come whose text matches.
    pub matches: Option<Pattern>,
    /// So much time has passed since the stream began.
    pub length: Option<Nanos>,
}

impl Until {
    /// Whether only the stream's own end ends it.
    pub fn is_open(&self) -> bool {
        *self == Until::default()
    }
}

/// A conversation over a WebSocket.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    /// Subprotocols that are offered, the dearest first.
    pub subprotocols: Vec<String>,
    /// What is done, in order.
    pub script: Vec<Turn>,
}

impl Conversation {
    /// All messages that are waited for.
    pub fn awaited(&self) -> Vec<&Awaited> {
        let mut open: Vec<&Turn> = self.script.iter().rev().collect();
        let mut found = Vec::new();
        while let Some(turn) = open.pop() {
            match turn {
                Turn::Expect(awaited) => found.push(&**awaited),
                Turn::Repeat(_, script) => open.extend(script.iter().rev()),
                _ => {}
            }
        }
        found
    }
}

/// One thing done in a conversation.
#[derive(Clone, Debug)]
pub enum Turn {
    /// Sends a message.
    Send(Said),
    /// Sends a ping and waits for its pong.
    Ping,
    /// Waits for a message; others that come before it are passed over.
    Expect(Box<Awaited>),
    /// Listens for so long.
    Wait(Nanos),
    /// Does that so many times.
    Repeat(u32, Vec<Turn>),
    /// Closes the connection and waits until the peer has, too.
    Close {
        /// Status code (RFC 6455, section 7.4).
        code: u16,
        /// Why.
        reason: String,
    },
}

/// A message that is sent.
#[derive(Clone, Debug)]
pub enum Said {
    /// As text; JSON is text with its holes escaped.
    Text(Template),
    /// As bytes: the text is their base64.
    Binary(Template),
}

/// A message that is waited for.
#[derive(Clone, Debug, Default)]
pub struct Awaited {
    /// The check's name in reports.
    pub name: Arc<str>,
    /// Texts that it contains.
    pub contains: Vec<Template>,
    /// Patterns that it matches.
    pub matches: Vec<Pattern>,
    /// Conditions on it as JSON.
    pub json: Vec<JsonCheck>,
    /// How long it may take from what was sent last.
    pub within: Option<Nanos>,
    /// What is taken from it.
    pub extract: Vec<Extract>,
    /// The peer closes instead, with this code.
    pub close: Option<u16>,
}
