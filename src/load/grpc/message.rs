//! Messages: from JSON with holes to protobuf, and back to JSON for checks and extraction.

use super::frames;
use crate::load::render::{Scope, render};
use crate::scenario::{RpcCall, Sending, Template, Until};
use bytes::Bytes;
use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor, SerializeOptions};
use rand::rngs::SmallRng;
use serde_json::Deserializer;

/// A call made ready.
pub struct RpcPlan {
    /// What answers look like.
    pub output: MessageDescriptor,
    /// Whether answers are a stream.
    pub answers_stream: bool,
    /// Whether requests are a stream.
    pub requests_stream: bool,
    /// When messages after the first are sent.
    pub sending: Sending,
    /// When enough has come.
    pub until: Until,
}

/// Messages to be sent.
pub struct Outbound {
    input: MessageDescriptor,
    messages: Vec<Part>,
}

enum Part {
    /// The same for each request, framed.
    Fixed(Vec<u8>),
    Made(Template),
}

impl RpcPlan {
    /// Makes a call ready, and what it sends.
    ///
    /// # Errors
    /// A sentence that says what does not fit.
    pub fn new(call: &RpcCall) -> Result<(RpcPlan, Outbound), String> {
        let name = call.full_name();
        let types = call.types.as_ref().ok_or_else(|| format!("{name}: nothing describes its messages"))?;
        let (requests_stream, answers_stream) = (types.is_client_streaming(), types.is_server_streaming());
        if call.messages.len() != 1 && !requests_stream {
            return Err(format!("{name} takes one message, and the step has {}", call.messages.len()));
        }
        if call.sending == Sending::InTurn && !answers_stream {
            return Err(format!("{name} answers once, at the end: `send: in_turn` would wait for ever"));
        }
        let input = types.input();
        let mut messages = Vec::with_capacity(call.messages.len());
        for template in &call.messages {
            let template = template.revealed();
            messages.push(match template.as_static() {
                Some(text) => {
                    let mut out = Vec::new();
                    encode(&input, text, &mut out).map_err(|why| format!("{name}: {why}"))?;
                    Part::Fixed(out)
                }
                None => Part::Made(template),
            });
        }
        let plan = RpcPlan {
            output: types.output(),
            answers_stream,
            requests_stream,
            sending: call.sending,
            until: call.until.clone(),
        };
        Ok((plan, Outbound { input, messages }))
    }

    /// Appends a message as JSON, numbers of 64 bits as numbers.
    ///
    /// # Errors
    /// A sentence, where the bytes are no such message.
    pub fn decode(&self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let message = DynamicMessage::decode(self.output.clone(), bytes)
            .map_err(|e| format!("the answer is no {}: {e}", self.output.full_name()))?;
        let options = SerializeOptions::new().stringify_64_bit_integers(false).skip_default_fields(false);
        let mut serializer = serde_json::Serializer::new(out);
        message
            .serialize_with_options(&mut serializer, &options)
            .map_err(|e| format!("{} cannot be written as JSON: {e}", self.output.full_name()))
    }
}

impl Outbound {
    /// All messages framed, if none has holes.
    pub fn fixed(&self) -> Option<Bytes> {
        let mut all = Vec::new();
        for part in &self.messages {
            match part {
                Part::Fixed(bytes) => all.extend_from_slice(bytes),
                Part::Made(_) => return None,
            }
        }
        Some(all.into())
    }

    /// All messages framed, holes filled.
    ///
    /// # Errors
    /// A sentence that says what is missing or does not fit.
    pub fn make(&self, scope: &Scope, random: &mut SmallRng) -> Result<Bytes, String> {
        let mut all = Vec::new();
        let mut text = String::new();
        for part in &self.messages {
            match part {
                Part::Fixed(bytes) => all.extend_from_slice(bytes),
                Part::Made(template) => {
                    text.clear();
                    render(template, scope, random, &mut text).map_err(|e| format!("message: {e}"))?;
                    encode(&self.input, &text, &mut all)?;
                }
            }
        }
        Ok(all.into())
    }
}

fn encode(input: &MessageDescriptor, text: &str, out: &mut Vec<u8>) -> Result<(), String> {
    let mut json = Deserializer::from_str(text);
    let message = DynamicMessage::deserialize(input.clone(), &mut json)
        .and_then(|message| json.end().map(|()| message))
        .map_err(|e| {
            let words = e.to_string();
            format!("no {}: {}", input.full_name(), words.split(" at line ").next().unwrap_or_default())
        })?;
    frames::put(&message.encode_to_vec(), out);
    Ok(())
}
