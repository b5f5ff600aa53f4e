//! Devices that sleep, and networks that come back.

use std::time::Duration;

use super::{
    super::Event,
    world::{HOUR, MINUTE, RELAY, World},
};

#[test]
fn a_try_that_was_slept_through_is_made_on_waking_up() {
    let mut world = World::new(400, 2, &[RELAY]);
    let link = world.share(0, "Bob");
    world.down[0] = true;
    world.connect(1, &link, "Alice");
    world.pass(Duration::from_secs(20));
    // The clock of the waits stands still meanwhile; three tries were missed.
    world.slept = 3 * HOUR;
    world.down[0] = false;
    world.foreground(0);
    for end in [0, 1] {
        world.call(end, |sessions, turn| sessions.woke_up(turn));
    }
    let connected =
        world.run(Duration::from_secs(2), |world| world.connected(0) == 1 && world.connected(1) == 1);
    assert!(connected, "{:?}", world.events);
}

#[test]
fn a_network_that_comes_back_is_used_at_once() {
    let mut world = World::new(401, 2, &[RELAY]);
    let link = world.share(0, "Bob");
    world.foreground(0);
    world.down[0] = true;
    world.connect(1, &link, "Alice");
    world.pass(4 * MINUTE);
    assert_eq!(world.told(1, |event| matches!(event, Event::RelaysDown { .. })), 1);
    world.down[0] = false;
    for end in [0, 1] {
        world.call(end, |sessions, turn| sessions.woke_up(turn));
    }
    let connected =
        world.run(Duration::from_secs(2), |world| world.connected(0) == 1 && world.connected(1) == 1);
    assert!(connected, "{:?}", world.events);
}
