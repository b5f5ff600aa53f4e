//! The channels of a connection: the library's, on which sessions prove themselves, and those of apps.

use str0m::{
    Event, IceConnectionState,
    channel::{ChannelId, Reliability},
};

use super::{
    super::channel::{Channel, Message, OVERHEAD},
    CONTROL, Connection, Control, Over, Plugged, Told, clock,
};
use crate::client::sessions::SessionId;

/// The channels that the other side may have open.
const MOST_CHANNELS: usize = 1024;

/// The channels and bytes that may come before the other side proved who it is.
const MOST_HELD: usize = 16;
const MOST_HELD_BYTES: usize = 1024 * 1024;

/// The longest frame of the library, in bytes, and the most of them in a session: a few are needed.
const MOST_FRAME: usize = 16 * 1024;
const MOST_FRAMES: u32 = 1000;

impl Connection {
    pub(super) fn event(&mut self, event: Event) -> Result<(), Over> {
        match event {
            Event::IceConnectionStateChange(state) => self.ice(state),
            Event::Connected => self.time(|timing| &mut timing.dtls),
            Event::ChannelOpen(id, label) => self.opened(id, label)?,
            Event::ChannelData(data) => {
                let message = if data.binary {
                    Some(Message::Binary(data.data))
                } else {
                    String::from_utf8(data.data).ok().map(Message::Text)
                };
                match message {
                    Some(message) => self.came(data.id, message)?,
                    // Text that is none.
                    None => self.rtc.direct_api().close_data_channel(data.id),
                }
            }
            Event::ChannelClose(id) => {
                self.channels.remove(&id);
                // Over there a newer session on this connection took its place already; here it will, too.
                let mut older = self.controls.iter_mut().rev().skip(1);
                if let Some(control) = older.find(|control| control.channel == Some(id)) {
                    control.open = false;
                    return Ok(());
                }
                let open = self.controls.extract_if(.., |control| control.channel == Some(id));
                let ended: Vec<SessionId> = open.map(|control| control.session).collect();
                // The library's channel is the session.
                if !ended.is_empty() && self.controls.is_empty() {
                    (self.told)(Told::Closed(ended, None));
                    return Err(Over(None));
                }
                for session in ended {
                    (self.told)(Told::Ended(session));
                }
            }
            Event::Closed => return Err(Over(None)),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn ice(&mut self, state: IceConnectionState) {
        match state {
            IceConnectionState::Connected | IceConnectionState::Completed => {
                self.search = None;
                if std::mem::take(&mut self.lost) {
                    (self.told)(Told::Found);
                }
                self.time(|timing| &mut timing.path);
            }
            IceConnectionState::Disconnected if self.path.is_some() => self.is_lost(),
            _ => {}
        }
    }

    pub(super) fn opened(&mut self, id: ChannelId, label: String) -> Result<(), Over> {
        let config = self.rtc.channel(id).and_then(|channel| channel.config().cloned());
        if config.is_none_or(|config| !config.ordered || config.reliability != Reliability::Reliable) {
            // Sent on it would be what may get lost.
            self.rtc.direct_api().close_data_channel(id);
            return Ok(());
        }
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.open = true;
            return Ok(());
        }
        let is_own = self.controls.iter().any(|control| control.channel == Some(id));
        if label == CONTROL || is_own {
            let of = |control: &&mut Control| match control.channel {
                Some(channel) => channel == id,
                None => !is_own,
            };
            let Some(control) = self.controls.iter_mut().find(of) else {
                self.rtc.direct_api().close_data_channel(id);
                return Ok(());
            };
            (control.channel, control.open) = (Some(id), true);
            let session = control.session;
            // It is known since the handshake.
            let certificate = self.certificate().ok_or(Over(None))?;
            self.time(|timing| &mut timing.open);
            (self.told)(Told::Open(session, certificate));
            return Ok(());
        }
        if self.channels.len() >= MOST_CHANNELS || self.farewell.is_some() {
            self.rtc.direct_api().close_data_channel(id);
            return Ok(());
        }
        let (channel, plug) = Channel::new(label.clone(), self.waiting.clone());
        self.channels.insert(id, Plugged { plug, label, open: true, waiting: None, closing: false });
        self.order.push(id);
        match &mut self.held {
            None => (self.told)(Told::Channel(channel)),
            Some(held) if held.len() < MOST_HELD => held.push(channel),
            Some(_) => return Err(Over(None)),
        }
        Ok(())
    }

    pub(super) fn came(&mut self, id: ChannelId, message: Message) -> Result<(), Over> {
        if let Some(control) = self.controls.iter_mut().find(|control| control.channel == Some(id)) {
            control.frames += 1;
            return match message {
                Message::Text(text) if text.len() <= MOST_FRAME && control.frames <= MOST_FRAMES => {
                    (self.told)(Told::Frame(control.session, text));
                    Ok(())
                }
                _ => Err(Over(None)),
            };
        }
        if self.farewell.is_some() {
            return Ok(());
        }
        self.is_active();
        if self.held.is_some() {
            self.held_bytes += message.len() + OVERHEAD;
            if self.held_bytes > MOST_HELD_BYTES {
                return Err(Over(None));
            }
        }
        let taken = self.channels.get_mut(&id).is_none_or(|channel| channel.plug.pass_on(message));
        if !taken {
            tracing::debug!("a channel whose app takes nothing");
            self.channels.remove(&id);
            self.rtc.direct_api().close_data_channel(id);
        }
        Ok(())
    }

    pub(super) fn is_active(&mut self) {
        self.active = clock();
        self.idle_told = false;
    }

    /// Hands what waits to str0m. Whether that has something new to send.
    pub(super) fn write(&mut self) -> Result<bool, Over> {
        let mut wrote = false;
        for control in self.controls.iter_mut().filter(|control| control.open) {
            let Some(mut channel) = control.channel.and_then(|id| self.rtc.channel(id)) else { continue };
            while let Some(text) = control.waiting.first() {
                match channel.write(false, text.as_bytes()) {
                    Ok(true) => drop(control.waiting.remove(0)),
                    Ok(false) => break,
                    Err(_) => return Err(Over(None)),
                }
                wrote = true;
            }
        }
        let (mut sent, mut closed) = (false, Vec::new());
        // Each is first in turn, or one with much to send would leave no room for others.
        self.order.retain(|id| self.channels.contains_key(id));
        let count = self.order.len().max(1);
        self.order.rotate_left(1 % count);
        for id in &self.order {
            let Some(plugged) = self.channels.get_mut(id).filter(|channel| channel.open) else { continue };
            let Some(mut channel) = self.rtc.channel(*id) else { continue };
            if let Some(message) = &plugged.waiting {
                let (binary, bytes) = match message {
                    Message::Text(text) => (false, text.as_bytes()),
                    Message::Binary(bytes) => (true, &bytes[..]),
                };
                match channel.write(binary, bytes) {
                    Ok(true) => {
                        plugged.waiting = None;
                        (wrote, sent) = (true, true);
                    }
                    Ok(false) => {}
                    // Too large for the other side, or the channel is closing.
                    Err(error) => {
                        tracing::debug!(%error, label = plugged.label, "a channel");
                        closed.push(*id);
                    }
                }
            } else if plugged.closing && channel.buffered_amount() == 0 {
                closed.push(*id);
            }
        }
        for id in closed {
            self.channels.remove(&id);
            self.rtc.direct_api().close_data_channel(id);
            wrote = true;
        }
        if sent {
            self.is_active();
        }
        Ok(wrote)
    }

    pub(super) fn has_unconfirmed(&mut self) -> bool {
        let waits = |channel: &Plugged| channel.waiting.is_some() || !channel.plug.outgoing.is_empty();
        let channels = self.channels.iter().map(|(id, channel)| (*id, waits(channel)));
        let channels: Vec<(ChannelId, bool)> = channels.collect();
        channels.into_iter().any(|(id, waits)| {
            waits || self.rtc.channel(id).is_some_and(|mut channel| channel.buffered_amount() > 0)
        })
    }
}
