//! Several state machines, relays between them and channels that open, all under a time that jumps from event to event.

mod attacks;
mod crash;
mod defences;
mod evil_relay;
mod link;
mod relay;
mod rules;
mod together;
mod world;
