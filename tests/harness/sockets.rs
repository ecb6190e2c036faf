//! Ordinary programs on the wire: a UDP question and its answer, a TCP conversation.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use crate::{Deadline, INSIDE_V4, INSIDE_V6, OUTSIDE_V4, OUTSIDE_V6, World};

impl World {
    /// The inside's address of the family of another address.
    /// The address inside.
    #[must_use]
    pub fn inside_address(v6: bool) -> IpAddr {
        if v6 {
            INSIDE_V6.into()
        } else {
            INSIDE_V4.into()
        }
    }
}

/// Binds a port of the test's own. A socket of a moment ago can still have it: a process that another
/// thread has just forked holds all descriptors until it runs its program.
fn free<T>(bind: impl Fn() -> io::Result<T>) -> T {
    let deadline = Deadline::generous();
    loop {
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && !deadline.passed() => {
                thread::yield_now();
            }
            bound => return bound.expect("the port is free"),
        }
    }
}

/// Sends a UDP question from the outside to a port inside, which echoes it; whether the answer
/// came back. `wait` bounds how long a lost packet is waited for.
#[must_use]
pub fn udp_exchange(world: &World, v6: bool, port: u16, wait: Duration) -> bool {
    let address = SocketAddr::new(World::inside_address(v6), port);
    let server = world.inside.enter(|| free(|| UdpSocket::bind(address)));
    let client = outside_socket(world, v6);
    client
        .send_to(b"question", address)
        .expect("the question goes out");
    let deadline = Deadline::after(wait);
    if !deadline.readable(&server) {
        return false;
    }
    let mut buffer = [0; 64];
    let (length, from) = server
        .recv_from(&mut buffer)
        .expect("the question is there");
    server
        .send_to(&buffer[..length], from)
        .expect("the answer goes out");
    deadline.readable(&client)
}

/// Sends UDP datagrams from the outside to ports inside, where one socket each waits; says
/// which arrived. The last port must be one that comes through: the wire keeps order, so what
/// has not come by then was dropped.
#[must_use]
pub fn udp_arrives(world: &World, v6: bool, ports: &[u16]) -> Vec<bool> {
    let address = |port: u16| SocketAddr::new(World::inside_address(v6), port);
    let bind = |port: &u16| free(|| UdpSocket::bind(address(*port)));
    let servers: Vec<UdpSocket> = world.inside.enter(|| ports.iter().map(bind).collect());
    let client = outside_socket(world, v6);
    for &port in ports {
        client
            .send_to(b"datagram", address(port))
            .expect("the datagram goes out");
    }
    let last = servers.last().expect("at least one port");
    assert!(
        Deadline::generous().readable(last),
        "the last datagram is to come through"
    );
    let now = Deadline::after(Duration::ZERO);
    servers.iter().map(|server| now.readable(server)).collect()
}

/// Whether a TCP connection from the outside to a port inside can be made and carries a megabyte
/// there and back, within `wait`.
#[must_use]
pub fn tcp_exchange(world: &World, v6: bool, port: u16, wait: Duration) -> bool {
    const MEGABYTE: usize = 1 << 20;
    let address = SocketAddr::new(World::inside_address(v6), port);
    let listener = world.inside.enter(|| free(|| TcpListener::bind(address)));
    let client = world
        .outside
        .enter(|| TcpStream::connect_timeout(&address, wait));
    let Ok(mut client) = client else { return false };
    let (mut server, _) = listener.accept().expect("the connection is there");
    for end in [&client, &server] {
        end.set_read_timeout(Some(wait))
            .expect("a timeout can be set");
        end.set_write_timeout(Some(wait))
            .expect("a timeout can be set");
    }
    let echo = thread::spawn(move || {
        let mut data = vec![0; MEGABYTE];
        server.read_exact(&mut data)?;
        server.write_all(&data)
    });
    let sent: Vec<u8> = (0..MEGABYTE)
        .map(|i| u8::try_from(i % 251).expect("small"))
        .collect();
    let mut back = vec![0; MEGABYTE];
    let done = client
        .write_all(&sent)
        .and_then(|()| client.read_exact(&mut back));
    let echoed = echo.join().expect("the echo does not panic");
    done.is_ok() && echoed.is_ok() && sent == back
}

/// What a program at one end is told that connects to a TCP port of the other, and one that sends to a UDP port from a
/// connected socket; nothing if it is told nothing.
#[must_use]
pub fn told(world: &World, from_inside: bool, v6: bool, port: u16) -> [Option<io::ErrorKind>; 2] {
    let (near, far): (_, IpAddr) = match (from_inside, v6) {
        (true, true) => (&world.inside, OUTSIDE_V6.into()),
        (true, false) => (&world.inside, OUTSIDE_V4.into()),
        (false, v6) => (&world.outside, World::inside_address(v6)),
    };
    let address = SocketAddr::new(far, port);
    let any = if v6 { "[::]:0" } else { "0.0.0.0:0" };
    near.enter(|| {
        let tcp = TcpStream::connect_timeout(&address, Duration::from_secs(5));
        let socket = UdpSocket::bind(any).expect("any port is free");
        socket.connect(address).expect("there is a route");
        socket.send(b"datagram").expect("the datagram goes out");
        let wait = Some(Duration::from_secs(5));
        socket.set_read_timeout(wait).expect("a timeout can be set");
        let udp = socket.recv(&mut [0; 64]);
        [tcp.err(), udp.err()].map(|error| error.map(|error| error.kind()))
    })
}

fn outside_socket(world: &World, v6: bool) -> UdpSocket {
    let any = if v6 { "[::]:0" } else { "0.0.0.0:0" };
    world
        .outside
        .enter(|| UdpSocket::bind(any))
        .expect("any port is free")
}
