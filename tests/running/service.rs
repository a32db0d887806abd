//! What a service manager is told.
#![cfg(test)]

use std::os::unix::net::UnixDatagram;

use crate::child::{LONG, Site};

/// Listens as systemd does; returns what came once it has this line.
fn hears(socket: &UnixDatagram, line: &str) -> String {
    let mut buffer = [0; 4_096];
    loop {
        let length = socket.recv(&mut buffer).expect(line);
        let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if message.lines().any(|it| it == line) {
            return message;
        }
    }
}

#[test]
fn a_service_manager_is_told_of_readiness_life_and_stop() {
    let site = Site::new();
    let path = site.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    let path = path.display().to_string();
    let process = site.start(
        &[],
        &[("NOTIFY_SOCKET", &path), ("WATCHDOG_USEC", "300000")],
    );
    let ready = hears(&socket, "READY=1");
    assert!(
        ready.contains("STATUS=consumer serves default (1) of sqlite"),
        "{ready}"
    );
    hears(&socket, "WATCHDOG=1");
    hears(&socket, "WATCHDOG=1");
    process.signal("TERM");
    hears(&socket, "STOPPING=1");
    assert_eq!(process.end().0, 0);
}
