//! Mistakes: what is said of them, and where.

use super::*;

#[test]
fn errors_name_what_cannot_stand_behind() {
    let check_error = |line: &str, column: usize, message: &str| {
        let error = parse_rules(line).unwrap_err();
        assert_eq!(error.column, column, "{line}: {error}");
        let text = error.to_string();
        assert!(text.contains(message), "{line}: {text}");
    };
    check_error("drop proto udp flags S/S", 22, "flags: only tcp has that");
    check_error(
        "drop proto tcp icmp-type 3",
        26,
        "this type: only icmp has that",
    );
    check_error("drop to any port 1 icmp6-type 1", 18, "icmp6 has no ports");
    check_error("drop flags S/A", 12, "no segment is so");
    check_error("drop flags X/A", 12, "as in `S/SA`, found `X/A`");
    check_error("drop flags S/S flags A/A", 16, "found `flags`");
    check_error("drop icmp-type 256", 16, "from 0 to 255");
    check_error("drop icmp-type ecoreq", 16, "did you mean `echoreq`?");
    check_error("drop dscp 64", 11, "from 0 to 63");
    check_error("drop vlan 4096", 11, "from 0 to 4095");
    check_error(
        "drop to any port 1 fragment later",
        29,
        "a later fragment has no ports",
    );
    check_error(
        "drop arp proto tcp",
        10,
        "expected `vlan`, `length`, `mark`, `limit`, `ether`, `expr` or the end",
    );
    check_error(
        "drop proto not tcp flags S/S",
        26,
        "flags: only tcp has that",
    );
    check_error("drop proto not icmp icmp-type 3", 31, "only icmp has that");
    check_error(
        "drop fragment later flags not S/S",
        15,
        "a later fragment has no ports",
    );
    check_error("drop vlan not { any, none }", 17, "it has a tag or none");
    check_error("drop mark 0x100000000", 11, "a number of 32 bits");
    check_error("drop mark 1/0", 11, "no bit of the mark");
    check_error("drop ether from 2:0:0:0:0:1", 17, "02:00:00:00:00:01");
    check_error("drop ether src", 12, "expected `from` or `to`");
    check_error("drop length 9-4", 13, "4 is lower than 9");
    check_error("drop length x", 13, "a length in bytes, or a range");
    check_error("drop length 4294967296", 13, "from 0 to 4294967295");
    check_error("drop tos 1", 6, "it is called `dscp` here");
    assert!(Dialect::Calls.rules("drop out flags S/SA").is_err());
}

#[test]
fn errors_name_the_place_and_the_way_out() {
    check_error(
        "",
        1,
        1,
        "expected `pass`, `drop`, `reject`, `redirect`, `count` or `mark`, found the end of the line",
    );
    check_error(
        "accept in",
        1,
        6,
        "expected `pass`, `drop`, `reject`, `redirect`, `count` or `mark`, found `accept`; it is called `pass` here",
    );
    check_error(
        "tcp dport 22 drop",
        1,
        3,
        "expected `pass`, `drop`, `reject`, `redirect`, `count` or `mark`, found `tcp`; the order is: pass|drop|reject [with WHAT]|redirect to IFACE|count|mark N[/MASK] [in|out] [log [1/N]] [on IFACE] \
         [arp|inet|inet6] [proto P] [from ADDRESS [port N]] [to ADDRESS [port N]] [flags F/G] \
         [icmp-type T [code C]] [fragment] [dscp D] [vlan N] [length N] [mark N[/MASK]] [ether from|to MAC] \
         [limit [over] N/s [bytes] [burst N] [per source[/N]]] [expr 'TCPDUMP'] [keep state]",
    );
    check_error(
        "drop quick",
        6,
        5,
        "expected `in`, `out`, `log`, `on`, `arp`, `inet`, `inet6`, `proto`, `all`, `from`, `to`, `flags`, \
         `icmp-type`, `icmp6-type`, `fragment`, `dscp`, `vlan`, `length`, `mark`, `limit`, `ether`, `expr`, `keep` or the end of the line, found `quick`; leave it out: the first rule that matches always decides",
    );
    check_error(
        "drop frm any",
        6,
        3,
        "expected `in`, `out`, `log`, `on`, `arp`, `inet`, `inet6`, `proto`, `all`, `from`, `to`, `flags`, \
         `icmp-type`, `icmp6-type`, `fragment`, `dscp`, `vlan`, `length`, `mark`, `limit`, `ether`, `expr`, `keep` or the end of the line, found `frm`; did you mean `from`?",
    );
    check_error(
        "drop from 10/8",
        11,
        4,
        "expected `not`, `{`, `self`, `any` or an address, found `10/8`; write all four numbers, as in \
         `10.0.0.0/8`",
    );
    check_error(
        "drop to any port",
        18,
        1,
        "expected `not`, `{` or a port, by name or number, or a range of them, found the end of the line",
    );
    check_error(
        "drop proto {tcp",
        17,
        1,
        "expected `}` or `,`, found the end of the line",
    );
    check_error(
        "drop proto {tcp udp}",
        17,
        3,
        "expected `}` or `,`, found `udp`",
    );
}

#[test]
fn errors_name_what_is_too_much() {
    check_error(
        "drop from 10.0.0.0/33",
        11,
        11,
        "the length of this prefix must be a number from 0 to 32",
    );
    check_error(
        "drop from fd00::/+8",
        11,
        9,
        "the length of this prefix must be a number from 0 to 128",
    );
    check_error(
        "drop to any port 65536",
        18,
        5,
        "a port is a number from 0 to 65535",
    );
    check_error(
        "drop to any port 9-1",
        18,
        3,
        "the range ends before it begins: 1 is lower than 9",
    );
    check_error(
        "drop proto 256",
        12,
        3,
        "a protocol is a number from 0 to 255",
    );
    check_error(
        "drop inet from fd00::1",
        16,
        7,
        "no packet is both IPv4 and IPv6: this address is not of the family given before it",
    );
    check_error(
        "drop from 10.0.0.1 to fd00::1",
        23,
        7,
        "no packet is both IPv4 and IPv6: this address is not of the family given before it",
    );
    check_error(
        "drop proto icmp to any port 7",
        29,
        1,
        "icmp has no ports: they need proto tcp, udp, sctp, dccp or udplite, or none",
    );
    let many = format!("drop to any port {{ {} }}", vec!["1"; 1025].join(","));
    check_error(
        &many,
        1,
        many.len(),
        "this line stands for 1025 rules, and can for 1024 at most: use a named set, or several lines",
    );
}

#[test]
fn the_mark_stands_below_the_word() {
    let error = parse_rules("\tdrop  in\tporto tcp").unwrap_err();
    assert_eq!(error.marked(), "\tdrop  in\tporto tcp\n\t        \t^^^^^");
    let error = parse_rules("drop in proto").unwrap_err();
    assert_eq!(error.marked(), "drop in proto\n              ^");
}
