//! Several state machines, relays between them and channels that open, all under a time that jumps from event to event.

mod asking;
mod attacks;
mod attempts;
mod awake;
mod boxes;
mod crash;
mod defences;
mod evil_relay;
mod leaving;
mod link;
mod notes;
mod offers;
mod places;
mod relay;
mod rules;
mod together;
mod told;
mod world;
