//! What a proxy does to a connection, seen from both of its ends.
#![cfg(test)]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use votive_testbed::{Fault, Proxy};

const LONG: Duration = Duration::from_secs(60);

/// A server that says all it hears back, and the pieces that it heard.
fn echo() -> (Proxy, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap()).unwrap();
    let (heard, listens) = unbounded();
    thread::Builder::new()
        .spawn(move || {
            for connection in listener.incoming() {
                let (mut connection, heard) = (connection.unwrap(), heard.clone());
                thread::Builder::new()
                    .spawn(move || {
                        let mut buffer = [0; 100];
                        while let Ok(length @ 1..) = connection.read(&mut buffer) {
                            drop(heard.send(buffer[..length].to_vec()));
                            drop(connection.write_all(&buffer[..length]));
                        }
                    })
                    .unwrap();
            }
        })
        .unwrap();
    (proxy, listens)
}

fn connect(proxy: &Proxy) -> TcpStream {
    let connection = TcpStream::connect(proxy.address()).unwrap();
    connection.set_read_timeout(Some(LONG)).unwrap();
    connection
}

/// Sends `words`, and returns what comes back before the connection ends or all of it has.
fn ask(mut connection: &TcpStream, words: &[u8]) -> Vec<u8> {
    drop(connection.write_all(words));
    let (mut answer, mut buffer) = (Vec::new(), [0; 100]);
    while answer.len() < words.len() {
        match connection.read(&mut buffer) {
            Ok(length @ 1..) => answer.extend_from_slice(&buffer[..length]),
            _ => break,
        }
    }
    answer
}

#[test]
fn what_nothing_is_said_about_passes() {
    let (proxy, _heard) = echo();
    assert_eq!(ask(&connect(&proxy), b"hello"), b"hello");
    assert_eq!(proxy.triggered(), 0);
}

#[test]
fn a_request_is_cut_after_so_many_bytes() {
    let (proxy, heard) = echo();
    proxy.arm(Fault::CutAfter(7));
    let connection = connect(&proxy);
    assert_eq!(ask(&connection, b"hello"), b"hello");
    ask(&connection, b"hello");
    assert_eq!(heard.recv_timeout(LONG).unwrap(), b"hello");
    assert_eq!(heard.recv_timeout(LONG).unwrap(), b"he");
    assert_eq!(proxy.triggered(), 1);
}

#[test]
fn a_request_that_is_cut_at_a_pattern_never_arrives() {
    let (proxy, heard) = echo();
    proxy.arm(Fault::CutBefore(b"COMMIT".to_vec()));
    assert_eq!(ask(&connect(&proxy), b"COMMIT"), b"");
    assert_eq!(ask(&connect(&proxy), b"COMMIT"), b"COMMIT");
    assert_eq!(heard.try_iter().count(), 1);
}

#[test]
fn a_request_whose_answer_is_cut_arrives() {
    let (proxy, heard) = echo();
    proxy.arm(Fault::CutAnswer(b"COMMIT".to_vec()));
    assert_eq!(ask(&connect(&proxy), b"COMMIT"), b"");
    assert_eq!(heard.recv_timeout(LONG).unwrap(), b"COMMIT");
}

#[test]
fn an_answer_is_held_until_all_faults_end() {
    let (proxy, heard) = echo();
    proxy.arm(Fault::DelayAnswer(b"COMMIT".to_vec(), 10 * LONG));
    let connection = connect(&proxy);
    (&connection).write_all(b"COMMIT").unwrap();
    assert_eq!(heard.recv_timeout(LONG).unwrap(), b"COMMIT");
    connection.set_nonblocking(true).unwrap();
    assert!((&connection).read(&mut [0]).is_err());
    connection.set_nonblocking(false).unwrap();
    proxy.pass();
    assert_eq!(ask(&connection, b""), b"");
    assert_eq!((&connection).read(&mut [0; 100]).unwrap(), 6);
}

#[test]
fn nobody_connects_while_the_proxy_refuses() {
    let (proxy, _heard) = echo();
    let before = connect(&proxy);
    assert_eq!(ask(&before, b"hello"), b"hello");
    proxy.refuse();
    assert_eq!(ask(&before, b"hello"), b"");
    assert_eq!(ask(&connect(&proxy), b"hello"), b"");
    proxy.pass();
    assert_eq!(ask(&connect(&proxy), b"hello"), b"hello");
}
